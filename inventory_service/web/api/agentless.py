"""Agentless heartbeats: a machine's calls by cron and curl. They are part of the API of hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flask import Response, g
from pydantic import Field

from inventory_service.errors import ForbiddenError, RefusedError
from inventory_service.events import Actor
from inventory_service.models import Host, JoinToken, Stage
from inventory_service.registry import agentless, enrolment, hosts, join_tokens, liveness, names
from inventory_service.web import answers, auth, context
from inventory_service.web.api.common import Group, StageHostPath, Strict
from inventory_service.web.api.hosts import api

T = TypeVar("T")


class PutHostBody(Strict):
    groups: list[Group] = Field(default=[], max_length=32)
    port: int | None = Field(None, ge=1, le=65535)


@api.put(
    "/stages/<project>/<stage>/hosts/<address>",
    summary="Add an address to the stage, or renew it",
    responses={"200": answers.Host, "201": answers.Host, "202": answers.Host, "429": answers.TOO_MANY},
)
@auth.access(auth.AGENTLESS)
def put_host(path: StageHostPath, body: PutHostBody) -> tuple[answers.Host, int]:
    """For cron and curl. A join token can add only the caller's own address, into the token's groups; an operator any.

    202 while approval waits. `groups` and `port` count when the host is new; a renewal changes neither.
    """
    expiry = context.expiry()

    def call(stage: Stage, actor: Actor, join_token: JoinToken | None) -> tuple[Host, bool]:
        if join_token is not None and context.services().identity_rules is not None:
            raise ForbiddenError(
                "Machines prove here which EC2 instance they are; agentless heartbeats can't: enrol with the agent."
            )
        return agentless.put(
            stage,
            path.address,
            actor=actor,
            expiry=expiry,
            groups=body.groups,
            port=body.port,
            join_token=join_token,
        )

    host, is_new = _simply(path, call)
    shown = answers.Host.of(host, host.stage, expiry, hosts.desired_release(host.stage))
    return shown, 202 if shown.state == liveness.PENDING else 201 if is_new else 200


@api.delete(
    "/stages/<project>/<stage>/hosts/<address>",
    summary="Take an address out of the stage",
    responses={"204": None, "429": answers.TOO_MANY},
)
@auth.access(auth.AGENTLESS)
def delete_host(path: StageHostPath) -> Response:
    """204, also when it was not there. An operator may name the host, or an address that no other host has."""

    def call(stage: Stage, actor: Actor, join_token: JoinToken | None) -> None:
        agentless.remove(stage, path.address, actor=actor, at=context.now(), join_token=join_token)

    _simply(path, call)
    return Response(status=204)


def _simply(path: StageHostPath, call: Callable[[Stage, Actor, JoinToken | None], T]) -> T:
    """Make a simple call in the name of an operator, or of a machine with a join token."""
    if g.principal is not None:
        return call(auth.reach_stage(path.project, path.stage), auth.caller().actor, None)
    known, peer = context.services(), context.peer()

    def attempt() -> T:
        row = auth.join_token_for(path.project, path.stage, g.join_token, peer)
        if names.check_address(path.address) != peer:
            raise ForbiddenError(f"A join token can add only the caller's own address, which is {peer}.")
        return call(row.stage, join_tokens.actor_of(row, peer), row)

    try:
        return known.refusals.limit(peer, attempt, now=known.clock.monotonic())
    except RefusedError as error:
        _audit_once_an_hour(error, path.address, peer)
        raise


def _audit_once_an_hour(error: RefusedError, address: str, peer: str) -> None:
    """A cron repeats its call for ever, and the audit log is no place for each."""
    known = context.services()
    now = known.clock.monotonic()
    if not known.audited_refusals.is_spent(peer, now=now):
        known.audited_refusals.add(peer, now=now)
        enrolment.note_refusal(error, g.join_token, address, peer=peer, at=context.now())
