"""Projects and their stages."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping
from typing import Any

import peewee as pw

from inventory_service import events
from inventory_service.database import database
from inventory_service.errors import ConflictError, InvalidError, NotFoundError
from inventory_service.events import Actor, EventName
from inventory_service.models import Project, Stage
from inventory_service.records import runs
from inventory_service.records import stages as records
from inventory_service.registry import liveness, names
from inventory_service.registry.stage_settings import StageChange, by_column, check_variables

GIT, FOLDER = "git", "folder"


def create_project(
    *, name: str, source: str, description: str, variables: dict[str, Any], actor: Actor, at: dt.datetime
) -> Project:
    """Add a project. `source` is a git URL or the absolute path of a folder or repository on the service's machine."""
    names.check_slug(name, "name")
    try:
        with database.atomic():
            row = Project.create(
                name=name,
                description=description,
                source=source,
                source_kind=source_kind(source),
                variables=check_variables(variables),
                created_at=at,
            )
            details = {"source": shown_source(source)}
            events.record(EventName.PROJECT_CREATE, events.target(row), actor=actor, at=at, details=details)
    except pw.IntegrityError as error:
        raise ConflictError(f"There is a project {name!r} already (perhaps archived).") from error
    return row


def source_kind(source: str) -> str:
    """`folder` for an absolute path written with a final slash, `git` for every other source.

    Raises InvalidError for what git would take for an option or a command.
    """
    is_helper = re.match(r"[A-Za-z0-9+.-]*::", source)  # git runs a program of that name
    if source.startswith("-") or is_helper or not source.strip() or any(ord(char) < ord(" ") for char in source):
        raise InvalidError.at("source", f"{source[:80]!r} is neither a git URL nor an absolute path.")
    if source.startswith("/"):
        return FOLDER if source.endswith("/") else GIT
    if re.match(r"(https?|ssh|git|file)://[^-]", source) or re.match(r"[\w.][\w.-]*@[\w.][\w.-]*:[^-:]", source):
        return GIT
    raise InvalidError.at(
        "source", f"{source[:80]!r} is neither a git URL (https, ssh, git, file, user@host:path) nor an absolute path."
    )


def shown_source(source: str) -> str:
    """The source without what stands before the @ of a web address: it is a password or a token."""
    return re.sub(r"^(https?://)[^/@]*@", r"\1…@", source)


def _shown(fields: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: shown_source(value) if name == "source" else value for name, value in fields.items() if name in names}


def update_project(project: Project, *, changes: dict[str, Any], actor: Actor, at: dt.datetime) -> Project:
    """Change `description`, `source` or `variables`; only the given ones."""
    fields = dict(changes)
    if "source" in fields:
        fields["source_kind"] = source_kind(fields["source"])
    if "variables" in fields:
        check_variables(fields["variables"])
    with database.atomic():
        if fields:
            Project.update(**fields).where(Project.id == project.id).execute()
        changed = records.changed_settings(*(_shown(one, set(changes)) for one in (project.__data__, fields)))
        events.record(EventName.PROJECT_UPDATE, events.target(project), actor=actor, at=at, changes=changed)
    return get_project(project.name)


def archive_project(project: Project, *, actor: Actor, at: dt.datetime) -> None:
    """Take a project and its stages out of sight. Their history stays."""
    with database.atomic():
        runs.cancel_waiting_for(Stage.project == project, actor=actor, at=at)
        Project.update(archived_at=at).where(Project.id == project.id).execute()
        records.archive_all_of(project, actor=actor, at=at)
        events.record(EventName.PROJECT_ARCHIVE, events.target(project), actor=actor, at=at)


def list_projects() -> list[Project]:
    """The projects that are not archived, by name."""
    return list(Project.select().where(Project.archived_at.is_null()).order_by(Project.name))


def get_project(name: str) -> Project:
    """The project of that name. Raises NotFoundError."""
    row = Project.get_or_none((Project.name == name) & Project.archived_at.is_null())
    if row is None:
        raise NotFoundError(f"There is no project {name!r}.")
    return row


def create_stage(project: Project, *, name: str, change: StageChange, actor: Actor, at: dt.datetime) -> Stage:
    """Add a stage to a project."""
    names.check_slug(name, "name")
    fields = {
        "variables": {},
        **_checked(change, interval=liveness.DEFAULT_INTERVAL_SECONDS, ttl=liveness.DEFAULT_TTL_SECONDS),
    }
    _check_group_is_free(names.stage_group(project.name, name))
    try:
        with database.atomic():
            row = records.create(project, name, fields, called=by_column(), actor=actor, at=at)
    except pw.IntegrityError as error:
        raise ConflictError(f"There is a stage {project.name}/{name} already (perhaps archived).") from error
    return row


def _check_group_is_free(group: str) -> None:
    for stage in Stage.select(Stage, Project).join(Project):
        if names.stage_group(stage.project.name, stage.name) == group:
            raise ConflictError(
                f"The stage {stage.project.name}/{stage.name} has the Ansible group {group!r} already; "
                "choose another name."
            )


def _checked(change: StageChange, *, interval: int, ttl: int) -> dict[str, Any]:
    fields = change.checked()
    liveness.check_timing(fields.get("interval_seconds", interval), fields.get("ttl_seconds", ttl))
    return fields


def update_stage(stage: Stage, *, change: StageChange, actor: Actor, at: dt.datetime) -> Stage:
    """Change the given fields of a stage."""
    fields = _checked(change, interval=stage.interval_seconds, ttl=stage.ttl_seconds)
    with database.atomic():
        records.change(stage, fields, called=by_column(), actor=actor, at=at)
    return get_stage(stage.project.name, stage.name)


def archive_stage(stage: Stage, *, actor: Actor, at: dt.datetime) -> None:
    """Take a stage out of sight; its hosts' credentials end, its history stays."""
    with database.atomic():
        runs.cancel_waiting_for(Stage.id == stage.id, actor=actor, at=at)
        records.archive(stage, actor=actor, at=at)


def list_stages(project: Project | None = None) -> list[Stage]:
    """The stages that are not archived, by project and name."""
    query = Stage.select(Stage, Project).join(Project).where(Stage.archived_at.is_null())
    if project is not None:
        query = query.where(Stage.project == project)
    return list(query.order_by(Project.name, Stage.name))


def get_stage(project: str, name: str) -> Stage:
    """The stage of that name. Raises NotFoundError."""
    row: Stage | None = (
        Stage.select(Stage, Project)
        .join(Project)
        .where((Project.name == project) & (Stage.name == name) & Stage.archived_at.is_null())
        .first()
    )
    if row is None:
        raise NotFoundError(f"There is no stage {project}/{name}.")
    return row


def stage_name(stage: Stage) -> str:
    """`shop/production`."""
    return f"{stage.project.name}/{stage.name}"
