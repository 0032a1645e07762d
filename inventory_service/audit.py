"""The old way to write an event, with a text for a target; `events.record` takes its place, noun by noun."""

from __future__ import annotations

import datetime as dt
from typing import Any

from inventory_service import events
from inventory_service.events import SERVICE, Actor, EventName, Target, TargetKind
from inventory_service.models import Host, Project, Run, Stage

__all__ = ["SERVICE", "Actor", "record"]


def record(actor: Actor, action: str, target: str, *, at: dt.datetime, **details: Any) -> None:
    """Write one event whose target is found by its text."""
    name = EventName(str(events.ALIASES.get(action, action)))
    events.record(name, _target(action.partition(".")[0], target, details), actor=actor, at=at, details=details)


def _target(noun: str, text: str, details: dict[str, Any]) -> Target:  # noqa: PLR0911 - a table of cases
    if noun == "user":
        return Target(TargetKind.USER, None, text)
    if noun == "token":
        return Target(TargetKind.TOKEN, details.get("id"), text)
    if text == events.ALL_STAGES.path:
        return events.ALL_STAGES
    if noun == "run" and text.startswith("run "):
        return events.target(Run.get_by_id(int(text[4:])))
    if noun == "host" and "/" not in text and "id" in details:
        return events.target(Host.get_by_id(details["id"]))
    project, *rest = (details.get("stage") or text).split("/")
    if not rest:
        row = Project.get_or_none(Project.name == project)
        return Target(TargetKind.PROJECT, str(row.id) if row else None, text)
    named = (Project.name == project) & (Stage.name == rest[0])
    stage = Stage.select(Stage, Project).join(Project).where(named).first()
    if stage is None:
        return Target(TargetKind(noun) if noun == "host" else TargetKind.STAGE, None, text)
    if noun != "host":
        return events.target(stage)
    name = text.rpartition("/")[2]
    row = Host.select().where((Host.stage == stage) & (Host.name == name)).order_by(Host.enrolled_at.desc()).first()
    return events.host_target(row.id if row else None, name, stage)
