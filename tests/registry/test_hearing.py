"""A process that can't write heartbeats is deaf; a second connection holds the write lock here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import peewee
import pytest

from inventory_service.registry import liveness
from inventory_service.registry.hearing import Hearing
from inventory_service.registry.heartbeats import Heartbeat
from tests.support import GONE_AFTER_SECONDS, FakeClock, Machine


@pytest.fixture
def hearing(clock: FakeClock) -> Hearing:
    return Hearing(clock, gone_after_seconds=GONE_AFTER_SECONDS)


@pytest.fixture
def locker(database: peewee.Database) -> Iterator[sqlite3.Connection]:
    """`locker.execute("BEGIN IMMEDIATE")` locks the database, `rollback` frees it."""
    database.pragma("busy_timeout", 0, permanent=True)
    other = sqlite3.connect(str(database.database), isolation_level=None)
    yield other
    other.close()


def beat(machine: Machine, hearing: Hearing) -> object:
    machine.sequence += 1
    return hearing.renew([(machine.token, Heartbeat("b007", machine.sequence))])[0]


def judge(hearing: Hearing, clock: FakeClock) -> liveness.Judge:
    return liveness.judge(at=clock.now(), gone_after_seconds=GONE_AFTER_SECONDS, deaf_since=hearing.deaf_since())


def state(machine: Machine, hearing: Hearing, clock: FakeClock) -> str:
    return judge(hearing, clock).state(machine.row, machine.row.stage)


def test_it_hears_and_gives_no_grace_for_nothing(web_1: Machine, hearing: Hearing, clock: FakeClock) -> None:
    beat(web_1, hearing)
    clock.advance(3600)
    assert (hearing.deaf_since(), state(web_1, hearing, clock)) == (None, "stale")
    beat(web_1, hearing)
    assert judge(hearing, clock).grace_from < clock.now()


def test_it_keeps_hosts_while_it_is_deaf_and_gives_them_a_fresh_lease_then(
    web_1: Machine, web_2: Machine, hearing: Hearing, locker: sqlite3.Connection, clock: FakeClock
) -> None:
    locker.execute("BEGIN IMMEDIATE")
    deaf_since = clock.advance(60)
    for _ in range(6):
        with pytest.raises(peewee.OperationalError):
            beat(web_1, hearing)
        clock.advance(60)
    assert hearing.deaf_since() == deaf_since
    assert [state(machine, hearing, clock) for machine in (web_1, web_2)] == ["late", "late"]
    assert judge(hearing, clock).is_frozen(web_1.stage)
    locker.rollback()
    beat(web_1, hearing)
    assert (hearing.deaf_since(), state(web_2, hearing, clock)) == (None, "live")
    clock.advance(300)
    assert state(web_2, hearing, clock) == "stale"


def test_it_takes_a_short_wait_for_no_deafness(
    web_1: Machine, web_2: Machine, hearing: Hearing, locker: sqlite3.Connection, clock: FakeClock
) -> None:
    clock.advance(290)
    locker.execute("BEGIN IMMEDIATE")
    with pytest.raises(peewee.OperationalError):
        beat(web_1, hearing)
    clock.advance(10)
    locker.rollback()
    beat(web_1, hearing)
    assert state(web_2, hearing, clock) == "stale"


def test_it_hears_again_by_the_canary_alone(
    web_1: Machine, hearing: Hearing, locker: sqlite3.Connection, clock: FakeClock
) -> None:
    locker.execute("BEGIN IMMEDIATE")
    with pytest.raises(peewee.OperationalError):
        beat(web_1, hearing)
    clock.advance(400)
    locker.rollback()
    hearing.confirm()
    assert (hearing.deaf_since(), state(web_1, hearing, clock)) == (None, "live")
