"""What a stage's page shows of its machines at EC2: what stands in the way, where lists differ, who waits."""

from __future__ import annotations

import dataclasses
import datetime as dt

from inventory_service.models import Stage
from inventory_service.scaling import settings
from inventory_service.scaling.lifecycle import actions
from inventory_service.web import answers


@dataclasses.dataclass(frozen=True, slots=True)
class Machines:
    """For the page's head; nothing where the stage does not scale."""

    problems: tuple[tuple[str, dt.datetime | None], ...] = ()
    differences: tuple[answers.ScalingFinding, ...] = ()
    waiting: tuple[answers.LifecycleAction, ...] = ()


def of_stage(stage: Stage) -> Machines:
    """As the last looks at EC2 left it."""
    row = settings.find(stage)
    if row is None or not row.is_enabled:
        return Machines()
    shown = answers.Scaling.of(row)
    problems = [(f"Scaling: {shown.problem}", shown.problem_at)] if shown.problem else []
    problems += [(f"Lifecycle hooks: {shown.hook_problem}", None)] if shown.hook_problem else []
    waiting = [answers.LifecycleAction.of(action) for action in actions.waiting(stage)]
    return Machines(tuple(problems), tuple(shown.findings), tuple(waiting))
