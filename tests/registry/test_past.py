from __future__ import annotations

import datetime as dt

import pytest

from inventory_service.clock import iso, parse_iso
from inventory_service.errors import ConflictError, InvalidError
from inventory_service.models import Stage
from inventory_service.registry import expiry_guard, hosts, past, self_check
from inventory_service.registry.sweep import sweep
from tests.support import START, FakeClock, Machine, expiry, key_line

SECOND = dt.timedelta(seconds=1)


def then(machine: Machine, clock: FakeClock, seconds: float) -> dict[str, str]:
    moment = START + dt.timedelta(seconds=seconds)
    found = past.states_at(machine.row.stage, moment, expiry=expiry(clock.now()), kept_days=93)
    return {host.name: state for host, state in found.items()}


def test_it_knows_who_was_there_to_the_second(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(303)
    sweep(expiry=expiry(clock.now()))
    web_1.beat(clock.advance(97))
    hosts.goodbye(web_1.row, at=clock.advance(100))
    seconds = (0, 299.9, 300, 399.9, 400, 499.9)
    assert [then(web_1, clock, at).get("web-1") for at in seconds] == ["live", "live", "stale", "stale", "live", "live"]
    assert then(web_1, clock, 500) == {}


def test_it_does_not_wait_for_a_sweep(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(310)
    assert [then(web_1, clock, at)["web-1"] for at in (299, 300, 310)] == ["live", "stale", "stale"]


def test_it_does_not_wait_for_a_sweep_that_has_stopped_for_days(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(3 * 86400)
    assert [then(web_1, clock, at).get("web-1") for at in (299, 300, 86399, 86400)] == ["live", "stale", "stale", None]


def test_it_knows_a_change_at_the_time_at_which_it_is_shown(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now())
    Machine(web_1.stage, "twin", boot_id="twin", token=web_1.token).beat(clock.advance(60))
    with pytest.raises(ConflictError):
        web_1.beat(clock.advance(61.0005))
    hosts.goodbye(web_1.row, at=clock.advance(9))
    shown = [parse_iso(text) for text in ("2026-11-23T14:02:01Z", "2026-11-23T14:02:10Z")]
    assert iso(web_1.row.gone_at) == "2026-11-23T14:02:10.000Z"
    clock.advance(60)
    assert list(past.conflicts_at(web_1.stage, shown[0])) == [web_1.host_id]
    assert then(web_1, clock, (shown[1] - START).total_seconds()) == {}
    generation = web_1.row.stage.generation
    assert [past.about(web_1.row.stage, moment)["generation"] for moment in shown] == [generation - 1, generation]


def test_it_knows_nobody_before_the_first_came(web_1: Machine, clock: FakeClock) -> None:
    assert then(web_1, clock, -1) == {}


@pytest.mark.parametrize(("seconds", "words"), [(1, "future"), (-94 * 86400, "too long ago")])
def test_it_rejects_a_time_it_can_not_know(web_1: Machine, clock: FakeClock, seconds: float, words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        then(web_1, clock, seconds)


def test_it_knows_who_was_in_conflict_and_when(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now())
    Machine(web_1.stage, "twin", boot_id="twin", token=web_1.token).beat(clock.advance(60))
    with pytest.raises(ConflictError):
        web_1.beat(clock.advance(61))
    web_1.enrol(clock.advance(79))
    web_1.beat(clock.advance(1))
    known = [past.conflicts_at(web_1.stage, START + dt.timedelta(seconds=at)) for at in (120.9, 121, 199.9, 200)]
    assert [list(found) for found in known] == [[], [web_1.host_id], [web_1.host_id], []]
    spans = next(iter(past.timeline(web_1.row.stage, since=START, until=clock.now()).values()))
    assert [(span.state, span.since, span.until) for span in spans] == [
        ("live", START, None),
        ("conflict", START + dt.timedelta(seconds=121), START + dt.timedelta(seconds=200)),
    ]


def test_it_knows_the_conflict_of_a_shared_address(web_1: Machine, stage: Stage, clock: FakeClock) -> None:
    twin = Machine(stage, "web-2", web_1.address, (key_line(seed=2),))
    web_1.beat(clock.advance(60))
    clock.advance(310)
    twin.enrol(clock.now())
    with pytest.raises(ConflictError):
        web_1.beat(clock.advance(10))
    began = clock.now()
    hosts.goodbye(twin.row, at=clock.advance(10))
    web_1.beat(clock.advance(10))
    moments = (began - SECOND, began, clock.now() - SECOND, clock.now())
    assert [web_1.host_id in past.conflicts_at(stage, at) for at in moments] == [False, True, True, False]


def test_it_knows_the_pause_and_the_generation_of_then(web_1: Machine, stage: Stage, clock: FakeClock) -> None:
    self_check.receive(self_check.make_token(), at=clock.now())
    clock.advance(31)
    expiry_guard.step_pauses(expiry=expiry(clock.now()), bound_seconds=60)
    paused_at = clock.now()
    clock.advance(60)
    expiry_guard.step_pauses(expiry=expiry(clock.now()), bound_seconds=60)
    hosts.goodbye(web_1.row, at=clock.now())
    row = web_1.row.stage
    told = [past.about(row, at) for at in (paused_at - SECOND, paused_at, clock.now() - SECOND, clock.now())]
    assert [(one["expiry_paused"], one["generation"]) for one in told] == [(False, 1), (True, 1), (True, 1), (False, 2)]


def test_it_draws_the_spans_of_each_host(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.advance(900))
    line = past.timeline(web_1.row.stage, since=START + dt.timedelta(seconds=60), until=clock.now() + dt.timedelta(1))
    spans = [(span.state, (span.since - START).total_seconds()) for span in next(iter(line.values()))]
    assert spans == [("live", 60), ("stale", 300), ("live", 900)]
