"""A process that can't write heartbeats; a second connection holds the write lock here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import peewee
import pytest

from inventory_service.records.heartbeat import Heartbeat
from inventory_service.registry import liveness
from inventory_service.registry.heartbeat_intake import HeartbeatIntake
from tests.support import GONE_AFTER_SECONDS, FakeClock, Machine


@pytest.fixture
def intake(clock: FakeClock) -> HeartbeatIntake:
    return HeartbeatIntake(clock, gone_after_seconds=GONE_AFTER_SECONDS)


@pytest.fixture
def locker(database: peewee.Database) -> Iterator[sqlite3.Connection]:
    """`locker.execute("BEGIN IMMEDIATE")` locks the database, `rollback` frees it."""
    database.pragma("busy_timeout", 0, permanent=True)
    other = sqlite3.connect(str(database.database), isolation_level=None)
    yield other
    other.close()


def beat(machine: Machine, intake: HeartbeatIntake) -> object:
    machine.sequence += 1
    return intake.renew([(machine.token, Heartbeat(boot_id="b007", seq=machine.sequence))])[0]


def expiry(intake: HeartbeatIntake, clock: FakeClock) -> liveness.Expiry:
    return liveness.expiry(at=clock.now(), gone_after_seconds=GONE_AFTER_SECONDS, failing_since=intake.failing_since())


def state(machine: Machine, intake: HeartbeatIntake, clock: FakeClock) -> str:
    return expiry(intake, clock).state(machine.row, machine.row.stage)


def test_it_hears_and_gives_no_grace_for_nothing(web_1: Machine, intake: HeartbeatIntake, clock: FakeClock) -> None:
    beat(web_1, intake)
    clock.advance(3600)
    assert (intake.failing_since(), state(web_1, intake, clock)) == (None, "stale")
    beat(web_1, intake)
    assert expiry(intake, clock).grace_from < clock.now()


def test_it_keeps_hosts_while_it_fails_and_gives_them_a_fresh_lease_then(
    web_1: Machine, web_2: Machine, intake: HeartbeatIntake, locker: sqlite3.Connection, clock: FakeClock
) -> None:
    locker.execute("BEGIN IMMEDIATE")
    failing_since = clock.advance(60)
    for _ in range(6):
        with pytest.raises(peewee.OperationalError):
            beat(web_1, intake)
        clock.advance(60)
    assert intake.failing_since() == failing_since
    assert [state(machine, intake, clock) for machine in (web_1, web_2)] == ["late", "late"]
    assert expiry(intake, clock).is_paused(web_1.stage)
    locker.rollback()
    beat(web_1, intake)
    assert (intake.failing_since(), state(web_2, intake, clock)) == (None, "live")
    clock.advance(300)
    assert state(web_2, intake, clock) == "stale"


def test_it_takes_a_short_wait_for_no_failure(
    web_1: Machine, web_2: Machine, intake: HeartbeatIntake, locker: sqlite3.Connection, clock: FakeClock
) -> None:
    clock.advance(290)
    locker.execute("BEGIN IMMEDIATE")
    with pytest.raises(peewee.OperationalError):
        beat(web_1, intake)
    clock.advance(10)
    locker.rollback()
    beat(web_1, intake)
    assert state(web_2, intake, clock) == "stale"


def test_it_hears_again_by_its_own_heartbeat_alone(
    web_1: Machine, intake: HeartbeatIntake, locker: sqlite3.Connection, clock: FakeClock
) -> None:
    locker.execute("BEGIN IMMEDIATE")
    with pytest.raises(peewee.OperationalError):
        beat(web_1, intake)
    clock.advance(400)
    locker.rollback()
    intake.confirm()
    assert (intake.failing_since(), state(web_1, intake, clock)) == (None, "live")
