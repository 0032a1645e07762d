"""How a rollout goes on from batch to batch."""

from __future__ import annotations

from typing import Any

from inventory_service.deployments import statuses
from inventory_service.models import Run

_AT_ONCE = ["100%"]


def variables(run: Run) -> dict[str, Any]:
    """The extra vars by which the shipped playbooks know their batches.

    A converge run takes all of its hosts at once, and one that fails does not stop the others: they go to a release
    that has proven itself.
    """
    if run.kind == statuses.CONVERGE:
        return {"callboard_batches": _AT_ONCE, "callboard_max_fail_percentage": 100}
    return {"callboard_batches": run.stage.batches} if run.stage.batches else {}
