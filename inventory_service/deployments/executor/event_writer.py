"""Events of a run on their way into the database, and its output on its way into an append-only log.

ansible-runner calls the handler while it holds the reader of Ansible's terminal, so the handler only hands over;
a thread writes in batches. What is written is capped: one result of 100 MB would stall everything behind it.
"""

from __future__ import annotations

import datetime as dt
import functools
import logging
import queue
import threading
import time
from pathlib import Path
from typing import Any

import peewee as pw
from pydantic_core import to_json

from inventory_service.clock import Clock, parse_iso
from inventory_service.codes.run import End, HostNote
from inventory_service.database import database, execute_many, to_microseconds
from inventory_service.deployments.executor import host_keys, no_log
from inventory_service.deployments.runs.outcome import HostCount, from_stats
from inventory_service.models import RunEvent, RunLogChunk
from inventory_service.reasons import Reason, because
from inventory_service.records import runs
from inventory_service.vault.masking import Masker

log = logging.getLogger(__name__)

_FLUSH_SECONDS = 0.25
_MOST_MORE = 200
_LONGEST_MESSAGE = 4000
_LONGEST_TEXT = 262_144
_LONGEST_NAME = 1000
_TAIL = 20
_LARGEST_LOG = 64 * 1024 * 1024
_CHUNK = 65_536
_STATUS = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
    "runner_on_skipped": "skipped",
}
_KEPT = frozenset(
    {
        *_STATUS,
        "playbook_on_start",
        "playbook_on_play_start",
        "playbook_on_task_start",
        "playbook_on_handler_task_start",
        "playbook_on_stats",
        "playbook_on_no_hosts_matched",
        "runner_on_start",
        "runner_item_on_failed",
        "runner_retry",
        "error",
        "warning",
    }
)
_COLUMNS = tuple(RunEvent._meta.columns)  # noqa: SLF001
_INSERT = (
    f"INSERT INTO run_event ({', '.join(_COLUMNS)}) "  # noqa: S608
    f"VALUES ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT DO NOTHING"
)
_MOST_WAITING = 2000
_MOST_UNSTORED = 20_000
_LAST_TRIES = 5
_CUT = "\n[Callboard: the log ends here; it has reached its largest size. The run goes on.]\n"


class EventWriter:
    """Takes one run's events. `close` writes what is left; `counts` and `in_flight` are then complete.

    `in_flight` holds each host's task that has begun and not ended; it is written with the events, so that others can
    name these hosts when this process is killed. `problem` says why log or events are incomplete, when they are.

    The log is cut at `largest_log` bytes. `has_copy`: it goes into the database too, for web processes that do not see
    this machine's files.
    """

    def __init__(
        self, run_id: int, log_path: Path, clock: Clock, *, has_copy: bool = False, largest_log: int | None = None
    ) -> None:
        self.counts: dict[str, HostCount] = {}
        self.in_flight: dict[str, str] = {}
        self.problem: Reason | None = None
        self._run_id = run_id
        self._clock = clock
        self._log = log_path.open("ab", buffering=0)
        self._size = self._log.tell()
        self._uncopied: bytearray | None = bytearray() if has_copy else None
        self._largest_log = largest_log or _LARGEST_LOG
        self._is_cut = False
        self._has_stats = False
        self.masker = Masker()
        self._is_closing = threading.Event()
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._write_all, name=f"events-{run_id}", daemon=True)
        self._thread.start()

    def handle(self, event: dict[str, Any]) -> None:
        """Hand one event of ansible-runner over; returns at once, unless very many wait already: then Ansible waits."""
        self._waiting.put(_well_formed(event))

    def say(self, text: str) -> None:
        """Put a line of the service's own into the log."""
        self._waiting.put({"event": "verbose", "stdout": f"callboard: {text}", "counter": 0})

    def close(self) -> None:
        """Write everything that was handed over, then stop. Twice is no error."""
        if self._log.closed:
            return
        self._is_closing.set()
        self._waiting.put(None)
        self._thread.join()
        self._log.close()

    def _write_all(self) -> None:
        is_open, rows = True, []
        while is_open:
            batch, is_open = self._take_batch()
            is_open = is_open and self._take_rest(batch)
            rows += [row for event in self._masked(batch) if (row := self._take_in(event)) is not None]
            rows = self._store(rows)
        for _ in range(_LAST_TRIES):
            if not rows:
                break
            time.sleep(_FLUSH_SECONDS)
            rows = self._store(rows)
        database.close()

    def _take_batch(self) -> tuple[list[dict[str, Any]], bool]:
        """Wait for one event, then take along what else arrived within the flush time. (To be woken by each event
        would take longer than to write it.)
        """
        batch: list[dict[str, Any]] = []
        event = self._waiting.get()
        if event is not None:
            self._is_closing.wait(_FLUSH_SECONDS)
        while event is not None:
            batch.append(event)
            if len(batch) == _MOST_WAITING:
                return batch, True
            try:
                event = self._waiting.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _take_rest(self, batch: list[dict[str, Any]]) -> bool:
        """Take what follows while the batch ends amid what may be a secret; False when the end was reached."""
        most = len(batch) + _MOST_MORE
        while len(batch) < most and self.masker.is_cut("\n".join(no_log.printed(event) for event in batch[-_TAIL:])):
            try:
                event = self._waiting.get(timeout=_FLUSH_SECONDS)
            except queue.Empty:
                return True
            if event is None:
                return False
            batch.append(event)
        return True

    def _masked(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The events with what they printed masked; of their data only what is stored is looked at, in to_row."""
        reach = _LONGEST_TEXT + self.masker.reach
        texts = self.masker.texts([no_log.printed(event)[:reach] for event in batch])
        return [
            {**event, "stdout": _capped(text, _LONGEST_TEXT, len(no_log.printed(event)))}
            for event, text in zip(batch, texts, strict=True)
        ]

    def _take_in(self, event: dict[str, Any]) -> dict[str, Any] | None:
        start, end = self._append(event.get("stdout") or "")
        self._count(event)
        if event["event"] not in _KEPT:
            return None
        return to_row(self._run_id, event, self.masker, log_start=start, log_end=end, at=self._clock.now())

    def _append(self, text: str) -> tuple[int, int]:
        start = self._size
        if text and not self._is_cut:
            data = f"{text}\n".encode("utf-8", "replace")
            self._is_cut = self._size + len(data) > self._largest_log
            data = _CUT.encode() if self._is_cut else data
            written = self._write(data)
            self._size += written
            if self._uncopied is not None:
                self._uncopied += data[:written]
        return start, self._size

    def _write(self, data: bytes) -> int:
        """Put the bytes into the log; returns how many it took. A full disk ends the log, not the run."""
        try:
            written = self._log.write(data) or 0
        except OSError as error:
            log.exception("the log of run %s ends here", self._run_id)
            written, self.problem = 0, because(End.LOG_INCOMPLETE, text=error.strerror or str(error))
        self._is_cut = self._is_cut or written < len(data)
        return written

    def _count(self, event: dict[str, Any]) -> None:
        """Keep per-host counters of our own: Ansible's final ones are missing when it is stopped."""
        data = event.get("event_data") or {}
        if event["event"] == "playbook_on_stats":
            self.counts, self._has_stats = _with_notes(from_stats(data), self.counts), True
            return
        host, status = data.get("host"), _STATUS.get(event["event"])
        if event["event"] == "runner_on_start" and host:
            self.in_flight[host] = _name(data.get("task"), self.masker) or ""
        if status is None or host is None or self._has_stats:
            return
        self.in_flight.pop(host, None)
        count = self.counts.setdefault(host, HostCount())
        _add(count, status, data)
        if host_keys.is_mismatch(event):
            count.note = because(HostNote.HOST_KEY_MISMATCH, host=host)

    def _store(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Write the rows; returns those that are still to be written, when the database did not answer."""
        try:
            with database.atomic():
                execute_many(_INSERT, [[row[name] for name in _COLUMNS] for row in rows])
                if self._uncopied:
                    copy_log(self._run_id, self._size - len(self._uncopied), bytes(self._uncopied))
                in_flight = to_json(self.in_flight).decode()
                runs.note_progress(self._run_id, log_bytes=self._size, is_log_cut=self._is_cut, in_flight=in_flight)
        except pw.OperationalError as error:
            log.exception("%s events of run %s could not be stored yet", len(rows), self._run_id)
            if len(rows) > _MOST_UNSTORED:
                self.problem = because(End.EVENTS_INCOMPLETE, text=str(error))
            return rows[-_MOST_UNSTORED:]
        if self._uncopied:
            self._uncopied.clear()
        return []


def _well_formed(event: dict[str, Any]) -> dict[str, Any]:
    """The event, with data and a host's name of the right kind: a playbook may have made them (add_host)."""
    data = event.get("event_data")
    host = data.get("host") if isinstance(data, dict) else None
    if isinstance(data, dict) and (host is None or (isinstance(host, str) and host.isascii())):
        return event
    return {**event, "event_data": {**data, "host": _text(host)} if isinstance(data, dict) else {}}


def _with_notes(stats: dict[str, HostCount], seen: dict[str, HostCount]) -> dict[str, HostCount]:
    """Ansible's final counters, with what was noted on the way."""
    for name, count in stats.items():
        count.note = seen[name].note if name in seen else None
    return stats


def copy_log(run_id: int, start: int, data: bytes) -> None:
    """Put these bytes of a run's log into the database, in pieces. Twice is no error."""
    rows = [{"run": run_id, "start": start + at, "data": data[at : at + _CHUNK]} for at in range(0, len(data), _CHUNK)]
    RunLogChunk.insert_many(rows).on_conflict_ignore().execute()


def _add(count: HostCount, status: str, data: dict[str, Any]) -> None:
    if status == "failed" and data.get("ignore_errors"):
        count.ignored += 1
    else:
        setattr(count, status, getattr(count, status) + 1)
    if status == "ok" and (data.get("res") or {}).get("changed"):
        count.changed += 1


def to_row(
    run_id: int, event: dict[str, Any], masker: Masker, *, log_start: int, log_end: int, at: dt.datetime
) -> dict[str, Any]:
    """One event of ansible-runner as a row of RunEvent: names and numbers, and a message only for what went wrong.

    All of it masked but the host's name, by which results are counted. What it printed has been masked already.
    """
    data = event.get("event_data") or {}
    result: dict[str, Any] = data["res"] if isinstance(data.get("res"), dict) else {}
    return {
        "run_id": run_id,
        "counter": event["counter"],
        "at": to_microseconds(_moment(event.get("created"), at)),
        "event": event["event"],
        "host": _text(data.get("host")),
        "play": _name(data.get("play"), masker),
        "task": _name(data.get("task"), masker),
        "action": _name(data.get("task_action"), masker),
        "status": _status(event["event"], data, result),
        "is_changed": result.get("changed") is True,
        "duration_seconds": data.get("duration") if isinstance(data.get("duration"), int | float) else None,
        "message": _message(event, result, masker),
        "log_start": log_start,
        "log_end": log_end,
    }


def _status(name: str, data: dict[str, Any], result: dict[str, Any]) -> str | None:
    status = _STATUS.get(name)
    if status == "failed" and data.get("ignore_errors"):
        return "ignored"
    return "changed" if status == "ok" and result.get("changed") is True else status


def _message(event: dict[str, Any], result: dict[str, Any], masker: Masker) -> str | None:
    if event["event"] not in ("runner_on_failed", "runner_on_unreachable", "runner_item_on_failed", "error", "warning"):
        return None
    message = "\n".join(str(result[key]) for key in ("msg", "stderr", "module_stderr") if result.get(key))
    shown = masker.text(message[: _LONGEST_TEXT + masker.reach]) or str(event.get("stdout") or "")
    return _capped(_clean(shown), _LONGEST_MESSAGE, len(message)) or None


def _name(value: Any, masker: Masker) -> str | None:
    return None if value is None else _text(masker.name(str(value)[: _LONGEST_NAME + masker.reach]))


def _text(value: Any) -> str | None:
    return _shown(str(value)) if value is not None else None


@functools.lru_cache(1024)  # hosts and tasks come again and again
def _shown(name: str) -> str:
    return _capped(_clean(name), _LONGEST_NAME)


def _clean(text: str) -> str:
    """Without NUL and halves of surrogate pairs, which no database takes."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _capped(text: str, most: int, length: int = 0) -> str:
    """`length` is that of the whole, where the text itself was cut before."""
    length = max(length, len(text))
    return text if length <= most else f"{text[:most]}… [cut, {length} characters]"


def _moment(text: Any, otherwise: dt.datetime) -> dt.datetime:
    try:
        return parse_iso(str(text))
    except ValueError:
        return otherwise
