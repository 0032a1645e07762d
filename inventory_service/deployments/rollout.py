"""How a rollout goes on from batch to batch, and what follows when it stops."""

from __future__ import annotations

import datetime as dt
from typing import Any

from inventory_service import audit
from inventory_service.deployments import locks
from inventory_service.deployments.launching.requests import RunRequest, get, request_run
from inventory_service.deployments.runs import history, outcome, statuses
from inventory_service.errors import CallboardError, ConflictError
from inventory_service.models import Host, Release, Run, RunHost, Stage, StageLock
from inventory_service.registry.stages import stage_name

_AT_ONCE = {"callboard_batches": ["100%"], "callboard_max_fail_percentage": 100}
_BAD = (outcome.FAILED, outcome.UNREACHABLE)
_STOPPED = (statuses.FAILED, statuses.TIMEOUT)
_MOST_NAMES = 1000


def variables(run: Run) -> dict[str, Any]:
    """The extra vars by which the shipped playbooks know their batches.

    A converge run and an automatic rollback take all of their hosts at once, and one that fails does not stop the
    others: they go to a release that has proven itself.
    """
    if run.kind == statuses.CONVERGE or run.rolls_back is not None:
        return _AT_ONCE
    return {"callboard_batches": run.stage.batches} if run.stage.batches else {}


def conclude(run: Run, ending: outcome.Ending, *, at: dt.datetime) -> str | None:
    """What follows from a run's end; returns the run's error in full, None for a success.

    Inside the transaction that ends the run, after its hosts were recorded, so that no other run comes in between. A
    deploy that stopped on its way locks the stage and queues one rollback, where the stage says so. A rollback that
    was queued so and fails, too, queues nothing more.
    """
    run = get(run.id)  # its release was made meanwhile
    error = _with_reason(run, ending)
    if run.rolls_back is not None and ending.status != statuses.SUCCESSFUL:
        why = f"The automatic rollback of run {run.rolls_back}, run {run.id}, did not succeed: {error or ending.status}"
        _lock(run.stage, why, at=at)
        return error
    touched = _touched(run)
    if run.kind != statuses.DEPLOY or run.is_check or ending.status not in _STOPPED or not touched:
        return error
    stage = Stage.get_by_id(run.stage_id)
    return f"{error} {_give_up(run, stage, touched, error or '', at=at)}" if stage.has_auto_rollback else error


def _with_reason(run: Run, ending: outcome.Ending) -> str | None:
    """The ending's own words, and for a failure the last words of the first host that failed."""
    if ending.error is None or ending.status != statuses.FAILED:
        return ending.error
    bad = RunHost.select().where((RunHost.run == run) & RunHost.status.in_(_BAD)).order_by(RunHost.name).first()
    words = history.failure_of(run, bad.name) if bad else ""
    return f"{ending.error} {bad.name}: {words}" if bad and words else ending.error


def _touched(run: Run) -> list[Host]:
    """The hosts that tasks of the run worked on and that have not left: they may have the new release."""
    return [host for host in _hosts_of(run, outcome.WORKED_ON) if host.gone_at is None]


def _hosts_of(run: Run, words: tuple[str, ...]) -> list[Host]:
    query = Host.select().join(RunHost).where((RunHost.run == run) & RunHost.status.in_(words))
    return list(query.order_by(Host.name))


def _give_up(run: Run, stage: Stage, touched: list[Host], error: str, *, at: dt.datetime) -> str:
    """Queue the rollback and lock the stage; returns what was done, in words."""
    done = _roll_back(run, stage, touched, at=at)
    _lock(stage, f"The rollout of release {run.release_number} stopped (run {run.id}): {error} {done}", at=at)
    return f"{done} The stage is locked."


def _roll_back(run: Run, stage: Stage, touched: list[Host], *, at: dt.datetime) -> str:
    desired = stage.desired_release_number
    if desired is None or desired == run.release_number:
        return "There is no release before it to go back to."
    names = ",".join(host.name for host in touched)
    request = RunRequest(
        kind=statuses.ROLLBACK,
        release=desired,
        limit=names if len(touched) <= _MOST_NAMES else None,
        comment=f"Undoes run {run.id}, which stopped on its way",
        allow_frozen=True,
    )
    try:
        made = request_run(run.stage, request, actor=audit.SERVICE, at=at)[0]
    except CallboardError as problem:
        return f"It could not be rolled back: {problem.detail}"
    Run.update(rolls_back=run.id, sent_at=None).where(Run.id == made.id).execute()
    return f"Run {made.id} goes back to release {desired} on {len(touched)} of its hosts."


def _lock(stage: Stage, reason: str, *, at: dt.datetime) -> None:
    """Lock the stage; where somebody holds it already, that lock's reason goes on with this one."""
    reason = reason.removesuffix(".")  # as people write theirs: pages go on after it
    try:
        locks.lock(stage, reason=reason, actor=audit.SERVICE, at=at)
    except ConflictError:
        held = (StageLock.stage == stage) & (StageLock.holder == locks.BY_PERSON)
        StageLock.update(reason=StageLock.reason.concat(f" {reason}")).where(held).execute()
        audit.record(audit.SERVICE, "stage.lock", stage_name(stage), at=at, reason=reason)


def rolled_back_by(run: Run) -> int | None:
    """The number of the rollback that the service queued because this run stopped."""
    found: int | None = Run.select(Run.id).where(Run.rolls_back == run.id).order_by(Run.id).scalar()
    return found


def stays_held(run: Run, status: str) -> bool:
    """Whether hosts with the release of a deploy that stopped stay on it until somebody decides.

    Where the stage rolls back by itself, they are on their way back.
    """
    return run.kind == statuses.DEPLOY and status in _STOPPED and not run.stage.has_auto_rollback


def got_release(run: Run, release: Release) -> list[str]:
    """Ids of the hosts it worked on, whatever became of them, that have said themselves that they run this release."""
    return [host.id for host in _hosts_of(run, outcome.WORKED_ON) if host.release_number == release.number]
