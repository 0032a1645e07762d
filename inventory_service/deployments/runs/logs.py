"""Reading a run's log: from the file on this machine, else from its copy in the database."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from inventory_service.errors import GoneError
from inventory_service.models import Run, RunLogChunk
from inventory_service.settings import Settings
from inventory_service.text import harmless

_PIECE = 65_536
_HIGHEST = 2**62
_TAIL, _LONGEST_ERROR = 16_384, 400
_ERROR = re.compile(r"^(?:\[ERROR\]:|ERROR!) (.+)(?:\nOrigin: \S*/work/source/(\S+))?", re.MULTILINE)


class RunLog:
    """One run's log. Offsets are bytes; beyond the present end there is nothing yet, which is no error.

    Each read ends before it returns: nobody holds a file or a transaction while a log is followed.
    """

    def __init__(self, run_id: int, file: Path) -> None:
        self._run_id = run_id
        self._file = file
        self._start, self._data = 0, b""

    def read(self, start: int, most: int = _PIECE) -> bytes:
        """Up to `most` bytes from `start` on; fewer where a piece ends, none at the present end."""
        if not self._start <= start < self._start + len(self._data):
            self._start, self._data = self._load(start)
        at = start - self._start
        return self._data[at : at + most] if at < len(self._data) else b""

    def pieces(self, start: int, end: int | None = None) -> Iterator[bytes]:
        """Everything from `start` to `end`, or to the present end."""
        while data := self.read(start, _PIECE if end is None else max(0, min(_PIECE, end - start))):
            start += len(data)
            yield data

    def text(self, start: int, end: int) -> str:
        """A part of the log as text."""
        return b"".join(self.pieces(start, end)).decode("utf-8", "replace")

    def _load(self, start: int) -> tuple[int, bytes]:
        """The piece that holds `start`: where it begins, and its bytes."""
        if self._file.exists():
            with self._file.open("rb") as file:
                file.seek(min(start, self._file.stat().st_size))
                return start, file.read(_PIECE)
        mine = (RunLogChunk.run == self._run_id) & (RunLogChunk.start <= min(start, _HIGHEST))
        chunk = RunLogChunk.select().where(mine).order_by(RunLogChunk.start.desc()).first()
        return (chunk.start, bytes(chunk.data)) if chunk else (0, b"")


def last_error(file: Path) -> str:
    """Ansible's own last error in a log and the place in the source, on one line; empty where there is none."""
    with contextlib.suppress(OSError), file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - _TAIL))
        found = _ERROR.findall(harmless(log.read().decode("utf-8", "replace").replace("\r", ""), colours=False))
        if found:
            message, place = found[-1]
            return f"{message.strip()[:_LONGEST_ERROR]}{f' ({place})' if place else ''}"
    return ""


def open_log(run: Run, settings: Settings) -> RunLog:
    """The run's log. Raises GoneError when retention has removed it."""
    if run.events_removed_at is not None:
        raise GoneError(
            f"The log and the events of run {run.id} were removed on {run.events_removed_at:%Y-%m-%d}: "
            f"they are kept for {settings.event_days} days, and for {settings.event_runs} runs of a stage."
        )
    return RunLog(run.id, settings.run_dir(run.id) / "log")
