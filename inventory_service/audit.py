"""The audit log: every change by a person or a token leaves an entry."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from inventory_service.models import AuditEntry


@dataclasses.dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a name such as `ada`, `token:ci`, `host:web-1` or `callboard`, and from which address."""

    name: str
    peer: str | None = None


SERVICE = Actor("callboard")


def record(actor: Actor, action: str, target: str, *, at: dt.datetime, **details: Any) -> None:
    """Write one entry, inside the caller's transaction. `details` must be JSON and hold no secret."""
    AuditEntry.create(at=at, actor=actor.name, action=action, target=target, details=details, peer=actor.peer)
