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


def list_entries(
    *,
    limit: int,
    before: int | None = None,
    action: str | None = None,
    actor: str | None = None,
    target: str | None = None,
) -> list[AuditEntry]:
    """The newest entries first, below the id `before`. `action` and `target` also match what begins with them and goes
    on after a dot or a slash: `stage` finds `stage.lock`, `shop/production` finds `shop/production/web-1`.
    """
    tests: list[Any] = [AuditEntry.id < before] if before is not None else []
    tests += [] if actor is None else [AuditEntry.actor == actor]
    for field, text, mark in ((AuditEntry.action, action, "."), (AuditEntry.target, target, "/")):
        tests += [] if text is None else [(field == text) | field.startswith(f"{text}{mark}")]
    query = AuditEntry.select()
    chosen = query.where(*tests) if tests else query
    return list(chosen.order_by(AuditEntry.id.desc()).limit(limit))
