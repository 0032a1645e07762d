"""Secrets, without their values."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from inventory_service import models
from inventory_service.web.answers.base import Answer, Moment


class Secret(Answer):
    name: str
    kind: str
    of_: Literal["project", "stage"] = Field(serialization_alias="of")
    created_by: str
    created_at: Moment
    updated_by: str
    updated_at: Moment

    @classmethod
    def of(cls, row: models.Secret) -> Secret:
        """Whose it is, and who set it when."""
        return Secret(
            name=row.name,
            kind=row.kind,
            of_="project" if row.stage_id is None else "stage",
            created_by=row.created_by,
            created_at=row.created_at,
            updated_by=row.updated_by,
            updated_at=row.updated_at,
        )
