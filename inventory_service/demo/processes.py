"""Which processes belong to a loopback host, found through /proc, and how they end."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

MARKER = "CALLBOARD_DEMO_FOLDER"
POLL_SECONDS = 0.02
KILL_ROUNDS = 25
KILL_ROUND_SECONDS = 0.2


def marked(folder: Path) -> set[int]:
    """Ids of the processes whose environment names this host's folder, wherever they were reparented to."""
    entry = f"{MARKER}={folder}".encode()
    return {pid for pid in _pids() if entry in _read(pid, "environ").split(b"\0")} - {os.getpid()}


def descendants(roots: Iterable[int]) -> set[int]:
    """The roots and everything below them that still runs; zombies do not count."""
    parents = {pid: parent for pid in _pids() if (parent := _parent(pid)) is not None}
    found = parents.keys() & set(roots)
    while children := {pid for pid, parent in parents.items() if parent in found} - found:
        found = found | children
    return set(found)


def command_line(pid: int) -> str:
    """The command line of a process, its arguments joined by spaces; empty when it is gone."""
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")


def end(members: Callable[[], set[int]], *, grace_seconds: float) -> None:
    """End all members: TERM, up to `grace_seconds` for them to go, then KILL until none is left.

    `members` is asked again and again, so that what forks meanwhile is caught too. RuntimeError for
    processes that may not be signalled, such as another user's.
    """
    if grace_seconds:
        _signal(members(), signal.SIGTERM)
        _are_gone(members, within_seconds=grace_seconds)
    for _ in range(KILL_ROUNDS):
        # Stopped processes cannot fork while the rest is being looked up.
        _signal(remaining := members(), signal.SIGSTOP)
        _signal(remaining | members(), signal.SIGKILL)
        if _are_gone(members, within_seconds=KILL_ROUND_SECONDS):
            return
    raise RuntimeError(f"processes {sorted(members())} could not be ended")


def _are_gone(members: Callable[[], set[int]], *, within_seconds: float) -> bool:
    for _ in range(int(within_seconds / POLL_SECONDS)):
        if not members():
            return True
        time.sleep(POLL_SECONDS)
    return not members()


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208 - names, no Path objects


def _parent(pid: int) -> int | None:
    """The parent's id; None for a zombie or a process that is gone."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 and fields[0] != b"Z" else None


def _read(pid: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""
