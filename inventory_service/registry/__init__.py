"""WHO is live: projects and stages, enrolment, heartbeats, expiry, inventory, known hosts."""
