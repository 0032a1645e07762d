"""A run's log as it grows: each look reads and lets go, so that no follower holds a transaction."""

from __future__ import annotations

import codecs
import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

from inventory_service.database import database
from inventory_service.deployments.runs.logs import RunLog
from inventory_service.errors import BusyError
from inventory_service.web.shedding import CountedBody

_LOOK_SECONDS = 0.2
_KEEP_ALIVE_SECONDS = 10.0
_QUIET_SECONDS = 900.0


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """Some of the log. `end` is the byte offset after it; `ended_as` is the run's status, on the last piece only."""

    text: str
    end: int
    ended_as: str | None = None


def resume_from(last_event_id: str | None, start: int) -> int:
    """Where to begin: after what a reconnecting browser has seen, else at `start`."""
    is_offset = last_event_id is not None and last_event_id.isdecimal() and len(last_event_id) < 20  # noqa: PLR2004
    return int(last_event_id) if is_offset and last_event_id else start


def whole(log: RunLog, start: int, end: int | None) -> Iterator[bytes]:
    """The log as it is now, from one byte offset to another or to its end."""
    for chunk in log.pieces(start, end):
        database.close()  # a client that reads slowly must not keep a connection
        yield chunk
    database.close()


class Streams:
    """The live logs that this process serves: not too many of them, and none longer than the process lives."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.stopping = threading.Event()
        self._free = threading.BoundedSemaphore(most)

    def counted(self, body: Iterator[str]) -> Iterator[str]:
        """The same body, counted until it is closed or at its end. Raises BusyError when there are too many."""
        if not self._free.acquire(blocking=False):
            raise BusyError(f"{self.most} live logs are being followed already. Read the log without follow, or wait.")
        return CountedBody(body, self._free)

    def stop_with_process(self) -> None:
        """End the streams when SIGTERM or SIGINT arrives, whoever handles it: else the server waits, then cuts them.

        Only a process's main thread may ask for this; elsewhere nothing happens.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        woken, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        threading.Thread(target=self._wait_for_end, args=(woken,), name="streams-end", daemon=True).start()

    def _wait_for_end(self, woken: int) -> None:
        while not {signal.SIGTERM, signal.SIGINT} & set(os.read(woken, 64)):
            pass
        self.stopping.set()


def follow(
    log: RunLog, start: int, *, is_ended: Callable[[], str | None], stopping: threading.Event | None = None
) -> Iterator[Piece]:
    """Pieces as they are written, an empty one now and then so that proxies keep the line, until the run has ended.

    It ends without a status when the process stops; whoever wants the rest comes back with the last offset.
    """
    stop = stopping or threading.Event()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    position, quiet_since = start, time.monotonic()
    while True:
        status = is_ended()
        for chunk in log.pieces(position):
            position, quiet_since = position + len(chunk), time.monotonic()
            database.close()
            yield Piece(decoder.decode(chunk), position - len(decoder.getstate()[0]))
        database.close()
        if status is not None:
            yield Piece("", position, status)
            return
        if time.monotonic() - quiet_since > _KEEP_ALIVE_SECONDS:
            quiet_since = time.monotonic()
            yield Piece("", position)
        if stop.wait(_LOOK_SECONDS):
            return


def as_text(pieces: Iterator[Piece]) -> Iterator[str]:
    """The text alone. It can't say "still here", so a client that has gone is only noticed when a line is sent:
    after a quarter of an hour without one it ends, and whoever is there comes back with ?start=.
    """
    spoken_at = time.monotonic()
    for piece in pieces:
        if piece.text:
            spoken_at = time.monotonic()
            yield piece.text
        elif time.monotonic() - spoken_at > _QUIET_SECONDS:
            return


def as_events(pieces: Iterator[Piece]) -> Iterator[str]:
    """Server-sent events: `log` with {text}, `end` with {status}; their ids are byte offsets to resume from."""
    for piece in pieces:
        if piece.ended_as is not None:
            yield f"event: end\nid: {piece.end}\ndata: {json.dumps({'status': piece.ended_as})}\n\n"
        elif piece.text:
            yield f"event: log\nid: {piece.end}\ndata: {json.dumps({'text': piece.text})}\n\n"
        else:
            yield ": still running\n\n"
