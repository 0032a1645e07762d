"""Beside a run at work: renews its lease, and ends the work when the run is canceled, out of time, silent for too
long, or no longer this executor's.
"""

from __future__ import annotations

import logging
import os
import threading

import peewee as pw

from inventory_service.adapters import processes
from inventory_service.clock import Clock
from inventory_service.codes import statuses
from inventory_service.codes.run import End
from inventory_service.database import database
from inventory_service.deployments.runs.outcome import Ending, ending_because
from inventory_service.models import Run
from inventory_service.records import runs
from inventory_service.settings import Settings

log = logging.getLogger(__name__)

_LEASE_SECONDS = 1.0
PATIENCE_SECONDS = 3.0


class RunSupervisor:
    """A context around the whole of a run's work. `ending` is how the run was stopped, None while nobody stopped it.

    TERM goes to the executor's own children, which lets ansible-playbook clear its forks and connections within
    about two seconds; what is left of its descendants after that is killed.
    """

    def __init__(self, run: Run, settings: Settings, clock: Clock) -> None:
        self.ending: Ending | None = None
        self.is_fenced = False
        self._run = run
        self._clock = clock
        self._timeout = run.stage.run_timeout_seconds or settings.run_timeout_seconds
        self._idle_timeout = run.stage.idle_timeout_seconds or settings.idle_timeout_seconds
        self._began_at = clock.monotonic()
        self._active_at: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name=f"supervisor-{run.id}", daemon=True)

    def __enter__(self) -> None:
        """Begin."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """What happens from now on is too late to stop anything."""
        self._stop.set()
        self._thread.join()

    def note_activity(self) -> None:
        """The playbook showed a sign of life. The first one starts the idle time."""
        self._active_at = self._clock.monotonic()

    def _supervise(self) -> None:
        while not self._stop.wait(_LEASE_SECONDS):
            try:
                self._look()
            except pw.PeeweeException:
                log.exception("the lease of run %s could not be renewed; it is tried again", self._run.id)
            if self.ending is not None or self.is_fenced:
                end_everything()
        database.close()

    def _look(self) -> None:
        self.ending = self.ending or self._out_of_time()
        renewed = runs.renew_lease(self._run, at=self._clock.now())
        self.is_fenced = not renewed.is_claimed
        if renewed.is_canceled and self.ending is None:
            by = Run.get_by_id(self._run.id).cancel_requested_by
            self.ending = ending_because(statuses.CANCELED, End.CANCELED, by=by)

    def _out_of_time(self) -> Ending | None:
        now = self._clock.monotonic()
        if now - self._began_at > self._timeout:
            return ending_because(statuses.TIMEOUT, End.OUT_OF_TIME, seconds=self._timeout)
        if self._active_at is not None and now - self._active_at > self._idle_timeout:
            return ending_because(statuses.TIMEOUT, End.IDLE, seconds=self._idle_timeout)
        return None


def end_everything() -> None:
    """End all that this process has started, and what that has started."""
    processes.end(processes.children(os.getpid()), patience_seconds=PATIENCE_SECONDS)
    processes.end(processes.descendants(os.getpid()), patience_seconds=0)
