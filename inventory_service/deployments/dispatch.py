"""Keeping the queue true to the runs table: what waits is sent (again), what died is marked lost."""

from __future__ import annotations

import datetime as dt
import logging

from inventory_service import audit
from inventory_service.adapters import processes
from inventory_service.database import database
from inventory_service.deployments import execution, locks, statuses
from inventory_service.models import Project, Run, RunHost, Stage
from inventory_service.settings import Settings

log = logging.getLogger(__name__)

_SEND_AGAIN = dt.timedelta(seconds=10)
_LEASE_HERE = dt.timedelta(seconds=15)
_LEASE_ELSEWHERE = dt.timedelta(seconds=120)


def due_runs(*, at: dt.datetime) -> list[int]:
    """The runs whose turn it is and whose message is not under way; marks them as sent."""
    return [run.id for run in _queued() if _is_unsent(run, at=at) and execution.is_due(run) and _mark_sent(run, at=at)]


def _queued() -> list[Run]:
    query = Run.select(Run, Stage, Project).join(Stage).join(Project).where(Run.status == statuses.QUEUED)
    return list(query.order_by(Run.id))


def _is_unsent(run: Run, *, at: dt.datetime) -> bool:
    return run.sent_at is None or bool(at - run.sent_at > _SEND_AGAIN)


def _mark_sent(run: Run, *, at: dt.datetime) -> bool:
    same = Run.sent_at.is_null() if run.sent_at is None else Run.sent_at == run.sent_at
    return bool(Run.update(sent_at=at).where((Run.id == run.id) & same).execute() == 1)


def next_run(stage: Stage) -> int | None:
    """The stage's oldest queued run: the one to send when another has just ended."""
    run = Run.select().where((Run.stage == stage) & (Run.status == statuses.QUEUED)).order_by(Run.id).first()
    return run.id if run else None


def recover_lost(settings: Settings, *, at: dt.datetime) -> list[int]:
    """Mark runs whose executor died as `lost` and free their stages; first end what they left behind."""
    running = Run.select(Run, Stage, Project).join(Stage).join(Project).where(Run.status == statuses.RUNNING)
    return [run.id for run in running if _is_dead(run, at=at) and _lose(run, settings, at=at)]


def _is_dead(run: Run, *, at: dt.datetime) -> bool:
    silence = at - run.lease_at
    if not processes.is_on_this_machine(run.executor):
        return bool(silence > _LEASE_ELSEWHERE)
    return bool(silence > _LEASE_HERE) and not processes.is_alive(run.executor)


def _lose(run: Run, settings: Settings, *, at: dt.datetime) -> bool:
    if processes.is_on_this_machine(run.executor):
        left = processes.marked(execution.MARKER, f"{settings.data_dir}#{run.id}")
        processes.end(left, patience_seconds=3)
    error = "Its executor died; what the hosts had begun may have completed. Look at them before you go on."
    with database.atomic():
        ours = (Run.id == run.id) & (Run.status == statuses.RUNNING) & (Run.lease_at == run.lease_at)
        if Run.update(status=statuses.LOST, error=error, ended_at=at).where(ours).execute() != 1:
            return False
        RunHost.update(status="lost").where((RunHost.run == run) & (RunHost.status == "pending")).execute()
        locks.free_from_run(run.id)
        audit.record(audit.SERVICE, "run.lost", f"run {run.id}", at=at)
    log.warning("run %s is lost: its executor died", run.id)
    return True
