"""`cbu_` tokens of people and CI jobs."""

from __future__ import annotations

import datetime as dt

from inventory_service import credentials, events
from inventory_service.accounts.roles import Principal, check_role
from inventory_service.clock import iso
from inventory_service.database import database
from inventory_service.errors import NotFoundError, UnauthorizedError
from inventory_service.events import Actor, ActorKind, EventName
from inventory_service.models import ApiToken

PREFIX = "cbu_"


def create(
    name: str,
    *,
    role: str,
    projects: list[str] | None,
    actor: Actor,
    at: dt.datetime,
    expires_at: dt.datetime | None = None,
) -> tuple[ApiToken, str]:
    """Make a token; returns the row and its text, which is never shown again."""
    minted = credentials.mint(PREFIX)
    with database.atomic():
        row = ApiToken.create(
            id=minted.id,
            secret_sha256=minted.secret_sha256,
            name=name,
            role=check_role(role),
            projects=projects,
            created_by=actor.name,
            created_at=at,
            expires_at=expires_at,
        )
        expires = {} if expires_at is None else {"expires_at": iso(expires_at)}
        details = {"id": row.id, "role": role, "projects": projects, **expires}
        events.record(EventName.TOKEN_CREATE, events.target(row), actor=actor, at=at, details=details)
    return row, minted.token


def authenticate(token: str, *, at: dt.datetime, peer: str | None) -> Principal:
    """What the token's owner may do. Raises UnauthorizedError, the same for every reason."""
    parts = credentials.split(token)
    row = ApiToken.get_or_none(ApiToken.id == parts[1]) if parts and parts[0] == PREFIX else None
    if parts is None or row is None or not credentials.matches(parts[2], row.secret_sha256) or _is_over(row, at=at):
        raise UnauthorizedError("This token does not hold. It may be mistyped, expired or revoked; make a new one.")
    projects = None if row.projects is None else tuple(row.projects)
    return Principal(Actor(f"token:{row.name}", peer, kind=ActorKind.TOKEN, id=row.id), row.role, projects)


def _is_over(row: ApiToken, *, at: dt.datetime) -> bool:
    return row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= at)


def list_tokens() -> list[ApiToken]:
    """All tokens that were not revoked, newest first."""
    return list(ApiToken.select().where(ApiToken.revoked_at.is_null()).order_by(ApiToken.created_at.desc()))


def revoke(token_id: str, *, actor: Actor, at: dt.datetime) -> None:
    """End a token. Raises NotFoundError."""
    row = ApiToken.get_or_none(ApiToken.id == token_id)
    if row is None:
        raise NotFoundError(f"There is no token {token_id[:40]!r}.")
    with database.atomic():
        ApiToken.update(revoked_at=at).where((ApiToken.id == token_id) & ApiToken.revoked_at.is_null()).execute()
        events.record(EventName.TOKEN_REVOKE, events.target(row), actor=actor, at=at, details={"id": token_id})
