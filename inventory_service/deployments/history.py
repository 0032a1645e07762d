"""Questions about the past: what a run did, what was done to a host."""

from __future__ import annotations

from typing import Any

from inventory_service.clock import iso
from inventory_service.models import Host, Run, RunEvent, RunHost, Stage

_BAD = ("failed", "unreachable")


def hosts_of_run(run: Run) -> list[RunHost]:
    """The run's hosts by name; also those that have left since."""
    return list(RunHost.select().where(RunHost.run == run).order_by(RunHost.name))


def runs_of_host(host: Host, *, limit: int = 50) -> list[dict[str, Any]]:
    """What runs did on this host, newest first."""
    query = RunHost.select(RunHost, Run).join(Run).where(RunHost.host == host).order_by(Run.id.desc()).limit(limit)
    return [
        {"run": row.run.id, "kind": row.run.kind, "status": row.status, "ended_at": iso(row.run.ended_at)}
        for row in query
    ]


def list_events(
    run: Run, *, after: int, limit: int, host: str | None = None, task: str | None = None, is_failed: bool = False
) -> list[RunEvent]:
    """The run's events after a counter, in order."""
    query = RunEvent.select().where((RunEvent.run == run) & (RunEvent.counter > after))
    query = query.where(RunEvent.host == host) if host else query
    query = query.where(RunEvent.task == task) if task else query
    query = query.where(RunEvent.status.in_(_BAD)) if is_failed else query
    return list(query.order_by(RunEvent.counter).limit(limit))


def all_hosts(stage: Stage) -> list[Host]:
    """Every host that the stage ever had, by name."""
    return list(Host.select().where(Host.stage == stage).order_by(Host.name, Host.enrolled_at))
