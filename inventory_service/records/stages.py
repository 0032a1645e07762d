"""The only writer of stages. Each function writes the row and its event, inside the caller's transaction."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any

from inventory_service import events
from inventory_service.codes.stage import ExpiryPause
from inventory_service.events import SERVICE, Actor, EventName
from inventory_service.models import Project, Stage
from inventory_service.reasons import Reason, because, columns

# what people do


def create(
    project: Project, name: str, fields: Mapping[str, Any], *, called: Mapping[str, str], actor: Actor, at: dt.datetime
) -> Stage:
    """A new stage. `called`: as in `change`. Raises IntegrityError when the project has one of that name."""
    row: Stage = Stage.create(project=project, name=name, created_at=at, **fields)
    changes = changed_settings({}, {called[column]: value for column, value in fields.items()})
    events.record(EventName.STAGE_CREATE, events.target(row), actor=actor, at=at, changes=changes)
    return row


def change(
    stage: Stage, fields: Mapping[str, Any], *, called: Mapping[str, str], actor: Actor, at: dt.datetime
) -> None:
    """Give these columns new values. `called`: {column: the setting's name}, under which people know what changed."""
    if fields:
        Stage.update(**fields).where(Stage.id == stage.id).execute()
    before = {called[column]: getattr(stage, column) for column in fields}
    after = {called[column]: value for column, value in fields.items()}
    changes = changed_settings(before, after)
    events.record(EventName.STAGE_UPDATE, events.target(stage), actor=actor, at=at, changes=changes)


def changed_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """{field: (old, new)} of what differs between two of the same fields; variables one by one: `variables.NAME`."""
    old, new = _flat(before), _flat(after)
    removed = {name: (value, None) for name, value in old.items() if name not in new}
    return events.changed(old, new) | removed


_VARIABLE = "variables."


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    variables = {f"{_VARIABLE}{name}": value for name, value in (fields.get("variables") or {}).items()}
    return {name: value for name, value in fields.items() if name != "variables"} | variables


def archive(stage: Stage, *, actor: Actor, at: dt.datetime) -> None:
    """Take it out of sight; its hosts' credentials end, its history stays."""
    Stage.update(archived_at=at).where(Stage.id == stage.id).execute()
    events.record(EventName.STAGE_ARCHIVE, events.target(stage), actor=actor, at=at)


def archive_all_of(project: Project, *, actor: Actor, at: dt.datetime) -> None:
    """The project is archived, and its stages with it."""
    there = Stage.select(Stage, Project).join(Project).where((Stage.project == project) & Stage.archived_at.is_null())
    for stage in list(there.order_by(Stage.name)):
        archive(stage, actor=actor, at=at)


# releases and hosts


def set_desired_release(stage: Stage, number: int, *, at: dt.datetime) -> None:
    """The whole stage should run this release from now on."""
    changes = events.changed({"desired_release": stage.desired_release_number}, {"desired_release": number})
    Stage.update(desired_release_number=number).where(Stage.id == stage.id).execute()
    if changes:
        events.record(EventName.STAGE_RELEASE, events.target(stage), actor=SERVICE, at=at, changes=changes)


def count_transition(stage_id: int) -> None:
    """A host of the stage changed its state: who has an older inventory can tell."""
    Stage.update(generation=Stage.generation + 1).where(Stage.id == stage_id).execute()


# expiry


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """Whether the expiry of hosts is paused, and since when and why. `calm_sweeps` counts those in a row without alarm.
    After a pause that its bound ended, no new one begins before `not_before`, so that what is silent can expire.
    """

    paused_at: dt.datetime | None = None
    reason: Reason | None = None
    calm_sweeps: int = 0
    not_before: dt.datetime | None = None


def pause_of(stage: Stage) -> Pause:
    """The pause of this stage alone."""
    code = stage.expiry_pause_code
    why = None if code is None else because(ExpiryPause(code), **(stage.expiry_pause_params or {}))
    return Pause(stage.expiry_paused_at, why, stage.expiry_pause_calm_sweeps, stage.expiry_pause_not_before)


def keep_pause(stage: Stage, pause: Pause, *, before: Pause, grace_from: dt.datetime | None, at: dt.datetime) -> bool:
    """Make this the stage's pause, unless somebody has ended the one that was before it; False then. `grace_from`:
    every host's silence counts from then on; None: as before.
    """
    unchanged = (Stage.expiry_paused_at == before.paused_at) & (Stage.expiry_pause_not_before == before.not_before)
    grace = {"grace_from": grace_from} if grace_from is not None else {}
    kept = Stage.update(**_columns(pause), **grace).where((Stage.id == stage.id) & unchanged)
    if kept.execute() != 1:
        return False
    note_pause(events.target(stage), before, pause, at=at)
    return True


def note_pause(about: events.Target, before: Pause, after: Pause, *, at: dt.datetime, actor: Actor = SERVICE) -> None:
    """The event where a pause began or ended."""
    if before.paused_at is None and after.paused_at is not None:
        events.record(EventName.EXPIRY_PAUSE, about, actor=actor, at=at, reason=after.reason)
    elif before.paused_at is not None and after.paused_at is None:
        events.record(EventName.EXPIRY_RESUME, about, actor=actor, at=at)


def believe_silence(stage: Stage, *, hosts: int, not_before: dt.datetime, actor: Actor, at: dt.datetime) -> None:
    """A person says that the silent hosts, so many, are gone: the pause ends, and none begins before that moment."""
    before, after = pause_of(stage), Pause(not_before=not_before)
    Stage.update(**_columns(after)).where(Stage.id == stage.id).execute()
    events.record(EventName.STAGE_EXPIRE, events.target(stage), actor=actor, at=at, details={"hosts": hosts})
    note_pause(events.target(stage), before, after, at=at, actor=actor)


def _columns(pause: Pause) -> dict[str, Any]:
    return {
        "expiry_paused_at": pause.paused_at,
        **columns("expiry_pause", pause.reason),
        "expiry_pause_calm_sweeps": pause.calm_sweeps,
        "expiry_pause_not_before": pause.not_before,
    }


def correct_clock(*, at: dt.datetime) -> None:
    """The service's clock was set. Moments that lie in the future become now."""
    for field in (Stage.grace_from, Stage.expiry_paused_at):
        Stage.update({field: at}).where(field > at).execute()
