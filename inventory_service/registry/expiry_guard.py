"""Watching for mass silence: the freezes of each stage and of all, as every sweep leaves them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from typing import Any

from inventory_service import audit
from inventory_service.database import database
from inventory_service.models import Host, ServiceState, Stage
from inventory_service.registry import expiry_pause, liveness, self_check
from inventory_service.registry.expiry_pause import Counts
from inventory_service.registry.stages import list_stages, stage_name
from inventory_service.registry.sweep import sweep, sweep_stage

log = logging.getLogger(__name__)

FREEZES = BEGIN, END = "expiry.pause", "expiry.resume"
ALL_STAGES = "all stages"


def watch(*, expiry: liveness.Expiry, bound_seconds: float) -> None:
    """Begin, keep or end freezes. Called before each sweep, so that a sweep never expires a crowd."""
    liveness.tell_freeze_limit(bound_seconds, expiry=expiry)
    bound, total = dt.timedelta(seconds=bound_seconds), Counts(0, 0, 0)
    stages = list_stages()
    for stage in stages:
        counts = count(stage, expiry=expiry)
        total += counts
        _step_stage(stage, counts, expiry=expiry, bound=bound)
    longest = max((stage.ttl_seconds for stage in stages), default=0)
    _step_all(total, expiry=expiry, bound=bound, pause=dt.timedelta(seconds=2 * longest))


def count(stage: Stage, *, expiry: liveness.Expiry) -> Counts:
    """How many hosts of the stage are listed, late, and expired without an explanation within the last ttl."""
    ttl = dt.timedelta(seconds=stage.ttl_seconds)
    present = (Host.stage == stage) & Host.gone_at.is_null() & Host.conflict.is_null()
    listed = present & (Host.recorded_state == liveness.LIVE)
    live = Host.select().where(listed).count()
    late = _count_silent(listed, stage, expiry, liveness.late_after(stage))
    expired = Host.select().where(present & (Host.expired_at > expiry.at - ttl)).count()
    return Counts(live, late, expired)


def _count_silent(listed: Any, stage: Stage, expiry: liveness.Expiry, silence: dt.timedelta) -> int:
    """Hosts whose silence has lasted that long; nobody's has, when the service itself could not hear for so long."""
    since = expiry.at - silence
    if expiry.heard_from(stage) >= since:
        return 0
    return Host.select().where(listed & (Host.last_seen_at < since)).count()


def _step_stage(stage: Stage, counts: Counts, *, expiry: liveness.Expiry, bound: dt.timedelta) -> None:
    at = expiry.at
    before = expiry_pause.State(stage.frozen_at, stage.freeze_reason, stage.freeze_calm, stage.freeze_not_before)
    pause = dt.timedelta(seconds=2 * stage.ttl_seconds)
    alarm = counts.words if counts.is_alarming else None
    after = expiry_pause.step(before, alarm=alarm, at=at, bound=bound, pause=pause)
    if after.state == before:
        return
    if _is_over(before, after):
        sweep_stage(stage, expiry=expiry)
    state = after.state
    fields = {
        "frozen_at": state.frozen_at,
        "freeze_reason": state.reason,
        "freeze_calm": state.calm,
        "freeze_not_before": state.not_before,
        **({"grace_from": at} if after.gives_grace else {}),
    }
    # An operator may have ended the freeze meanwhile, and then that counts.
    unchanged = (Stage.frozen_at == before.frozen_at) & (Stage.freeze_not_before == before.not_before)
    with database.atomic():
        if Stage.update(**fields).where((Stage.id == stage.id) & unchanged).execute() == 1:
            _tell(stage_name(stage), before, state, at=at)


def _step_all(total: Counts, *, expiry: liveness.Expiry, bound: dt.timedelta, pause: dt.timedelta) -> None:
    before, at = read_global(), expiry.at
    alarm = self_check.deafness(expiry=expiry) or (total.words if total.is_alarming else None)
    after = expiry_pause.step(before, alarm=alarm, at=at, bound=bound, pause=pause)
    if after.state == before:
        return
    if _is_over(before, after):
        sweep(expiry=expiry)
    with database.atomic():
        liveness.remember(liveness.FREEZE_KEY, _to_json(after.state))
        if after.gives_grace:
            liveness.begin_thaw(at=at)
        _tell(ALL_STAGES, before, after.state, at=at)


def _is_over(before: expiry_pause.State, after: expiry_pause.Step) -> bool:
    """Whether the bound ends a freeze. Who left the inventory by that is recorded while it is known when that was."""
    return before.frozen_at is not None and after.state.frozen_at is None and not after.gives_grace


def _tell(what: str, before: expiry_pause.State, after: expiry_pause.State, *, at: dt.datetime) -> None:
    if before.frozen_at is None and after.frozen_at is not None:
        log.warning("expiry is frozen for %s: %s", what, after.reason)
        audit.record(audit.SERVICE, BEGIN, what, at=at, reason=after.reason)
    elif before.frozen_at is not None and after.frozen_at is None:
        log.warning("the freeze for %s has ended", what)
        audit.record(audit.SERVICE, END, what, at=at)


def read_global() -> expiry_pause.State:
    """The freeze for all stages."""
    row = ServiceState.get_or_none(ServiceState.key == liveness.FREEZE_KEY)
    if row is None:
        return expiry_pause.State()
    moments = {key: _moment(row.value[key]) for key in ("frozen_at", "not_before")}
    return expiry_pause.State(reason=row.value["reason"], calm=row.value["calm"], **moments)


def _moment(seconds: float | None) -> dt.datetime | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC)


def _to_json(state: expiry_pause.State) -> dict[str, Any]:
    return {
        key: value.timestamp() if isinstance(value, dt.datetime) else value
        for key, value in dataclasses.asdict(state).items()
    }
