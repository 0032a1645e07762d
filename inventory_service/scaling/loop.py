"""The loop: look, reconcile, decide, carry out. One decision of a stage at a time, each step written down before it is
taken, so that a crash between any two of them is carried on from where it was and nothing happens twice.

`planned` → (scale in: hosts drain, the drain playbook runs) → `acting` → `done` or `failed`; `held` and `dry_run` are
written down as they are.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

from inventory_service import audit
from inventory_service.adapters.ec2 import DECISION_TAG, STAGE_TAG, Cloud
from inventory_service.database import database
from inventory_service.deployments import requests, statuses
from inventory_service.deployments.requests import RunRequest
from inventory_service.errors import CallboardError, CloudError
from inventory_service.models import Host, Run, ScalingDecision, Stage, StageScaling
from inventory_service.registry import hosts, liveness, stages
from inventory_service.registry.stages import stage_name
from inventory_service.scaling import fleet as fleets
from inventory_service.scaling import windows
from inventory_service.scaling.choice import choose
from inventory_service.scaling.fleet import Fleet
from inventory_service.scaling.plan import HOLD, IN, OUT, Decision, Reading, plan
from inventory_service.scaling.policies import Scheduled, Signal
from inventory_service.scaling.settings import GROUP, Actuator, Scaling, find, parse

log = logging.getLogger(__name__)

HELD, PLANNED, ACTING, DONE, FAILED, DRY = "held", "planned", "acting", "done", "failed", "dry_run"
OPEN = (PLANNED, ACTING)
_HELD_FOR = dt.timedelta(days=7)
_TOO_OLD = dt.timedelta(hours=3)  # a drain playbook may take its time
_BATCH = 500
CloudOf = Callable[[str], Cloud]


def scale_all(cloud_of: CloudOf, *, judge: liveness.Judge) -> list[int]:
    """Look at each stage that scales; returns the numbers of drain runs to send. A stage whose turn fails says why on
    its page, and the others go on.
    """
    runs: list[int] = []
    for stage in stages.list_stages():
        row = find(stage)
        if row is None or not row.is_enabled:
            continue
        try:
            runs += _turn(stage, row, parse(row), cloud_of, judge=judge)
            _note(row, problem=None, problem_at=None)
        except CallboardError as error:
            _tell(stage, row, error.detail, at=judge.at)
    return runs


def _note(row: StageScaling, **fields: Any) -> None:
    StageScaling.update(**fields).where(StageScaling.id == row.id).execute()


def _tell(stage: Stage, row: StageScaling, words: str, *, at: dt.datetime) -> None:
    """Show a problem on the stage; tell it once, not each minute."""
    log.warning("scaling of %s: %s", stage_name(stage), words)
    if row.problem != words:
        with database.atomic():
            _note(row, problem=words[:500], problem_at=at)
            audit.record(audit.SERVICE, "scaling.fail", stage_name(stage), at=at, reason=words[:500])


def _turn(stage: Stage, row: StageScaling, scaling: Scaling, cloud_of: CloudOf, *, judge: liveness.Judge) -> list[int]:
    if scaling.actuator is None:
        return []
    cloud = cloud_of(scaling.actuator.region)
    fleet = fleets.observe(stage, scaling.actuator, cloud)
    found = fleets.reconcile(stage, fleet, cloud, judge=judge)
    _note(row, findings=[dataclasses.asdict(finding) for finding in found])
    waiting = open_decision(stage)
    if waiting is None:
        waiting = decide(stage, row, scaling, fleet, judge=judge)
    if waiting.status not in OPEN:
        return []
    if judge.at - waiting.at > _TOO_OLD:
        words = "It was not carried out in time; what it saw is no longer so."
        _end(stage, waiting, FAILED, at=judge.at, error=words)
        return []
    return _carry_on(stage, waiting, scaling, cloud, fleet, judge=judge)


def open_decision(stage: Stage) -> ScalingDecision | None:
    """The decision that is being carried out, if there is one."""
    found: ScalingDecision | None = (
        ScalingDecision.select()
        .where((ScalingDecision.stage == stage) & ScalingDecision.status.in_(OPEN))
        .order_by(ScalingDecision.id)
        .first()
    )
    return found


def decide(
    stage: Stage, row: StageScaling, scaling: Scaling, fleet: Fleet, *, judge: liveness.Judge
) -> ScalingDecision:
    """Plan, and write the decision down with all that it saw; who is to go is chosen and written with it."""
    now = fleets.situation(stage, fleet, row, judge=judge)
    signals = {policy.signal for policy in scaling.policies if not isinstance(policy, Scheduled)}
    readings = {signal: windows.read(stage, signal, at=judge.at) for signal in signals}
    decision = plan(scaling.policies, scaling.limits, readings, now)
    victims: list[str] = []
    if decision.action == IN:
        wanted = decision.from_capacity - decision.to_capacity
        victims = [one.id for one in choose(fleets.candidates(stage, fleet, judge=judge), wanted)]
        decision = _without_victims(decision) if not victims else decision
    status = HELD if decision.action == HOLD else DRY if scaling.is_dry_run else PLANNED
    return ScalingDecision.create(
        stage=stage,
        at=judge.at,
        action=decision.action,
        from_capacity=decision.from_capacity,
        to_capacity=decision.from_capacity - len(victims) if victims else decision.to_capacity,
        serving=now.serving,
        reasons=list(decision.reasons),
        readings={signal.words: _shown(signal, reading) for signal, reading in readings.items()},
        status=status,
        token=secrets.token_hex(16),
        instances=victims,
        ended_at=None if status == PLANNED else judge.at,
    )


def _without_victims(decision: Decision) -> Decision:
    words = "Held: no machine may go; each is protected, in a run, not converged or draining already."
    return dataclasses.replace(
        decision, action=HOLD, to_capacity=decision.from_capacity, reasons=(*decision.reasons, words)
    )


def _shown(signal: Signal, reading: Reading) -> dict[str, Any]:
    return {
        "metric": signal.metric,
        "value": reading.value,
        "reporting": reading.reporting,
        "expected": reading.expected,
        "problem": reading.problem,
    }


def _carry_on(
    stage: Stage, decision: ScalingDecision, scaling: Scaling, cloud: Cloud, fleet: Fleet, *, judge: liveness.Judge
) -> list[int]:
    """Take the decision's next step; returns the number of the drain run to send, if there is one."""
    assert scaling.actuator is not None
    try:
        if decision.action == OUT:
            _move(decision, ACTING)
            made = _grow(stage, decision, scaling.actuator, cloud, fleet)
            _end(stage, decision, DONE, at=judge.at, instances=made)
            return []
        return _shrink(stage, decision, scaling, cloud, fleet, judge=judge)
    except CloudError as error:
        if error.code:  # AWS said no; an outage is tried again
            _end(stage, decision, FAILED, at=judge.at, error=error.detail)
        raise


def _move(decision: ScalingDecision, status: str, **fields: Any) -> None:
    ScalingDecision.update(status=status, **fields).where(ScalingDecision.id == decision.id).execute()
    decision.status = status


def _end(stage: Stage, decision: ScalingDecision, status: str, *, at: dt.datetime, **fields: Any) -> None:
    with database.atomic():
        _move(decision, status, ended_at=at, **fields)
        moment = "last_out_at" if decision.action == OUT else "last_in_at"
        StageScaling.update(**{moment: at}).where(StageScaling.stage == stage).execute()
        if status == DONE:
            told = f"{decision.from_capacity} → {decision.to_capacity}: {decision.reasons[0]}"
            audit.record(audit.SERVICE, f"scaling.{decision.action}", stage_name(stage), at=at, reason=told)
        else:
            _let_go(stage, decision)


def _grow(stage: Stage, decision: ScalingDecision, actuator: Actuator, cloud: Cloud, fleet: Fleet) -> list[str]:
    """More machines, once however often it is called: a group gets an absolute number, unless it has more already;
    each launch has a token of its own, and a tag by which it is found again.
    """
    if actuator.kind == GROUP:
        if fleet.maximum is not None and decision.to_capacity > fleet.maximum:
            words = f"The group {actuator.group!r} lets there be {fleet.maximum} machines at most; raise its MaxSize."
            raise CloudError(words, code="MaxSize")
        if fleet.desired < decision.to_capacity:
            cloud.set_desired(actuator.group, decision.to_capacity)
        return []
    made: list[str] = []
    for number, (subnet, count) in enumerate(_spread(decision.to_capacity - decision.from_capacity, actuator)):
        token = f"{decision.token}-{number}"
        known = [one.id for one in cloud.instances_tagged(DECISION_TAG, token)]
        made += known or cloud.launch(
            template=actuator.template,
            version=actuator.version,
            count=count,
            subnet=subnet,
            token=token,
            tags={STAGE_TAG: stage_name(stage), DECISION_TAG: token},
        )
    return made


def _spread(count: int, actuator: Actuator) -> list[tuple[str, int]]:
    """How many machines each subnet gets, in turns; "" where the template says where."""
    subnets = actuator.subnets or ("",)
    shares = Counter(subnets[number % len(subnets)] for number in range(count))
    return [(subnet, shares[subnet]) for subnet in subnets if shares[subnet]]


def _shrink(
    stage: Stage, decision: ScalingDecision, scaling: Scaling, cloud: Cloud, fleet: Fleet, *, judge: liveness.Judge
) -> list[int]:
    """Drain first: the hosts leave the serving groups, the drain playbook runs on them, then their machines end."""
    going = [pair for pair in fleet.pairs if pair.instance and pair.instance.id in decision.instances]
    present = [pair.host for pair in going if pair.host is not None]
    if decision.status == PLANNED:
        run = _drain(stage, decision, scaling, present, judge=judge)
        return [run.id] if run is not None else []
    if decision.run_id is not None:
        run = requests.get(decision.run_id)
        if run.status in statuses.ACTIVE:
            return []
        if run.status != statuses.SUCCESSFUL:
            words = f"The drain run {run.id} was {run.status}; no machine was ended, and its hosts serve again."
            _end(stage, decision, FAILED, at=judge.at, error=words)
            return []
    if fleets.in_a_run(stage) & {host.id for host in present}:
        return []  # a run that began meanwhile is not disturbed
    _end_machines(scaling.actuator, going, cloud)
    for host in present:
        hosts.goodbye(host, at=judge.at, reason=f"scaled in (decision {decision.id})")
    _end(stage, decision, DONE, at=judge.at)
    return []


def _drain(
    stage: Stage, decision: ScalingDecision, scaling: Scaling, present: list[Host], *, judge: liveness.Judge
) -> Run | None:
    """Mark the hosts and ask for the run in one transaction with the decision's next status."""
    with database.atomic():
        Host.update(is_draining=True).where(Host.id.in_([host.id for host in present])).execute()
        run = None
        if scaling.drain_playbook and present:
            names = ",".join(host.name for host in present)
            wanted = RunRequest(
                kind=statuses.PLAYBOOK,
                playbook=scaling.drain_playbook,
                limit=names,
                comment=f"drain before scaling in (decision {decision.id})",
            )
            run, _ = requests.request_run(stage, wanted, actor=audit.Actor("scaling"), at=judge.at)
        _move(decision, ACTING, run_id=run.id if run else None)
    return run


def _end_machines(actuator: Actuator | None, going: list[fleets.Pair], cloud: Cloud) -> None:
    """Each machine once: one whose end has begun already is left alone, else a group would shrink twice."""
    ids = [pair.instance.id for pair in going if pair.instance and not pair.instance.is_leaving]
    if actuator is not None and actuator.kind == GROUP:
        for instance_id in ids:
            cloud.end_in_group(instance_id)
    elif ids:
        cloud.end(ids)


def _let_go(stage: Stage, decision: ScalingDecision) -> None:
    """A scale-in that failed: hosts that were to go serve again."""
    names = [f"/{instance}" for instance in decision.instances]
    for host in Host.select().where((Host.stage == stage) & Host.is_draining & Host.gone_at.is_null()):
        if any((host.instance or "").endswith(name) for name in names):
            Host.update(is_draining=False).where(Host.id == host.id).execute()


def prune(*, at: dt.datetime, days: int) -> int:
    """Forget decisions that held after a week, the others after `days`, a batch at a time; returns how many."""
    held = (ScalingDecision.status == HELD) & (ScalingDecision.at < at - _HELD_FOR)
    old = ~ScalingDecision.status.in_(OPEN) & (ScalingDecision.at < at - dt.timedelta(days=days))
    some = ScalingDecision.select(ScalingDecision.id).where(held | old).limit(_BATCH)
    return int(ScalingDecision.delete().where(ScalingDecision.id.in_(list(some))).execute())
