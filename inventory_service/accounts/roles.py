"""Roles and what a caller may reach."""

from __future__ import annotations

import dataclasses

from inventory_service.errors import ForbiddenError, InvalidError
from inventory_service.events import Actor

VIEWER, OPERATOR, ADMIN = "viewer", "operator", "admin"
ROLES = (VIEWER, OPERATOR, ADMIN)


@dataclasses.dataclass(frozen=True, slots=True)
class Principal:
    """A signed-in person or a `cbu_` token. `projects` None means all of them."""

    actor: Actor
    role: str
    projects: tuple[str, ...] | None = None

    def reaches(self, project: str) -> bool:
        """Whether this project is one of the caller's."""
        return self.projects is None or project in self.projects

    def require(self, role: str, *, is_everywhere: bool = False) -> None:
        """Raise ForbiddenError unless the caller has at least this role; with `is_everywhere`, for all projects."""
        if not self.may(role):
            raise ForbiddenError(f"This needs the role {role}; {self.actor.name} has the role {self.role}.")
        if is_everywhere and self.projects is not None:
            raise ForbiddenError(f"This needs the role {role} for all projects; {self.actor.name} has it for some.")

    def may(self, role: str) -> bool:
        """Whether the caller has at least this role."""
        return ROLES.index(self.role) >= ROLES.index(role)


def check_role(role: str) -> str:
    """A known role's name."""
    if role not in ROLES:
        raise InvalidError.at("role", f"{role[:40]!r} is no role; choose one of {', '.join(ROLES)}.")
    return role
