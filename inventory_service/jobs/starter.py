"""Claims each run whose turn it is for an executor, no more of them on this machine than the setting allows."""

from __future__ import annotations

import functools
import logging
import subprocess

import peewee as pw

from inventory_service.adapters.processes import Identity
from inventory_service.adapters.wakeup import Listener
from inventory_service.clock import Clock
from inventory_service.database import database
from inventory_service.deployments.executor import execution
from inventory_service.deployments.launching import run_queue
from inventory_service.jobs.executors import Executors
from inventory_service.settings import Settings

log = logging.getLogger(__name__)

_ROUND_SECONDS = 0.1
_LOOK_SECONDS = 5.0


class Starter:
    """Looks at the queue when it is woken (see `wakeup`), when an executor has ended, and every five seconds.

    Workers of several machines look at the same moment; the one that claims a run starts it.
    Executors that an earlier worker left behind count as well, so a restart never doubles what runs at once.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._executors = Executors()
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._listener = Listener()
        self._is_stopping = False

    def run(self) -> None:
        """Start what is due until `stop` is called. Runs in progress go on in their own processes."""
        left = run_queue.running_here()
        if left:
            log.info("runs that go on from before: %s", ", ".join(map(str, sorted(left))))
        self._executors.warm()
        looked_at = float("-inf")
        while not self._is_stopping:
            has_news = self._listener.wait(_ROUND_SECONDS)
            has_ended = self._collect()
            if has_news or has_ended or self._clock.monotonic() - looked_at >= _LOOK_SECONDS:
                looked_at = self._clock.monotonic()
                self._look_calmly()
        self._executors.close()
        self._listener.close()
        database.close()

    def stop(self) -> None:
        """Start no more runs; `run` returns after its look. A signal's handler may call it."""
        self._is_stopping = True

    def _look_calmly(self) -> None:
        try:
            self.look()
        except (pw.PeeweeException, OSError):
            log.exception("the queue could not be looked at; it is tried again")

    def look(self) -> None:
        """Start what is due and has room."""
        if run_queue.is_empty():
            return
        busy = run_queue.running_here() | set(self._children)
        for run in run_queue.due_runs():
            if self._is_stopping or len(busy) >= self._settings.run_workers:
                return
            child = self._executors.start(run.id, functools.partial(self._claim, run.id))
            if child is not None:
                self._children[run.id] = child
                busy.add(run.id)

    def _claim(self, run_id: int, executor: Identity) -> bool:
        return execution.claim(run_id, at=self._clock.now(), executor=executor) is not None

    def _collect(self) -> bool:
        """Note the executors that have ended."""
        ended = {run_id: code for run_id, child in self._children.items() if (code := child.poll()) is not None}
        for run_id, code in ended.items():
            del self._children[run_id]
            if code != 0:
                folder = self._settings.run_dir(run_id)
                log.error("the executor of run %s ended with code %s; see %s", run_id, code, folder / "executor.log")
        return bool(ended)
