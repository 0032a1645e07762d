"""`callboard serve`: web and worker as one process tree under a small supervisor.

The supervisor prepares the database once, starts both parts, starts a part again when it dies, and on SIGTERM ends
both within seconds. Runs in progress have processes of their own and go on.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from inventory_service import first_start
from inventory_service.adapters import processes
from inventory_service.clock import SystemClock
from inventory_service.database import database, migrate, open_database
from inventory_service.deployments.source import source_credentials
from inventory_service.first_start import FirstSignIn
from inventory_service.registry import liveness, self_check
from inventory_service.settings import Settings

log = logging.getLogger(__name__)

_STOP_SECONDS = 4.0
_LOOK_SECONDS = 0.1
_RESTART_SECONDS = 1.0
PARTS = ("web", "worker")


def prepare(settings: Settings, *, hears: bool = True) -> FirstSignIn | None:
    """Database, migrations, keys, first admin; and a fresh lease for every host, since nobody could be heard.

    `hears`: whether hosts talk to what is about to start. A worker beside a web process that ran on gives no lease: one
    that is started again and again would keep dead hosts alive. Raises SettingsError for keys of its own.
    """
    os.umask(0o077)
    at = SystemClock().now()
    opened = open_database(settings.database_url)
    applied = migrate(opened)
    if applied:
        log.info("applied migrations: %s", ", ".join(applied))
    first_start.make_ssh_key(settings)
    _remove_former_queue(settings)
    if settings.has_shared_database:
        first_start.check_keys(settings)
    source_credentials.take_out_of_addresses(settings, at=at)
    sign_in = first_start.make_first_admin(at=at)
    if hears:
        liveness.begin_grace(at=SystemClock().now())  # migrations may have taken long
        self_check.forget()
    database.close()
    return sign_in


def _remove_former_queue(settings: Settings) -> None:
    """The file in which earlier versions passed on runs' numbers, a copy of what the runs table says."""
    files = [settings.data_dir / f"queue.db{suffix}" for suffix in ("", "-wal", "-shm")]
    if files[0].exists() and settings.database_url != f"sqlite:///{files[0]}":
        for file in files:
            file.unlink(missing_ok=True)
        log.info("removed %s, which is of no use any more: the runs table is the queue", files[0])


def serve_web(settings: Settings) -> None:
    """The HTTP server, until SIGTERM. One process with many threads: SQLite has one writer."""
    processes.end_with_parent()
    Granian(
        "inventory_service.web.app:from_environment",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=settings.web_threads,
        backlog=2048,
        websockets=False,
        log_level=LogLevels.warning,
        workers_kill_timeout=2,
        respawn_failed_workers=True,
    ).serve()


class Supervisor:
    """Holds the parts' processes."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self._is_stopping = False

    def run(self) -> int:
        """Start the parts and keep them up until SIGTERM or SIGINT; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for part in PARTS:
            self._start(part)
        while not self._is_stopping:
            self._look()
            time.sleep(_LOOK_SECONDS)
        self._stop()
        return 0

    def _on_signal(self, *_: object) -> None:
        self._is_stopping = True

    def _start(self, part: str) -> None:
        self._started[part] = time.monotonic()
        self._children[part] = subprocess.Popen(
            [sys.executable, "-m", "inventory_service.cli", part, "--unprepared"],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _look(self) -> None:
        for part, child in list(self._children.items()):
            code = child.poll()
            if code is not None and time.monotonic() - self._started[part] > _RESTART_SECONDS:
                log.error("the %s part ended with code %s; it is started again", part, code)
                self._start(part)

    def _stop(self) -> None:
        for child in self._children.values():
            child.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for part, child in self._children.items():
            try:
                child.wait(max(0.05, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("the %s part did not end in time; it is killed", part)
                os.killpg(child.pid, signal.SIGKILL)


def work_in_background(settings: Settings, work: Callable[[Settings], None]) -> None:
    """Open the database and work until SIGTERM; ends with its supervisor."""
    processes.end_with_parent()
    open_database(settings.database_url)
    work(settings)
