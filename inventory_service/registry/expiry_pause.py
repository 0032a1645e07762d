"""When expiry pauses: where too many hosts fell silent at once, since then it is likelier that they can't be heard.

Netflix Eureka calls it self-preservation. Here it counts rows instead of keeping counters that go wrong, has a floor
for small fleets, and a bound, so that it cannot lock on for ever.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math

from inventory_service.codes.stage import ExpiryPause
from inventory_service.reasons import Reason, because
from inventory_service.records.stages import Pause

_SHARE = 0.25
_FLOOR = 3
_CALM_SWEEPS = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """Of one stage, or of all: hosts that are listed, those of them that are late, those that expired lately.

    `expired` counts hosts whose lease ran out within the last ttl without an explanation: a goodbye, a confirmed
    termination or an operator's word is one.
    """

    live: int
    late: int
    expired: int

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(self.live + other.live, self.late + other.late, self.expired + other.expired)

    @property
    def has_too_many_silent(self) -> bool:
        """Whether so many are silent that expiry must stop."""
        return self.late + self.expired > max(_FLOOR, math.ceil(_SHARE * (self.live + self.expired)))

    @property
    def pause_reason(self) -> Reason | None:
        """The reason to pause, None when all is well."""
        silent, of = self.late + self.expired, self.live + self.expired
        return because(ExpiryPause.MANY_SILENT, silent=silent, of=of) if self.has_too_many_silent else None


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """The pause after a sweep. `gives_grace`: one ended well, and every host gets a fresh lease."""

    pause: Pause
    gives_grace: bool = False


def step(before: Pause, *, reason: Reason | None, at: dt.datetime, bound: dt.timedelta, rest: dt.timedelta) -> Step:
    """What one sweep makes of the pause. `reason` is one to pause, None when all is well.

    `bound` is the longest that one may last, `rest` the time after it in which none may begin.
    """
    if before.paused_at is None:
        may_begin = before.not_before is None or at >= before.not_before
        begins = reason is not None and may_begin
        return Step(Pause(at, reason) if begins else dataclasses.replace(before, calm_sweeps=0))
    if at - before.paused_at >= bound:
        return Step(Pause(not_before=at + rest))
    if reason is not None:
        return Step(dataclasses.replace(before, calm_sweeps=0))
    if before.calm_sweeps + 1 >= _CALM_SWEEPS:
        return Step(Pause(), gives_grace=True)
    return Step(dataclasses.replace(before, calm_sweeps=before.calm_sweeps + 1))
