"""Callers who are refused again and again. Each refusal writes into the audit log, so there must be an end to it.

Whoever guesses gets 429 instead, and no more entries; what holds is let in all the same, since a whole network may
call from one address.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from inventory_service.errors import RefusedError, TooManyError

_MOST_CALLERS = 10_000
T = TypeVar("T")


class Refusals:
    """Counts by caller: `most` refusals within `seconds` are its due. Made once by each process."""

    def __init__(self, *, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._counts: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def limit(self, caller: str, attempt: Callable[[], T], *, now: float) -> T:
        """What the attempt returns. Counts it where it is refused; TooManyError instead when the caller is spent."""
        try:
            return attempt()
        except RefusedError as error:
            if self.is_spent(caller, now=now):
                raise too_many() from error
            self.add(caller, now=now)
            raise

    def is_spent(self, caller: str, *, now: float) -> bool:
        """Whether the caller has had its due; `now` is monotonic."""
        with self._lock:
            return self._count(caller, now)[1] >= self._most

    def add(self, caller: str, *, now: float) -> None:
        """One more refusal."""
        with self._lock:
            began, count = self._count(caller, now)
            if len(self._counts) >= _MOST_CALLERS and caller not in self._counts:
                self._counts.pop(next(iter(self._counts)))
            self._counts[caller] = (began, count + 1)

    def _count(self, caller: str, now: float) -> tuple[float, int]:
        began, count = self._counts.get(caller, (now, 0))
        return (began, count) if now - began < self._seconds else (now, 0)


def too_many() -> TooManyError:
    """What the caller hears."""
    return TooManyError(
        "Too many calls with a join token from this address were refused. Wait a minute, and use a token that holds."
    )
