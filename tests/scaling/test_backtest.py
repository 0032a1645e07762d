from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from inventory_service.errors import InvalidError
from inventory_service.scaling import backtest
from inventory_service.scaling.backtest import Load, Model
from inventory_service.scaling.plan import IN, OUT
from inventory_service.scaling.policies import Limits, Signal, TargetTracking

START = dt.datetime(2026, 11, 16, tzinfo=dt.UTC)
CPU = "load1_per_cpu"
TRACK = TargetTracking("cpu", Signal(CPU), 0.6)
LIMITS = Limits(minimum=2, maximum=30)
MODEL = Model(CPU, boot_seconds=180, objective=0.8, price=0.1)


def trace(*totals: float) -> list[Load]:
    return [Load(START + dt.timedelta(minutes=minute), {CPU: total}) for minute, total in enumerate(totals)]


def test_machines_serve_after_they_booted() -> None:
    out = backtest.simulate((TRACK,), LIMITS, trace(*[6.0] * 15), MODEL, capacity=5)
    assert out.moments[0].decision.action == OUT
    assert [moment.capacity for moment in out.moments[:2]] == [5, 10]
    assert [moment.serving for moment in out.moments[2:5]] == [5, 10, 10]


def test_a_machine_that_begins_to_serve_makes_the_load_no_larger() -> None:
    out = backtest.simulate((TRACK,), LIMITS, trace(*[6.0] * 60), MODEL, capacity=5)
    assert out.peak == 10


def test_it_sums_up_hours_cost_and_violations() -> None:
    out = backtest.simulate((), Limits(minimum=2, maximum=2), trace(*[1.0] * 30, *[2.0] * 30), MODEL)
    assert (out.host_hours, out.cost, out.changes) == (2.0, 0.2, 0)
    assert out.violation_minutes == 30


def test_a_better_policy_has_fewer_violations_or_costs_less() -> None:
    week = backtest.make_trace(start=START)
    tight = backtest.simulate((TRACK,), LIMITS, week, MODEL)
    loose = backtest.simulate((dataclasses.replace(TRACK, target=0.3),), LIMITS, week, MODEL)
    fixed = backtest.simulate((), Limits(minimum=12, maximum=12), week, MODEL)
    assert loose.violation_minutes < tight.violation_minutes
    assert tight.cost < loose.cost
    assert tight.cost < fixed.cost
    assert {moment.decision.action for moment in tight.moments} >= {OUT, IN}


def test_the_trace_is_the_same_for_the_same_seed() -> None:
    week = backtest.make_trace(start=START)
    assert week == backtest.make_trace(start=START)
    assert week != backtest.make_trace(start=START, seed=18)
    assert len(week) == 7 * 24 * 60


def test_it_writes_what_it_reads() -> None:
    week = backtest.make_trace(start=START, days=1)
    assert backtest.read_trace(backtest.write_trace(week)) == week


def test_a_gap_in_the_trace_is_passed_by() -> None:
    rows = [
        *trace(1.0, 1.0),
        Load(START + dt.timedelta(hours=5), {CPU: 1.0}),
        Load(START + dt.timedelta(hours=5, minutes=1), {CPU: 1.0}),
    ]
    out = backtest.simulate((TRACK,), LIMITS, rows, MODEL)
    assert len(out.moments) == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "first line"),
        ("at\n2026-11-16T00:00:00Z\n", "first line"),
        ("load\n1\n", "first line"),
        ("at,load\nyesterday,1\n", "Line 2"),
        ("at,load\n2026-11-16T00:00:00Z,much\n", "Line 2"),
        ("at,load\n2026-11-16T00:00:00Z,nan\n", "Line 2"),
        ("at,load\n2026-11-16T00:00:00Z,-1\n", "Line 2"),
        ("at,load\n2026-11-16T00:00:00Z\n", "Line 2"),
        ("at,load\n2026-11-16T00:01:00Z,1\n2026-11-16T00:00:00Z,1\n", "Line 3"),
    ],
)
def test_it_rejects_a_trace_and_names_the_line(text: str, words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        backtest.read_trace(text.splitlines(keepends=True))


def test_it_rejects_a_trace_without_the_policys_metric() -> None:
    other = [Load(load.at, {"queue": 1.0}) for load in trace(1.0, 1.0)]
    with pytest.raises(InvalidError, match="load1_per_cpu"):
        backtest.simulate((TRACK,), LIMITS, other, MODEL)
    with pytest.raises(InvalidError, match="two rows"):
        backtest.simulate((TRACK,), LIMITS, [], MODEL)
