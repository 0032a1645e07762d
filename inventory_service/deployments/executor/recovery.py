"""Runs whose executor died: what it left behind is ended first, then the run is `lost` and its stage free.

A run is given up only when its lease has run out *and* its process is gone: the pid alone is not the process, so its
start time and the machine's boot are compared too. A lost run is never started again by itself.
"""

from __future__ import annotations

import datetime as dt
import logging

from inventory_service.adapters import processes
from inventory_service.codes import results, statuses
from inventory_service.codes.run import End, HostNote
from inventory_service.database import database
from inventory_service.deployments import convergence
from inventory_service.deployments.executor import execution
from inventory_service.deployments.launching import requests
from inventory_service.deployments.runs import history, outcome, run_secrets
from inventory_service.models import Project, Run, RunHost, Stage
from inventory_service.reasons import Reason, because
from inventory_service.records import runs
from inventory_service.records.runs import HostResult
from inventory_service.settings import Settings

log = logging.getLogger(__name__)

_LEASE_HERE = dt.timedelta(seconds=15)
_LEASE_ELSEWHERE = dt.timedelta(seconds=120)
_PATIENCE_SECONDS = 3
_MOST_NAMED = 10


def recover_lost(settings: Settings, *, at: dt.datetime) -> list[int]:
    """Mark runs whose executor died as `lost` and free their stages; first end what they left behind."""
    claimed = (Run.status == statuses.RUNNING) & Run.executor.is_null(False)
    running = Run.select(Run, Stage, Project).join(Stage).join(Project).where(claimed)
    return [run.id for run in running if _is_dead(run, at=at) and _lose(run, settings, at=at)]


def _is_dead(run: Run, *, at: dt.datetime) -> bool:
    silence = at - run.lease_at
    if not processes.is_on_this_machine(run.executor):
        return bool(silence > _LEASE_ELSEWHERE)
    return bool(silence > _LEASE_HERE) and not processes.is_alive(run.executor)


def _lose(run: Run, settings: Settings, *, at: dt.datetime) -> bool:
    if processes.is_on_this_machine(run.executor) and not _end_orphans(run, settings):
        return False
    with database.atomic():
        if not runs.lose(run, _explain(run), at=at):
            return False
        _record_hosts(run)
        convergence.conclude(requests.get(run.id))
    if processes.is_on_this_machine(run.executor):
        run_secrets.erase_leftovers(settings, lambda number: number == run.id)
    log.warning("run %s is lost: its executor died", run.id)
    return True


def _end_orphans(run: Run, settings: Settings) -> bool:
    """End all processes that carry the run's mark; False when one is left, which would still work on hosts."""
    mark = f"{settings.data_dir}#{run.id}"
    processes.end(processes.marked(execution.MARKER, mark), patience_seconds=_PATIENCE_SECONDS)
    left = [pid for pid in processes.marked(execution.MARKER, mark) if processes.identity_of(pid) is not None]
    if left:
        log.error("run %s is dead and its processes %s can't be ended; its stage stays locked", run.id, left)
    return not left


def _explain(run: Run) -> Reason:
    """Who was being worked on, as far as that was written down before the death."""
    tasks = None if run.in_flight is None else sorted(run.in_flight.items())
    named = {"tasks": None, "more": 0} if tasks is None else outcome.first(tasks, _MOST_NAMED, key="tasks")
    return because(End.EXECUTOR_DIED, **named)


def _record_hosts(run: Run) -> None:
    """A host with a task under way is lost, and so are all that had no result yet where nothing is known."""
    counts = history.count_results(run)
    rows = RunHost.select().where((RunHost.run == run.id) & (RunHost.status == results.PENDING))
    runs.record_results([(row, _result(run, row, counts.get(row.name, outcome.HostCount()))) for row in rows])


def _result(run: Run, row: RunHost, count: outcome.HostCount) -> HostResult:
    is_lost = run.in_flight is None or row.name in run.in_flight
    tasks: dict[str, str] = run.in_flight or {}
    note = because(HostNote.UNDER_WAY, task=tasks[row.name]) if row.name in tasks else count.note
    return HostResult(results.LOST if is_lost else count.status, count.columns(), note)


def erase_leftovers(settings: Settings) -> None:
    """Secrets that ended runs have left, in their rows and in their folders on this machine, however they ended."""
    runs.erase_secrets()
    run_secrets.erase_leftovers(settings, _has_ended)


def _has_ended(run_id: int) -> bool:
    return Run.select().where((Run.id == run_id) & Run.status.in_(statuses.ENDED)).exists()
