from __future__ import annotations

import pytest

from inventory_service.codes.host import Cause
from inventory_service.models import Stage, Transition
from inventory_service.reasons import because
from inventory_service.records import hosts as records
from inventory_service.registry import hosts, liveness
from inventory_service.registry.sweep import sweep
from tests.support import FakeClock, Machine, at_once, expiry

pytestmark = pytest.mark.each_database

DAY = 86400


def sweep_now(clock: FakeClock) -> int:
    return sweep(expiry=expiry(clock.now()))


def test_it_leaves_live_hosts_alone(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(299)
    assert sweep_now(clock) == 0
    assert web_1.history() == [(None, "live", 0)]


def test_it_records_a_silent_host_as_stale_at_the_moment_its_lease_ended(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(303)
    assert sweep_now(clock) == 1
    assert web_1.history() == [(None, "live", 0), ("live", "stale", 300)]


def test_it_records_a_transition_once(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(303)
    assert [sweep_now(clock), sweep_now(clock)] == [1, 0]
    assert len(web_1.history()) == 2


def test_it_records_a_transition_once_for_sweeps_at_the_same_time(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(303)
    assert sorted(at_once(lambda _: sweep_now(clock), 6)) == [0, 0, 0, 0, 0, 1]
    assert len(web_1.history()) == 2


def test_it_gives_a_stale_host_up_a_day_after_its_last_heartbeat(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(303)
    sweep_now(clock)
    clock.advance(DAY)
    assert sweep_now(clock) == 1
    assert web_1.history()[-1] == ("stale", "gone", DAY)
    assert (web_1.row.gone_at, web_1.row.gone_code) == (clock.jump(-303), "silent")


def test_it_gives_a_stale_host_up_however_often_the_service_starts(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(303)
    sweep_now(clock)
    for _ in range(25):
        liveness.begin_grace(at=clock.advance(3300))
        clock.advance(300)
        sweep_now(clock)
    assert web_1.history()[-1][:2] == ("stale", "gone")


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_it_gives_a_stale_host_up_after_its_time_whatever_the_clock_says(
    web_1: Machine, clock: FakeClock, jump: float
) -> None:
    clock.advance(303)
    sweep_now(clock)
    liveness.begin_grace(at=clock.jump(jump), jump_seconds=jump)
    clock.advance(DAY - 400)
    assert sweep_now(clock) == 0
    clock.advance(400)
    assert sweep_now(clock) == 1


def test_it_never_takes_back_a_heartbeat_that_came_in_between(web_1: Machine, clock: FakeClock) -> None:
    read_before = web_1.row
    web_1.beat(clock.advance(303))
    assert not records.mark_stale(read_before, because(Cause.SILENT), at=clock.now())
    assert web_1.row.recorded_state == "live"


def test_it_lets_the_heartbeat_win_a_race(web_1: Machine, web_2: Machine, clock: FakeClock) -> None:
    clock.advance(303)
    machines = (web_1, web_2)
    at_once(lambda number: sweep_now(clock) if number % 2 else machines[number // 4].beat(clock.now()), 8)
    for machine in machines:
        assert machine.row.recorded_state == "live"
        steps = machine.history()
        assert steps in ([(None, "live", 0)], [(None, "live", 0), ("live", "stale", 300), ("stale", "live", 303)])


def test_it_judges_each_stage_by_its_own_ttl(web_1: Machine, stage: Stage, clock: FakeClock) -> None:
    Stage.update(ttl_seconds=600).execute()
    clock.advance(303)
    assert sweep_now(clock) == 0
    clock.advance(300)
    assert sweep_now(clock) == 1


def test_it_grants_the_grace_that_readers_grant(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(3600)
    liveness.begin_grace(at=clock.now())
    assert sweep_now(clock) == 0
    clock.advance(300)
    assert sweep_now(clock) == 1
    assert web_1.history()[-1] == ("live", "stale", 3900)


def test_it_raises_the_stages_generation_with_each_transition(web_1: Machine, stage: Stage, clock: FakeClock) -> None:
    before = web_1.row.stage.generation
    clock.advance(303)
    sweep_now(clock)
    assert web_1.row.stage.generation == before + 1


def test_it_agrees_with_readers_when_no_sweep_runs(web_1: Machine, stage: Stage, clock: FakeClock) -> None:
    clock.advance(303)
    assert hosts.live_hosts(stage, expiry=expiry(clock.now())) == []
    assert Transition.select().count() == 1
