"""The wake-up of workers, by a PostgreSQL server; what stays when it is broken is tested with real workers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import peewee
import pytest

from inventory_service.adapters.wakeup import Listener, wake_workers
from inventory_service.database import database as proxy
from inventory_service.postgresql import Postgresql
from tests.postgresql import PostgreSQL
from tests.support import wait_for

pytestmark = pytest.mark.postgresql
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'callboard listener'"


@pytest.fixture
def listener(database: Postgresql) -> Iterator[Listener]:
    """One that has heard what it may have missed before."""
    made = Listener()
    assert made.wait(0)
    assert not made.wait(0)
    yield made
    made.close()


def test_it_hears_at_once_what_was_committed(listener: Listener) -> None:
    wake_workers()
    since = time.monotonic()
    assert listener.wait(10)
    assert time.monotonic() - since < 5
    assert not listener.wait(0.1), "once"


def test_it_hears_when_the_transaction_is_committed_and_not_before(listener: Listener) -> None:
    with proxy.atomic():
        wake_workers()
        assert not listener.wait(0.3)
    assert listener.wait(10)


def test_it_hears_nothing_of_what_was_rolled_back(listener: Listener) -> None:
    with proxy.atomic() as transaction:
        wake_workers()
        transaction.rollback()
    assert not listener.wait(0.3)


def test_it_listens_again_when_its_connection_was_cut(listener: Listener, postgresql: PostgreSQL) -> None:
    postgresql.execute(CUT)
    assert not listener.wait(0)
    wake_workers()  # nobody hears it
    wait_for(lambda: listener.wait(0.1))  # what it may have missed
    wake_workers()
    assert listener.wait(10)


def test_it_listens_again_after_a_restart_of_the_server(
    listener: Listener, postgresql: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    postgresql.stop()
    assert not any(listener.wait(0.6) for _ in range(3))
    postgresql.restart()
    wait_for(lambda: listener.wait(0.1))
    wake_workers()
    assert listener.wait(10)
    told = [record.levelname for record in caplog.records if "wake" in record.message]
    assert told == ["WARNING", "INFO"], caplog.text


@pytest.mark.sqlite
def test_it_has_sqlite_looked_at_after_every_wait(database: peewee.Database) -> None:
    wake_workers()
    assert [Listener().wait(0.01) for _ in range(2)] == [True, True]
