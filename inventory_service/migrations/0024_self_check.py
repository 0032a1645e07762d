"""The canary is called self-check. Its old rows say nothing any more: each start of the service begins anew."""


def up(migrator, db):
    db.execute_sql("DELETE FROM job_tick WHERE name IN ('canary', 'dispatch')")
    db.execute_sql("DELETE FROM service_state WHERE key IN ('canary_heard_at', 'canary_sha256')")
