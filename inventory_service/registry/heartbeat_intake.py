"""Whether this process can take heartbeats in: while the database is locked or full, it can't.

Then the silence of hosts says nothing about them. To readers expiry is paused, each process by what it knows
itself: nobody else could write it down for them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from inventory_service.clock import Clock
from inventory_service.errors import CallboardError
from inventory_service.records.heartbeat import Heartbeat
from inventory_service.registry import liveness
from inventory_service.registry.heartbeats import Renewal, renew_many

_NOTICED_SECONDS = 2.0
_LONG_SECONDS, _LONG_SHARE = 15.0, 0.25  # of the shortest ttl


class HeartbeatIntake:
    """Made once by each process that takes heartbeats. One thread at a time calls `renew`."""

    def __init__(self, clock: Clock, *, gone_after_seconds: float, rotate_after: dt.timedelta | None = None) -> None:
        self._clock = clock
        self._rotate_after = rotate_after
        self._gone_after_seconds = gone_after_seconds
        self._since: float | None = None

    def renew(self, beats: Sequence[tuple[str, Heartbeat]]) -> list[Renewal | CallboardError]:
        """Renew the leases of checked heartbeats. Raises peewee's errors, and the intake fails from then on.

        After a long failure everybody gets a fresh lease with the first heartbeat that can be written.
        """
        self._since = self._clock.monotonic() if self._since is None else self._since
        results = renew_many(beats, expiry=self._expiry, rotate_after=self._rotate_after)
        self._since = None
        return results

    def confirm(self) -> None:
        """Something else than a heartbeat of a host, such as the service's own, was written."""
        if self.failing_since() is not None:
            self.renew([])

    def failing_since(self) -> dt.datetime | None:
        """Since when nothing could be written, by the wall clock; None while it can."""
        seconds = self._failing_seconds()
        return self._clock.now() - dt.timedelta(seconds=seconds) if seconds >= _NOTICED_SECONDS else None

    def _expiry(self) -> liveness.Expiry:
        """Called when the database has let us in, which may have taken its time."""
        at = self._clock.now()
        seconds = self._failing_seconds()
        if seconds >= _NOTICED_SECONDS and seconds >= liveness.patience_seconds(_LONG_SECONDS, share=_LONG_SHARE):
            liveness.begin_grace(at=at)
        return liveness.expiry(at=at, gone_after_seconds=self._gone_after_seconds)

    def _failing_seconds(self) -> float:
        since = self._since
        return 0.0 if since is None else self._clock.monotonic() - since
