"""Join tokens: a stage's secrets that let machines enrol into it, and do nothing else."""

from __future__ import annotations

import datetime as dt

from inventory_service import credentials, events
from inventory_service.clock import iso
from inventory_service.errors import InvalidError, NotFoundError, RefusedError
from inventory_service.events import Actor, ActorKind, EventName
from inventory_service.models import JoinToken, Stage
from inventory_service.registry import names
from inventory_service.registry.groups import check_groups

PREFIX = "cbj_"
_USED_UP = "the join token is used up"


def create(
    stage: Stage,
    *,
    actor: Actor,
    at: dt.datetime,
    description: str = "",
    groups: list[str] | None = None,
    networks: list[str] | None = None,
    maximum_uses: int | None = None,
    expires_at: dt.datetime | None = None,
) -> tuple[JoinToken, str]:
    """Make a token for the stage; returns the row and the secret text, which is never shown again."""
    if expires_at is not None and expires_at < at:
        raise InvalidError.at("expires_at", f"{iso(expires_at)} has passed already; now is {iso(at)}.")
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
    given = ("groups", "networks", "maximum_uses", "description")
    details = {"id": row.id, **{name: getattr(row, name) for name in given if getattr(row, name)}}
    details |= {} if expires_at is None else {"expires_at": iso(expires_at)}
    events.record(EventName.JOIN_TOKEN_CREATE, events.target(stage), actor=actor, at=at, details=details)
    return row, minted.token


def actor_of(row: JoinToken, peer: str) -> Actor:
    """A machine at that address, which acts with the token."""
    return Actor(f"join token {row.id}", peer, kind=ActorKind.JOIN_TOKEN, id=row.id)


def find(token: str, *, at: dt.datetime, may_be_used_up: bool = False) -> JoinToken:
    """The valid token behind the text. Raises RefusedError.

    `may_be_used_up`: `spend` will say so, unless it is not called because nothing new is asked for.
    """
    parts = credentials.split(token)
    row = JoinToken.get_or_none(JoinToken.id == parts[1]) if parts and parts[0] == PREFIX else None
    if parts is None or row is None or not credentials.matches(parts[2], row.secret_sha256):
        raise RefusedError("the join token is unknown")
    ended = _ended(row, at=at)
    is_used_up = row.maximum_uses is not None and row.uses >= row.maximum_uses
    if ended is not None or (is_used_up and not may_be_used_up):
        raise RefusedError(ended or _USED_UP)
    return row


def _ended(row: JoinToken, *, at: dt.datetime) -> str | None:
    """Why the token holds no longer, None while it does."""
    if row.revoked_at is not None:
        return "the join token was revoked"
    if row.expires_at is not None and row.expires_at <= at:
        return "the join token has expired"
    return None if row.stage.archived_at is None else "the join token's stage is archived"


def check_peer(row: JoinToken, peer: str) -> None:
    """Raise RefusedError for a caller from outside the token's networks."""
    if row.networks and not names.is_in_networks(peer, row.networks):
        raise RefusedError(f"{peer} lies outside of the join token's networks, {', '.join(row.networks)}")


def spend(row: JoinToken) -> None:
    """Count one use; decided by the row itself, so that two machines can't share the last one."""
    left = JoinToken.maximum_uses.is_null() | (JoinToken.uses < JoinToken.maximum_uses)
    if JoinToken.update(uses=JoinToken.uses + 1).where((JoinToken.id == row.id) & left).execute() != 1:
        raise RefusedError(_USED_UP)


def revoke(stage: Stage, token_id: str, *, actor: Actor, at: dt.datetime) -> None:
    """End a token. Hosts that it let in stay: they have credentials of their own."""
    row = JoinToken.get_or_none((JoinToken.id == token_id) & (JoinToken.stage == stage))
    if row is None:
        raise NotFoundError(f"The stage has no join token {token_id!r}.")
    JoinToken.update(revoked_at=at).where((JoinToken.id == row.id) & JoinToken.revoked_at.is_null()).execute()
    events.record(EventName.JOIN_TOKEN_REVOKE, events.target(stage), actor=actor, at=at, details={"id": row.id})
