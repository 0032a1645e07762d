from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from inventory_service.errors import InvalidError
from inventory_service.scaling import policies
from inventory_service.scaling.policies import Limits, Scheduled, Signal, Step, StepScaling, TargetTracking

TARGET = {"type": "target", "name": "cpu", "metric": "load1_per_cpu", "target": 0.6}
STEP = {
    "type": "step",
    "name": "queue",
    "metric": "queue_depth",
    "statistic": "sum",
    "threshold": 100,
    "steps": [
        {"upper": 0, "adjustment": -1},
        {"lower": 0, "upper": 100, "adjustment": 1},
        {"lower": 100, "adjustment": 3},
    ],
}
SCHEDULE = {"type": "schedule", "name": "night", "cron": "0 22 * * *", "timezone": "Europe/Berlin", "maximum": 4}


def test_it_reads_each_type() -> None:
    target, step, night = policies.parse_all([TARGET, STEP, SCHEDULE])
    assert target == TargetTracking("cpu", Signal("load1_per_cpu"), 0.6)
    steps = (Step(None, 0, -1), Step(0, 100, 1), Step(100, None, 3))
    assert step == StepScaling("queue", Signal("queue_depth", "sum"), 100, "change", steps)
    assert night == Scheduled("night", "0 22 * * *", "Europe/Berlin", maximum=4)


def change(base: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {key: value for key, value in {**base, **fields}.items() if value is not ...}


def steps(*rows: tuple[float | None, float | None, int], **more: Any) -> dict[str, Any]:
    return change(STEP, steps=[{"lower": low, "upper": high, "adjustment": by} for low, high, by in rows], **more)


@pytest.mark.parametrize(
    ("text", "loc"),
    [
        ({}, "type"),
        (change(TARGET, type="magic"), "type"),
        (change(TARGET, name=...), "name"),
        (change(TARGET, name=7), "name"),
        (change(TARGET, target=0), "target"),
        (change(TARGET, target=float("nan")), "target"),
        (change(TARGET, target=True), "target"),
        (change(TARGET, target="0.6"), "target"),
        (change(TARGET, metric="CPU Utilization"), "metric"),
        (change(TARGET, metric="a; drop table"), "metric"),
        (change(TARGET, statistic="p99"), "statistic"),
        (change(TARGET, window_seconds=5), "window_seconds"),
        (change(TARGET, window_seconds=86400), "window_seconds"),
        (change(TARGET, disable_scale_in="yes"), "disable_scale_in"),
        (change(TARGET, targte=0.5), "targte"),
        (change(STEP, threshold=None), "threshold"),
        (change(STEP, adjustment_type="percentage"), "adjustment_type"),
        (change(STEP, steps=[]), "steps"),
        (change(STEP, steps="x"), "steps"),
        (change(STEP, steps=["x"]), "steps.0"),
        (steps((0, 10, 1), (20, None, 2)), "steps"),
        (steps((0, 10, 1), (5, None, 2)), "steps"),
        (steps((0, 10, 3), (10, None, 1)), "steps"),
        (steps((10, 0, 1)), "steps"),
        (steps((-10, 0, -1), (0, None, 1)), "steps"),
        (steps((0, 50, 1)), "steps"),
        (steps((0, None, 5), adjustment_type="exact"), "steps"),
        (steps((0, None, 1.5)), "steps.0.adjustment"),
        (change(SCHEDULE, cron="25 o'clock"), "cron"),
        (change(SCHEDULE, timezone="Mars/Base"), "timezone"),
        (change(SCHEDULE, maximum=...), "desired"),
        (change(SCHEDULE, minimum=9), "minimum"),
        (change(SCHEDULE, maximum=-1), "maximum"),
    ],
)
def test_it_rejects_nonsense_and_names_the_field(text: dict[str, Any], loc: str) -> None:
    with pytest.raises(InvalidError) as caught:
        policies.parse(text)
    assert ".".join(map(str, caught.value.errors[0]["loc"])) == loc


def test_it_rejects_two_of_one_name() -> None:
    with pytest.raises(InvalidError):
        policies.parse_all([TARGET, TARGET])


def test_it_reads_limits() -> None:
    assert policies.parse_limits({}) == Limits()
    assert policies.parse_limits({"minimum": 2, "maximum": 5, "scale_in_share": 1}).maximum == 5


@pytest.mark.parametrize(
    ("text", "loc"),
    [
        ({"minimum": 5, "maximum": 4}, "minimum"),
        ({"minimum": -1}, "minimum"),
        ({"maximum": 1e9}, "maximum"),
        ({"scale_in_share": 0}, "scale_in_share"),
        ({"reporting_share": 1.5}, "reporting_share"),
        ({"cooldown": 3}, "cooldown"),
    ],
)
def test_it_rejects_limits_that_are_none(text: dict[str, Any], loc: str) -> None:
    with pytest.raises(InvalidError) as caught:
        policies.parse_limits(text)
    assert caught.value.errors[0]["loc"] == [loc]


def test_a_schedule_knows_its_last_moment() -> None:
    night = policies.parse(SCHEDULE)
    assert isinstance(night, Scheduled)
    at = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
    assert night.last_before(at) == dt.datetime(2026, 11, 23, 21, tzinfo=dt.UTC)
    assert night.last_before(at.replace(hour=21)) == at.replace(hour=21)
