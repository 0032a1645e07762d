"""Which machines go when some have to: by zone balance, oldest template, oldest release, least load."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A machine of the stage as scaling sees it. `load` is None where it reports none."""

    id: str
    zone: str = ""
    template_version: int = 0
    release: int = 0
    load: float | None = None
    is_live: bool = True
    is_up_to_date: bool = True
    is_in_run: bool = False
    is_draining: bool = False
    is_protected: bool = False

    @property
    def may_go(self) -> bool:
        """Whether scaling may take it: never one that works, is being changed, drains already, or is protected."""
        return self.is_live and self.is_up_to_date and not (self.is_in_run or self.is_draining or self.is_protected)


def choose(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """At most `count` machines to take away, first one first. Fewer where fewer may go."""
    left, chosen = list(candidates), []
    for _ in range(count):
        free = [candidate for candidate in left if candidate.may_go]
        if not free:
            break
        zones = Counter(candidate.zone for candidate in left)
        one = min(free, key=lambda candidate: _rank(candidate, zones))
        left.remove(one)
        chosen.append(one)
    return chosen


def _rank(candidate: Candidate, zones: Counter[str]) -> tuple[int, int, int, float, str]:
    """Smallest goes first. The id decides last, so that the same situation always has the same answer."""
    load = float("-inf") if candidate.load is None else candidate.load
    return (-zones[candidate.zone], candidate.template_version, candidate.release, load, candidate.id)
