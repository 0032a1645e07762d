"""People who sign in with a password."""

from __future__ import annotations

import datetime as dt
import re
import secrets

import argon2
import peewee as pw

from inventory_service import events
from inventory_service.accounts.roles import ADMIN, Principal, check_role
from inventory_service.database import database
from inventory_service.errors import ConflictError, InvalidError, NotFoundError, UnauthorizedError
from inventory_service.events import Actor, ActorKind, EventName
from inventory_service.models import User
from inventory_service.text import MASKED

_HASHER = argon2.PasswordHasher()
# Checked when the user is unknown, so that the answer takes as long as for a wrong password.
_NOBODY = _HASHER.hash(secrets.token_hex(16))
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_SHORTEST_PASSWORD = 10


def create(
    name: str,
    password: str,
    *,
    role: str,
    projects: list[str] | None,
    actor: Actor,
    at: dt.datetime,
) -> User:
    """Add a user. Raises InvalidError for a bad name, role or short password, ConflictError when the name is taken.

    The service's own names are refused, since people tell actors apart by their names.
    """
    if not _NAME.fullmatch(name):
        raise InvalidError.at("name", f"{name[:60]!r} is no user name: use a-z, 0-9, dot, @, - and _.")
    if name in events.OWN_NAMES:
        raise InvalidError.at("name", f"{name!r} is the service's own name in the audit log; choose another.")
    try:
        with database.atomic():
            row = User.create(
                name=name,
                password_hash=_hash(password),
                role=check_role(role),
                projects=projects,
                created_at=at,
                session_nonce=secrets.token_hex(8),
            )
            details = {"role": role, "projects": projects}
            events.record(EventName.USER_CREATE, events.target(row), actor=actor, at=at, details=details)
    except pw.IntegrityError as error:
        raise ConflictError(f"There is a user {name!r} already.") from error
    return row


def _hash(password: str) -> str:
    if len(password) < _SHORTEST_PASSWORD:
        raise InvalidError.at("password", f"A password needs at least {_SHORTEST_PASSWORD} characters.")
    return _HASHER.hash(password)


def sign_in(name: str, password: str) -> User:
    """The user whose password this is. Raises UnauthorizedError, the same for every reason."""
    row = User.get_or_none(User.name == name) if _NAME.fullmatch(name) else None
    try:
        _HASHER.verify(row.password_hash if row else _NOBODY, password)
    except argon2.exceptions.VerificationError as error:
        raise UnauthorizedError("The name or the password is not right.") from error
    if row is None or row.is_disabled:
        raise UnauthorizedError("The name or the password is not right.")
    return row


def get(name: str) -> User:
    """The user of that name. Raises NotFoundError."""
    row = User.get_or_none(User.name == name)
    if row is None:
        raise NotFoundError(f"There is no user {name[:60]!r}.")
    return row


def list_users() -> list[User]:
    """All users, by name."""
    return list(User.select().order_by(User.name))


def update(
    user: User,
    *,
    actor: Actor,
    at: dt.datetime,
    password: str | None = None,
    role: str | None = None,
    is_disabled: bool | None = None,
) -> User:
    """Change what is given. A new password or a disabling ends the user's sessions; the last admin stays one."""
    fields: dict[str, object] = {}
    if password is not None:
        fields |= {"password_hash": _hash(password), "session_nonce": secrets.token_hex(8)}
    if role is not None:
        fields["role"] = check_role(role)
    if is_disabled is not None:
        fields |= {"is_disabled": is_disabled, "session_nonce": secrets.token_hex(8)}
    with database.atomic():
        if (is_disabled or (role is not None and role != ADMIN)) and _is_last_admin(user):
            raise ConflictError(f"{user.name!r} is the last admin; make another one first.")
        if fields:
            User.update(**fields).where(User.id == user.id).execute()
        changes = events.changed({"role": user.role, "is_disabled": user.is_disabled}, _shown(fields))
        changes |= {"password": (MASKED, MASKED)} if password is not None else {}
        events.record(EventName.USER_UPDATE, events.target(user), actor=actor, at=at, changes=changes)
    return get(user.name)


def _shown(fields: dict[str, object]) -> dict[str, object]:
    return {name: fields[name] for name in ("role", "is_disabled") if name in fields}


def _is_last_admin(user: User) -> bool:
    """Whether nobody else manages everything: an admin of some projects does not count."""
    admins = User.select().where((User.role == ADMIN) & ~User.is_disabled & User.projects.is_null())
    return [row.id for row in admins] == [user.id]


def principal_of(user: User, *, peer: str | None) -> Principal:
    """What this user may do."""
    actor = Actor(user.name, peer, kind=ActorKind.PERSON, id=str(user.id))
    return Principal(actor, user.role, None if user.projects is None else tuple(user.projects))
