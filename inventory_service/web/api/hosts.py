"""Hosts: the calls that machines make, agentless heartbeats among them, and what people ask of and do to hosts."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from flask import g
from pydantic import BaseModel, Field

from inventory_service.accounts.roles import OPERATOR, VIEWER
from inventory_service.clock import iso
from inventory_service.deployments.runs import history
from inventory_service.models import Host, Stage
from inventory_service.records.heartbeat import Heartbeat
from inventory_service.registry import enrolment, hosts, last_heartbeats, liveness, past, self_check
from inventory_service.web import answers, auth, context
from inventory_service.web.api.common import (
    Group,
    HostPath,
    Moment,
    Paging,
    StagePath,
    Strict,
    blueprint,
    checked_states,
)

api = blueprint("hosts", "Machines: enrol, renew, leave; and what is known about them")

HEARTBEAT_LIMIT = 16 * 1024
ENROL_LIMIT = 64 * 1024
Name = Annotated[str, Field(min_length=1, max_length=253)]
Line = Annotated[str, Field(max_length=4096)]


class InstanceIdentity(Strict):
    document: str = Field(max_length=4096, description="EC2's identity document, byte by byte")
    signature: str = Field(max_length=1024)


class EnrolBody(Strict):
    name: Name
    address: Name | None = None
    ssh_port: int = Field(22, ge=1, le=65535)
    boot_id: str | None = Field(None, max_length=64, pattern=r"^[0-9A-Za-z-]+$")
    host_keys: list[Line] = Field(default=[], max_length=16)
    agent_version: str | None = Field(None, max_length=32, pattern=r"^[0-9A-Za-z.+-]*$")
    facts: dict[str, Any] = {}
    instance_identity: InstanceIdentity | None = None
    nonce: str | None = Field(
        None,
        min_length=22,
        max_length=64,
        pattern=r"^[0-9A-Za-z_-]+$",
        description="Random, made for this request: sent again with the same one, it gets the same answer",
    )


class HostQuery(Paging):
    state: str | None = Field(None, max_length=80, description="live, late, stale, gone, pending; comma-separated")
    group: str | None = Field(None, max_length=63)
    out_of_date: bool | None = Field(None, description="Only hosts that do not run what they should")
    drift: bool | None = Field(None, json_schema_extra={"deprecated": True}, description="As out_of_date")
    q: str | None = Field(None, max_length=100, description="Part of the name or address")
    at: Moment | None = Field(None, description="As it was at this time")
    cursor: str | None = Field(None, max_length=320, description="The `next` of the page before")


class HeartbeatQuery(BaseModel):
    hosts: str | None = Field(
        None,
        max_length=6000,
        pattern="^[0-9A-Za-z.,_-]*$",  # plain characters, so that a URL holds them all
        description="Names, comma-separated; every host when left out",
    )


class HostChange(Strict):
    approved: Literal[True] | None = Field(None, description="Let a pending host in")
    draining: bool | None = None
    quarantined: bool | None = Field(None, description="Exclude it from convergence, or let it back")
    reason: str | None = Field(None, max_length=500)
    groups: list[Group] | None = Field(None, max_length=32)
    description: str | None = Field(None, max_length=500)
    host_keys: list[Line] | None = Field(None, max_length=16)


@api.post(
    "/enrol",
    summary="Enter a stage with a join token",
    responses={"201": answers.Enrolled, "202": answers.Enrolled, "429": answers.TOO_MANY},
)
@auth.access(auth.JOIN)
@auth.body_limit(ENROL_LIMIT)
def enrol(body: EnrolBody) -> tuple[answers.Enrolled, int]:
    """The answer carries the host's own token, once."""
    identity = body.instance_identity
    request = enrolment.Enrolment(
        name=body.name,
        address=body.address,
        ssh_port=body.ssh_port,
        boot_id=body.boot_id,
        host_keys=tuple(body.host_keys),
        agent_version=body.agent_version,
        facts=body.facts,
        identity=(identity.document, identity.signature) if identity else None,
        nonce=body.nonce,
    )
    host, token = _enrol(request)
    fresh = hosts.get_host(host.id)
    return answers.Enrolled.of(fresh, token), 202 if fresh.recorded_state == liveness.PENDING else 201


def _enrol(request: enrolment.Enrolment) -> tuple[Host, str]:
    """Who was refused too often hears 429 for what would be a refusal, and no more of it is audited."""
    known, peer = context.services(), context.peer()
    now = known.clock.monotonic()
    is_spent = known.refusals.is_spent(peer, now=now)

    def attempt() -> tuple[Host, str]:
        return enrolment.enrol(
            g.join_token,
            request,
            peer=peer,
            expiry=context.expiry(),
            rules=known.identity_rules,
            token_key=known.settings.secret_key,
            is_audited=not is_spent,
        )

    return known.refusals.limit(peer, attempt, now=now)


@api.post("/rotate", summary="Get a new token for the calling host", responses={"200": answers.Rotated})
@auth.access(auth.HOST)
def rotate() -> answers.Rotated:
    """The old token holds until the new one is first used."""
    host, token = hosts.rotate(auth.bearer_token(), at=context.now())
    return answers.Rotated(host=host.id, token=token)


@api.post(
    "/heartbeat", summary="Renew the calling host's lease", responses={"200": answers.Renewed, "202": answers.Renewed}
)
@auth.access(auth.BEAT)
@auth.body_limit(HEARTBEAT_LIMIT)
def heartbeat(body: Heartbeat) -> tuple[answers.Renewed | dict[str, Any], int]:
    """Level-triggered: the answer says what should be, so that a lost one does no harm. 202 while approval waits."""
    if self_check.receive(g.host_token, at=context.now()):
        context.services().intake.confirm()
        return {"server_time": iso(context.now()), "state": liveness.LIVE}, 200
    renewal = context.services().heartbeats.submit((g.host_token, body.checked()))
    return answers.Renewed.of(renewal), 202 if renewal.state == liveness.PENDING else 200


@api.post("/goodbye", summary="Leave the stage now", responses={"200": answers.Gone})
@auth.access(auth.LEAVE)
def goodbye() -> answers.Gone:
    """The calling host is gone at once. Its token ends for everything but this: a second goodbye is 200, too."""
    host = auth.calling_host()
    hosts.goodbye(host, at=context.now())
    return answers.Gone(host=host.id, state="gone")


@api.get("/stages/<project>/<stage>/hosts", summary="The stage's hosts", responses={"200": answers.Page[answers.Host]})
@auth.access(VIEWER)
def list_hosts(path: StagePath, query: HostQuery) -> answers.Page[answers.Host]:
    """Present hosts by name; gone ones only when asked for by state."""
    stage = auth.reach_stage(path.project, path.stage)
    states = checked_states(query.state) if query.state else None
    then = context.states_at(stage, query.at) if query.at else None
    rows = _rows(stage, states) if then is None else list(then)
    after = _place_of(query.cursor)
    rows = sorted((row for row in rows if _place(row) > after), key=_place)
    shown = (one for one in _shown(rows, stage, query.at, then) if _fits(one, query, states))
    kept = list(itertools.islice(shown, query.limit + 1))
    return answers.page(kept, limit=query.limit, cursor_of=lambda one: "/".join(_place(one)))


def _rows(stage: Stage, states: tuple[str, ...] | None) -> list[Host]:
    if liveness.GONE not in (states or ()):
        return hosts.list_hosts(stage)
    gone_since = context.now() - dt.timedelta(days=context.services().settings.gone_days)
    return history.all_hosts(stage, gone_since=gone_since)


def _shown(
    rows: Iterable[Host], stage: Stage, at: dt.datetime | None, then: Mapping[Host, str] | None
) -> Iterator[answers.Host]:
    """One after the other, since a page takes only some of them. `then`: their states at that time."""
    expiry, desired = context.expiry(), hosts.desired_release(stage)
    apart = past.conflicts_at(stage, at) if at else {}
    for row in rows:
        shown = answers.Host.of(row, stage, expiry, desired)
        yield shown if then is None else shown.in_the_past(then[row], apart.get(row.id))


def _place(row: Host | answers.Host) -> tuple[str, str]:
    """Where a host stands in the list: hosts of the past may share a name."""
    return row.name, row.id


def _place_of(cursor: str | None) -> tuple[str, str]:
    """The place that a cursor `name/id` means; no host's name has a slash."""
    name, _, host_id = (cursor or "").partition("/")
    return name, host_id


def _fits(row: answers.Host, query: HostQuery, states: tuple[str, ...] | None) -> bool:
    part = (query.q or "").lower()
    is_out_of_date = query.out_of_date if query.out_of_date is not None else query.drift
    return (
        (states is None or row.state in states)
        and (query.group is None or query.group in row.groups)
        and (is_out_of_date is None or row.up_to_date is not is_out_of_date)
        and (part in row.name or part in row.address)
    )


@api.get(
    "/stages/<project>/<stage>/heartbeats",
    summary="What hosts said in their last heartbeats",
    responses={"200": answers.LastHeartbeats},
)
@auth.access(VIEWER)
def list_heartbeats(path: StagePath, query: HeartbeatQuery) -> dict[str, Any]:
    """Release, revision and health by host, and when they were received. A rollout asks this between two batches."""
    stage = auth.reach_stage(path.project, path.stage)
    names = query.hosts.split(",") if query.hosts else [host.name for host in hosts.list_hosts(stage)]
    return last_heartbeats.read(stage, names, expiry=context.expiry())


@api.get("/hosts/<host>", summary="One host with its transitions and runs", responses={"200": answers.HostWithHistory})
@auth.access(VIEWER)
def get_host(path: HostPath) -> answers.HostWithHistory:
    """Also for hosts that have gone."""
    row = auth.reach_host(hosts.get_host(path.host))
    shown = answers.Host.of(row, row.stage, context.expiry(), hosts.desired_release(row.stage))
    return answers.HostWithHistory.with_history(shown, hosts.list_transitions(row), history.runs_of_host(row))


@api.patch(
    "/hosts/<host>",
    summary="Drain, quarantine, regroup, describe, or vouch for SSH host keys",
    responses={"200": answers.Host},
)
@auth.access(OPERATOR)
def patch_host(path: HostPath, body: HostChange) -> answers.Host:
    """Only the given fields change."""
    row = auth.reach_host(hosts.get_host(path.host))
    if body.approved:
        row = hosts.approve(row, actor=auth.caller().actor, at=context.now())
    changed = hosts.change(
        row,
        actor=auth.caller().actor,
        at=context.now(),
        is_draining=body.draining,
        is_quarantined=body.quarantined,
        reason=body.reason,
        groups=body.groups,
        description=body.description,
        host_keys=body.host_keys,
    )
    return answers.Host.of(changed, changed.stage, context.expiry(), hosts.desired_release(changed.stage))
