"""When hosts were in conflict. Who was, was in no inventory, and a question about the past has to know."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from inventory_service.models import Conflict


class Party(Protocol):
    """A host that may be in conflict; a row of Host is one."""

    id: str
    stage_id: int


def note(host: Party, conflict: str | None, *, had: str | None, at: dt.datetime) -> None:
    """Record that the host's conflict began or ended, if it did, inside the caller's transaction."""
    if had is not None and conflict is None:
        Conflict.update(until=at).where((Conflict.host == host.id) & Conflict.until.is_null()).execute()
    elif had is None and conflict is not None:
        Conflict.create(host=host.id, stage=host.stage_id, since=at, reason=conflict)
