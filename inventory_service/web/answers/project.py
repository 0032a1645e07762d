"""Projects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from inventory_service import models
from inventory_service.registry.stages import shown_source
from inventory_service.web.answers.base import Answer, Moment
from inventory_service.web.answers.stage import Stage


class Project(Answer):
    name: str
    description: str
    source: str
    source_kind: str
    variables: dict[str, Any]
    created_at: Moment

    @classmethod
    def of(cls, row: models.Project) -> Project:
        """The source is shown without a password or token in it."""
        return Project(
            name=row.name,
            description=row.description,
            source=shown_source(row.source),
            source_kind=row.source_kind,
            variables=row.variables,
            created_at=row.created_at,
        )


class ProjectWithStages(Project):
    stages: list[Stage]

    @classmethod
    def with_stages(cls, row: models.Project, stages: Iterable[models.Stage]) -> Self:
        """The project with its stages."""
        return cls(**Project.of(row).fields(), stages=[Stage.of(stage) for stage in stages])
