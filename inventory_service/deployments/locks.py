"""Who holds a stage: the run that works on it, and perhaps a person who wants no runs for a while."""

from __future__ import annotations

import datetime as dt

import peewee as pw

from inventory_service.codes import statuses
from inventory_service.codes.lock import BY_PERSON, BY_RUN, Lock
from inventory_service.errors import ConflictError, InvalidError, LockedError
from inventory_service.events import Actor
from inventory_service.models import Run, Stage, StageLock
from inventory_service.reasons import because
from inventory_service.records import locks
from inventory_service.records.locks import unlock
from inventory_service.registry.stages import stage_name
from inventory_service.wording import lock as wording

__all__ = ["BY_PERSON", "BY_RUN", "active_runs", "find", "lock", "refuse_busy", "unlock"]


def lock(stage: Stage, *, reason: str, actor: Actor, at: dt.datetime) -> StageLock:
    """A person locks the stage: queued runs wait. Raises ConflictError when it is locked already."""
    if not reason.strip():
        raise InvalidError.at("reason", "Say why, so that others know when they may go on.")
    row = locks.lock(stage, because(Lock.PERSON, text=reason.strip()), actor=actor, at=at)
    if row is not None:
        return row
    lock_row = find(stage, BY_PERSON)
    by = f" by {lock_row.locked_by}: {wording.why(lock_row.reasons)}" if lock_row else ""
    raise ConflictError(f"The stage is locked already{by}.")


def refuse_busy(stage: Stage, *, is_overriding: bool) -> None:
    """Raise LockedError where a run would have to wait. `is_overriding`: a person's lock is none for it."""
    lock_row = find(stage, BY_PERSON)
    if lock_row is not None and not is_overriding:
        raise LockedError(f"{stage_name(stage)} is locked by {lock_row.locked_by}: {wording.why(lock_row.reasons)}.")
    active = active_runs(stage.id).order_by(Run.started_at.is_null(), Run.id).first()
    if active is not None:
        raise LockedError(f"{stage_name(stage)} is busy: run {active.id} ({active.kind}) is {active.status}.")


def active_runs(stage_id: int) -> pw.ModelSelect[Run]:
    """The service's runs that wait for the stage or work on it.

    External runs lock nothing: the service could not end them.
    """
    return Run.select().where((Run.stage == stage_id) & Run.status.in_(statuses.ACTIVE) & (Run.origin == "service"))


def find(stage: Stage, holder: str) -> StageLock | None:
    """The lock of that kind of holder."""
    return StageLock.get_or_none((StageLock.stage == stage) & (StageLock.holder == holder))
