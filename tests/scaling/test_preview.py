"""Policies played against the present ones, over the API."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from inventory_service.models import MetricFrame, Stage
from inventory_service.scaling import windows
from inventory_service.scaling.policies import parse
from tests.support import Caller, FakeClock

PATH = "/api/v1/stages/shop/production/scaling"
TARGET = {"type": "target", "name": "cpu", "metric": "load1_per_cpu", "target": 0.6}
LIMITS = {"minimum": 1, "maximum": 10}


def record(stage: Stage, clock: FakeClock, metric: str, value: float, *, days: float, expected: int = 2) -> None:
    """Frames of five minutes up to now, in which one of `expected` hosts reported this value."""
    for number in range(1, int(days * 288) + 1):
        at = windows.floor(clock.now(), 300) - dt.timedelta(seconds=300 * number)
        statistics = windows.describe([value])
        MetricFrame.create(
            stage=stage, metric=metric, seconds=300, at=at, expected=expected, packed=b"", **statistics
        )  # fmt: skip


def simulate(caller: Caller, *policies: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = caller.post(f"{PATH}/simulate", {"limits": LIMITS, "policies": list(policies), **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.get_json())


def test_it_plays_the_last_week_against_the_present(
    admin: Caller, operator: Caller, stage: Stage, clock: FakeClock
) -> None:
    record(stage, clock, "load1_per_cpu", 0.9, days=7)
    admin.put(PATH, {"limits": LIMITS, "policies": [TARGET]})
    found = simulate(operator, {**TARGET, "target": 0.3}, price=0.5)
    new, present = found["results"]["new"], found["results"]["present"]
    assert (found["source"], found["metric"], found["objective"]) == ("recorded", "load1_per_cpu", 0.8)
    assert "7.0 days" in found["note"]
    assert (new["peak"], present["peak"]) == (6, 3)  # 1.8 in all, as the host that said nothing is like the other
    assert new["cost"] == pytest.approx(new["host_hours"] * 0.5, abs=0.1)
    assert len(new["capacity"]) == len(new["value"]) == len(present["capacity"]) <= 1008
    assert admin.get(PATH).get_json()["policies"] == [TARGET]


def test_it_plays_the_shipped_trace_where_too_little_is_on_record_and_says_so(
    operator: Caller, stage: Stage, clock: FakeClock
) -> None:
    assert "nothing of load1_per_cpu on record" in simulate(operator, TARGET)["note"]
    record(stage, clock, "load1_per_cpu", 0.9, days=2)
    found = simulate(operator, TARGET)
    assert (found["source"], set(found["results"])) == ("shipped", {"new"})
    assert "only 47.9 hours of load1_per_cpu" in found["note"]
    assert found["results"]["new"]["peak"] > 2
    assert simulate(operator, TARGET, source="recorded")["source"] == "recorded"


def test_present_policies_of_other_metrics_are_left_out(
    admin: Caller, operator: Caller, stage: Stage, clock: FakeClock
) -> None:
    record(stage, clock, "load1_per_cpu", 0.9, days=7)
    admin.put(PATH, {"policies": [{**TARGET, "metric": "queue_depth"}]})
    found = simulate(operator, TARGET)
    assert (found["source"], set(found["results"])) == ("recorded", {"new"})
    assert "could not be played" in found["note"]


@pytest.mark.parametrize(("statistic", "peak"), [("sum", 2), ("avg", 5)])
def test_a_metric_of_cloudwatch_is_the_stages_or_one_hosts(
    operator: Caller, stage: Stage, clock: FakeClock, statistic: str, peak: int
) -> None:
    record(stage, clock, "cloudwatch.requests", 1.0, days=7, expected=1)
    record(stage, clock, windows.LIVE, 3, days=7, expected=1)
    source = {"namespace": "AWS/ApplicationELB", "name": "RequestCountPerTarget"}
    policy = {**TARGET, "metric": "requests", "statistic": statistic, "cloudwatch": source}
    found = simulate(operator, policy)
    assert (found["source"], found["metric"]) == ("recorded", "cloudwatch.requests")
    assert found["results"]["new"]["peak"] == peak


def test_a_gap_stays_a_gap(operator: Caller, stage: Stage, clock: FakeClock) -> None:
    record(stage, clock, "load1_per_cpu", 0.9, days=7)
    hole = clock.now() - dt.timedelta(days=3), clock.now() - dt.timedelta(days=2)
    MetricFrame.delete().where((MetricFrame.at >= hole[0]) & (MetricFrame.at < hole[1])).execute()
    assert None in simulate(operator, TARGET)["results"]["new"]["capacity"]


def test_the_objective_follows_the_policy(operator: Caller, stage: Stage) -> None:
    queue = {**TARGET, "metric": "queue_depth", "target": 30}
    assert simulate(operator, queue)["objective"] == 40
    assert simulate(operator, queue, objective=50)["objective"] == 50


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"policies": [{**TARGET, "target": 0}]}, "policies.0.target"),
        ({"limits": {"minimum": 3, "maximum": 2}}, "limits.minimum"),
        ({"source": "recorded", "policies": [TARGET]}, "source"),
        ({"boot_seconds": -1}, "boot_seconds"),
        ({"objective": 0}, "objective"),
    ],
)
def test_it_rejects_nonsense(operator: Caller, stage: Stage, body: dict[str, Any], loc: str) -> None:
    answer = operator.post(f"{PATH}/simulate", body)
    assert answer.status_code == 422
    assert ".".join(map(str, answer.get_json()["errors"][0]["loc"])) == loc


def test_it_takes_the_smallest_objective(operator: Caller, stage: Stage) -> None:
    assert simulate(operator, TARGET, objective=5e-324)["results"]["new"]["violation_minutes"] > 0


def test_viewers_play_nothing(viewer: Caller, stage: Stage) -> None:
    assert viewer.post(f"{PATH}/simulate", {"policies": [TARGET]}).status_code == 403


def test_a_schedule_is_due_at_its_moments_in_any_order_of_asking() -> None:
    morning = parse({"type": "schedule", "name": "m", "cron": "30 7 * * *", "timezone": "Europe/Berlin", "minimum": 2})
    day = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
    for minutes in (400, 389, 390, 1829, 1830, 391):
        at = day + dt.timedelta(minutes=minutes)
        expected = day + dt.timedelta(minutes=390 if 390 <= minutes < 1830 else 1830 if minutes >= 1830 else 390 - 1440)
        assert morning.last_before(at) == expected
