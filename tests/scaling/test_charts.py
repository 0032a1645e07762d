"""Charts over the API."""

from __future__ import annotations

import pytest

from inventory_service.models import Stage
from inventory_service.scaling import windows
from tests.scaling.test_windows import minute
from tests.support import Caller, FakeClock, Machine, expiry

BASE = "/api/v1/stages/shop/production"
LOAD = f"{BASE}/metrics/load1_per_cpu/chart"


@pytest.fixture
def machines(stage: Stage, web_1: Machine, web_2: Machine, clock: FakeClock) -> list[Machine]:
    """With two minutes on record, and one between them in which nobody reported."""
    found = [web_1, web_2]
    for values in ((1.0, 3.0), (None, None), (2.0, 6.0)):
        minute(clock, found, *values)
    return found


def test_a_gap_is_a_gap(viewer: Caller, machines: list[Machine]) -> None:
    shown = viewer.get(f"{LOAD}?range=1h").get_json()
    assert (shown["seconds"], len(shown["columns"]["avg"])) == (60, 60)
    last = {name: column[-3:] for name, column in shown["columns"].items()}
    assert last == {
        "avg": [2, None, 4],
        "p50": [2, None, 4],
        "p95": [3, None, 6],
        "max": [3, None, 6],
        "min": [1, None, 2],
        "sum": [4, None, 8],
        "reporting": [2, None, 2],
        "expected": [2, None, 2],
    }


def test_a_minute_that_was_not_sampled_yet_is_no_gap(viewer: Caller, machines: list[Machine], clock: FakeClock) -> None:
    for seconds, expected in ((60, [None, 4]), (60, [4, None])):
        clock.advance(seconds)
        assert viewer.get(f"{LOAD}?range=1h").get_json()["columns"]["avg"][-2:] == expected


@pytest.mark.parametrize("span", ["24h", "14d", "90d"])
def test_the_step_that_goes_on_is_made_of_its_minutes(viewer: Caller, machines: list[Machine], span: str) -> None:
    shown = viewer.get(f"{LOAD}?range={span}").get_json()
    assert [value for value in shown["columns"]["avg"] if value is not None] == [3]


def test_a_step_that_has_just_ended_is_made_of_its_minutes(
    viewer: Caller, machines: list[Machine], clock: FakeClock
) -> None:
    clock.advance(121)
    assert viewer.get(f"{LOAD}?range=24h").get_json()["columns"]["avg"][-1] == 3


def test_a_host_stands_beside_its_stage(viewer: Caller, machines: list[Machine]) -> None:
    path = f"/api/v1/hosts/{machines[0].host_id}/metrics/load1_per_cpu/chart?range=1h"
    columns = viewer.get(path).get_json()["columns"]
    assert (columns["host"][-3:], columns["avg"][-3:]) == ([1, None, 2], [2, None, 4])


def test_machines_are_counted_over_time(viewer: Caller, machines: list[Machine]) -> None:
    columns = viewer.get(f"{BASE}/scaling/chart?range=1h").get_json()["columns"]
    assert columns[windows.LIVE][-4:] == [None, 2, 2, 2]
    assert set(columns[windows.DESIRED]) == {None}


def test_the_ends_of_a_chart_are_the_last_whole_step(viewer: Caller, machines: list[Machine], clock: FakeClock) -> None:
    machines[0].beat(clock.advance(30), metrics={"load1_per_cpu": 9.0})
    windows.sample(expiry=expiry(clock.now()))
    assert viewer.get(f"{LOAD}?range=1h").get_json()["columns"]["max"][-1] == 6


def test_it_rejects_other_ranges_and_strangers(viewer: Caller, stranger: Caller, machines: list[Machine]) -> None:
    assert viewer.get(f"{LOAD}?range=5y").status_code == 422
    assert stranger.get(LOAD).status_code == 404
    assert set(viewer.get(f"{BASE}/metrics/nothing/chart").get_json()["columns"]["avg"]) == {None}
