"""The plan: from policies, readings, hosts and time to one decision with its reasons. Pure functions.

Rules, in this order:
1. Each policy proposes a capacity, or says why it can't. The largest proposal wins, as with AWS Auto Scaling.
2. Scaling in needs every policy's consent: one without a reading keeps the hosts.
3. Never in: while expiry is paused, during a run, in a cooldown, while hosts warm up or the numbers are doubtful.
4. Never out onto a release that is being rolled back.
5. Never outside of the bounds; below the minimum no cooldown counts.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any

from inventory_service.codes import scaling as codes
from inventory_service.reasons import Reason, because
from inventory_service.scaling.policies import (
    EXACT,
    PERCENT,
    SUM,
    Limits,
    Policy,
    Scheduled,
    Signal,
    StepScaling,
    TargetTracking,
)

OUT, IN, HOLD = "out", "in", "hold"
# A signal must lie this much below its target before hosts go: AWS's own alarm for scaling in, against flapping.
_SLACK = 0.9
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """A signal's value now. `value` None: there is none, `problem` (a code of Reading) says why.

    `load`: the value times the hosts that there were at each of its moments; None: not known. Hosts that began to serve
    within the window bear their part of it only now, so that the value times those who serve now is too much.
    """

    value: float | None
    reporting: int
    expected: int
    problem: Reason | None = None
    load: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision depends on besides policies and readings, taken at one moment.

    `capacity`: machines that there are or that were asked for. `serving`: of these, the live ones on the desired
    release. `last_out_at`, `last_in_at`: when machines were last added or taken away.
    """

    at: dt.datetime
    capacity: int
    serving: int
    is_expiry_paused: bool = False
    run: int | None = None
    is_rolling_back: bool = False
    last_out_at: dt.datetime | None = None
    last_in_at: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Proposal:
    """What one policy wants: a capacity and why, or None and why it can't tell."""

    policy: str
    capacity: int | None
    reason: Reason


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """OUT, IN or HOLD, and the capacity to have. `reasons`: codes of Plan, a line for each policy first. `veto`: the
    last of them where a rule forbade a change that was wanted.
    """

    action: str
    from_capacity: int
    to_capacity: int
    reasons: tuple[Reason, ...]
    proposals: tuple[Proposal, ...]
    veto: Reason | None = None

    def vetoed(self, veto: Reason) -> Decision:
        """The decision to change nothing, because of this rule."""
        return dataclasses.replace(
            self, action=HOLD, to_capacity=self.from_capacity, reasons=(*self.reasons, veto), veto=veto
        )


def plan(
    policies: Sequence[Policy], limits: Limits, readings: Mapping[Signal, Reading], situation: Situation
) -> Decision:
    """The decision of this moment. `readings` has one for each signal of the policies; a missing one counts as none."""
    minimum, maximum = bounds(policies, limits, at=situation.at)
    proposals = tuple(
        _propose(policy, readings, situation, limits) for policy in policies if not isinstance(policy, Scheduled)
    ) + tuple(_desired(policies, situation))
    known = [proposal.capacity for proposal in proposals if proposal.capacity is not None]
    wanted = max(known, default=situation.capacity)
    bounded = min(max(wanted, minimum), maximum)
    reasons = [proposal.reason for proposal in proposals]
    if bounded != wanted:
        reasons.append(because(codes.Plan.BOUNDED, capacity=bounded, minimum=minimum, maximum=maximum))
    decision = Decision(HOLD, situation.capacity, bounded, tuple(reasons), proposals)
    return _constrained(decision, (minimum, maximum), situation, limits)


def bounds(policies: Sequence[Policy], limits: Limits, *, at: dt.datetime) -> tuple[int, int]:
    """(minimum, maximum) now: the limits', changed by the schedule that last came due."""
    due = [
        (moment, policy) for policy in policies if isinstance(policy, Scheduled) and (moment := policy.last_before(at))
    ]
    minimum, maximum = limits.minimum, limits.maximum
    for _, policy in sorted(due, key=lambda pair: pair[0]):
        minimum = policy.minimum if policy.minimum is not None else minimum
        maximum = policy.maximum if policy.maximum is not None else maximum
    return min(minimum, maximum), max(minimum, maximum)


def _desired(policies: Sequence[Policy], situation: Situation) -> list[Proposal]:
    """Schedules that set a capacity do so once, within the minute of their moment, and never take hosts away."""
    found = []
    for policy in policies:
        if isinstance(policy, Scheduled) and policy.desired is not None:
            moment = policy.last_before(situation.at)
            if moment is not None and situation.at - moment < dt.timedelta(minutes=5):
                wanted = max(policy.desired, situation.capacity)
                reason = because(codes.Plan.SCHEDULE, policy=policy.name, capacity=policy.desired)
                found.append(Proposal(policy.name, wanted, reason))
    return found


def _propose(
    policy: TargetTracking | StepScaling, readings: Mapping[Signal, Reading], situation: Situation, limits: Limits
) -> Proposal:
    unmeasured = Reading(None, 0, situation.serving, because(codes.Reading.NOT_MEASURED))
    reading = readings.get(policy.signal) or unmeasured
    problem = _problem(reading, limits)
    if problem is not None:
        reason = because(codes.Plan.NO_READING, policy=policy.name, problem=problem.to_json())
        return Proposal(policy.name, None, reason)
    assert reading.value is not None, "that is a problem"
    if isinstance(policy, TargetTracking):
        return _track(policy, reading, reading.value, situation)
    return _step(policy, reading.value, situation)


def _problem(reading: Reading, limits: Limits) -> Reason | None:
    if reading.value is None or not math.isfinite(reading.value):
        return reading.problem or because(codes.Reading.NO_VALUE)
    if reading.expected and reading.reporting < limits.reporting_share * reading.expected:
        return because(codes.Reading.TOO_FEW_REPORT, reporting=reading.reporting, expected=reading.expected)
    return None


def _track(policy: TargetTracking, reading: Reading, value: float, situation: Situation) -> Proposal:
    """Load spreads over the serving hosts; `sum` is the load itself, other statistics are load per host."""
    of_now = value if policy.signal.statistic == SUM else value * situation.serving
    load = max(of_now if reading.load is None else reading.load, 0.0)
    up, down = _ceil(load / policy.target), _ceil(load / (policy.target * _SLACK))
    if up > situation.capacity:
        code, capacity = codes.Plan.TARGET_ABOVE, up
    elif down < situation.capacity and not policy.is_scale_in_disabled:
        code, capacity = codes.Plan.TARGET_BELOW, down
    else:
        code, capacity = codes.Plan.TARGET_MET, situation.capacity
    seen = {**_seen(policy, value), "target": policy.target, "capacity": capacity}
    return Proposal(policy.name, capacity, Reason(code, seen))


def _seen(policy: TargetTracking | StepScaling, value: float) -> dict[str, Any]:
    signal = policy.signal
    return {
        "policy": policy.name,
        "statistic": signal.statistic,
        "metric": signal.metric,
        "window_seconds": signal.window_seconds,
        "value": value,
    }


def _ceil(number: float) -> int:
    """Rounding up, but not for what only floating point adds."""
    return math.ceil(number - _ROUNDING)


def _step(policy: StepScaling, value: float, situation: Situation) -> Proposal:
    seen = {**_seen(policy, value), "threshold": policy.threshold}
    step = next((step for step in policy.steps if step.holds(value - policy.threshold)), None)
    if step is None:
        return Proposal(policy.name, situation.capacity, Reason(codes.Plan.STEP_NONE, seen))
    wanted = max(0, _adjusted(situation.capacity, policy.adjustment_type, step.adjustment))
    return Proposal(policy.name, wanted, Reason(codes.Plan.STEP, {**seen, "capacity": wanted}))


def _adjusted(capacity: int, kind: str, adjustment: int) -> int:
    """Per cent round away from nothing to at least one host, as AWS does."""
    if kind == EXACT:
        return adjustment
    if kind != PERCENT:
        return capacity + adjustment
    change = capacity * adjustment / 100
    whole = math.floor(abs(change) + _ROUNDING) or (1 if adjustment else 0)
    return capacity + (whole if change > 0 else -whole)


def _constrained(decision: Decision, between: tuple[int, int], situation: Situation, limits: Limits) -> Decision:
    """What is wanted as it may be carried out, or HOLD with the rule that forbids it."""
    minimum, maximum = between
    wanted, capacity = decision.to_capacity, situation.capacity
    if wanted > capacity:
        veto = _veto_out(situation, limits, is_below=capacity < minimum)
        return decision.vetoed(veto) if veto else dataclasses.replace(decision, action=OUT)
    if wanted < capacity:
        veto = _veto_in(decision.proposals, situation, limits, is_above=capacity > maximum)
        least = max(wanted, capacity - _most_in(situation, limits))
        return decision.vetoed(veto) if veto else dataclasses.replace(decision, action=IN, to_capacity=least)
    return decision


def _veto_out(situation: Situation, limits: Limits, *, is_below: bool) -> Reason | None:
    if situation.is_rolling_back:
        return because(codes.Plan.ROLLING_BACK)
    left = _left(situation.last_out_at, limits.scale_out_cooldown_seconds, situation.at)
    return because(codes.Plan.COOLDOWN_OUT, seconds=left) if left and not is_below else None


def _veto_in(proposals: Sequence[Proposal], situation: Situation, limits: Limits, *, is_above: bool) -> Reason | None:
    if situation.is_expiry_paused:
        return because(codes.Plan.EXPIRY_PAUSED)
    if situation.run is not None:
        return because(codes.Plan.RUN_ACTIVE, run=situation.run)
    if situation.serving < situation.capacity:
        return because(codes.Plan.NOT_SERVING, hosts=situation.capacity - situation.serving)
    unknown = [proposal.policy for proposal in proposals if proposal.capacity is None]
    if unknown and not is_above:
        return because(codes.Plan.READING_MISSING, policies=unknown)
    for code, last, seconds in (
        (codes.Plan.COOLDOWN_IN, situation.last_in_at, limits.scale_in_cooldown_seconds),
        (
            codes.Plan.COOLDOWN_OUT,
            situation.last_out_at,
            max(limits.scale_in_cooldown_seconds, limits.warmup_seconds),
        ),
    ):
        if left := _left(last, seconds, situation.at):
            return because(code, seconds=left)
    return None


def _left(last: dt.datetime | None, seconds: float, at: dt.datetime) -> float:
    """Seconds that are left of a time that began at `last`; a beginning in the future counts as now."""
    if last is None:
        return 0.0
    return max(0.0, seconds - max(0.0, (at - last).total_seconds()))


def _most_in(situation: Situation, limits: Limits) -> int:
    return max(1, math.floor(situation.capacity * limits.scale_in_share))
