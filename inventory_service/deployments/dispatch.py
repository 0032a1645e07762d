"""Keeping the queue true to the runs table: what waits is sent (again), what died is marked lost."""

from __future__ import annotations

import datetime as dt
import logging

from inventory_service.deployments import execution, statuses
from inventory_service.models import Project, Run, Stage

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
    """The stage's queued run whose turn is next, to be sent when another has just ended: the oldest, or a rollback that
    undoes a stopped rollout.
    """
    queued = Run.select().where((Run.stage == stage) & (Run.status == statuses.QUEUED))
    run = queued.order_by(Run.rolls_back.is_null(), Run.id).first()
    return run.id if run else None
