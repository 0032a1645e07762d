"""huey: carries run ids from whoever queues a run to a worker. Transport, never truth.

It delivers at most once and loses a message when a worker is killed; the runs table is the truth. A message only makes
a worker look there at once instead of within a second.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Any

from huey import Huey, SqliteHuey
from huey.exceptions import ConfigurationError

from inventory_service.errors import SettingsError
from inventory_service.settings import Settings

log = logging.getLogger(__name__)


class RunQueue:
    """One queue of run ids. `send` from anywhere; `consume` in the worker's main thread."""

    def __init__(self, settings: Settings) -> None:
        self._huey = _open(settings)
        self._execute: Callable[[int], None] = _not_a_worker
        self._task = self._huey.task(name="execute_run")(self._call)

    def _call(self, run_id: int) -> None:
        self._execute(run_id)

    def send(self, run_id: int) -> None:
        """Tell a worker that this run is waiting. Call it after the transaction that queued the run."""
        self._task(run_id)

    def consume(self, execute: Callable[[int], None], *, workers: int) -> None:
        """Call `execute` for each run id, `workers` of them at once, until SIGTERM or SIGINT."""
        self._execute = execute
        consumer = self._huey.create_consumer(
            workers=workers, periodic=False, initial_delay=0.05, backoff=1.2, max_delay=0.15, check_worker_health=True
        )
        consumer.run()


def _open(settings: Settings) -> Any:
    if settings.queue_url == "sqlite":
        return SqliteHuey("callboard", filename=str(settings.data_dir / "queue.db"), immediate=False, results=False)
    if settings.queue_url.startswith(("redis://", "rediss://", "valkey://")):
        return _open_redis(settings.queue_url)
    raise SettingsError("CALLBOARD_QUEUE_URL must be `sqlite` or begin with redis://.")


def _open_redis(url: str) -> Huey:
    try:
        from huey import RedisHuey  # noqa: PLC0415 - the client library is an optional dependency

        return RedisHuey("callboard", url=url.replace("valkey://", "redis://", 1), immediate=False, results=False)
    except (ImportError, ConfigurationError) as error:
        raise SettingsError("CALLBOARD_QUEUE_URL needs the extra `callboard[redis]`.") from error


def _not_a_worker(run_id: int) -> None:
    log.error("run %s was delivered to a process that is no worker (%s)", run_id, signal.Signals.SIGTERM.name)
