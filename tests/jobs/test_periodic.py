from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

import peewee
import pytest

from inventory_service.deployments import releases
from inventory_service.jobs.periodic import Job, Ticker, claim, jobs
from inventory_service.models import JobTick, Run, Stage
from inventory_service.settings import Settings
from tests.support import START, FakeClock, Machine, at_once, expiry, wait_for

pytestmark = pytest.mark.each_database

pytestmark = pytest.mark.usefixtures("database")
SWEEP = Job("sweep", 5, lambda _: None)


def grace_from() -> dt.datetime:
    return expiry(START).grace_from


def test_it_claims_a_tick_once(clock: FakeClock) -> None:
    assert [claim(SWEEP, at=clock.now()) for _ in range(2)] == [True, False]
    assert not claim(SWEEP, at=clock.advance(4.9))
    assert claim(SWEEP, at=clock.advance(0.1))


def test_it_gives_each_tick_to_one_of_many(clock: FakeClock) -> None:
    for _ in range(40):
        clock.advance(5)
        assert sorted(at_once(lambda _: claim(SWEEP, at=clock.now()), 8)) == [False] * 7 + [True]


def test_it_claims_each_job_by_itself(clock: FakeClock) -> None:
    assert claim(SWEEP, at=clock.now())
    assert claim(Job("dispatch", 1, lambda _: None), at=clock.now())


def test_it_does_not_catch_up_on_ticks_that_were_missed(clock: FakeClock) -> None:
    claim(SWEEP, at=clock.now())
    clock.advance(3600)
    assert [claim(SWEEP, at=clock.now()) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize(("silence", "has_grace"), [(5, False), (35, False), (35.1, True), (3600, True)])
def test_it_gives_grace_when_the_sweep_was_stalled(clock: FakeClock, silence: float, has_grace: bool) -> None:
    claim(SWEEP, at=clock.now())
    claim(SWEEP, at=clock.advance(silence))
    assert (grace_from() == clock.now()) is has_grace


@pytest.mark.parametrize(("ttl", "silence", "has_grace"), [(20, 15, False), (20, 15.1, True), (3, 10, False)])
def test_it_calls_less_a_stall_where_a_ttl_is_short(
    make_stage: Callable[..., Stage], clock: FakeClock, ttl: int, silence: float, *, has_grace: bool
) -> None:
    make_stage("long")
    make_stage("short", interval_seconds=1, ttl_seconds=ttl)
    claim(SWEEP, at=clock.now())
    claim(SWEEP, at=clock.advance(silence))
    assert (grace_from() == clock.now()) is has_grace


def test_it_gives_no_grace_when_another_job_was_stalled(clock: FakeClock) -> None:
    other = Job("dispatch", 1, lambda _: None)
    claim(other, at=clock.now())
    claim(other, at=clock.advance(3600))
    assert grace_from() < START


def test_it_goes_on_when_the_clock_was_set_back(clock: FakeClock) -> None:
    claim(SWEEP, at=clock.now())
    assert not claim(SWEEP, at=clock.jump(-20))
    assert claim(SWEEP, at=clock.jump(-3600))


# the table of jobs


def named(settings: Settings, name: str) -> Job:
    return next(job for job in jobs(settings) if job.name == name)


def test_it_sweeps(settings: Settings, web_1: Machine, clock: FakeClock) -> None:
    named(settings, "sweep").work(clock.advance(301))
    assert web_1.row.recorded_state == "stale"


def test_it_queues_what_it_converges(settings: Settings, web_1: Machine, clock: FakeClock) -> None:
    release = releases.create(
        web_1.stage, revision="a" * 40, revision_name="", variables={}, created_by="", at=clock.now()
    )
    releases.make_desired(web_1.stage, release, at=clock.now())
    named(settings, "converge").work(clock.advance(settings.converge_window_seconds))
    assert (Run.get().kind, Run.get().status) == ("converge", "queued")


# the ticker


@pytest.fixture
def tick(clock: FakeClock) -> object:
    """Start a ticker over these jobs; it is stopped when the test ends."""
    tickers: list[Ticker] = []

    def start(*table: Job) -> Ticker:
        tickers.append(Ticker(table, clock))
        tickers[-1].start()
        return tickers[-1]

    yield start
    for ticker in tickers:
        ticker.stop()


def test_it_does_what_is_due_and_says_when_it_was_done(tick: Callable[..., Ticker], clock: FakeClock) -> None:
    done: list[object] = []
    tick(Job("sweep", 5, done.append))
    wait_for(lambda: done == [START])
    wait_for(lambda: JobTick.get(JobTick.name == "sweep").last_finished_at == START)
    clock.advance(5)
    wait_for(lambda: len(done) == 2)


def test_it_goes_on_after_a_job_that_failed(tick: Callable[..., Ticker], clock: FakeClock) -> None:
    done = threading.Event()

    def fail(_: object) -> None:
        raise RuntimeError("it broke")

    tick(Job("first", 5, fail), Job("second", 5, lambda _: done.set()))
    assert done.wait(5)


@pytest.mark.parametrize(("jump", "has_grace"), [(3600, True), (-3600, True), (5, False), (-5, False)])
def test_it_gives_grace_when_the_wall_clock_jumped(
    tick: Callable[..., Ticker], clock: FakeClock, jump: float, has_grace: bool
) -> None:
    looks: list[object] = []
    tick(Job("look", 1, looks.append))
    wait_for(lambda: len(looks) == 1)
    clock.jump(jump)
    wait_for(lambda: jump < 0 or len(looks) == 2)
    if has_grace:
        wait_for(lambda: grace_from() == clock.now())
    else:
        clock.advance(2)
        assert grace_from() < clock.now()
    assert (grace_from() > START.replace(year=2020)) is has_grace


def test_it_survives_a_database_that_does_not_answer(
    tick: Callable[..., Ticker], clock: FakeClock, database: peewee.Database
) -> None:
    done: list[object] = []
    database.execute_sql("ALTER TABLE job_tick RENAME TO away")
    tick(Job("sweep", 5, done.append))
    database.execute_sql("ALTER TABLE away RENAME TO job_tick")
    wait_for(lambda: len(done) == 1)
