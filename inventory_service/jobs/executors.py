"""Executors: processes of their own, one a run. One is always started in advance, since to load what an executor needs
takes longer than to freeze a run.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable

from inventory_service.adapters import processes
from inventory_service.adapters.processes import Identity

_WARM_SECONDS = 5.0


class Executors:
    """Made once by the worker. The one in advance ends when this process does; those at work go on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def warm(self) -> None:
        """Start one in advance, unless there is one."""
        with self._lock:
            if not self._is_closed:
                self._waiting()

    def start(self, run_id: int, claim: Callable[[Identity], bool]) -> subprocess.Popen[bytes] | None:
        """Let an executor carry out the run, in a session of its own: a restart of the worker doesn't end it.

        `claim` makes the process of that identity the run's executor, and says whether it did. None when it did not:
        the executor waits for another run.
        """
        with self._lock:
            child, identity = self._waiting()
            if not claim(identity):
                return None
            self._spare = None
        later = threading.Timer(_WARM_SECONDS, self.warm)  # the run that begins now needs the processor more
        later.daemon = True
        later.start()
        with contextlib.suppress(BrokenPipeError):  # it has died just now: its run is recovered, as any other
            _give(child, run_id)
        return child

    def _waiting(self) -> tuple[subprocess.Popen[bytes], Identity]:
        """The one in advance, started now where there is none or it has died."""
        identity = None if self._spare is None else processes.identity_of(self._spare.pid)
        while self._spare is None or identity is None:
            self._spare = _start()
            identity = processes.identity_of(self._spare.pid)
        return self._spare, identity

    def close(self) -> None:
        """End the one in advance."""
        with self._lock:
            self._is_closed = True
            if self._spare is not None and self._spare.stdin is not None:
                self._spare.stdin.close()
                self._spare = None


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "inventory_service.jobs.execute"], stdin=subprocess.PIPE, start_new_session=True
    )


def _give(child: subprocess.Popen[bytes], run_id: int) -> None:
    """Tell an executor which run is its own. Raises BrokenPipeError when it is no more."""
    assert child.stdin is not None
    with child.stdin:
        child.stdin.write(b"%d\n" % run_id)
