"""Whom a run works on: the hosts that are live when it starts, or those of the run that it repeats."""

from __future__ import annotations

import dataclasses
from typing import Any

from inventory_service.deployments.launching import limits
from inventory_service.errors import CallboardError
from inventory_service.models import Host, Run, RunHost
from inventory_service.registry import hosts, liveness
from inventory_service.registry import inventory as rendering
from inventory_service.registry.stages import stage_name

_MOST_NAMED = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Missing:
    """A host that the run was to work on and that is not there. `status` is its word in the run's results."""

    name: str
    host_id: str | None
    address: str
    port: int | None
    status: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Targets:
    """`listing` is the whole inventory, `chosen` the hosts of it that the run is for; `notes` are full sentences."""

    listing: dict[str, Any]
    chosen: tuple[Host, ...]
    missing: tuple[Missing, ...] = ()
    notes: tuple[str, ...] = ()

    def refuse_nobody(self) -> None:
        """Raise CallboardError when there is nobody to work on."""
        if not self.chosen:
            named = ", ".join(f"{one.name} ({one.status})" for one in self.missing[:_MOST_NAMED])
            more = f" and {len(self.missing) - _MOST_NAMED} more" if len(self.missing) > _MOST_NAMED else ""
            raise CallboardError(f"No hosts matched: none of the repeated run's hosts is there now: {named}{more}.")


def live(run: Run, *, expiry: liveness.Expiry) -> Targets:
    """The inventory of this moment, and those of its hosts that the run is for. Raises CallboardError for none.

    A limit may name hosts of the repeated run, or of the one that is rolled back, that have left since. Hosts whose
    machines are to be ended are left out unless the limit names them: they would vanish under the run.
    """
    listing = rendering.render(run.stage, expiry=expiry)
    origin = run.repeat_of if run.repeat_of is not None else run.rolls_back
    departed = _worked_on(origin) - set(listing["_meta"]["hostvars"]) if origin is not None else set()
    names = set(limits.resolve(listing, limit=run.limit, exclude=run.exclude, departed=departed))
    named = limits.names(run.limit)
    present = [host for host in hosts.list_hosts(run.stage) if host.name in names]
    chosen = tuple(host for host in present if host.leaving_at is None or host.name in named)
    if not chosen:
        raise CallboardError(f"No hosts matched: {stage_name(run.stage)} has no live host for this run.")
    notes = [f"{name}, on which run {origin} worked, is not live now." for name in sorted(departed)]
    return Targets(listing, chosen, notes=tuple(notes))


def _worked_on(run_id: int) -> set[str]:
    return {row.name for row in RunHost.select(RunHost.name).where(RunHost.run == run_id)}
