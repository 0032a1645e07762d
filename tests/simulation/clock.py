"""Virtual time: true time that only goes forward, and the service's wall clock, which people set."""

from __future__ import annotations

import datetime as dt

_START = dt.datetime(2026, 11, 23, 14, 0, tzinfo=dt.UTC)


class VirtualClock:
    """Stands still until it is moved. `monotonic` is the simulation's true time in seconds since its start."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._wall = _START

    def now(self) -> dt.datetime:
        """The service's wall time."""
        return self._wall

    def monotonic(self) -> float:
        """True time."""
        return self._seconds

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        self._seconds += seconds
        self.jump(seconds)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back; true time does not move."""
        self._wall += dt.timedelta(seconds=seconds)
