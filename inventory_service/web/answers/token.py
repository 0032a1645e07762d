"""Join tokens and API tokens. The secret is in the answer to their making, and nowhere else."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from inventory_service import models
from inventory_service.web.answers.base import Answer, Moment, Role


class JoinToken(Answer):
    id: str
    description: str
    groups: list[str]
    networks: list[str]
    uses: int
    maximum_uses: int | None
    created_by: str
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None

    @classmethod
    def of(cls, row: models.JoinToken) -> JoinToken:
        """Without its secret."""
        return JoinToken(
            id=row.id,
            description=row.description,
            groups=row.groups,
            networks=row.networks,
            uses=row.uses,
            maximum_uses=row.maximum_uses,
            created_by=row.created_by,
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )


class NewJoinToken(JoinToken):
    token: str = Field(description="The secret, shown this once")

    @classmethod
    def with_secret(cls, row: models.JoinToken, token: str) -> Self:
        """Right after it was made."""
        return cls(**JoinToken.of(row).fields(), token=token)


class ApiToken(Answer):
    id: str
    name: str
    role: Role
    projects: list[str] | None = Field(description="Null means all")
    created_by: str
    created_at: Moment
    expires_at: Moment | None

    @classmethod
    def of(cls, row: models.ApiToken) -> ApiToken:
        """Without its secret."""
        return ApiToken(
            id=row.id,
            name=row.name,
            role=row.role,
            projects=row.projects,
            created_by=row.created_by,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )


class NewApiToken(ApiToken):
    token: str = Field(description="The secret, shown this once")

    @classmethod
    def with_secret(cls, row: models.ApiToken, token: str) -> Self:
        """Right after it was made."""
        return cls(**ApiToken.of(row).fields(), token=token)
