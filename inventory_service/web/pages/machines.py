"""What a stage's page shows of its machines at EC2: what stands in the way, where lists differ, who waits."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from inventory_service.models import Stage
from inventory_service.scaling import settings
from inventory_service.scaling.lifecycle import actions
from inventory_service.web import present_scaling


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One finding of the last look: `kind` in a word, `detail` a sentence, `since` when it began."""

    kind: str
    detail: str
    since: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class Machines:
    """For the page's head; nothing where the stage does not scale. `waiting`: as the answer `LifecycleAction`."""

    problems: tuple[tuple[str, dt.datetime | None], ...] = ()
    differences: tuple[Difference, ...] = ()
    waiting: tuple[dict[str, Any], ...] = ()


def of_stage(stage: Stage) -> Machines:
    """As the last looks at EC2 left it."""
    row = settings.find(stage)
    if row is None or not row.is_enabled:
        return Machines()
    problem = present_scaling.problem(row.problem_code, row.problem_params)
    hook_problem = present_scaling.problem(row.hook_problem_code, row.hook_problem_params)
    problems = [(f"Scaling: {problem}", row.problem_at)] if problem else []
    problems += [(f"Lifecycle hooks: {hook_problem}", None)] if hook_problem else []
    found = [present_scaling.finding(kept) for kept in row.findings]
    differences = [Difference(one["kind"], one["detail"], _moment(one["since"])) for one in found]
    waiting = [{**present_scaling.action(action), "at": action.at} for action in actions.waiting(stage)]
    return Machines(tuple(problems), tuple(differences), tuple(waiting))


def _moment(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text else None
