"""Whether this process can take heartbeats in: while the database is locked or full, it is deaf.

Then the silence of hosts says nothing about them. Readers treat deafness like a freeze, each process by what it knows
itself: nobody else could write it down for them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from inventory_service.clock import Clock
from inventory_service.database import database
from inventory_service.errors import CallboardError
from inventory_service.registry import liveness
from inventory_service.registry.heartbeats import Heartbeat, Renewal, renew_many

_NOTICED_SECONDS = 2.0
_LONG_SECONDS = 15.0  # at the begin of an attempt, which may take as long again


class Hearing:
    """Made once by each process that takes heartbeats. One thread at a time calls `renew`."""

    def __init__(self, clock: Clock, *, gone_after_seconds: float, rotate_after: dt.timedelta | None = None) -> None:
        self._clock = clock
        self._rotate_after = rotate_after
        self._gone_after_seconds = gone_after_seconds
        self._since: float | None = None

    def renew(self, beats: Sequence[tuple[str, Heartbeat]]) -> list[Renewal | CallboardError]:
        """Renew the leases of checked heartbeats. Raises peewee's errors, and the process is deaf from then on.

        After a long deafness everybody gets a fresh lease with the first heartbeat that can be written.
        """
        seconds = self._begin()
        if seconds < _LONG_SECONDS:
            results = self._renew(beats)
        else:
            with database.atomic():
                liveness.begin_grace(at=self._clock.now())
                results = self._renew(beats)
        self._since = None
        return results

    def confirm(self) -> None:
        """Something else than a heartbeat of a host, such as the canary's, was written."""
        if self.deaf_since() is not None:
            self.renew([])

    def deaf_since(self) -> dt.datetime | None:
        """Since when nothing could be written, by the wall clock; None while it can."""
        since = self._since
        seconds = 0.0 if since is None else self._clock.monotonic() - since
        return self._clock.now() - dt.timedelta(seconds=seconds) if seconds >= _NOTICED_SECONDS else None

    def _begin(self) -> float:
        now = self._clock.monotonic()
        self._since = now if self._since is None else self._since
        return now - self._since

    def _renew(self, beats: Sequence[tuple[str, Heartbeat]]) -> list[Renewal | CallboardError]:
        judge = liveness.judge(at=self._clock.now(), gone_after_seconds=self._gone_after_seconds)
        return renew_many(beats, judge=judge, rotate_after=self._rotate_after)
