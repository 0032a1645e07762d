"""Who calls, and whether they may. Every route says which access it needs; a test holds them to it.

API calls carry a bearer token. A browser's session counts for reading the API too (the live log), never for
changing anything through it: that would be open to forged requests from other sites.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app, g, request
from flask_login import current_user

from inventory_service.accounts import api_tokens, roles
from inventory_service.accounts.roles import Principal
from inventory_service.errors import ForbiddenError, NotFoundError, UnauthorizedError
from inventory_service.models import Host, JoinToken, Project, Run, Stage
from inventory_service.registry import hosts, join_tokens, stages
from inventory_service.web import context

PUBLIC, SIGNED = "public", "signed"
HOST, LEAVE, BEAT, JOIN, AGENTLESS = "host", "leave", "beat", "join", "agentless"
ACCESSES = (PUBLIC, SIGNED, HOST, LEAVE, BEAT, JOIN, AGENTLESS, *roles.ROLES)

View = TypeVar("View", bound=Callable[..., Any])


def access(kind: str, *, is_everywhere: bool = False) -> Callable[[View], View]:
    """Declare what a route needs: PUBLIC, SIGNED (its body is), HOST, LEAVE, BEAT, JOIN, AGENTLESS (join token or
    operator), or at least a role.

    `is_everywhere`: a role for all projects. An admin of one could otherwise make a token for the others.
    """

    def mark(view: View) -> View:
        view.callboard_access = kind  # type: ignore[attr-defined]
        view.callboard_everywhere = is_everywhere  # type: ignore[attr-defined]
        return view

    return mark


def body_limit(size: int) -> Callable[[View], View]:
    """Declare that a route's body may have at most `size` bytes."""

    def mark(view: View) -> View:
        view.callboard_body_limit = size  # type: ignore[attr-defined]
        return view

    return mark


def check_request() -> None:
    """Before each API request, before its body is looked at."""
    if request.url_rule is None or request.endpoint is None:
        return
    view = current_app.view_functions[request.endpoint]
    request.max_content_length = getattr(view, "callboard_body_limit", request.max_content_length)
    needed = getattr(view, "callboard_access", None)
    if needed in _CHECKS:
        _CHECKS[needed]()
        return
    if needed not in roles.ROLES:
        raise ForbiddenError("This route declares no access.")
    g.principal = principal = _principal()
    principal.require(needed, is_everywhere=getattr(view, "callboard_everywhere", False))


def _nobody() -> None:
    """Public routes ask nothing."""


def _host() -> None:
    g.host = hosts.authenticate(_bearer("cbh_", "a host's own token"))


def _leave() -> None:
    """A host that has left may say so again: a lost answer is harmless."""
    g.host = hosts.authenticate(_bearer("cbh_", "a host's own token"), may_have_left=True)


def _beat() -> None:
    """The token is looked up together with the lease that it renews."""
    g.host_token = _bearer("cbh_", "a host's own token")


def _join() -> None:
    g.join_token = _bearer("cbj_", "a join token")


def _agentless() -> None:
    token = bearer_token()
    if token.startswith("cbj_"):
        g.join_token, g.principal = token, None
    else:
        g.principal = _principal()
        g.principal.require(roles.OPERATOR)


_CHECKS: dict[str, Callable[[], None]] = {
    PUBLIC: _nobody,
    SIGNED: _nobody,
    HOST: _host,
    LEAVE: _leave,
    BEAT: _beat,
    JOIN: _join,
    AGENTLESS: _agentless,
}


def bearer_token() -> str:
    """The token of the Authorization header. Raises UnauthorizedError when there is none."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise UnauthorizedError("Send a token in the header Authorization: Bearer ….")
    return token.strip()


def _bearer(prefix: str, wanted: str) -> str:
    token = bearer_token()
    if token.startswith(("cbu_", "cbh_", "cbj_")) and not token.startswith(prefix):
        raise ForbiddenError(f"This call needs {wanted} ({prefix}…); the token sent is of another kind.")
    return token


def _principal() -> Principal:
    if "Authorization" in request.headers:
        token = _bearer("cbu_", "a person's or CI job's token")
        return api_tokens.authenticate(token, at=context.now(), peer=context.peer())
    if request.method in ("GET", "HEAD") and current_user.is_authenticated:
        signed_in: Principal = current_user.principal
        return signed_in
    raise UnauthorizedError("Send a token in the header Authorization: Bearer cbu_….")


def caller() -> Principal:
    """The signed-in person or token of this request."""
    found: Principal = g.principal
    return found


def calling_host() -> Host:
    """The host whose token this request carries."""
    found: Host = g.host
    return found


def reach_project(name: str) -> Project:
    """The project, if the caller reaches it; NotFoundError otherwise, so that names can't be probed."""
    if not caller().reaches(name):
        raise NotFoundError(f"There is no project {name!r}.")
    return stages.get_project(name)


def reach_stage(project: str, name: str) -> Stage:
    """The stage, if the caller reaches its project."""
    if not caller().reaches(project):
        raise NotFoundError(f"There is no stage {project}/{name}.")
    return stages.get_stage(project, name)


def reach_run(run: Run) -> Run:
    """The run, if the caller reaches its project."""
    if not caller().reaches(run.stage.project.name):
        raise NotFoundError(f"There is no run {run.id}.")
    return run


def reach_host(host: Host) -> Host:
    """The host, if the caller reaches its project."""
    if not caller().reaches(host.stage.project.name):
        raise NotFoundError(f"There is no host {host.id!r}.")
    return host


def join_token_for(project: str, stage: str, token: str, peer: str) -> JoinToken:
    """The join token of an agentless heartbeat: of this stage, which allows them, from its networks. It may be used up,
    which counts when a host is added.
    """
    row = join_tokens.find(token, at=context.now(), may_be_used_up=True)
    join_tokens.check_peer(row, peer)
    if (row.stage.project.name, row.stage.name) != (project, stage):
        raise ForbiddenError("This join token belongs to another stage.")
    if not row.stage.has_agentless:
        raise ForbiddenError(
            "This stage takes no agentless heartbeats with a join token; an operator can switch them on (agentless)."
        )
    return row


def require_viewer() -> None:
    """For routes outside the API blueprints that need a token or a session."""
    g.principal = _principal()
