"""What a stage's page says of its machines at EC2: what stands in the way, where lists differ, who waits."""

from __future__ import annotations

import dataclasses
import datetime as dt

from inventory_service.models import LifecycleAction, Stage
from inventory_service.scaling import settings
from inventory_service.scaling.lifecycle import actions


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One finding of the last look: `kind` in a word, `detail` a sentence, `since` when it began."""

    kind: str
    detail: str
    since: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class Machines:
    """For the page's head; nothing where the stage does not scale."""

    problems: tuple[tuple[str, dt.datetime | None], ...] = ()
    differences: tuple[Difference, ...] = ()
    waiting: tuple[LifecycleAction, ...] = ()


def of_stage(stage: Stage) -> Machines:
    """As the last looks at EC2 left it."""
    row = settings.find(stage)
    if row is None or not row.is_enabled:
        return Machines()
    problems = [(f"Scaling: {row.problem}", row.problem_at)] if row.problem else []
    problems += [(f"Lifecycle hooks: {row.hook_problem}", None)] if row.hook_problem else []
    found = [Difference(one["kind"], one["detail"], _moment(one.get("since"))) for one in row.findings]
    return Machines(tuple(problems), tuple(found), tuple(actions.waiting(stage)))


def _moment(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text else None
