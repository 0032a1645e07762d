"""How a rollout goes on from batch to batch, and what follows when it stops."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from inventory_service.codes import results, statuses
from inventory_service.codes.lock import Lock
from inventory_service.codes.run import End
from inventory_service.deployments.launching import launch
from inventory_service.deployments.launching.requests import RunRequest, get
from inventory_service.deployments.runs import history, outcome
from inventory_service.errors import CallboardError
from inventory_service.events import SERVICE
from inventory_service.models import Host, Release, Run, RunHost, Stage
from inventory_service.reasons import Reason, because
from inventory_service.records import locks
from inventory_service.registry import liveness

_AT_ONCE = {"callboard_batches": ["100%"], "callboard_max_fail_percentage": 100}
_BAD = (results.FAILED, results.UNREACHABLE)
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


def conclude(run: Run, ending: outcome.Ending, *, at: dt.datetime) -> tuple[Reason, ...]:
    """What follows from a run's end; returns why it ended, with what was done about it.

    Inside the transaction that ends the run, after its hosts were recorded, so that no other run comes in between. A
    deploy that stopped on its way locks the stage and queues one rollback, where the stage says so. A rollback that
    was queued so and fails, too, queues nothing more.
    """
    run = get(run.id)  # its release was made meanwhile
    reasons = (*ending.reasons, *_said(run, ending))
    if run.rolls_back is not None and ending.status != statuses.SUCCESSFUL:
        params = {"run": run.rolls_back, "rollback": run.id, "status": ending.status, "reasons": _as_json(reasons)}
        locks.lock_by_service(run.stage, because(Lock.ROLLBACK_FAILED, **params), at=at)
        return reasons
    touched = _touched(run)
    if run.kind != statuses.DEPLOY or run.is_check or ending.status not in _STOPPED or not touched:
        return reasons
    stage = Stage.get_by_id(run.stage_id)
    return _give_up(run, stage, touched, reasons, at=at) if stage.has_auto_rollback else reasons


def _said(run: Run, ending: outcome.Ending) -> tuple[Reason, ...]:
    """For a failure, the last words of the first host that failed."""
    if ending.status != statuses.FAILED:
        return ()
    bad = RunHost.select().where((RunHost.run == run) & RunHost.status.in_(_BAD)).order_by(RunHost.name).first()
    text = history.failure_of(run, bad.name) if bad else ""
    return (because(End.HOST_SAID, host=bad.name, text=text),) if text else ()


def _as_json(reasons: Iterable[Reason]) -> list[dict[str, Any]]:
    return [reason.to_json() for reason in reasons]


def _touched(run: Run) -> list[Host]:
    """The hosts that tasks of the run worked on and that have not left: they may have the new release."""
    return [host for host in _hosts_of(run, results.WORKED_ON) if host.gone_at is None]


def _hosts_of(run: Run, wanted: tuple[str, ...]) -> list[Host]:
    query = Host.select().join(RunHost).where((RunHost.run == run) & RunHost.status.in_(wanted))
    return list(query.order_by(Host.name))


def _give_up(
    run: Run, stage: Stage, touched: list[Host], reasons: tuple[Reason, ...], *, at: dt.datetime
) -> tuple[Reason, ...]:
    """Queue the rollback and lock the stage; returns the reasons with what was done."""
    reasons = (*reasons, _roll_back(run, stage, touched, at=at))
    params = {"release": run.release_number, "run": run.id, "reasons": _as_json(reasons)}
    locks.lock_by_service(stage, because(Lock.ROLLOUT_STOPPED, **params), at=at)
    return (*reasons, because(End.STAGE_LOCKED))


def _roll_back(run: Run, stage: Stage, touched: list[Host], *, at: dt.datetime) -> Reason:
    desired = stage.desired_release_number
    if desired is None or desired == run.release_number:
        return because(End.NO_EARLIER_RELEASE)
    names = ",".join(host.name for host in touched)
    request = RunRequest(
        kind=statuses.ROLLBACK,
        release=desired,
        limit=names if len(touched) <= _MOST_NAMES else None,
        comment=f"Undoes run {run.id}, which stopped on its way",
        allows_paused_expiry=True,
        rolls_back=run.id,
    )
    try:
        made = launch.launch(run.stage, request, actor=SERVICE, expiry=liveness.expiry(at=at, gone_after_seconds=0))
    except CallboardError as problem:
        return because(End.ROLLBACK_REFUSED, text=problem.detail)
    return because(End.ROLLED_BACK, run=made.id, release=desired, count=len(touched))


def rolled_back_by(run: Run) -> int | None:
    """The number of the rollback that the service queued because this run stopped."""
    found: int | None = Run.select(Run.id).where(Run.rolls_back == run.id).order_by(Run.id).scalar()
    return found


def stays_pinned(run: Run, status: str) -> bool:
    """Whether hosts with the release of a deploy that stopped stay on it until somebody decides.

    Where the stage rolls back by itself, they are on their way back.
    """
    return run.kind == statuses.DEPLOY and status in _STOPPED and not run.stage.has_auto_rollback


def got_release(run: Run, release: Release) -> list[str]:
    """Ids of the hosts it worked on, whatever became of them, that have said themselves that they run this release."""
    return [host.id for host in _hosts_of(run, results.WORKED_ON) if host.release_number == release.number]
