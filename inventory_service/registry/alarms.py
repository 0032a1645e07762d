"""What of a host calls for a person, put into the audit log, from which notifications are made."""

from __future__ import annotations

import datetime as dt

from inventory_service import audit
from inventory_service.models import Project, Stage
from inventory_service.registry.stages import stage_name

CONFLICT, QUARANTINE = "host.conflict", "host.quarantine"


def tell(action: str, stage_id: int, host_name: str, reason: str, *, at: dt.datetime) -> None:
    """Record it, inside the caller's transaction."""
    stage = Stage.select(Stage, Project).join(Project).where(Stage.id == stage_id).get()
    audit.record(audit.SERVICE, action, f"{stage_name(stage)}/{host_name}", at=at, reason=reason)
