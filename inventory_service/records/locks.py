"""Writes locks of stages: of the run that works on one, and of who wants no runs for a while."""

from __future__ import annotations

import datetime as dt

import peewee as pw

from inventory_service import events
from inventory_service.adapters import wakeup
from inventory_service.codes.lock import BY_PERSON, BY_RUN, Lock
from inventory_service.database import database
from inventory_service.events import SERVICE, Actor, EventName
from inventory_service.models import Run, Stage, StageLock
from inventory_service.reasons import Reason, because


def take_for_run(run: Run, *, at: dt.datetime) -> bool:
    """The run takes its stage, inside the caller's transaction; False when another run has it."""
    taken = StageLock.insert(
        stage=run.stage_id,
        holder=BY_RUN,
        run_id=run.id,
        locked_by=run.created_by,
        locked_by_kind=run.created_by_kind,
        locked_by_id=run.created_by_id,
        code=str(Lock.RUN),
        reasons=[because(Lock.RUN, run=run.id).to_json()],
        locked_at=at,
    )
    return bool(taken.on_conflict_ignore().as_rowcount().execute() == 1)


def free_from_run(run_id: int) -> None:
    """The run lets go of its stage, inside the caller's transaction; only its own lock ends."""
    StageLock.delete().where((StageLock.holder == BY_RUN) & (StageLock.run_id == run_id)).execute()
    wakeup.wake_workers()


def lock(stage: Stage, reason: Reason, *, actor: Actor, at: dt.datetime) -> StageLock | None:
    """Queued runs wait from now on. None when the stage is locked already."""
    try:
        with database.atomic():
            row = StageLock.create(
                stage=stage,
                holder=BY_PERSON,
                locked_by=actor.name,
                locked_by_kind=str(actor.kind),
                locked_by_id=actor.id,
                code=str(reason.code),
                reasons=[reason.to_json()],
                locked_at=at,
            )
            events.record(EventName.STAGE_LOCK, events.target(stage), actor=actor, at=at, reason=reason)
    except pw.IntegrityError:
        return None
    return row


def lock_by_service(stage: Stage, reason: Reason, *, at: dt.datetime) -> None:
    """The service locks the stage; where it is locked already, that lock has this reason, too."""
    if lock(stage, reason, actor=SERVICE, at=at) is not None:
        return
    with database.atomic():
        for row in StageLock.select().where((StageLock.stage == stage) & (StageLock.holder == BY_PERSON)):
            StageLock.update(reasons=[*row.reasons, reason.to_json()]).where(StageLock.id == row.id).execute()
        events.record(EventName.STAGE_LOCK, events.target(stage), actor=SERVICE, at=at, reason=reason)


def unlock(stage: Stage, *, actor: Actor, at: dt.datetime) -> None:
    """Queued runs may go on. A stage that is not locked stays so."""
    with database.atomic():
        ended = StageLock.delete().where((StageLock.stage == stage) & (StageLock.holder == BY_PERSON)).execute()
        if ended:
            events.record(EventName.STAGE_UNLOCK, events.target(stage), actor=actor, at=at)
            wakeup.wake_workers()
