"""Releases."""

from __future__ import annotations

from typing import Any

from inventory_service import models
from inventory_service.web.answers.base import Answer, Moment


class DesiredRelease(Answer):
    number: int
    revision: str

    @classmethod
    def of(cls, found: dict[str, Any] | None) -> DesiredRelease | None:
        """From `hosts.desired_release`; None before a stage's first successful deploy."""
        return None if found is None else DesiredRelease(number=found["number"], revision=found["revision"])


class Release(Answer):
    number: int
    revision: str
    revision_name: str
    variables: dict[str, Any]
    created_by: str
    created_at: Moment
    succeeded_at: Moment | None

    @classmethod
    def of(cls, row: models.Release) -> Release:
        """A release."""
        return Release(
            number=row.number,
            revision=row.revision,
            revision_name=row.revision_name,
            variables=row.variables,
            created_by=row.created_by,
            created_at=row.created_at,
            succeeded_at=row.succeeded_at,
        )
