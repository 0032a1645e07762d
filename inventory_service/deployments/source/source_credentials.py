"""Passwords and tokens in a source's address: taken out of it and kept as the project's git secret."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from inventory_service.database import database
from inventory_service.errors import CallboardError
from inventory_service.events import SERVICE, Actor
from inventory_service.models import Project
from inventory_service.registry import stages
from inventory_service.settings import Settings
from inventory_service.vault import kinds, store
from inventory_service.vault.store import Scope

log = logging.getLogger(__name__)

NAME = "source_token"


def split(source: str) -> tuple[str, str]:
    """A web address without what stands before its @, and that as user:token; ("…", "") where there is nothing."""
    try:
        parts = urlsplit(source)
    except ValueError:
        return source, ""
    before, at, server = parts.netloc.rpartition("@")
    if parts.scheme not in ("http", "https") or not at:
        return source, ""
    user, _, token = before.partition(":")
    return urlunsplit(parts._replace(netloc=server)), f"{unquote(user)}:{unquote(token)}"


def create_project(*, source: str, settings: Settings, actor: Actor, at: dt.datetime, **fields: Any) -> Project:
    """Add a project (`stages.create_project`); a credential in its source becomes its git secret."""
    stages.source_kind(source)
    address, credential = split(source)
    with database.atomic():
        row = stages.create_project(source=address, actor=actor, at=at, **fields)
        _keep(row, credential, settings, actor=actor, at=at)
    return row


def update_project(
    project: Project, *, changes: dict[str, Any], settings: Settings, actor: Actor, at: dt.datetime
) -> Project:
    """Change a project (`stages.update_project`); a credential in a new source becomes its git secret."""
    stages.source_kind(changes.get("source", project.source))
    address, credential = split(changes.get("source", ""))
    with database.atomic():
        fields = {**changes, "source": address} if "source" in changes else changes
        row = stages.update_project(project, changes=fields, actor=actor, at=at)
        _keep(row, credential, settings, actor=actor, at=at)
    return row


def _keep(project: Project, credential: str, settings: Settings, *, actor: Actor, at: dt.datetime) -> None:
    if not credential:
        return
    scope = Scope(project)
    known = next((row for row in store.list_own(scope) if row.kind == kinds.GIT_TOKEN), None)
    name = known.name if known is not None else NAME
    store.put(scope, name, kind=kinds.GIT_TOKEN, value=credential.encode(), settings=settings, actor=actor, at=at)


def take_out_of_addresses(settings: Settings, *, at: dt.datetime) -> None:
    """Move the credentials that older versions kept in addresses; one that is no secret stays, with a warning."""
    for project in Project.select():
        address, credential = split(project.source)
        if not credential:
            continue
        try:
            with database.atomic():
                Project.update(source=address).where(Project.id == project.id).execute()
                _keep(project, credential, settings, actor=SERVICE, at=at)
        except CallboardError as error:
            log.warning("the source of %s keeps its credential in the address: %s", project.name, error.detail)
