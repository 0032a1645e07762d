"""The loop: look, reconcile, decide, carry out. One decision of a stage at a time, each step written down before it is
taken, so that a crash between any two of them is carried on from where it was and nothing happens twice.

`planned` → (scale in: hosts drain, the drain playbook runs) → `acting` → `done` or `failed`; `unchanged` and `dry_run`
are written down as they are.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import secrets
from collections import Counter
from typing import Any

from inventory_service import events
from inventory_service.adapters.ec2 import DECISION_TAG, NO_CAPACITY, STAGE_TAG, Cloud, CloudError
from inventory_service.codes import scaling as codes
from inventory_service.codes import statuses
from inventory_service.codes.host import Gone
from inventory_service.database import database
from inventory_service.deployments.launching import requests
from inventory_service.errors import CallboardError
from inventory_service.events import SCALING, SERVICE, EventName
from inventory_service.models import Host, Run, ScalingDecision, Stage, StageScaling
from inventory_service.reasons import Reason, because, columns, split
from inventory_service.records import hosts as host_records
from inventory_service.registry import liveness, stages
from inventory_service.registry.stages import stage_name
from inventory_service.scaling import drains, failures, reconcile
from inventory_service.scaling import fleet as fleets
from inventory_service.scaling.fleet import CloudOf, Fleet
from inventory_service.scaling.lifecycle import actions
from inventory_service.scaling.machine_selection import choose
from inventory_service.scaling.plan import HOLD, IN, OUT, Reading, plan
from inventory_service.scaling.policies import Scheduled, Signal
from inventory_service.scaling.readings import read_all
from inventory_service.scaling.settings import GROUP, Actuator, Scaling, find, parse
from inventory_service.wording import scaling as wording

log = logging.getLogger(__name__)

UNCHANGED, PLANNED, ACTING, DONE, FAILED, DRY_RUN = "unchanged", "planned", "acting", "done", "failed", "dry_run"
OPEN = (PLANNED, ACTING)
_EVENTS = {OUT: EventName.SCALING_OUT, IN: EventName.SCALING_IN}
_UNCHANGED_KEPT = dt.timedelta(days=7)
_TOO_OLD = dt.timedelta(minutes=10)  # then its numbers are
_LONGEST_DRAIN = dt.timedelta(hours=3)  # a drain playbook may take its time
_BATCH = 500


@dataclasses.dataclass(frozen=True, slots=True)
class _Look:
    """One look at a stage: how it is to scale, what carries that out, and what there is."""

    stage: Stage
    scaling: Scaling
    actuator: Actuator
    cloud: Cloud
    fleet: Fleet
    expiry: liveness.Expiry

    def going(self, decision: ScalingDecision) -> list[fleets.Pair]:
        """The machines that the decision takes away, as far as EC2 still knows them."""
        return [pair for pair in self.fleet.pairs if pair.instance and pair.instance.id in decision.instances]


def scale_all(cloud_of: CloudOf, *, expiry: liveness.Expiry) -> list[int]:
    """Look at each stage that scales; returns the numbers of its drain runs. A stage whose turn fails says why on
    its page, and the others go on.
    """
    runs: list[int] = []
    for stage in stages.list_stages():
        row = find(stage)
        if row is None or not row.is_enabled:
            continue
        try:
            _forget_future(row, at=expiry.at)
            runs += _turn(stage, row, parse(row), cloud_of, expiry=expiry)
            _save(row, problem_at=None, **columns("problem", None))
        except CallboardError as error:
            _keep_problem(stage, row, failures.reason_of(error), at=expiry.at)
        except Exception as error:
            log.exception("scaling of %s failed in a way that nobody foresaw", stage_name(stage))
            _keep_problem(stage, row, failures.reason_of(error), at=expiry.at)
    return runs


def _forget_future(row: StageScaling, *, at: dt.datetime) -> None:
    """The clock was set back: a cooldown begins now, at the latest."""
    for name in ("last_out_at", "last_in_at"):
        moment = getattr(row, name)
        if moment is not None and moment > at:
            _save(row, **{name: at})
            setattr(row, name, at)


def _save(row: StageScaling, **fields: Any) -> None:
    StageScaling.update(**fields).where(StageScaling.id == row.id).execute()


def _keep_problem(stage: Stage, row: StageScaling, problem: Reason, *, at: dt.datetime) -> None:
    """Show a problem on the stage; its event is written once, not each minute."""
    log.warning("scaling of %s: %s", stage_name(stage), wording.failure(problem.code, problem.params))
    kept = columns("problem", problem)
    if kept != {name: getattr(row, name) for name in kept}:
        with database.atomic():
            _save(row, problem_at=at, **kept)
            _record_failure(stage, problem, at=at)


def _record_failure(stage: Stage, problem: Reason, *, at: dt.datetime, **details: Any) -> None:
    events.record(EventName.SCALING_FAIL, events.target(stage), actor=SERVICE, at=at, reason=problem, details=details)


def _turn(
    stage: Stage, row: StageScaling, scaling: Scaling, cloud_of: CloudOf, *, expiry: liveness.Expiry
) -> list[int]:
    if scaling.actuator is None:
        return []
    cloud = cloud_of(scaling.actuator.region)
    fleet = fleets.observe(stage, scaling.actuator, cloud, at=expiry.at)
    look = _Look(stage, scaling, scaling.actuator, cloud, fleet, expiry)
    actions.notice_fleet(stage, scaling.actuator, fleet, at=expiry.at)
    _compare(stage, row, look)
    waiting = open_decision(stage) or decide(stage, row, scaling, look)
    if waiting.status not in OPEN:
        return []
    if expiry.at - waiting.at > _patience(waiting):
        _fail(look, waiting, because(codes.Failure.EXPIRED))
        return []
    return _carry_on(look, waiting)


def _compare(stage: Stage, row: StageScaling, look: _Look) -> None:
    """Keep where EC2 and the registry differ, and whose enrolment is expected."""
    found = reconcile.reconcile(stage, look.actuator, look.fleet, look.cloud, expiry=look.expiry, before=row.findings)
    _save(
        row,
        findings=[finding.to_json() for finding in found],
        expected=reconcile.expected(stage, look.actuator, look.fleet),
        looked_at=look.expiry.at,
    )


def _patience(decision: ScalingDecision) -> dt.timedelta:
    return _LONGEST_DRAIN if decision.action == IN and decision.status == ACTING else _TOO_OLD


def open_decision(stage: Stage) -> ScalingDecision | None:
    """The decision that is being carried out, if there is one."""
    found: ScalingDecision | None = (
        ScalingDecision.select()
        .where((ScalingDecision.stage == stage) & ScalingDecision.status.in_(OPEN))
        .order_by(ScalingDecision.id)
        .first()
    )
    return found


def decide(stage: Stage, row: StageScaling, scaling: Scaling, look: _Look) -> ScalingDecision:
    """Plan, and write the decision down with all that it saw; who is to go is chosen and written with it."""
    fleet, expiry = look.fleet, look.expiry
    now = fleets.situation(stage, fleet, row, expiry=expiry)
    signals = dict.fromkeys(policy.signal for policy in scaling.policies if not isinstance(policy, Scheduled))
    readings = read_all(stage, signals, look.cloud, at=expiry.at)
    decision = plan(scaling.policies, scaling.limits, readings, now)
    leaving: list[str] = []
    if decision.action == IN:
        count = decision.from_capacity - decision.to_capacity
        leaving = [one.id for one in choose(fleets.candidates(stage, fleet, expiry=expiry), count)]
        decision = decision if leaving else decision.vetoed(because(codes.Plan.NO_CANDIDATE))
    status = UNCHANGED if decision.action == HOLD else DRY_RUN if scaling.is_dry_run else PLANNED
    return ScalingDecision.create(
        stage=stage,
        at=expiry.at,
        action=decision.action,
        from_capacity=decision.from_capacity,
        to_capacity=decision.from_capacity - len(leaving) if leaving else decision.to_capacity,
        serving=now.serving,
        reasons=[reason.to_json() for reason in decision.reasons],
        veto_code=str(decision.veto.code) if decision.veto else None,
        readings=[_reading(signal, reading) for signal, reading in readings.items()],
        status=status,
        token=secrets.token_hex(16),
        instances=leaving,
        ended_at=None if status == PLANNED else expiry.at,
    )


def _reading(signal: Signal, reading: Reading) -> dict[str, Any]:
    return {
        "statistic": signal.statistic,
        "metric": signal.metric,
        "window_seconds": signal.window_seconds,
        "value": reading.value,
        "reporting": reading.reporting,
        "expected": reading.expected,
        "problem": reading.problem.to_json() if reading.problem else None,
    }


def _carry_on(look: _Look, decision: ScalingDecision) -> list[int]:
    """Take the decision's next step; returns the number of the drain run that it queued, if any."""
    try:
        if decision.action == IN:
            return _shrink(look, decision)
        if fleets.is_rolling_back(look.stage):
            return []  # it began since the decision was made
        _move(decision, ACTING)
        made = _grow(look, decision)
        _end(look, decision, DONE, instances=made)
    except CloudError as error:
        if not error.is_passing:
            _end(look, decision, FAILED, error=error.reason)
        raise
    return []


def _move(decision: ScalingDecision, status: str, **fields: Any) -> None:
    ScalingDecision.update(status=status, **fields).where(ScalingDecision.id == decision.id).execute()
    decision.status = status


def _end(look: _Look, decision: ScalingDecision, status: str, *, error: Reason | None = None, **fields: Any) -> None:
    stage, at = look.stage, look.expiry.at
    with database.atomic():
        _move(decision, status, ended_at=at, **columns("error", error), **fields)
        moment = "last_out_at" if decision.action == OUT else "last_in_at"
        StageScaling.update(**{moment: at}).where(StageScaling.stage == stage).execute()
        if status == DONE:
            _record_change(stage, decision, at=at)
        elif decision.action == IN:
            _undrain(look, decision)


def _fail(look: _Look, decision: ScalingDecision, problem: Reason) -> None:
    """It is given up, and the stage as such has no problem: so the decision's own is told."""
    with database.atomic():
        _end(look, decision, FAILED, error=problem)
        _record_failure(look.stage, problem, at=look.expiry.at, decision=decision.id)


def _record_change(stage: Stage, decision: ScalingDecision, *, at: dt.datetime) -> None:
    code, params = split(decision.reasons[0])
    events.record(
        _EVENTS[decision.action],
        events.target(stage),
        actor=SERVICE,
        at=at,
        changes={"capacity": (decision.from_capacity, decision.to_capacity)},
        reason=Reason(codes.Plan(code), params),
        details={"decision": decision.id},
    )


def _grow(look: _Look, decision: ScalingDecision) -> list[str]:
    """More machines, once however often it is called: a group gets an absolute number, unless it has more already;
    each launch has a token of its own, and a tag by which it is found again.
    """
    actuator, cloud, fleet = look.actuator, look.cloud, look.fleet
    if actuator.kind == GROUP:
        if fleet.maximum is not None and decision.to_capacity > fleet.maximum:
            raise CloudError(because(codes.Failure.GROUP_FULL, group=actuator.group, maximum=fleet.maximum))
        if fleet.desired < decision.to_capacity:
            cloud.set_desired(actuator.group, decision.to_capacity)
        return []
    made: list[str] = []
    for number, (subnet, count) in enumerate(_spread(decision.to_capacity - decision.from_capacity, actuator)):
        token = f"{decision.token}-{number}"
        known = [one.id for one in cloud.instances_tagged({DECISION_TAG: token})]
        made += known or _launch(look, subnet, count, token)
    return made


def _launch(look: _Look, subnet: str, count: int, token: str) -> list[str]:
    """In this subnet, else in the next one where AWS has machines. Raises CloudError when it has none in any."""
    subnets = look.actuator.subnets or ("",)
    first = subnets.index(subnet)
    refusal: CloudError | None = None
    for place in subnets[first:] + subnets[:first]:
        try:
            return look.cloud.launch(
                template=look.actuator.template,
                version=look.actuator.version,
                count=count,
                subnet=place,
                token=f"{token}{place.removeprefix('subnet')}",
                tags={STAGE_TAG: stage_name(look.stage), DECISION_TAG: token},
            )
        except CloudError as error:
            if error.code not in NO_CAPACITY:
                raise
            refusal = error
    assert refusal is not None
    raise refusal


def _spread(count: int, actuator: Actuator) -> list[tuple[str, int]]:
    """How many machines each subnet gets, in turns; "" where the template says where."""
    subnets = actuator.subnets or ("",)
    shares = Counter(subnets[number % len(subnets)] for number in range(count))
    return [(subnet, shares[subnet]) for subnet in subnets if shares[subnet]]


def _shrink(look: _Look, decision: ScalingDecision) -> list[int]:
    """Drain first: the hosts leave the group `serving` and new runs, the drain playbook runs on them, then their
    machines end. It waits while expiry is paused and while a run works on them.
    """
    going = look.going(decision)
    present = [pair.host for pair in going if pair.host is not None]
    is_busy = bool(fleets.in_a_run(look.stage) & {host.id for host in present})
    if decision.status == PLANNED:
        return [] if is_busy or look.expiry.is_paused(look.stage) else _drain(look, decision, present)
    problem = _problem_of_drain(decision, going)
    if problem is not None:
        _fail(look, decision, problem)
        return []
    if is_busy or look.expiry.is_paused(look.stage) or _is_draining(decision):
        return []
    _end_machines(look.actuator, going, look.cloud)
    with database.atomic():
        for host in present:
            host_records.end(host, because(Gone.SCALED_IN, decision=decision.id), actor=SCALING, at=look.expiry.at)
    _end(look, decision, DONE)
    return []


def _is_draining(decision: ScalingDecision) -> bool:
    run = _run_of(decision)
    return run is not None and run.status in statuses.ACTIVE


def _run_of(decision: ScalingDecision) -> Run | None:
    return None if decision.run_id is None else requests.get(decision.run_id)


def _problem_of_drain(decision: ScalingDecision, going: list[fleets.Pair]) -> Reason | None:
    """Why the machines are not to end after all."""
    protected = [pair.instance.id for pair in going if pair.instance and pair.instance.is_protected]
    if protected:
        return because(codes.Failure.PROTECTED, instances=protected)
    run = _run_of(decision)
    if run is not None and run.status not in (*statuses.ACTIVE, statuses.SUCCESSFUL):
        return because(codes.Failure.DRAIN_FAILED, run=run.id, status=run.status)
    return None


def _drain(look: _Look, decision: ScalingDecision, present: list[Host]) -> list[int]:
    """Mark the hosts and ask for the run in one transaction with the decision's next status."""
    at = look.expiry.at
    with database.atomic():
        host_records.drain(present, actor=SCALING, at=at, is_leaving=True)
        run = None
        if look.scaling.drain_playbook and present:
            comment = f"drain before scaling in (decision {decision.id})"
            run = drains.request(look.stage, look.scaling.drain_playbook, present, comment, at=at)
        _move(decision, ACTING, run_id=run.id if run else None)
    return [run.id] if run else []


def _end_machines(actuator: Actuator, going: list[fleets.Pair], cloud: Cloud) -> None:
    """Each machine once: one whose end has begun already is left alone, else a group would shrink twice."""
    ids = [pair.instance.id for pair in going if pair.instance and not pair.instance.is_leaving]
    if actuator.kind == GROUP:
        for instance_id in ids:
            cloud.end_in_group(instance_id)
    elif ids:
        cloud.end(ids)


def _undrain(look: _Look, decision: ScalingDecision) -> None:
    """A scale-in that failed: hosts that were to go serve again, and nobody drains them any more."""
    mine = [pair.host for pair in look.going(decision) if pair.host and pair.instance]
    host_records.undrain(mine, actor=SCALING, at=look.expiry.at, was_leaving=True)
    run = _run_of(decision)
    if run is not None and run.status in statuses.ACTIVE:
        requests.cancel(run, actor=SCALING, at=look.expiry.at)


def prune(*, at: dt.datetime, days: int) -> int:
    """Forget those that changed nothing after a week, others after `days`, a batch at a time; returns how many."""
    unchanged = (ScalingDecision.status == UNCHANGED) & (ScalingDecision.at < at - _UNCHANGED_KEPT)
    old = ~ScalingDecision.status.in_(OPEN) & (ScalingDecision.at < at - dt.timedelta(days=days))
    some = ScalingDecision.select(ScalingDecision.id).where(unchanged | old).limit(_BATCH)
    return int(ScalingDecision.delete().where(ScalingDecision.id.in_(list(some))).execute())
