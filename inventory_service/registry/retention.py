"""Forgetting: transitions, audit entries and hosts that have gone, a small batch at a time, so that nobody waits."""

from __future__ import annotations

import datetime as dt
from typing import Any

import peewee as pw

from inventory_service.database import database
from inventory_service.models import AuditEntry, Host, RunHost, Transition
from inventory_service.registry import liveness

_BATCH = 500


def prune(*, at: dt.datetime, transition_days: int, gone_days: int) -> int:
    """Delete one batch of each that is too old; returns how many rows. The next tick takes the next batch.

    A host's last transition stays while the host does: it says what state the host is in.
    """
    old = at - dt.timedelta(days=transition_days)
    last = Transition.select(pw.fn.MAX(Transition.id)).group_by(Transition.host)
    count = _delete(Transition, (Transition.at < old) & Transition.id.not_in(last))
    count += _delete(AuditEntry, AuditEntry.at < old)
    return count + _forget_hosts(at - dt.timedelta(days=gone_days))


def _forget_hosts(before: dt.datetime) -> int:
    """Runs keep their hosts' names; only the link to the row ends."""
    is_old = (Host.recorded_state == liveness.GONE) & (Host.gone_at < before)
    ids = [row.id for row in Host.select(Host.id).where(is_old).limit(_BATCH)]
    if ids:
        with database.atomic():
            RunHost.update(host=None).where(RunHost.host.in_(ids)).execute()
            Transition.delete().where(Transition.host.in_(ids)).execute()
            Host.delete().where(Host.id.in_(ids)).execute()
    return len(ids)


def _delete(model: type[pw.Model], condition: Any) -> int:
    """Looks for what is old before it writes: the search may take its time, and heartbeats wait for who writes."""
    key = model.id  # type: ignore[attr-defined]
    found: Any = model.select(key).where(condition).limit(_BATCH)
    chosen = [row.id for row in found]
    return int(model.delete().where(key.in_(chosen)).execute()) if chosen else 0
