"""The sweep records what time has done: hosts that fell silent become stale, and later gone.

It decides nothing that a reader does not also compute (liveness.py); a dead sweep leaves no dead host listed.
"""

from __future__ import annotations

from inventory_service.codes.host import Cause, Gone
from inventory_service.database import database
from inventory_service.events import Actor
from inventory_service.models import Host, Stage
from inventory_service.reasons import Reason, because
from inventory_service.records import hosts as records
from inventory_service.records import stages as stage_records
from inventory_service.registry import liveness
from inventory_service.registry.stages import list_stages


def sweep(*, expiry: liveness.Expiry) -> int:
    """Record the transitions that are due; returns how many. Two sweeps at once record each of them once."""
    return sum(sweep_stage(stage, expiry=expiry) for stage in list_stages())


def sweep_stage(stage: Stage, *, expiry: liveness.Expiry) -> int:
    """The same for one stage."""
    silent_before = expiry.at - liveness.ttl(stage)
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
    with database.atomic():
        if state == liveness.GONE:
            is_done = records.mark_gone(host, because(Gone.SILENT), at=expiry.gone_at(host, stage))
        else:
            is_done = records.mark_stale(host, because(Cause.SILENT), at=expiry.expires_at(host, stage))
    host.recorded_state = state if is_done else host.recorded_state
    return int(is_done)


def record_return(
    host: liveness.Lease, stage: liveness.Terms, reason: Reason, *, expiry: liveness.Expiry, actor: Actor
) -> bool:
    """Write the history of a host that is heard again, before its row is changed; True when it was not live."""
    if expiry.state(host, stage) in liveness.LISTED:
        return False
    records.come_back(host, reason, ran_out_at=expiry.expires_at(host, stage), actor=actor, at=expiry.at)
    return True


def expire_late(stage: Stage, *, actor: Actor, expiry: liveness.Expiry) -> int:
    """Believe the silence: every late host becomes stale, and the pause of the stage's expiry ends; returns how many.

    For the operator who knows that the machines are really gone.
    """
    present = Host.select().where((Host.stage == stage) & Host.gone_at.is_null())
    late = [host for host in present if expiry.state(host, stage) == liveness.LATE]
    not_before = expiry.at + liveness.rest_after_pause(liveness.ttl(stage))
    with database.atomic():
        believed = because(Cause.EXPIRED, by=actor.name)
        count = sum(records.mark_stale(host, believed, at=expiry.at, actor=actor) for host in late)
        stage_records.believe_silence(stage, hosts=count, not_before=not_before, actor=actor, at=expiry.at)
    return count
