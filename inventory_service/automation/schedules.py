"""Schedules: runs that a clock starts, written as in crontab, in a time zone of their own."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import zoneinfo
from typing import Any

import peewee as pw
from cronsim import CronSim, CronSimError

from inventory_service import events
from inventory_service.codes import statuses
from inventory_service.codes.automation import ScheduleFailure
from inventory_service.database import database
from inventory_service.deployments.launching import launch
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.errors import CallboardError, ConflictError, InvalidError, NotFoundError
from inventory_service.events import SERVICE, Actor, ActorKind, EventName
from inventory_service.models import Project, Run, Schedule, Stage
from inventory_service.reasons import Reason, because, columns
from inventory_service.registry import liveness, names
from inventory_service.registry.stages import stage_name
from inventory_service.settings import Settings

log = logging.getLogger(__name__)

_TOO_LATE = dt.timedelta(minutes=10)
_LONGEST_ERROR = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """When and what: a crontab expression, an IANA time zone, and the run request's fields (`kind` among them)."""

    cron: str
    timezone: str
    request: dict[str, Any]


def create(stage: Stage, name: str, plan: Plan, *, settings: Settings, actor: Actor, at: dt.datetime) -> Schedule:
    """Add a schedule to a stage. Raises InvalidError, also where its playbook asks for what nobody would answer, or
    ConflictError for a name in use.
    """
    names.check_slug(name, "name")
    fields = {**_checked(stage, plan, settings, at=at), "created_by": actor.name, "created_at": at}
    try:
        with database.atomic():
            row = Schedule.create(stage=stage, name=name, **fields)
            details = {"name": name, "cron": plan.cron, "timezone": plan.timezone, "kind": plan.request.get("kind")}
            events.record(EventName.SCHEDULE_CREATE, events.target(stage), actor=actor, at=at, details=details)
    except pw.IntegrityError as error:
        raise ConflictError(f"{stage_name(stage)} has a schedule {name!r} already; change or remove it.") from error
    return row


def _checked(stage: Stage, plan: Plan, settings: Settings, *, at: dt.datetime) -> dict[str, Any]:
    if plan.request.get("kind") == statuses.ROLLBACK:
        raise InvalidError.at("kind", "A schedule never rolls back: schedule a deploy, a converge or a playbook.")
    following = next_after(plan.cron, plan.timezone, at)
    answers = launch.settle(stage, _run_request(plan.request), settings).extra_vars
    wanted = {**plan.request, **({"extra_vars": answers} if answers else {})}
    return {"cron": plan.cron, "timezone": plan.timezone, "request": wanted, "next_at": following}


def next_after(cron: str, timezone: str, at: dt.datetime) -> dt.datetime | None:
    """The first moment after `at` that the expression names, in UTC; None where it names none (30 February).

    Daylight saving follows Debian's cron, as cronsim does. Raises InvalidError.
    """
    try:
        zone = zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidError.at(
            "timezone", f"{timezone[:60]!r} is no time zone; write one like Europe/Berlin."
        ) from error
    try:
        moment = next(CronSim(cron, at.astimezone(zone)), None)
    except CronSimError as error:
        raise InvalidError.at("cron", f"{cron[:80]!r} is no crontab expression: {error}. Write five fields.") from error
    return None if moment is None else moment.astimezone(dt.UTC)


def _run_request(fields: dict[str, Any]) -> RunRequest:
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return RunRequest(**given)


def find(stage: Stage, name: str) -> Schedule:
    """The stage's schedule of that name. Raises NotFoundError."""
    row = Schedule.get_or_none((Schedule.stage == stage) & (Schedule.name == name))
    if row is None:
        raise NotFoundError(f"{stage_name(stage)} has no schedule {name[:60]!r}.")
    return row


def list_of(stage: Stage) -> list[Schedule]:
    """The stage's schedules, by name."""
    return list(Schedule.select().where(Schedule.stage == stage).order_by(Schedule.name))


def switch(schedule: Schedule, *, is_enabled: bool, actor: Actor, at: dt.datetime) -> Schedule:
    """Pause a schedule or let it go on; what fell into the pause is not made up for."""
    following = next_after(schedule.cron, schedule.timezone, at) if is_enabled else None
    with database.atomic():
        Schedule.update(is_enabled=is_enabled, next_at=following).where(Schedule.id == schedule.id).execute()
        name = EventName.SCHEDULE_RESUME if is_enabled else EventName.SCHEDULE_PAUSE
        events.record(name, events.target(schedule.stage), actor=actor, at=at, details={"name": schedule.name})
    return Schedule.get_by_id(schedule.id)


def remove(schedule: Schedule, *, actor: Actor, at: dt.datetime) -> None:
    """End a schedule; the runs that it started stay."""
    with database.atomic():
        Schedule.delete().where(Schedule.id == schedule.id).execute()
        target, details = events.target(schedule.stage), {"name": schedule.name}
        events.record(EventName.SCHEDULE_REMOVE, target, actor=actor, at=at, details=details)


def run_due(*, at: dt.datetime) -> list[int]:
    """Queue a run for each schedule whose moment has come; returns the runs' numbers."""
    query = Schedule.select(Schedule, Stage, Project).join(Stage).join(Project)
    due = query.where(Schedule.is_enabled & (Schedule.next_at <= at) & Stage.archived_at.is_null())
    return [run.id for row in due if _claim(row, at=at) and (run := _start(row, at=at)) is not None]


def _claim(row: Schedule, *, at: dt.datetime) -> bool:
    """Move the schedule to its next moment: True for exactly one of the workers that try."""
    following = next_after(row.cron, row.timezone, at)
    same = (Schedule.id == row.id) & (Schedule.next_at == row.next_at)
    return bool(Schedule.update(next_at=following).where(same).execute() == 1)


def _start(row: Schedule, *, at: dt.datetime) -> Run | None:
    failure = _refusal(row, at=at)
    if failure is None:
        try:
            request = _run_request({"comment": f"schedule {row.name}", **row.request})
            expiry = liveness.expiry(at=at, gone_after_seconds=0)
            run = launch.launch(row.stage, request, actor=_actor(row), expiry=expiry)
        except CallboardError as error:
            failure = because(ScheduleFailure.REFUSED, text=error.detail[:_LONGEST_ERROR])
        else:
            _note(row, last_run_id=run.id, last_at=at, **columns("last_failure", None))
            return run
    log.warning("the schedule %s of %s started nothing: %s", row.name, stage_name(row.stage), failure)
    with database.atomic():
        _note(row, **columns("last_failure", failure))
        details = {"name": row.name}
        target = events.target(row.stage)
        events.record(EventName.SCHEDULE_FAIL, target, actor=SERVICE, at=at, reason=failure, details=details)
    return None


def _actor(row: Schedule) -> Actor:
    return Actor(f"schedule:{row.name}", kind=ActorKind.SCHEDULE, id=str(row.id))


def _refusal(row: Schedule, *, at: dt.datetime) -> Reason | None:
    """No run for a moment long past, as with cron; none beside the one before, so that slow runs don't pile up."""
    if at - row.next_at > _TOO_LATE:
        return because(ScheduleFailure.NO_WORKER, moment=f"{row.next_at:%Y-%m-%d %H:%M}")
    if row.last_run_id is not None:
        run = Run.get_or_none((Run.id == row.last_run_id) & Run.status.in_(statuses.ACTIVE))
        if run is not None:
            return because(ScheduleFailure.STILL_ACTIVE, run=run.id, status=run.status)
    return None


def _note(row: Schedule, **fields: Any) -> None:
    Schedule.update(**fields).where(Schedule.id == row.id).execute()
