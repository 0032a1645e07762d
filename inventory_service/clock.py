"""The only clock. Functions below the entry points take the time as an argument named `at`."""

from __future__ import annotations

import datetime as dt
import time
from typing import Protocol

UTC = dt.UTC


class Clock(Protocol):
    """Tells wall time (aware UTC) and monotonic seconds."""

    def now(self) -> dt.datetime:
        """Wall time, aware UTC."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> dt.datetime:
        """Wall time, aware UTC, microseconds."""
        return dt.datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        return time.monotonic()


def iso(moment: dt.datetime | None) -> str | None:
    """ISO 8601 in UTC with a final Z, as every answer of the API writes times; None stays None."""
    if moment is None:
        return None
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def parse_iso(text: str) -> dt.datetime:
    """The moment that an ISO 8601 text names. Raises ValueError for anything else or without a zone."""
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"the time {text!r} names no zone; write it like 2026-11-23T14:03:00Z")
    return moment.astimezone(UTC)
