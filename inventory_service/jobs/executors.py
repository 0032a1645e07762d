"""Executors: processes of their own, one a run. One is always started in advance, since to load what an executor needs
takes longer than to freeze a run.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading

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
            if not self._is_closed and (self._spare is None or self._spare.poll() is not None):
                self._spare = _start()

    def start(self, run_id: int) -> subprocess.Popen[bytes]:
        """Let an executor carry out the run, in a session of its own: a restart of the worker doesn't end it."""
        later = threading.Timer(_WARM_SECONDS, self.warm)  # the run that begins now needs the processor more
        later.daemon = True
        later.start()
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            with contextlib.suppress(BrokenPipeError):  # it has died meanwhile
                return _give(spare, run_id)
        return _give(_start(), run_id)

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


def _give(child: subprocess.Popen[bytes], run_id: int) -> subprocess.Popen[bytes]:
    """Tell an executor which run is its own. Raises BrokenPipeError when it is no more."""
    assert child.stdin is not None
    with child.stdin:
        child.stdin.write(b"%d\n" % run_id)
    return child
