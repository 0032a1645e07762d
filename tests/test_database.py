from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path

import peewee
import pytest

from inventory_service import models
from inventory_service.database import migrate, open_database
from inventory_service.errors import SettingsError
from inventory_service.models import JobTick
from inventory_service.settings import Settings
from tests.support import START, at_once

MIGRATIONS = Path(models.__file__).parent / "migrations"


def write(at: dt.datetime) -> None:
    JobTick.create(name="sweep", next_at=at)


@pytest.mark.each_database
def test_it_keeps_a_moment_to_the_microsecond(database: peewee.Database) -> None:
    moment = START + dt.timedelta(microseconds=123_457)
    write(moment)
    assert JobTick.get().next_at == moment


def test_it_keeps_a_moment_of_another_zone_as_utc(database: peewee.Database) -> None:
    write(START.astimezone(dt.timezone(dt.timedelta(hours=9))))
    assert JobTick.get().next_at.isoformat() == START.isoformat()


@pytest.mark.each_database
def test_it_compares_moments_as_moments(database: peewee.Database) -> None:
    write(START)
    later = START.astimezone(dt.timezone(dt.timedelta(hours=-9))) + dt.timedelta(microseconds=1)
    assert JobTick.select().where(JobTick.next_at < later).count() == 1


def test_it_rejects_a_naive_moment(database: peewee.Database) -> None:
    with pytest.raises(ValueError, match="needs an aware datetime"):
        write(START.replace(tzinfo=None))


def test_it_opens_sqlite_as_it_promises(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/new.db")
    told = {name: database.execute_sql(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert told == {"journal_mode": "wal", "synchronous": 2}
    assert database.execute_sql("PRAGMA foreign_keys").fetchone()[0] == 1
    database.close()


def test_it_makes_the_file_and_its_companions_private(tmp_path: Path) -> None:
    opened = open_database(f"sqlite:///{tmp_path}/new.db")
    migrate(opened)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.glob("new.db*")} == {0o600}
    opened.close()


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.db", "mysql://db", "callboard.db"])
def test_it_rejects_a_url_that_names_no_database(url: str) -> None:
    with pytest.raises(SettingsError, match="CALLBOARD_DATABASE_URL"):
        open_database(url)


@pytest.mark.sqlite
def test_it_holds_the_write_lock_from_a_transactions_beginning(database: peewee.Database, settings: Settings) -> None:
    with database.atomic(), sqlite3.connect(settings.data_dir / "callboard.db", timeout=0) as other:  # noqa: SIM117
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")


@pytest.mark.each_database
def test_it_takes_400_transactions_of_8_threads_that_read_and_then_write(database: peewee.Database) -> None:
    JobTick.create(name="count", next_at=0)

    def count(_: int) -> None:
        for _ in range(50):
            with database.atomic():
                JobTick.get(JobTick.name == "count")
                JobTick.update(next_at=JobTick.next_at + 1).where(JobTick.name == "count").execute()

    assert at_once(count, 8) == [None] * 8
    assert database.execute_sql("SELECT next_at FROM job_tick").fetchone()[0] == 400


def schema(opened: peewee.Database) -> dict[str, object]:
    """Each table's columns (type, null, key) and indexes (columns, unique, condition), but for migrations' own."""
    described: dict[str, object] = {}
    for table in sorted(set(opened.get_tables()) - {"schema_migration"}):
        columns = opened.execute_sql(f"PRAGMA table_info({table})").fetchall()
        foreign = opened.execute_sql(f"PRAGMA foreign_key_list({table})").fetchall()
        indexes = [(index.name, index.columns, index.unique, index.sql) for index in opened.get_indexes(table)]
        described[table] = (sorted(row[1:] for row in columns), sorted(row[2:] for row in foreign), sorted(indexes))
    return described


def test_it_has_migrations_that_make_what_the_models_say(tmp_path: Path) -> None:
    by_migrations = open_database(f"sqlite:///{tmp_path}/migrated.db")
    migrate(by_migrations)
    migrated = schema(by_migrations)
    by_migrations.close()
    by_models = open_database(f"sqlite:///{tmp_path}/models.db")
    by_models.create_tables(models.TABLES)
    assert schema(by_models) == migrated
    by_models.close()


@pytest.mark.each_database
def test_it_migrates_once(database: peewee.Database) -> None:
    assert migrate(database) == []


def test_it_migrates_when_two_processes_start_at_once(tmp_path: Path) -> None:
    for attempt in range(3):
        opened = open_database(f"sqlite:///{tmp_path}/{attempt}.db")
        results = at_once(lambda _, opened=opened: migrate(opened), 4)
        names = sorted(file.stem for file in MIGRATIONS.glob("[0-9]*.py"))
        assert sorted(results, key=len) == [[], [], [], names]
        opened.close()


def test_it_lists_every_model_among_the_tables() -> None:
    assert set(models.TABLES) == set(models._Table.__subclasses__())
