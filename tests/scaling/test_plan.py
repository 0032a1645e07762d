from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_service.codes import scaling as codes
from inventory_service.reasons import Reason, because
from inventory_service.scaling.plan import HOLD, IN, OUT, Decision, Reading, Situation, plan
from inventory_service.scaling.policies import (
    Limits,
    Policy,
    Scheduled,
    Signal,
    Step,
    StepScaling,
    TargetTracking,
)

AT = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
CPU = Signal("load1_per_cpu")
QUEUE = Signal("queue_depth", "sum")
TRACK = TargetTracking("cpu", CPU, 0.6)
DRAIN = StepScaling("queue", QUEUE, 100, "change", (Step(None, 0, -1), Step(0, 100, 1), Step(100, None, 3)))
LIMITS = Limits(minimum=2, maximum=20)
SILENT = because(codes.Reading.NOT_REPORTED, metric="load1_per_cpu", seconds=300)


def decide(
    value: float | None,
    capacity: int = 6,
    policies: tuple[Policy, ...] = (TRACK,),
    limits: Limits = LIMITS,
    **more: Any,
) -> Decision:
    situation = Situation(**{"at": AT, "capacity": capacity, "serving": capacity, **more})
    serving = situation.serving
    return plan(policies, limits, {CPU: Reading(value, serving, serving)}, situation)


@pytest.mark.parametrize(
    ("value", "capacity", "action", "to"),
    [
        (0.6, 6, HOLD, 6),
        (0.9, 6, OUT, 9),
        (0.601, 6, OUT, 7),
        (0.55, 6, HOLD, 6),
        (0.4, 6, IN, 5),
        (0.0, 6, IN, 5),
        (9.0, 6, OUT, 20),
        (0.0, 2, HOLD, 2),
        (0.0, 1, OUT, 2),
        (0.9, 30, IN, 23),
    ],
)
def test_it_tracks_its_target(value: float, capacity: int, action: str, to: int) -> None:
    found = decide(value, capacity)
    assert (found.action, found.to_capacity) == (action, to)


@pytest.mark.parametrize(("depth", "to"), [(99, 5), (100, 7), (199, 7), (200, 9)])
def test_it_goes_by_steps(depth: float, to: int) -> None:
    readings = {QUEUE: Reading(depth, 6, 6)}
    assert plan((DRAIN,), LIMITS, readings, Situation(AT, 6, 6)).to_capacity == to


@pytest.mark.parametrize(("adjustment", "to"), [(10, 7), (50, 9), (-50, 3), (-1, 5)])
def test_per_cent_move_at_least_one_host(adjustment: int, to: int) -> None:
    policy = StepScaling("p", QUEUE, 0, "percent", (Step(None, None, adjustment),))
    limits = dataclasses.replace(LIMITS, scale_in_share=1.0)
    assert plan((policy,), limits, {QUEUE: Reading(1, 6, 6)}, Situation(AT, 6, 6)).to_capacity == to


def test_the_largest_proposal_wins() -> None:
    readings = {CPU: Reading(0.1, 6, 6), QUEUE: Reading(500, 6, 6)}
    assert plan((TRACK, DRAIN), LIMITS, readings, Situation(AT, 6, 6)).to_capacity == 9


@pytest.mark.parametrize(
    ("reading", "problem"),
    [
        (Reading(None, 0, 6, SILENT), SILENT),
        (Reading(math.nan, 6, 6), because(codes.Reading.NO_VALUE)),
        (Reading(math.inf, 6, 6), because(codes.Reading.NO_VALUE)),
        (Reading(0.1, 2, 6), because(codes.Reading.TOO_FEW_REPORT, reporting=2, expected=6)),
        (None, because(codes.Reading.NOT_MEASURED)),
    ],
)
def test_it_never_scales_in_on_doubtful_numbers(reading: Reading | None, problem: Reason) -> None:
    found = plan((TRACK,), LIMITS, {CPU: reading} if reading else {}, Situation(AT, 6, 6))
    assert found.action == HOLD
    assert found.reasons == (because(codes.Plan.NO_READING, policy="cpu", problem=problem.to_json()),)


def test_one_policy_without_a_reading_keeps_the_hosts() -> None:
    readings = {CPU: Reading(0.1, 6, 6), QUEUE: Reading(None, 0, 6, SILENT)}
    found = plan((TRACK, DRAIN), LIMITS, readings, Situation(AT, 6, 6))
    assert found.action == HOLD
    assert found.veto == because(codes.Plan.READING_MISSING, policies=["queue"])


@pytest.mark.parametrize(
    ("more", "veto"),
    [
        ({"is_expiry_paused": True}, because(codes.Plan.EXPIRY_PAUSED)),
        ({"run": 17}, because(codes.Plan.RUN_ACTIVE, run=17)),
        ({"serving": 5}, because(codes.Plan.NOT_SERVING, hosts=1)),
        ({"last_in_at": AT - dt.timedelta(seconds=299)}, because(codes.Plan.COOLDOWN_IN, seconds=1)),
        ({"last_out_at": AT - dt.timedelta(seconds=299)}, because(codes.Plan.COOLDOWN_OUT, seconds=1)),
        ({"last_in_at": AT + dt.timedelta(days=1)}, because(codes.Plan.COOLDOWN_IN, seconds=300)),
    ],
)
def test_it_changes_nothing_instead_of_scaling_in(more: dict[str, Any], veto: Reason) -> None:
    found = decide(0.05, **more)
    assert (found.action, found.to_capacity) == (HOLD, 6)
    assert (found.veto, found.reasons[-1]) == (veto, veto)


def test_it_adds_no_host_that_would_start_with_a_release_that_is_rolled_back() -> None:
    found = decide(2.0, is_rolling_back=True)
    assert (found.action, found.veto) == (HOLD, because(codes.Plan.ROLLING_BACK))


def test_no_cooldown_keeps_it_below_the_minimum() -> None:
    just_now = {"last_out_at": AT - dt.timedelta(seconds=1)}
    assert decide(0.6, capacity=1, **just_now).to_capacity == 2
    assert decide(2.0, capacity=6, **just_now).action == HOLD


def test_scale_in_can_be_disabled() -> None:
    policy = dataclasses.replace(TRACK, is_scale_in_disabled=True)
    assert decide(0.0, policies=(policy,)).action == HOLD
    assert decide(2.0, policies=(policy,)).action == OUT


def test_without_policies_it_keeps_within_the_bounds() -> None:
    assert decide(None, capacity=6, policies=()).action == HOLD
    assert decide(None, capacity=1, policies=()).to_capacity == 2


def test_schedules_move_the_bounds_and_ask_for_hosts() -> None:
    night = Scheduled("night", "0 11 * * *", "UTC", minimum=0, maximum=4)
    assert decide(0.9, capacity=4, policies=(TRACK, night)).action == HOLD
    morning = Scheduled("morning", "0 12 * * *", "UTC", desired=12)
    assert decide(0.6, policies=(TRACK, morning)).to_capacity == 12
    assert decide(0.6, policies=(TRACK, dataclasses.replace(morning, desired=2))).action == HOLD


SITUATIONS = st.builds(
    lambda capacity, away, **more: Situation(at=AT, capacity=capacity, serving=max(0, capacity - away), **more),
    capacity=st.integers(0, 40),
    away=st.sampled_from([0, 0, 1, 5]),
    is_expiry_paused=st.booleans(),
    run=st.sampled_from([None, None, 7]),
    is_rolling_back=st.booleans(),
    last_out_at=st.sampled_from([None, AT, AT - dt.timedelta(seconds=200), AT - dt.timedelta(days=1)]),
    last_in_at=st.sampled_from([None, AT, AT - dt.timedelta(seconds=200), AT - dt.timedelta(days=1)]),
)
LIMIT = st.builds(
    lambda minimum, more, share: Limits(minimum=minimum, maximum=minimum + more, scale_in_share=share),
    st.integers(0, 10),
    st.integers(0, 20),
    st.sampled_from([0.01, 0.25, 1.0]),
)
VALUES = st.floats(-1, 50) | st.sampled_from([None, math.nan, math.inf, -math.inf])


@given(cpu=VALUES, depth=VALUES, situation=SITUATIONS, limits=LIMIT, reporting=st.integers(0, 40))
def test_promises(cpu: float | None, depth: float | None, situation: Situation, limits: Limits, reporting: int) -> None:
    readings = {CPU: Reading(cpu, reporting, situation.serving), QUEUE: Reading(depth, reporting, situation.serving)}
    found = plan((TRACK, DRAIN), limits, readings, situation)
    assert found.from_capacity == situation.capacity
    assert found.reasons
    if found.action == HOLD:
        assert found.to_capacity == situation.capacity
    if found.action == OUT:
        assert situation.capacity < found.to_capacity <= limits.maximum
        assert not situation.is_rolling_back
    if found.action == IN:
        assert limits.minimum <= found.to_capacity < situation.capacity
        assert not situation.is_expiry_paused
        assert situation.run is None
        assert situation.serving == situation.capacity
        is_above = situation.capacity > limits.maximum
        assert is_above or all(value is not None and math.isfinite(value) for value in (cpu, depth))
        assert situation.capacity - found.to_capacity <= max(1, situation.capacity * limits.scale_in_share)


@given(low=st.floats(0, 20), more=st.floats(0, 20), depth=st.floats(0, 500), situation=SITUATIONS, limits=LIMIT)
def test_it_is_monotone_in_the_metric(
    low: float, more: float, depth: float, situation: Situation, limits: Limits
) -> None:
    def to(value: float) -> int:
        serving = situation.serving
        readings = {CPU: Reading(value, serving, serving), QUEUE: Reading(depth + value, serving, serving)}
        return plan((TRACK, DRAIN), limits, readings, situation).to_capacity

    assert to(low) <= to(low + more)


@given(seed=st.integers(0, 10_000))
def test_it_does_not_flap_under_noise(seed: int) -> None:
    """A steady load with 4% of noise is answered once, in one direction."""
    noise, capacity, moves = random.Random(seed), 6, []
    load = noise.uniform(1, 10)
    last: dict[str, dt.datetime | None] = {OUT: None, IN: None}
    for minute in range(240):
        at = AT + dt.timedelta(minutes=minute)
        value = load * noise.uniform(0.98, 1.02) / capacity
        situation = Situation(at, capacity, capacity, last_out_at=last[OUT], last_in_at=last[IN])
        found = plan((TRACK,), LIMITS, {CPU: Reading(value, capacity, capacity)}, situation)
        if found.action != HOLD:
            capacity, last[found.action] = found.to_capacity, at
            moves.append(found.action)
    turns = sum(one != other for one, other in itertools.pairwise(moves))
    assert turns == 0, moves
