"""A run's log as it grows: read from the file, never from an open transaction."""

from __future__ import annotations

import codecs
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from inventory_service.database import database

_CHUNK = 65536
_LOOK_SECONDS = 0.2
_KEEP_ALIVE_SECONDS = 10.0


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


def read_all(file: Path, start: int) -> Iterator[bytes]:
    """The log from a byte offset to its present end; nothing when there is no log yet."""
    if not file.exists():
        return
    with file.open("rb") as log:
        log.seek(min(start, file.stat().st_size))
        while chunk := log.read(_CHUNK):
            yield chunk


def follow(run_id: int, file: Path, start: int, *, is_ended: Callable[[int], str | None]) -> Iterator[Piece]:
    """Pieces as they are written, an empty one now and then so that proxies keep the line, until the run has ended."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    position, quiet_since = start, time.monotonic()
    while True:
        status = is_ended(run_id)
        database.close()
        for chunk in read_all(file, position):
            position, quiet_since = position + len(chunk), time.monotonic()
            yield Piece(decoder.decode(chunk), position)
        if status is not None:
            yield Piece("", position, status)
            return
        if time.monotonic() - quiet_since > _KEEP_ALIVE_SECONDS:
            quiet_since = time.monotonic()
            yield Piece("", position)
        time.sleep(_LOOK_SECONDS)


def as_events(pieces: Iterator[Piece]) -> Iterator[str]:
    """Server-sent events: `log` with {text}, `end` with {status}; their ids are byte offsets to resume from."""
    for piece in pieces:
        if piece.ended_as is not None:
            yield f"event: end\nid: {piece.end}\ndata: {json.dumps({'status': piece.ended_as})}\n\n"
        elif piece.text:
            yield f"event: log\nid: {piece.end}\ndata: {json.dumps({'text': piece.text})}\n\n"
        else:
            yield ": still running\n\n"
