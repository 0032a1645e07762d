"""Whom a run works on: the hosts that are live when it starts, or those of the run that it repeats."""

from __future__ import annotations

import dataclasses
from typing import Any

from inventory_service.deployments import limits
from inventory_service.errors import CallboardError
from inventory_service.models import Host, Run
from inventory_service.registry import hosts, liveness
from inventory_service.registry import inventory as rendering
from inventory_service.registry.stages import stage_name


@dataclasses.dataclass(frozen=True, slots=True)
class Missing:
    """A host that the run was to work on and that is not there. `status` is its word in the run's results."""

    name: str
    host_id: str | None
    address: str
    status: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Targets:
    """`listing` is the whole inventory, `chosen` the hosts of it that the run is for; `notes` are full sentences."""

    listing: dict[str, Any]
    chosen: tuple[Host, ...]
    missing: tuple[Missing, ...] = ()
    notes: tuple[str, ...] = ()


def live(run: Run, *, judge: liveness.Judge) -> Targets:
    """The inventory of this moment, and those of its hosts that the run is for. Raises CallboardError for none."""
    listing = rendering.render(run.stage, judge=judge)
    names = set(limits.resolve(listing, limit=run.limit, exclude=run.exclude))
    chosen = tuple(host for host in hosts.list_hosts(run.stage) if host.name in names)
    if not chosen:
        raise CallboardError(f"No hosts matched: {stage_name(run.stage)} has no live host for this run.")
    return Targets(listing, chosen)
