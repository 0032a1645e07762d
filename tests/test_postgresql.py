"""What is particular to PostgreSQL. What holds on both databases is marked `each_database` where it is tested."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import peewee
import pytest
from flask import Flask
from werkzeug.test import Client, TestResponse

from inventory_service import first_start, models
from inventory_service import settings as settings_module
from inventory_service.database import database as proxy
from inventory_service.database import migrate, open_database
from inventory_service.errors import SettingsError
from inventory_service.models import JobTick
from inventory_service.postgresql import Postgresql
from inventory_service.settings import Settings
from inventory_service.web.heartbeat_shim import HeartbeatShim
from tests.postgresql import PostgreSQL
from tests.support import START, Caller, Machine, at_once
from tests.web.test_heartbeat_shim import beat

pytestmark = pytest.mark.postgresql


@pytest.fixture
def empty(postgresql: PostgreSQL) -> Iterator[str]:
    url = postgresql.empty()
    yield url
    postgresql.drop(url)


def schema(opened: peewee.Database) -> dict[str, object]:
    """Each table's columns, indexes and foreign keys, but for migrations' own.

    Columns say themselves whether they may be null: PostgreSQL 18 keeps a constraint for that, with the column's first
    name in its own.
    """
    columns = (
        "SELECT column_name, data_type, is_nullable, column_default, collation_name FROM information_schema.columns"
    )
    keys = (
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype <> 'n'"
    )
    described: dict[str, object] = {}
    for table in sorted(set(opened.get_tables()) - {"schema_migration"}):
        described[table] = (
            sorted(opened.execute_sql(f"{columns} WHERE table_name = %s", (table,)).fetchall(), key=str),
            sorted(opened.execute_sql(keys, (f'"{table}"',)).fetchall()),
            sorted(index.sql for index in opened.get_indexes(table)),
        )
    return described


def test_it_has_migrations_that_make_what_the_models_say(database: Postgresql, empty: str) -> None:
    migrated = schema(database)
    opened = open_database(empty)
    opened.create_tables(models.TABLES)
    assert schema(opened) == migrated
    opened.close_all()


def test_it_migrates_when_two_processes_start_at_once(database: Postgresql, empty: str) -> None:
    opened = open_database(empty)
    results = at_once(lambda _: migrate(opened), 4)
    assert sorted(map(bool, results)) == [False, False, False, True], results
    opened.close_all()


def test_it_lets_one_transaction_begin_at_a_time(database: Postgresql) -> None:
    begun = threading.Event()

    def other() -> None:
        with proxy.atomic():
            begun.set()
        proxy.close()

    thread = threading.Thread(target=other)
    with proxy.atomic():
        thread.start()
        assert not begun.wait(0.5)
        JobTick.create(name="sweep", next_at=START)
    thread.join()
    assert begun.is_set()


def test_it_gives_up_a_transaction_that_cannot_begin(database: Postgresql) -> None:
    database.execute_sql("SET lock_timeout = '100ms'")
    other = open_database(database.database)
    with other.atomic(), pytest.raises(peewee.OperationalError, match="lock timeout"), database.atomic():
        pass
    assert JobTick.select().count() == 0, "the connection is of use again"
    other.close_all()


def test_it_sorts_text_as_sqlite_does(database: Postgresql) -> None:
    for name in ("ab", "a-c", "Aa", "a b", "é", "a"):
        JobTick.create(name=name, next_at=START)
    names = [row.name for row in JobTick.select().order_by(JobTick.name)]
    assert names == sorted(names) == ["Aa", "a", "a b", "a-c", "ab", "é"]


def test_it_gives_a_requests_connection_back(admin: Caller, database: Postgresql) -> None:
    database.close()
    assert admin.get("/api/v1/projects").status_code == 200
    assert (len(database._in_use), len(database._connections)) == (0, 1)


def test_it_waits_for_a_connection_of_the_pool(database: Postgresql) -> None:
    small = open_database(database.database, connections=2)
    answers = at_once(lambda number: small.execute_sql("SELECT %s, pg_sleep(0.05)", (number,)).fetchone()[0], 6)
    assert answers == list(range(6))
    small.close_all()


def test_it_answers_503_without_a_connection_of_the_pool(admin: Caller, settings: Settings) -> None:
    small = open_database(settings.database_url, connections=1)
    small._wait_timeout = 0.1
    with small.connection_context():
        answers = at_once(lambda _: admin.get("/api/v1/projects"), 1)
    assert (answers[0].status_code, answers[0].headers["Retry-After"]) == (503, "2")
    small.close_all()


@pytest.mark.parametrize("query", ["q=%00", "user=%00", "stage=%00/%00"])
def test_it_rejects_what_postgresql_cannot_hold(admin: Caller, query: str) -> None:
    assert admin.get(f"/api/v1/runs?{query}").status_code in (404, 422)


def test_it_rejects_a_number_beyond_its_column(admin: Caller, stage: object) -> None:
    body = {"stage": "shop/production", "kind": "rollback", "release": 2**31}
    assert admin.post("/api/v1/runs", body).status_code in (404, 422)


def test_it_answers_503_while_the_server_is_away_and_goes_on_when_it_is_back(
    app: Flask, admin: Caller, web_1: Machine, postgresql: PostgreSQL
) -> None:
    shim = Client(HeartbeatShim(app, app.extensions["callboard"]))

    def ask() -> list[TestResponse]:
        return [
            admin.get("/api/v1/projects"),
            admin.get("/readyz"),
            beat(shim, web_1),
            *at_once(lambda _: admin.get("/api/v1/runs"), 3),
        ]

    assert [answer.status_code for answer in ask()] == [200, 503, 200, 200, 200, 200]
    postgresql.stop()
    away = ask()
    postgresql.restart()
    assert [(answer.status_code, answer.headers.get("Retry-After")) for answer in away] == [(503, "2")] * 6
    assert "Try again" in away[0].json["detail"]
    assert [answer.status_code for answer in ask()] == [200, 503, 200, 200, 200, 200]


def test_it_answers_202_for_a_run_that_is_in_the_table_and_for_no_other(
    admin: Caller, stage: models.Stage, postgresql: PostgreSQL
) -> None:
    def ask() -> tuple[int, int]:
        answer = admin.post("/api/v1/runs", {"stage": "shop/production", "kind": "deploy"})
        return answer.status_code, models.Run.select().count()

    postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ 'callboard'")
    assert ask() == (202, 1)
    postgresql.stop()
    away = admin.post("/api/v1/runs", {"stage": "shop/production", "kind": "deploy"})
    postgresql.restart()
    assert (away.status_code, models.Run.select().count()) == (503, 1), away.text
    assert ask() == (202, 2)


KILLED_AT_THE_COMMIT = """
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER die AFTER INSERT ON run DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die();
"""


@pytest.fixture
def dying(database: Postgresql) -> Iterator[Callable[[], None]]:
    """The connection that adds a run is killed when everything is written and not yet committed, until it is called."""
    database.execute_sql(KILLED_AT_THE_COMMIT)

    def heal() -> None:
        database.execute_sql("DROP FUNCTION IF EXISTS die CASCADE")

    yield heal
    heal()


def test_it_answers_503_for_a_run_whose_commit_was_killed_and_202_when_asked_again(
    admin: Caller, stage: models.Stage, dying: Callable[[], None]
) -> None:
    def ask() -> tuple[int, int]:
        key = {"Idempotency-Key": "build-42"}
        answer = admin.post("/api/v1/runs", {"stage": "shop/production", "kind": "deploy"}, headers=key)
        return answer.status_code, models.Run.select().count()

    assert ask() == (503, 0)
    dying()
    assert [ask(), ask()] == [(202, 1), (202, 1)]


def test_it_says_what_is_wrong_with_a_url() -> None:
    with pytest.raises(SettingsError, match="is no PostgreSQL URL"):
        open_database("postgresql://db/callboard?no_such_option=1")


def test_it_says_so_at_the_start_when_nobody_listens(tmp_path: Path) -> None:
    url = f"postgresql://nobody@/none?host={tmp_path}"
    done = subprocess.run(
        [sys.executable, "-m", "inventory_service.cli", "init"],
        env={**os.environ, "CALLBOARD_DATABASE_URL": url, "CALLBOARD_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "database does not answer" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_it_rejects_keys_that_differ_from_the_other_machines(database: Postgresql, tmp_path: Path) -> None:
    here, there = (settings_module.load({}, data_dir=tmp_path / name) for name in ("here", "there"))
    for settings in (here, there):
        first_start.make_ssh_key(settings)
    first_start.check_keys(here)
    with pytest.raises(SettingsError, match=r"secret_key is not the one .* Copy theirs to .*there/secret_key"):
        first_start.check_keys(there)
    with pytest.raises(SettingsError, match=r"ssh_key is not the one .* Copy theirs to .*there/ssh/"):
        first_start.check_keys(dataclasses.replace(there, secret_key=here.secret_key))
    first_start.check_keys(there, takes_over=True)
    first_start.check_keys(there)
