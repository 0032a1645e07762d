from __future__ import annotations

import datetime as dt

import pytest

from inventory_service.models import Event, Stage
from inventory_service.registry import expiry_guard, expiry_pause, liveness, self_check
from inventory_service.registry.expiry_pause import Counts, State
from inventory_service.registry.sweep import expire_late, sweep
from tests.support import ADA, START, FakeClock, Machine, expiry, key_line

HOUR, TTL = 3600.0, 300


@pytest.mark.parametrize(
    ("counts", "is_alarming"),
    [
        (Counts(0, 0, 0), False),
        (Counts(3, 3, 0), False),
        (Counts(4, 4, 0), True),
        (Counts(100, 25, 0), False),
        (Counts(100, 26, 0), True),
        (Counts(80, 6, 20), True),
        (Counts(90, 5, 10), False),
    ],
)
def test_it_is_alarmed_by_a_quarter_and_more_than_three(counts: Counts, is_alarming: bool) -> None:
    assert counts.is_alarming is is_alarming


def at(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


def step(state: State, seconds: float, alarm: str | None) -> expiry_pause.Step:
    return expiry_pause.step(
        state, alarm=alarm, at=at(seconds), bound=dt.timedelta(seconds=HOUR), pause=dt.timedelta(seconds=600)
    )


def test_it_ends_after_two_calm_sweeps_and_gives_grace() -> None:
    frozen = step(State(), 0, "silence").state
    once = step(frozen, 5, None)
    assert (once.state.frozen_at, once.gives_grace) == (START, False)
    assert step(once.state, 10, "silence").state.calm == 0
    assert step(once.state, 10, None) == expiry_pause.Step(State(), gives_grace=True)


def test_it_can_not_lock_on_for_ever() -> None:
    frozen = step(State(), 0, "silence").state
    ended = step(frozen, HOUR, "silence")
    assert (ended.state.frozen_at, ended.gives_grace) == (None, False)
    assert step(ended.state, HOUR + 599, "silence").state.frozen_at is None
    assert step(ended.state, HOUR + 600, "silence").state.frozen_at == at(HOUR + 600)


@pytest.fixture
def fleet(stage: Stage, clock: FakeClock) -> list[Machine]:
    names = [(f"web-{number}", f"10.0.1.{number}") for number in range(1, 9)]
    return [
        Machine(stage, name, address, (key_line(seed=number),)).enrol(clock.now())
        for number, (name, address) in enumerate(names, start=1)
    ]


def sweep_all(clock: FakeClock) -> None:
    expiry_guard.watch(expiry=expiry(clock.now()), bound_seconds=HOUR)
    sweep(expiry=expiry(clock.now()))


def pass_time(fleet: list[Machine], clock: FakeClock, *, beating: int, minutes: int) -> None:
    for _ in range(minutes):
        clock.advance(60)
        for machine in fleet[:beating]:
            machine.beat(clock.now())
        sweep_all(clock)


def listed(fleet: list[Machine], clock: FakeClock) -> int:
    now = expiry(clock.now())
    return sum(now.is_listed(machine.row, machine.row.stage) for machine in fleet)


def test_it_keeps_a_crowd_that_falls_silent_and_marks_it_suspect(fleet: list[Machine], clock: FakeClock) -> None:
    pass_time(fleet, clock, beating=4, minutes=10)
    now, silent = expiry(clock.now()), fleet[-1].row
    assert (listed(fleet, clock), now.is_frozen(silent.stage), now.is_suspect(silent, silent.stage)) == (8, True, True)
    assert "4 of 8 hosts" in silent.stage.freeze_reason
    assert silent.recorded_state == liveness.LIVE


def test_it_lets_a_few_expire(fleet: list[Machine], clock: FakeClock) -> None:
    pass_time(fleet, clock, beating=6, minutes=10)
    assert (listed(fleet, clock), expiry(clock.now()).is_frozen(fleet[0].row.stage)) == (6, False)


def test_it_thaws_when_the_crowd_is_back_and_nobody_had_left(fleet: list[Machine], clock: FakeClock) -> None:
    pass_time(fleet, clock, beating=0, minutes=20)
    assert listed(fleet, clock) == 8
    pass_time(fleet, clock, beating=8, minutes=4)
    assert (listed(fleet, clock), expiry(clock.now()).is_frozen(fleet[0].row.stage)) == (8, False)
    assert all(len(machine.history()) == 1 for machine in fleet)


def test_it_lets_the_silent_expire_when_its_bound_is_over(fleet: list[Machine], clock: FakeClock) -> None:
    pass_time(fleet, clock, beating=0, minutes=63)
    frozen_at = (Event.get(Event.name == "expiry.pause").at - START).total_seconds()
    assert listed(fleet, clock) == 0
    assert {machine.history()[-1] for machine in fleet} == {("live", "stale", frozen_at + HOUR)}


def test_it_lets_the_silent_leave_the_inventory_at_the_bound_without_a_sweep(
    fleet: list[Machine], clock: FakeClock
) -> None:
    pass_time(fleet, clock, beating=0, minutes=10)
    clock.advance(51 * 60)
    assert listed(fleet, clock) == 8
    clock.advance(60)
    assert (listed(fleet, clock), expiry(clock.now()).is_frozen(Stage.get())) == (0, False)


def test_it_believes_an_operator_who_says_that_they_are_gone(fleet: list[Machine], clock: FakeClock) -> None:
    pass_time(fleet, clock, beating=2, minutes=10)
    stage = fleet[0].row.stage
    assert expire_late(stage, actor=ADA, expiry=expiry(clock.now())) == 6
    sweep_all(clock)
    assert (listed(fleet, clock), expiry(clock.now()).is_frozen(Stage.get())) == (2, True)
    pass_time(fleet, clock, beating=2, minutes=3)
    assert (listed(fleet, clock), expiry(clock.now()).is_frozen(Stage.get())) == (2, False)


def test_it_lets_an_operator_win_over_a_sweep_at_the_same_time(fleet: list[Machine], clock: FakeClock) -> None:
    pass_time(fleet, clock, beating=2, minutes=6)
    seen = Stage.get()
    assert seen.frozen_at is not None
    expire_late(seen, actor=ADA, expiry=expiry(clock.now()))
    calm = Counts(live=2, late=0, expired=0)
    expiry_guard._step_stage(seen, calm, expiry=expiry(clock.now()), bound=dt.timedelta(hours=1))
    row = Stage.get()
    assert (row.frozen_at, row.freeze_not_before) == (None, clock.now() + dt.timedelta(minutes=10))


def test_it_freezes_everything_when_the_service_is_deaf_to_itself(fleet: list[Machine], clock: FakeClock) -> None:
    token = self_check.make_token()
    assert self_check.hear(token, at=clock.now())
    clock.advance(31)
    sweep_all(clock)
    assert expiry(clock.now()).is_frozen(fleet[0].row.stage)
    self_check.hear(token, at=clock.now())
    sweep_all(clock)
    sweep_all(clock)
    assert not expiry(clock.now()).is_frozen(fleet[0].row.stage)


def test_it_takes_no_host_for_itself(web_1: Machine, clock: FakeClock) -> None:
    self_check.make_token()
    assert not self_check.hear(web_1.token, at=clock.now())
