"""PostgreSQL behind peewee, made to keep the promises that SQLite gives: one transaction at a time, text in byte order.

Connections come from a pool. One that the server has closed meanwhile is noticed before it is used.
"""

from __future__ import annotations

import select
from typing import Any

import peewee
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase

from inventory_service.errors import SettingsError

_TRANSACTION_LOCK = 0xCA11B0A8E  # any number that nobody else of the database uses
_LOCK_SECONDS = 10
_STUCK_SECONDS = 60  # a process that was stopped inside a transaction would hold up everybody
_CONNECT_SECONDS = 5
_POOL_SECONDS = 10
_OLDEST_SECONDS = 600
# A listener only waits: it would not notice otherwise that its server has vanished.
_KEEPALIVES = {"keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 3}


class Postgresql(PooledPostgresqlDatabase):  # type: ignore[misc]
    """A database whose transactions run one after the other, as BEGIN IMMEDIATE makes them on SQLite.

    What a transaction reads stays so until it ends, so that domain functions may look and then act. Single statements
    outside of transactions don't wait. Waiting for longer than ten seconds is an OperationalError.
    """

    field_types = {**peewee.PostgresqlDatabase.field_types, "TEXT": 'TEXT COLLATE "C"'}

    def begin(self, isolation_level: Any = None) -> None:
        """Begin a transaction once no other one is open."""
        super().begin(isolation_level)
        try:
            self.execute_sql("SELECT pg_advisory_xact_lock(%s)", (_TRANSACTION_LOCK,))
        except BaseException:
            self.rollback()
            raise

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Take a connection from the pool. Raises OperationalError when none comes free in time."""
        try:
            return bool(super().connect(reuse_if_open))
        except MaxConnectionsExceeded as error:
            raise peewee.OperationalError("every connection of the pool is in use") from error

    def connection(self) -> Any:
        """A living connection, this thread's."""
        self._drop_dead()
        return super().connection()

    def cursor(self, named_cursor: str | None = None) -> Any:
        """A cursor of this thread's connection, a living one."""
        self._drop_dead()
        return super().cursor(named_cursor)

    def listen(self, channel: str) -> Any:
        """A connection of its own, beside the pool, that hears the channel: see `heard`. Raises the driver's errors."""
        parameters = {**_KEEPALIVES, **self.connect_params, "application_name": "callboard listener"}
        connection = self._adapter.connect(self, **parameters)
        connection.autocommit = True
        connection.execute(f"LISTEN {channel}")
        return connection

    def _drop_dead(self) -> None:
        """Outside of a transaction nothing is lost with a connection, so that the next one may take its place."""
        if not self.is_closed() and self.transaction_depth() == 0 and _is_dead(self._state.conn):
            self.close()

    def _is_closed(self, conn: Any) -> bool:
        """Whether a connection that waited in the pool has died; peewee's own way asks the server each time."""
        return _is_dead(conn)

    def _can_reuse(self, conn: Any) -> bool:
        return not _is_dead(conn) and bool(super()._can_reuse(conn))


def _is_dead(conn: Any) -> bool:
    """An idle server says nothing, unless it is to say that it closes the connection."""
    if conn.closed:
        return True
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def heard(connection: Any, seconds: float) -> bool:
    """Whether something was said to a listening connection within so many seconds. Raises the driver's errors."""
    return bool(list(connection.notifies(timeout=seconds, stop_after=1)))


def open_postgresql(url: str, *, connections: int) -> Postgresql:
    """The database that a `postgresql://` URL names, with a pool of so many connections at most. Connects to nothing.

    Raises SettingsError when the driver is not installed or the URL makes no sense.
    """
    try:
        import psycopg  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise SettingsError("CALLBOARD_DATABASE_URL needs the extra `callboard[postgresql]`.") from error
    uri = url.replace("postgres://", "postgresql://", 1)
    try:
        given = psycopg.conninfo.conninfo_to_dict(uri)
    except psycopg.ProgrammingError as error:
        raise SettingsError(f"CALLBOARD_DATABASE_URL is no PostgreSQL URL: {str(error).strip()}.") from error
    limits = f"-c lock_timeout={_LOCK_SECONDS}s -c idle_in_transaction_session_timeout={_STUCK_SECONDS}s"
    return Postgresql(
        uri,
        prefer_psycopg3=True,
        max_connections=connections,
        timeout=_POOL_SECONDS,
        stale_timeout=_OLDEST_SECONDS,
        connect_timeout=given.get("connect_timeout", _CONNECT_SECONDS),
        application_name=given.get("application_name", "callboard"),
        options=f"{limits} {given.get('options', '')}".strip(),
    )
