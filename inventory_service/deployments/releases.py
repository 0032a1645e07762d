"""Releases: numbered, immutable "this revision, with these variables" of a stage."""

from __future__ import annotations

import datetime as dt
from typing import Any

from peewee import fn

from inventory_service.errors import ConflictError, NotFoundError
from inventory_service.models import Release, Stage
from inventory_service.records import hosts, stages
from inventory_service.registry.stages import stage_name


def create(
    stage: Stage, *, revision: str, revision_name: str, variables: dict[str, Any], created_by: str, at: dt.datetime
) -> Release:
    """The stage's next release. The caller holds the stage's lock, so numbers do not collide."""
    last = Release.select(fn.MAX(Release.number)).where(Release.stage == stage).scalar() or 0
    return Release.create(
        stage=stage,
        number=last + 1,
        revision=revision,
        revision_name=revision_name,
        variables=variables,
        created_by=created_by,
        created_at=at,
    )


def get(stage: Stage, number: int) -> Release:
    """The release of that number. Raises NotFoundError."""
    row = Release.get_or_none((Release.stage == stage) & (Release.number == number))
    if row is None:
        raise NotFoundError(f"The stage {stage_name(stage)} has no release {number}.")
    return row


def list_releases(stage: Stage, *, limit: int = 50) -> list[Release]:
    """The newest releases first."""
    return list(Release.select().where(Release.stage == stage).order_by(Release.number.desc()).limit(limit))


def before(stage: Stage, number: int | None) -> Release:
    """The last release before `number` that was deployed successfully: where a rollback goes. Raises ConflictError."""
    query = Release.select().where((Release.stage == stage) & Release.succeeded_at.is_null(False))
    if number is not None:
        query = query.where(Release.number < number)
    row: Release | None = query.order_by(Release.number.desc()).first() if number is not None else None
    if row is None:
        raise ConflictError(f"The stage {stage_name(stage)} has no earlier successful release to go back to.")
    return row


def to_roll_back_to(stage: Stage, number: int | None) -> Release:
    """The release of that number, or the last good one before the stage's own. Raises ConflictError, NotFoundError."""
    if number is None:
        return before(stage, stage.desired_release_number)
    release = get(stage, number)
    if release.succeeded_at is None:
        raise ConflictError(f"Release {number} of {stage_name(stage)} was never deployed successfully.")
    return release


def numbered(stage: Stage, number: int | None) -> Release | None:
    """The release of that number, if there is one."""
    return Release.get_or_none((Release.stage == stage) & (Release.number == number)) if number is not None else None


def make_desired(stage: Stage, release: Release, *, at: dt.datetime) -> None:
    """The whole stage should run this release from now on: pins to another end, attempts count anew."""
    Release.update(succeeded_at=at).where(Release.id == release.id).execute()
    stages.set_desired_release(stage, release.number, at=at)
    hosts.unpin_all(stage.id)


def record_on_hosts(release: Release, host_ids: list[str], *, is_pinned: bool) -> None:
    """These hosts run the release now. `is_pinned`: it is not the stage's desired one, and they stay on it."""
    hosts.record_release(host_ids, number=release.number, revision=release.revision, is_pinned=is_pinned)
