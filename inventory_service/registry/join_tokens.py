"""Join tokens: a stage's secrets that let machines enrol into it, and do nothing else."""

from __future__ import annotations

import datetime as dt

from inventory_service import audit, credentials
from inventory_service.errors import ForbiddenError, NotFoundError, UnauthorizedError
from inventory_service.models import JoinToken, Stage
from inventory_service.registry import names
from inventory_service.registry.groups import check_groups

PREFIX = "cbj_"
_REFUSED = "This join token does not hold. Ask for a new one: it may be mistyped, expired, used up or revoked."


def create(
    stage: Stage,
    *,
    actor: audit.Actor,
    at: dt.datetime,
    description: str = "",
    groups: list[str] | None = None,
    networks: list[str] | None = None,
    maximum_uses: int | None = None,
    expires_at: dt.datetime | None = None,
) -> tuple[JoinToken, str]:
    """Make a token for the stage; returns the row and the secret text, which is never shown again."""
    minted = credentials.mint(PREFIX)
    row = JoinToken.create(
        id=minted.id,
        stage=stage,
        secret_sha256=minted.secret_sha256,
        description=description,
        groups=check_groups(stage, groups or []),
        networks=[names.check_network(network) for network in networks or []],
        maximum_uses=maximum_uses,
        created_by=actor.name,
        created_at=at,
        expires_at=expires_at,
    )
    audit.record(actor, "join_token.create", f"{stage.project.name}/{stage.name}", at=at, id=row.id)
    return row, minted.token


def find(token: str, *, at: dt.datetime, may_be_used_up: bool = False) -> JoinToken:
    """The valid token behind the text. Raises UnauthorizedError, with the same words for every reason.

    `may_be_used_up`: `spend` will say so, unless it is not called because nothing new is asked for.
    """
    parts = credentials.split(token)
    row = JoinToken.get_or_none(JoinToken.id == parts[1]) if parts and parts[0] == PREFIX else None
    if parts is None or row is None or not credentials.matches(parts[2], row.secret_sha256):
        raise UnauthorizedError(_REFUSED)
    is_used_up = row.maximum_uses is not None and row.uses >= row.maximum_uses
    if not _holds(row, at=at) or (is_used_up and not may_be_used_up):
        raise UnauthorizedError(_REFUSED)
    return row


def _holds(row: JoinToken, *, at: dt.datetime) -> bool:
    """Neither revoked nor expired, and its stage is not archived."""
    is_expired = row.expires_at is not None and row.expires_at <= at
    return row.revoked_at is None and not is_expired and row.stage.archived_at is None


def check_peer(row: JoinToken, peer: str) -> None:
    """Refuse a caller from outside the token's networks."""
    if row.networks and not names.is_in_networks(peer, row.networks):
        raise ForbiddenError(f"This join token is not valid from {peer}: its networks are {', '.join(row.networks)}.")


def spend(row: JoinToken) -> None:
    """Count one use; decided by the row itself, so that two machines can't share the last one."""
    left = JoinToken.maximum_uses.is_null() | (JoinToken.uses < JoinToken.maximum_uses)
    if JoinToken.update(uses=JoinToken.uses + 1).where((JoinToken.id == row.id) & left).execute() != 1:
        raise UnauthorizedError(_REFUSED)


def revoke(stage: Stage, token_id: str, *, actor: audit.Actor, at: dt.datetime) -> None:
    """End a token. Hosts that it let in stay: they have credentials of their own."""
    row = JoinToken.get_or_none((JoinToken.id == token_id) & (JoinToken.stage == stage))
    if row is None:
        raise NotFoundError(f"The stage has no join token {token_id!r}.")
    JoinToken.update(revoked_at=at).where((JoinToken.id == row.id) & JoinToken.revoked_at.is_null()).execute()
    audit.record(actor, "join_token.revoke", f"{stage.project.name}/{stage.name}", at=at, id=row.id)
