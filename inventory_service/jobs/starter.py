"""Starts an executor for each run whose turn it is, no more of them on this machine than the setting allows."""

from __future__ import annotations

import logging
import subprocess
import threading

import peewee as pw

from inventory_service.clock import Clock
from inventory_service.database import database
from inventory_service.deployments.launching import run_queue
from inventory_service.jobs.executors import Executors
from inventory_service.settings import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_NUDGE_SECONDS = 0.1
_PAUSE_SECONDS = 3.0


class Starter:
    """A thread that looks at the queue: when it is woken, when an executor has ended, and once a second.

    Executors that an earlier worker left behind count as well, so a restart never doubles what runs at once.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._executors = Executors()
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._pauses: dict[int, float] = {}
        self._has_news = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="starter", daemon=True)

    def start(self) -> None:
        """Begin."""
        left = run_queue.running_here()
        if left:
            log.info("runs that go on from before: %s", ", ".join(map(str, sorted(left))))
        self._executors.warm()
        self._thread.start()

    def wake(self) -> None:
        """Something may be waiting: look now."""
        self._has_news.set()

    def stop(self) -> None:
        """Start no more runs. Those in progress go on in their own processes."""
        self._stop.set()
        self._has_news.set()
        self._thread.join()
        self._executors.close()

    def _loop(self) -> None:
        looked_at = float("-inf")
        while not self._stop.is_set():
            has_news = self._has_news.wait(_NUDGE_SECONDS)
            self._has_news.clear()
            has_ended = self._collect()
            if has_news or has_ended or self._clock.monotonic() - looked_at >= _LOOK_SECONDS:
                looked_at = self._clock.monotonic()
                self._look_calmly()
        database.close()

    def _look_calmly(self) -> None:
        try:
            self.look()
        except (pw.PeeweeException, OSError):
            log.exception("the queue could not be looked at; it is tried again")

    def look(self) -> None:
        """Start what is due and has room."""
        busy = run_queue.running_here() | set(self._children)
        for run in run_queue.due_runs():
            if self._stop.is_set() or len(busy) >= self._settings.run_workers:
                return
            if run.id not in busy and self._clock.monotonic() >= self._pauses.get(run.id, 0):
                self._children[run.id] = self._executors.start(run.id)
                busy.add(run.id)

    def _collect(self) -> bool:
        """Note the executors that have ended. One that did not get its run is not started again at once."""
        ended = {run_id: code for run_id, child in self._children.items() if (code := child.poll()) is not None}
        for run_id, code in ended.items():
            del self._children[run_id]
            self._pauses[run_id] = self._clock.monotonic() + _PAUSE_SECONDS
            if code != 0:
                folder = self._settings.run_dir(run_id)
                log.error("the executor of run %s ended with code %s; see %s", run_id, code, folder / "executor.log")
        return bool(ended)
