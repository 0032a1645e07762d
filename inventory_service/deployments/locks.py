"""Who holds a stage: the run that works on it, and perhaps a person who wants no runs for a while."""

from __future__ import annotations

import datetime as dt

import peewee as pw

from inventory_service import audit
from inventory_service.adapters import wakeup
from inventory_service.database import database
from inventory_service.deployments.runs import statuses
from inventory_service.errors import ConflictError, InvalidError
from inventory_service.models import Run, Stage, StageLock
from inventory_service.registry.stages import stage_name

BY_RUN, BY_PERSON = "run", "person"


def take_for_run(run: Run, *, at: dt.datetime) -> bool:
    """Hold the stage for this run; False when another run holds it. Inside the caller's transaction."""
    if StageLock.get_or_none((StageLock.stage == run.stage_id) & (StageLock.holder == BY_RUN)) is not None:
        return False
    StageLock.create(
        stage=run.stage_id,
        holder=BY_RUN,
        run_id=run.id,
        locked_by=run.created_by,
        reason=f"run {run.id}",
        locked_at=at,
    )
    return True


def free_from_run(run_id: int) -> None:
    """Let go of the stage; only this run's own lock."""
    StageLock.delete().where((StageLock.holder == BY_RUN) & (StageLock.run_id == run_id)).execute()
    wakeup.wake_workers()


def lock(stage: Stage, *, reason: str, actor: audit.Actor, at: dt.datetime) -> StageLock:
    """A person holds the stage: queued runs wait. Raises ConflictError when somebody holds it already."""
    if not reason.strip():
        raise InvalidError.at("reason", "Say why, so that others know when they may go on.")
    try:
        with database.atomic():
            row = StageLock.create(
                stage=stage, holder=BY_PERSON, locked_by=actor.name, reason=reason.strip(), locked_at=at
            )
            audit.record(actor, "stage.lock", stage_name(stage), at=at, reason=reason)
    except pw.IntegrityError as error:
        held = find(stage, BY_PERSON)
        by = f" by {held.locked_by}: {held.reason}" if held else ""
        raise ConflictError(f"The stage is locked already{by}.") from error
    return row


def unlock(stage: Stage, *, actor: audit.Actor, at: dt.datetime) -> None:
    """End a person's lock. None there is no error."""
    with database.atomic():
        held = StageLock.delete().where((StageLock.stage == stage) & (StageLock.holder == BY_PERSON)).execute()
        if held:
            audit.record(actor, "stage.unlock", stage_name(stage), at=at)
            wakeup.wake_workers()


def active_runs(stage_id: int) -> pw.ModelSelect[Run]:
    """The service's runs that wait for the stage or work on it.

    Runs recorded from laptops hold nothing: the service could not end them.
    """
    return Run.select().where((Run.stage == stage_id) & Run.status.in_(statuses.ACTIVE) & (Run.origin == "service"))


def find(stage: Stage, holder: str) -> StageLock | None:
    """The lock of that kind of holder."""
    return StageLock.get_or_none((StageLock.stage == stage) & (StageLock.holder == holder))
