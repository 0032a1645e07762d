"""The words for a run's kind and status."""

from __future__ import annotations

DEPLOY, ROLLBACK, CONVERGE, PLAYBOOK = "deploy", "rollback", "converge", "playbook"
KINDS = (DEPLOY, ROLLBACK, CONVERGE, PLAYBOOK)
URGENCY = {kind: place for place, kind in enumerate((ROLLBACK, DEPLOY, PLAYBOOK, CONVERGE))}
RELEASE_KINDS = (DEPLOY, ROLLBACK, CONVERGE)

QUEUED, RUNNING = "queued", "running"
SUCCESSFUL, FAILED, CANCELED, TIMEOUT, LOST = "successful", "failed", "canceled", "timeout", "lost"
ACTIVE = (QUEUED, RUNNING)
ENDED = (SUCCESSFUL, FAILED, CANCELED, TIMEOUT, LOST)
STATUSES = (*ACTIVE, *ENDED)
