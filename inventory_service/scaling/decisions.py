"""Decisions as people look back at them: each change by itself, and what held for the same reason taken together."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Iterable

from inventory_service.models import ScalingDecision, Stage
from inventory_service.scaling.plan import HOLD

_VETO = "Held:"


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """`newest` and `count - 1` before it that held like it, from `since` on."""

    newest: ScalingDecision
    since: dt.datetime
    count: int = 1

    @property
    def is_change(self) -> bool:
        """Whether it is about to change, changed or would have changed the capacity."""
        return bool(self.newest.action != HOLD)

    @property
    def at(self) -> dt.datetime:
        """When it began."""
        return self.since


def between(stage: Stage, since: dt.datetime, until: dt.datetime, *, most: int) -> tuple[list[Group], bool]:
    """(groups, whether there are more of them), the newest first."""
    inside = (ScalingDecision.at >= since) & (ScalingDecision.at <= until)
    query = ScalingDecision.select().where((ScalingDecision.stage == stage) & inside)
    found: list[Group] = []
    for group in gather(query.order_by(ScalingDecision.id.desc()).iterator()):
        if len(found) == most:
            return found, True
        found.append(group)
    return found, False


def gather(newest_first: Iterable[ScalingDecision]) -> Iterable[Group]:
    """Groups of decisions that follow each other and held for the same reason at the same capacity."""
    group: Group | None = None
    for one in newest_first:
        if group is not None and _is_like(one, group.newest):
            group = dataclasses.replace(group, since=one.at, count=group.count + 1)
            continue
        if group is not None:
            yield group
        group = Group(one, one.at)
    if group is not None:
        yield group


def _is_like(one: ScalingDecision, other: ScalingDecision) -> bool:
    is_held = one.action == other.action == HOLD
    return is_held and one.from_capacity == other.from_capacity and veto_of(one) == veto_of(other)


def veto_of(one: ScalingDecision) -> str:
    """The rule that held it back, without its numbers; "" where nothing was wanted."""
    last = one.reasons[-1] if one.reasons else ""
    return re.sub(r"[\d.,]+", "", last) if last.startswith(_VETO) else ""
