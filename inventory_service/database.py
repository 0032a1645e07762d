"""The database: opening it, its field types, its migrations.

SQLite runs in WAL mode with BEGIN IMMEDIATE, because a deferred transaction that reads and then writes
fails at once with SQLITE_BUSY_SNAPSHOT however long its timeout is.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import peewee
from playhouse.migrations import Runner

from inventory_service.errors import BusyError, SettingsError
from inventory_service.postgresql import Postgresql, open_postgresql

database: peewee.DatabaseProxy = peewee.DatabaseProxy()

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_SQLITE_PRAGMAS = (("journal_mode", "wal"), ("synchronous", "full"), ("foreign_keys", 1), ("wal_autocheckpoint", 4000))
_SQLITE_BUSY_SECONDS = 15
_MIGRATION_LOCK = 0xCA11B0A8D  # any number that nobody else of the database uses


def to_microseconds(moment: dt.datetime) -> int:
    """Whole microseconds since 1970, as UtcDateTimeField stores them."""
    return int((moment - _EPOCH) / _MICROSECOND)


class UtcDateTimeField(peewee.BigIntegerField):
    """An aware UTC moment, stored as whole microseconds since 1970.

    Whole numbers compare alike on SQLite and PostgreSQL; SQLite's own datetimes are text and compare as text.
    """

    def db_value(self, value: Any) -> int | None:
        """Refuse naive datetimes: their meaning would depend on the machine."""
        if value is None or isinstance(value, int):
            return value
        if value.tzinfo is None:
            raise ValueError(f"{self.name} needs an aware datetime, got {value!r}")
        return to_microseconds(value)

    def python_value(self, value: Any) -> dt.datetime | None:
        """Microseconds back to an aware datetime."""
        moment: dt.datetime | None = from_microseconds(value)
        return moment


def from_microseconds(stored: int | None) -> Any:
    """A moment as UtcDateTimeField stored it, back as an aware datetime; None stays None."""
    return None if stored is None else _EPOCH + stored * _MICROSECOND


def fetch(sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of written-out SQL, with ? for its parameters, on either database; values as they are stored.

    For the few questions that are asked a thousand times a second: peewee builds a query in 0.3 ms.
    """
    rows: list[tuple[Any, ...]] = database.execute_sql(sql.replace("?", str(database.param)), parameters).fetchall()
    return rows


def execute_many(sql: str, rows: Sequence[Sequence[Any]]) -> None:
    """Written-out SQL for each row of parameters. Raises peewee's errors, as queries do."""
    if rows:
        with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
            database.connection().cursor().executemany(sql.replace("?", str(database.param)), rows)


def open_database(url: str, *, connections: int = 10) -> peewee.Database:
    """Bind the models to the database that `url` names and return it. Raises SettingsError.

    `connections`: how many a PostgreSQL's pool holds at most, one for each thread that works at the same time.
    """
    if url.startswith("sqlite:///"):
        opened: peewee.Database = _sqlite(url)
    elif url.startswith(("postgresql://", "postgres://")):
        opened = open_postgresql(url, connections=connections)
    else:
        raise SettingsError("CALLBOARD_DATABASE_URL must begin with sqlite:/// or postgresql://.")
    database.initialize(opened)
    return opened


def release_connection() -> None:
    """Give this thread's connection back to the pool. SQLite's stays open: opening it costs more than a query."""
    if isinstance(database.obj, Postgresql) and not database.in_transaction():
        database.close()


def _sqlite(url: str) -> peewee.SqliteDatabase:
    path = Path(url.removeprefix("sqlite:///"))
    if not path.parent.is_dir():
        raise SettingsError(f"CALLBOARD_DATABASE_URL names {path}, whose folder does not exist.")
    _create_private(path)
    return peewee.SqliteDatabase(
        str(path), pragmas=_SQLITE_PRAGMAS, lock_type="IMMEDIATE", timeout=_SQLITE_BUSY_SECONDS
    )


def _create_private(path: Path) -> None:
    """Make the file readable by the service's user only; SQLite gives -wal and -shm the same mode."""
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def migrate(opened: peewee.Database) -> list[str]:
    """Apply the pending migrations and return their names. Safe when two processes start at once.

    Raises BusyError when the database does not answer.
    """
    folder = Path(__file__).parent / "migrations"
    try:
        with _alone(opened):
            return list(Runner(opened, str(folder)).up())
    except peewee.OperationalError as error:
        raise BusyError(
            f"The database does not answer: {error}. Is it running, and does CALLBOARD_DATABASE_URL name it?"
        ) from error


@contextlib.contextmanager
def _alone(opened: peewee.Database) -> Iterator[None]:
    """One migrates, the others wait for it. No transaction: SQLite's migrations switch foreign keys off and on."""
    if isinstance(opened, peewee.SqliteDatabase):
        with os.fdopen(os.open(f"{opened.database}.lock", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    opened.execute_sql("SET lock_timeout = 0")  # type: ignore[no-untyped-call]
    opened.execute_sql("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        opened.execute_sql("SELECT pg_advisory_unlock(%s)", (_MIGRATION_LOCK,))  # type: ignore[no-untyped-call]
        opened.execute_sql("RESET lock_timeout")  # type: ignore[no-untyped-call]
