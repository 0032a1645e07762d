"""Watching for mass silence: the pauses of each stage's expiry and of all, as every sweep leaves them."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from inventory_service.codes.stage import ExpiryPause
from inventory_service.database import database
from inventory_service.events import ALL_STAGES
from inventory_service.models import Host, ServiceState, Stage
from inventory_service.reasons import Reason
from inventory_service.records import stages as records
from inventory_service.records.stages import Pause, pause_of
from inventory_service.registry import expiry_pause, liveness, self_check
from inventory_service.registry.expiry_pause import Counts
from inventory_service.registry.stages import list_stages, stage_name
from inventory_service.registry.sweep import sweep, sweep_stage
from inventory_service.wording import stage as wording

log = logging.getLogger(__name__)


def step_pauses(*, expiry: liveness.Expiry, bound_seconds: float) -> None:
    """Begin, keep or end pauses. Called before each sweep, so that a sweep never expires a crowd."""
    liveness.store_pause_limit(bound_seconds, expiry=expiry)
    bound, total = dt.timedelta(seconds=bound_seconds), Counts(0, 0, 0)
    stages = list_stages()
    for stage in stages:
        counts = count(stage, expiry=expiry)
        total += counts
        _step_stage(stage, counts, expiry=expiry, bound=bound)
    longest = max(map(liveness.ttl, stages), default=dt.timedelta())
    _step_all(total, expiry=expiry, bound=bound, rest=liveness.rest_after_pause(longest))


def count(stage: Stage, *, expiry: liveness.Expiry) -> Counts:
    """How many hosts of the stage are listed, late, and expired without an explanation within the last ttl."""
    present = (Host.stage == stage) & Host.gone_at.is_null() & Host.conflict_code.is_null()
    listed = present & (Host.recorded_state == liveness.LIVE)
    live = Host.select().where(listed).count()
    late = _count_silent(listed, stage, expiry, liveness.late_after(stage))
    expired = Host.select().where(present & (Host.expired_at > expiry.at - liveness.ttl(stage))).count()
    return Counts(live, late, expired)


def _count_silent(listed: Any, stage: Stage, expiry: liveness.Expiry, silence: dt.timedelta) -> int:
    """Hosts whose silence has lasted that long; nobody's has, when the service itself could not hear for so long."""
    since = expiry.at - silence
    if expiry.reachable_since(stage) >= since:
        return 0
    return Host.select().where(listed & (Host.last_seen_at < since)).count()


def _step_stage(stage: Stage, counts: Counts, *, expiry: liveness.Expiry, bound: dt.timedelta) -> None:
    before, at = pause_of(stage), expiry.at
    rest = liveness.rest_after_pause(liveness.ttl(stage))
    after = expiry_pause.step(before, reason=counts.pause_reason, at=at, bound=bound, rest=rest)
    if after.pause == before:
        return
    if _is_over(before, after):
        sweep_stage(stage, expiry=expiry)
    grace_from = at if after.gives_grace else None
    with database.atomic():  # an operator may have ended the pause meanwhile, and then that counts
        is_kept = records.keep_pause(stage, after.pause, before=before, grace_from=grace_from, at=at)
    if is_kept:
        _log(stage_name(stage), before, after.pause)


def _step_all(total: Counts, *, expiry: liveness.Expiry, bound: dt.timedelta, rest: dt.timedelta) -> None:
    before, at = pause_of_all(), expiry.at
    reason = self_check.failure(expiry=expiry) or total.pause_reason
    after = expiry_pause.step(before, reason=reason, at=at, bound=bound, rest=rest)
    if after.pause == before:
        return
    if _is_over(before, after):
        sweep(expiry=expiry)
    with database.atomic():
        liveness.remember(liveness.PAUSE_KEY, _to_json(after.pause))
        if after.gives_grace:
            liveness.resume_all(at=at)
        records.note_pause(ALL_STAGES, before, after.pause, at=at)
    _log(ALL_STAGES.path, before, after.pause)


def _is_over(before: Pause, after: expiry_pause.Step) -> bool:
    """Whether the bound ends a pause. Who left the inventory by that is recorded while it is known when that was."""
    return before.paused_at is not None and after.pause.paused_at is None and not after.gives_grace


def _log(what: str, before: Pause, after: Pause) -> None:
    if before.paused_at is None and after.paused_at is not None and after.reason is not None:
        why = wording.expiry_pause(after.reason.code, after.reason.params)
        log.warning("expiry is paused for %s: %s", what, why)
    elif before.paused_at is not None and after.paused_at is None:
        log.warning("expiry goes on for %s", what)


def pause_of_all() -> Pause:
    """The pause for all stages."""
    row = ServiceState.get_or_none(ServiceState.key == liveness.PAUSE_KEY)
    if row is None:
        return Pause()
    code, value = row.value["code"], row.value
    why = None if code is None else Reason(ExpiryPause(code), value["params"])
    return Pause(_moment(value["paused_at"]), why, value["calm_sweeps"], _moment(value["not_before"]))


def _moment(seconds: float | None) -> dt.datetime | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC)


def _to_json(pause: Pause) -> dict[str, Any]:
    return {
        "paused_at": None if pause.paused_at is None else pause.paused_at.timestamp(),
        "code": None if pause.reason is None else str(pause.reason.code),
        "params": {} if pause.reason is None else dict(pause.reason.params),
        "calm_sweeps": pause.calm_sweeps,
        "not_before": None if pause.not_before is None else pause.not_before.timestamp(),
    }
