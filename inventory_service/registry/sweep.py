"""The sweep records what time has done: hosts that fell silent become stale, and later gone.

It decides nothing that a reader does not also compute (liveness.py); a dead sweep leaves no dead host listed.
"""

from __future__ import annotations

import datetime as dt

from inventory_service import audit
from inventory_service.database import database
from inventory_service.models import Host, Stage
from inventory_service.registry import liveness, transitions
from inventory_service.registry.stages import list_stages, stage_name

_SILENT = "silent"


def sweep(*, expiry: liveness.Expiry) -> int:
    """Record the transitions that are due; returns how many. Two sweeps at once record each of them once."""
    return sum(sweep_stage(stage, expiry=expiry) for stage in list_stages())


def sweep_stage(stage: Stage, *, expiry: liveness.Expiry) -> int:
    """The same for one stage."""
    silent_before = expiry.at - dt.timedelta(seconds=stage.ttl_seconds)
    if expiry.grace_from > silent_before:
        return 0
    present = (Host.stage == stage) & Host.gone_at.is_null()
    suspects = Host.select().where(present & (Host.last_seen_at <= silent_before))
    return sum(record_due(host, stage, expiry=expiry) for host in suspects)


def record_due(host: liveness.Lease, stage: liveness.Terms, *, expiry: liveness.Expiry) -> int:
    """Record that this host's lease has run out, if so; `host` then says it too. Returns how many transitions."""
    state = expiry.state(host, stage)
    if state == host.recorded_state or state not in (liveness.STALE, liveness.GONE):
        return 0
    moment = expiry.gone_at(host, stage) if state == liveness.GONE else expiry.expires_at(host, stage)
    count = expire(host, state, at=moment, reason=_SILENT)
    host.recorded_state = state if count else host.recorded_state
    return count


def expire(host: liveness.Lease, state: str, *, at: dt.datetime, reason: str) -> int:
    """Record that the host became stale or gone at that moment; 0 when a heartbeat or another sweep was first."""
    fields: dict[str, object] = {"recorded_state": state}
    fields |= {"stale_since": at} if state == liveness.STALE else {}
    fields |= {"expired_at": at} if state == liveness.STALE and reason == _SILENT else {}
    fields |= {"gone_at": at, "gone_reason": reason} if state == liveness.GONE else {}
    unchanged = (Host.last_seen_at == host.last_seen_at) & (Host.recorded_state == host.recorded_state)
    with database.atomic():
        if Host.update(**fields).where((Host.id == host.id) & unchanged).execute() != 1:
            return 0
        transitions.record(host, state, reason, at=at, from_state=host.recorded_state)
    return 1


def expire_late(stage: Stage, *, actor: audit.Actor, expiry: liveness.Expiry) -> int:
    """Believe the silence: every late host of the stage becomes stale and its freeze ends; returns how many.

    For the operator who knows that the machines are really gone.
    """
    present = Host.select().where((Host.stage == stage) & Host.gone_at.is_null())
    late = [host for host in present if expiry.state(host, stage) == liveness.LATE]
    pause = expiry.at + dt.timedelta(seconds=2 * stage.ttl_seconds)
    ends = {"frozen_at": None, "freeze_reason": None, "freeze_calm": 0, "freeze_not_before": pause}
    with database.atomic():
        count = sum(expire(host, liveness.STALE, at=expiry.at, reason=f"expired by {actor.name}") for host in late)
        Stage.update(**ends).where(Stage.id == stage.id).execute()
        audit.record(actor, "stage.expire", stage_name(stage), at=expiry.at, hosts=count)
    return count
