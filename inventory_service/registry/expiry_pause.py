"""Freeze: expiry stops where too many hosts fell silent at once, because then it is likelier that the service is deaf.

Netflix Eureka calls it self-preservation. Here it counts rows instead of keeping counters that drift, has a floor
for small fleets, and a bound, so that it cannot lock on for ever.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math

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
    def is_alarming(self) -> bool:
        """Whether so many are silent that expiry must stop."""
        return self.late + self.expired > max(_FLOOR, math.ceil(_SHARE * (self.live + self.expired)))

    @property
    def words(self) -> str:
        """The alarm in a sentence's part."""
        return f"{self.late + self.expired} of {self.live + self.expired} hosts fell silent within one ttl"


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """Whether it is frozen, and since when. `calm` counts the sweeps in a row without alarm. After a freeze that its
    bound ended, no new one begins before `not_before`, so that what is silent can expire.
    """

    frozen_at: dt.datetime | None = None
    reason: str | None = None
    calm: int = 0
    not_before: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """The state after a sweep. `gives_grace`: a freeze ended well, and every host gets a fresh lease."""

    state: State
    gives_grace: bool = False


def step(state: State, *, alarm: str | None, at: dt.datetime, bound: dt.timedelta, pause: dt.timedelta) -> Step:
    """What one sweep makes of the state. `alarm` is the reason to freeze, None when all is well.

    `bound` is the longest that a freeze may last, `pause` the time after it in which none may begin.
    """
    if state.frozen_at is None:
        may_begin = state.not_before is None or at >= state.not_before
        return Step(State(at, alarm)) if alarm is not None and may_begin else Step(dataclasses.replace(state, calm=0))
    if at - state.frozen_at >= bound:
        return Step(State(not_before=at + pause))
    if alarm is not None:
        return Step(dataclasses.replace(state, calm=0))
    if state.calm + 1 >= _CALM_SWEEPS:
        return Step(State(), gives_grace=True)
    return Step(dataclasses.replace(state, calm=state.calm + 1))
