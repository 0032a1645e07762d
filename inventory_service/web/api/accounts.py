"""Users and API tokens; the service's SSH public key."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from inventory_service.accounts import api_tokens, users
from inventory_service.accounts.roles import ADMIN, VIEWER
from inventory_service.errors import NotFoundError
from inventory_service.web import answers, auth, context
from inventory_service.web.api.common import Moment, Password, Role, Strict, TokenPath, UserPath, blueprint

api = blueprint("accounts", "People and CI jobs, and what they may do")


class UserBody(Strict):
    name: str = Field(max_length=64)
    password: Password = Field(max_length=200)
    role: Role = Field("viewer", max_length=20)
    projects: list[str] | None = Field(None, max_length=200)


class UserChange(Strict):
    password: Password | None = Field(None, max_length=200)
    role: Role | None = Field(None, max_length=20)
    disabled: bool | None = None


class TokenBody(Strict):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@-]*$")
    role: Role = Field("viewer", max_length=20)
    projects: list[str] | None = Field(None, max_length=200)
    expires_at: Moment | None = None


@api.get("/users", summary="All users", responses={"200": answers.Page[answers.User]})
@auth.access(ADMIN, is_everywhere=True)
def list_users() -> answers.Page[answers.User]:
    """By name."""
    return answers.whole([answers.User.of(row) for row in users.list_users()])


@api.post("/users", summary="Add a user", responses={"201": answers.User})
@auth.access(ADMIN, is_everywhere=True)
def create_user(body: UserBody) -> tuple[answers.User, int]:
    """201 with the user."""
    row = users.create(
        body.name,
        body.password,
        role=body.role,
        projects=body.projects,
        actor=auth.caller().actor,
        at=context.now(),
    )
    return answers.User.of(row), 201


@api.patch("/users/<user>", summary="Change a user", responses={"200": answers.User})
@auth.access(ADMIN, is_everywhere=True)
def patch_user(path: UserPath, body: UserChange) -> answers.User:
    """A new password or disabling ends the user's sessions."""
    row = users.update(
        users.get(path.user),
        actor=auth.caller().actor,
        at=context.now(),
        password=body.password,
        role=body.role,
        is_disabled=body.disabled,
    )
    return answers.User.of(row)


@api.get("/tokens", summary="API tokens", responses={"200": answers.Page[answers.ApiToken]})
@auth.access(ADMIN, is_everywhere=True)
def list_tokens() -> answers.Page[answers.ApiToken]:
    """Without their secrets."""
    return answers.whole([answers.ApiToken.of(row) for row in api_tokens.list_tokens()])


@api.post("/tokens", summary="Make an API token", responses={"201": answers.NewApiToken})
@auth.access(ADMIN, is_everywhere=True)
def create_token(body: TokenBody) -> tuple[answers.NewApiToken, int]:
    """201; the answer's `token` is the secret, shown this once."""
    row, token = api_tokens.create(
        body.name,
        role=body.role,
        projects=body.projects,
        actor=auth.caller().actor,
        at=context.now(),
        expires_at=body.expires_at,
    )
    return answers.NewApiToken.with_secret(row, token), 201


@api.delete("/tokens/<token>", summary="Revoke an API token", responses={"204": None})
@auth.access(ADMIN, is_everywhere=True)
def delete_token(path: TokenPath) -> Response:
    """Ends at once."""
    api_tokens.revoke(path.token, actor=auth.caller().actor, at=context.now())
    return Response(status=204)


@api.get("/whoami", summary="The caller", responses={"200": answers.Caller})
@auth.access(VIEWER)
def whoami() -> answers.Caller:
    """Name, role and projects of the token sent."""
    return answers.Caller.of(auth.caller())


@api.get("/ssh_key", summary="The service's SSH public key", responses={"200": answers.text("The public key")})
@auth.access(auth.PUBLIC)
def get_ssh_key() -> Response:
    """Text, one line: what a host's authorized_keys needs so that runs reach it."""
    path = context.services().settings.ssh_key_path.with_suffix(".pub")
    if not path.exists():
        raise NotFoundError("The service has no SSH key yet; start it once with `callboard serve`.")
    return Response(path.read_text(), mimetype="text/plain")
