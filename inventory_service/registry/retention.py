"""Forgetting: transitions, audit entries and hosts that have gone, a small batch at a time, so that nobody waits."""

from __future__ import annotations

import datetime as dt
from typing import Any

import peewee as pw

from inventory_service.database import database
from inventory_service.models import Conflict, Event, Host, Transition
from inventory_service.records import hosts as records
from inventory_service.registry import liveness

_BATCH = 500


def prune(*, at: dt.datetime, transition_days: int, gone_days: int) -> int:
    """Delete one batch of each that is too old; returns how many rows. The next tick takes the next batch.

    A host's last transition stays while the host does: it says what state the host is in. A host that has gone is
    stripped of what it said and of its credentials after `gone_days`, and shown in no list from then on; its name and
    address stay as long as its transitions, so that "who was there?" has an answer.
    """
    old = at - dt.timedelta(days=transition_days)
    last = Transition.select(pw.fn.MAX(Transition.id)).group_by(Transition.host)
    count = _delete(Transition, (Transition.at < old) & Transition.id.not_in(last))
    count += _delete(Event, Event.at < old)
    count += _delete(Conflict, Conflict.until < old)
    count += _strip_hosts(at - dt.timedelta(days=gone_days))
    return count + _forget_hosts(at - dt.timedelta(days=max(gone_days, transition_days)))


def _strip_hosts(before: dt.datetime) -> int:
    is_old = (Host.recorded_state == liveness.GONE) & (Host.gone_at < before) & Host.secret_sha256.is_null(False)
    ids = [row.id for row in Host.select(Host.id).where(is_old).limit(_BATCH)]
    return records.strip(ids) if ids else 0


def _forget_hosts(before: dt.datetime) -> int:
    is_old = (Host.recorded_state == liveness.GONE) & (Host.gone_at < before)
    ids = [row.id for row in Host.select(Host.id).where(is_old).limit(_BATCH)]
    if ids:
        with database.atomic():
            records.forget(ids)
    return len(ids)


def _delete(model: type[pw.Model], condition: Any) -> int:
    """Looks for what is old before it writes: the search may take its time, and heartbeats wait for who writes."""
    key = model.id  # type: ignore[attr-defined]
    found: Any = model.select(key).where(condition).limit(_BATCH)
    chosen = [row.id for row in found]
    return int(model.delete().where(key.in_(chosen)).execute()) if chosen else 0
