"""Processes: who is alive, who belongs to whom, and how to end a whole tree. Reads /proc; Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import socket
import time
from pathlib import Path
from typing import TypedDict

_PR_SET_PDEATHSIG = 1
_KILL_SECONDS = 1.0
_PR_SET_CHILD_SUBREAPER = 36


class Identity(TypedDict):
    """Names one process for good: a pid alone is used again."""

    machine: str
    boot_id: str
    pid: int
    started: int


def identity_of(pid: int) -> Identity | None:
    """The identity of a running process; None when there is none of that pid."""
    started = _started(pid)
    if started is None:
        return None
    return {"machine": socket.gethostname(), "boot_id": _boot_id(), "pid": pid, "started": started}


def own_identity() -> Identity:
    """The identity of this process."""
    identity = identity_of(os.getpid())
    assert identity is not None
    return identity


def is_on_this_machine(identity: Identity) -> bool:
    """Whether the process ran on this machine, in this boot or an earlier one."""
    return identity["machine"] == socket.gethostname()


def is_alive(identity: Identity) -> bool:
    """Whether this very process still runs here."""
    return identity_of(identity["pid"]) == identity


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on: state, parent, …; None when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _started(pid: int) -> int | None:
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[19])


def children(pid: int) -> list[int]:
    """The living processes whose parent is `pid`."""
    return _families().get(pid, [])


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`, children before grandchildren."""
    families = _families()
    found, waiting = [], list(families.get(pid, []))
    while waiting:
        child = waiting.pop(0)
        found.append(child)
        waiting.extend(families.get(child, []))
    return found


def _families() -> dict[int, list[int]]:
    """The living children of every process."""
    families: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None and fields[0] != "Z":
            families.setdefault(int(fields[1]), []).append(int(entry.name))
    return families


def marked(variable: str, value: str) -> list[int]:
    """Processes of this user whose environment holds `variable=value`, this one not counted.

    A value that ends in `#` stands for all that begin with it.
    """
    wanted, found = f"{variable}={value}".encode(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            entries = (entry / "environ").read_bytes().split(b"\0")
            if any(line.startswith(wanted) if wanted.endswith(b"#") else line == wanted for line in entries):
                found.append(int(entry.name))
    return found


def end(pids: list[int], *, patience_seconds: float) -> None:
    """TERM, wait, then KILL what is left."""
    _send(pids, signal.SIGTERM)
    deadline = time.monotonic() + patience_seconds
    while any(_started(pid) is not None for pid in pids) and time.monotonic() < deadline:
        _reap(pids)
        time.sleep(0.05)
    _send([pid for pid in pids if _started(pid) is not None], signal.SIGKILL)
    deadline = time.monotonic() + _KILL_SECONDS
    while any(_started(pid) is not None for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    _reap(pids)


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _reap(pids: list[int]) -> None:
    """Collect those of them that were children and have ended; other children are for others to wait for."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def adopt_orphans() -> None:
    """From now on orphaned descendants become children of this process, so that none can slip away."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Ask the kernel to send this signal to the calling process when its parent dies."""
    _prctl(_PR_SET_PDEATHSIG, number)


def spare_the_collector() -> None:
    """Take what this process has loaded out of the garbage collector's sight, and let it look less often.

    Otherwise it walks through the whole application again and again while there is work to do.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")
