"""Decisions as people look back at them: each change by itself; those that change nothing for one reason are one."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable

from inventory_service.models import ScalingDecision, Stage
from inventory_service.scaling.plan import HOLD


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """`newest` and `count - 1` before it that changed nothing for the same reason, from `since` on."""

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
    """Groups of decisions that follow each other and change nothing for the same reason at the same capacity."""
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
    is_same = one.from_capacity == other.from_capacity and one.veto_code == other.veto_code
    return bool(one.action == other.action == HOLD and is_same)
