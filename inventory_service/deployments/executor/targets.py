"""Whom a run works on: the hosts that are live when it starts, or those of the run that it repeats."""

from __future__ import annotations

import dataclasses
from typing import Any

from inventory_service.codes import statuses
from inventory_service.codes.run import End, SnapshotNote
from inventory_service.deployments.launching import limits
from inventory_service.deployments.runs import outcome
from inventory_service.deployments.runs.outcome import RunEndsError
from inventory_service.models import Host, Run, RunHost
from inventory_service.reasons import Reason, because
from inventory_service.registry import hosts, liveness
from inventory_service.registry import inventory as rendering
from inventory_service.registry.stages import stage_name


@dataclasses.dataclass(frozen=True, slots=True)
class Missing:
    """A host that the run was to work on and that is not there. `result` is its word in the run's results."""

    name: str
    host_id: str | None
    address: str
    port: int | None
    result: str
    note: Reason


@dataclasses.dataclass(frozen=True, slots=True)
class Targets:
    """`listing` is the whole inventory, `chosen` the hosts of it that the run is for; `notes`: what is
    otherwise than in the run that this one repeats or rolls back.
    """

    listing: dict[str, Any]
    chosen: tuple[Host, ...]
    missing: tuple[Missing, ...] = ()
    notes: tuple[Reason, ...] = ()

    def refuse_nobody(self) -> None:
        """Raise RunEndsError when there is nobody to work on."""
        if not self.chosen:
            named = outcome.first([[one.name, one.result] for one in self.missing])
            raise RunEndsError(statuses.FAILED, End.NOBODY_THERE, **named)


def live(run: Run, *, expiry: liveness.Expiry) -> Targets:
    """The inventory of this moment, and those of its hosts that the run is for. Raises RunEndsError for none.

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
        raise RunEndsError(statuses.FAILED, End.NO_LIVE_HOST, stage=stage_name(run.stage))
    notes = [because(SnapshotNote.NOT_LIVE, host=name, run=origin) for name in sorted(departed)]
    return Targets(listing, chosen, notes=tuple(notes))


def _worked_on(run_id: int) -> set[str]:
    return {row.name for row in RunHost.select(RunHost.name).where(RunHost.run == run_id)}
