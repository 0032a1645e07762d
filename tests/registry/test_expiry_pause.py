from __future__ import annotations

import datetime as dt

import pytest

from inventory_service.codes.stage import ExpiryPause
from inventory_service.models import Event, Stage
from inventory_service.reasons import Reason, because
from inventory_service.registry import expiry_guard, expiry_pause, liveness, self_check
from inventory_service.registry.expiry_pause import Counts, Pause
from inventory_service.registry.sweep import expire_late, sweep
from tests.support import ADA, START, FakeClock, Machine, expiry, key_line

HOUR, TTL = 3600.0, 300


@pytest.mark.parametrize(
    ("counts", "has_too_many_silent"),
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
def test_it_pauses_for_a_quarter_and_more_than_three(counts: Counts, has_too_many_silent: bool) -> None:
    assert counts.has_too_many_silent is has_too_many_silent


def at(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


SILENCE = because(ExpiryPause.MANY_SILENT, silent=9, of=10)


def step(before: Pause, seconds: float, reason: Reason | None) -> expiry_pause.Step:
    return expiry_pause.step(
        before, reason=reason, at=at(seconds), bound=dt.timedelta(seconds=HOUR), rest=dt.timedelta(seconds=600)
    )


def test_it_ends_after_two_calm_sweeps_and_gives_grace() -> None:
    paused = step(Pause(), 0, SILENCE).pause
    once = step(paused, 5, None)
    assert (once.pause.paused_at, once.gives_grace) == (START, False)
    assert step(once.pause, 10, SILENCE).pause.calm_sweeps == 0
    assert step(once.pause, 10, None) == expiry_pause.Step(Pause(), gives_grace=True)


def test_it_can_not_lock_on_for_ever() -> None:
    paused = step(Pause(), 0, SILENCE).pause
    ended = step(paused, HOUR, SILENCE)
    assert (ended.pause.paused_at, ended.gives_grace) == (None, False)
    assert step(ended.pause, HOUR + 599, SILENCE).pause.paused_at is None
    assert step(ended.pause, HOUR + 600, SILENCE).pause.paused_at == at(HOUR + 600)


@pytest.fixture
def fleet(stage: Stage, clock: FakeClock) -> list[Machine]:
    names = [(f"web-{number}", f"10.0.1.{number}") for number in range(1, 9)]
    return [
        Machine(stage, name, address, (key_line(seed=number),)).enrol(clock.now())
        for number, (name, address) in enumerate(names, start=1)
    ]


def sweep_all(clock: FakeClock) -> None:
    expiry_guard.step_pauses(expiry=expiry(clock.now()), bound_seconds=HOUR)
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
    assert (listed(fleet, clock), now.is_paused(silent.stage), now.is_suspect(silent, silent.stage)) == (8, True, True)
    assert (silent.stage.expiry_pause_code, silent.stage.expiry_pause_params) == (
        "many_silent",
        {"silent": 4, "of": 8},
    )
    assert silent.recorded_state == liveness.LIVE


def test_it_lets_a_few_expire(fleet: list[Machine], clock: FakeClock) -> None:
    pass_time(fleet, clock, beating=6, minutes=10)
    assert (listed(fleet, clock), expiry(clock.now()).is_paused(fleet[0].row.stage)) == (6, False)


def test_it_resumes_when_the_crowd_is_back_and_nobody_had_left(fleet: list[Machine], clock: FakeClock) -> None:
    pass_time(fleet, clock, beating=0, minutes=20)
    assert listed(fleet, clock) == 8
    pass_time(fleet, clock, beating=8, minutes=4)
    assert (listed(fleet, clock), expiry(clock.now()).is_paused(fleet[0].row.stage)) == (8, False)
    assert all(len(machine.history()) == 1 for machine in fleet)


def test_it_lets_the_silent_expire_when_its_bound_is_over(fleet: list[Machine], clock: FakeClock) -> None:
    pass_time(fleet, clock, beating=0, minutes=63)
    paused_at = (Event.get(Event.name == "expiry.pause").at - START).total_seconds()
    assert listed(fleet, clock) == 0
    assert {machine.history()[-1] for machine in fleet} == {("live", "stale", paused_at + HOUR)}


def test_it_lets_the_silent_leave_the_inventory_at_the_bound_without_a_sweep(
    fleet: list[Machine], clock: FakeClock
) -> None:
    pass_time(fleet, clock, beating=0, minutes=10)
    clock.advance(51 * 60)
    assert listed(fleet, clock) == 8
    clock.advance(60)
    assert (listed(fleet, clock), expiry(clock.now()).is_paused(Stage.get())) == (0, False)


def test_it_believes_an_operator_who_says_that_they_are_gone(fleet: list[Machine], clock: FakeClock) -> None:
    pass_time(fleet, clock, beating=2, minutes=10)
    stage = fleet[0].row.stage
    assert expire_late(stage, actor=ADA, expiry=expiry(clock.now())) == 6
    sweep_all(clock)
    assert (listed(fleet, clock), expiry(clock.now()).is_paused(Stage.get())) == (2, True)
    pass_time(fleet, clock, beating=2, minutes=3)
    assert (listed(fleet, clock), expiry(clock.now()).is_paused(Stage.get())) == (2, False)


def test_it_lets_an_operator_win_over_a_sweep_at_the_same_time(fleet: list[Machine], clock: FakeClock) -> None:
    pass_time(fleet, clock, beating=2, minutes=6)
    seen = Stage.get()
    assert seen.expiry_paused_at is not None
    expire_late(seen, actor=ADA, expiry=expiry(clock.now()))
    calm = Counts(live=2, late=0, expired=0)
    expiry_guard._step_stage(seen, calm, expiry=expiry(clock.now()), bound=dt.timedelta(hours=1))
    row = Stage.get()
    assert (row.expiry_paused_at, row.expiry_pause_not_before) == (None, clock.now() + dt.timedelta(minutes=10))


def test_it_pauses_everything_when_the_self_check_fails(fleet: list[Machine], clock: FakeClock) -> None:
    token = self_check.make_token()
    assert self_check.receive(token, at=clock.now())
    clock.advance(31)
    sweep_all(clock)
    assert expiry(clock.now()).is_paused(fleet[0].row.stage)
    self_check.receive(token, at=clock.now())
    sweep_all(clock)
    sweep_all(clock)
    assert not expiry(clock.now()).is_paused(fleet[0].row.stage)


def test_it_takes_no_host_for_itself(web_1: Machine, clock: FakeClock) -> None:
    self_check.make_token()
    assert not self_check.receive(web_1.token, at=clock.now())
