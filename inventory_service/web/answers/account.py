"""People, and who is calling."""

from __future__ import annotations

from pydantic import Field

from inventory_service import models
from inventory_service.accounts.roles import Principal
from inventory_service.web.answers.base import Answer, Moment, Role


class User(Answer):
    name: str
    role: Role
    projects: list[str] | None = Field(description="Null means all")
    disabled: bool
    created_at: Moment

    @classmethod
    def of(cls, row: models.User) -> User:
        """A user."""
        return User(
            name=row.name,
            role=row.role,
            projects=row.projects,
            disabled=row.is_disabled,
            created_at=row.created_at,
        )


class Caller(Answer):
    name: str
    role: Role
    projects: list[str] | None

    @classmethod
    def of(cls, principal: Principal) -> Caller:
        """Whose token it is."""
        return Caller(
            name=principal.actor.name,
            role=principal.role,
            projects=None if principal.projects is None else list(principal.projects),
        )
