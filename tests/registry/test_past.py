from __future__ import annotations

import datetime as dt

import pytest

from inventory_service.errors import InvalidError
from inventory_service.registry import hosts, past
from inventory_service.registry.sweep import sweep
from tests.support import START, FakeClock, Machine, judge


def then(machine: Machine, clock: FakeClock, seconds: float) -> dict[str, str]:
    moment = START + dt.timedelta(seconds=seconds)
    found = past.states_at(machine.row.stage, moment, judge=judge(clock.now()), kept_days=93)
    return {host.name: state for host, state in found.items()}


def test_it_knows_who_was_there_to_the_second(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(303)
    sweep(judge=judge(clock.now()))
    web_1.beat(clock.advance(97))
    hosts.goodbye(web_1.row, at=clock.advance(100))
    seconds = (0, 299.9, 300, 399.9, 400, 499.9)
    assert [then(web_1, clock, at).get("web-1") for at in seconds] == ["live", "live", "stale", "stale", "live", "live"]
    assert then(web_1, clock, 500) == {}


def test_it_does_not_wait_for_a_sweep(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(310)
    assert [then(web_1, clock, at)["web-1"] for at in (299, 300, 310)] == ["live", "stale", "stale"]


def test_it_knows_nobody_before_the_first_came(web_1: Machine, clock: FakeClock) -> None:
    assert then(web_1, clock, -1) == {}


@pytest.mark.parametrize(("seconds", "words"), [(1, "future"), (-94 * 86400, "too long ago")])
def test_it_rejects_a_time_it_can_not_know(web_1: Machine, clock: FakeClock, seconds: float, words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        then(web_1, clock, seconds)


def test_it_draws_the_spans_of_each_host(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.advance(900))
    line = past.timeline(web_1.row.stage, since=START + dt.timedelta(seconds=60), until=clock.now() + dt.timedelta(1))
    spans = [(span.state, (span.since - START).total_seconds()) for span in next(iter(line.values()))]
    assert spans == [("live", 60), ("stale", 300), ("live", 900)]
