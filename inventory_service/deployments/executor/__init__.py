"""One run at work: hosts, snapshot, playbook, events, supervision, and recovery of what died."""
