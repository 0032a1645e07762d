"""The queue: which run's turn it is, and what stands before the others. The runs table is all there is to it.

In each stage the rollback of a rollout that stopped goes first of all; then rollbacks go before deploys, deploys before
playbooks, playbooks before convergence, and the older before the newer. One run at a time works on a stage; stages do
not wait for each other.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

from inventory_service.adapters import processes
from inventory_service.codes import statuses
from inventory_service.codes.run import Wait
from inventory_service.database import fetch
from inventory_service.deployments import locks
from inventory_service.models import Project, Run, Stage, StageLock
from inventory_service.reasons import Reason, because
from inventory_service.wording import lock as lock_wording
from inventory_service.wording import run as run_wording

# External runs lock nothing: the service could not end them.
_AT_WORK = (Run.status == statuses.RUNNING) & (Run.origin == "service")


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """Why a queued run waits. `position` 1 comes next of its stage; None each where it is not in the way."""

    position: int
    lock: StageLock | None
    running: Run | None
    first: Run | None

    @property
    def why(self) -> Reason:
        """What it waits for."""
        if self.lock is not None:
            return because(Wait.LOCK, by=self.lock.locked_by, reason=lock_wording.why(self.lock.reasons))
        blocking = self.running or self.first
        if blocking is None:
            return because(Wait.WORKER)
        others = self.position - (1 if self.running else 2)
        return because(Wait.RUN, run=blocking.id, kind=blocking.kind, status=blocking.status, more=others)

    @property
    def reason(self) -> str:
        """The same in words, without a full stop."""
        return run_wording.waits_for(self.why.code, self.why.params)


def is_empty() -> bool:
    """Whether no run is queued: one look into an index."""
    return not fetch("SELECT 1 FROM run WHERE status = 'queued' LIMIT 1")


def due_runs() -> list[Run]:
    """The runs whose turn it is, one of each stage at most, the most urgent first."""
    busy_stages = {row.stage_id for row in Run.select(Run.stage).where(_AT_WORK)}
    by_stage: dict[int, list[Run]] = {}
    for run in _queued():
        by_stage.setdefault(run.stage_id, []).append(run)
    heads = [_head(runs) for stage_id, runs in by_stage.items() if stage_id not in busy_stages]
    return _in_order(run for run in heads if run is not None)


def is_due(run: Run) -> bool:
    """Whether this queued run comes next on its stage. Another one that works there is for the stage's lock to tell."""
    head = _head([one for one in _queued() if one.stage_id == run.stage_id])
    return head is not None and head.id == run.id


def waiting(run: Run) -> Waiting:
    """What stands before a queued run."""
    before = list(_before(run))
    lock = _lock(run.stage)
    return Waiting(
        position=len(before) + 1,
        lock=None if lock is None or _passes(run, lock) else lock,
        running=Run.get_or_none(_AT_WORK & (Run.stage == run.stage_id)),
        first=before[0] if before else None,
    )


def running_here() -> set[int]:
    """The runs whose executors live on this machine, whoever started them."""
    rows = Run.select(Run.id, Run.executor).where((Run.status == statuses.RUNNING) & Run.executor.is_null(False))
    return {row.id for row in rows if processes.is_alive(row.executor)}


def _queued() -> list[Run]:
    query = Run.select(Run, Stage, Project).join(Stage).join(Project)
    query = query.where((Run.status == statuses.QUEUED) & Stage.archived_at.is_null())
    return _in_order(query)


def _in_order(runs: Iterable[Run]) -> list[Run]:
    def place(run: Run) -> tuple[bool, int, int]:
        return run.rolls_back is None, statuses.URGENCY.get(run.kind, len(statuses.URGENCY)), run.id

    return sorted(runs, key=place)


def _head(runs: list[Run]) -> Run | None:
    """The first of a stage's queued runs that may go: a person's lock lets those pass that override it."""
    lock = _lock(runs[0].stage) if runs else None
    return next((run for run in runs if lock is None or _passes(run, lock)), None)


def _before(run: Run) -> Iterable[Run]:
    """The queued runs of its stage that go before it; while a person's lock holds, those that override it go first."""
    lock = _lock(run.stage)
    mine = [one for one in _queued() if one.stage_id == run.stage_id]
    mine.sort(key=lambda one: lock is not None and not _passes(one, lock))
    return itertools.takewhile(lambda one: one.id != run.id, mine)


def _lock(stage: Stage) -> StageLock | None:
    return locks.find(stage, locks.BY_PERSON)


def _passes(run: Run, lock: StageLock) -> bool:
    """Whether the run goes past this lock: by an override, of the lock that was there when somebody said so; or because
    it came with the lock, to undo a rollout that stopped.
    """
    return run.rolls_back is not None or (run.override_lock is not None and bool(lock.locked_at <= run.created_at))
