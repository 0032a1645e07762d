"""A host's life: enrol, renew (heartbeat), leave (goodbye), and what people do to it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from typing import Any

import peewee as pw

from inventory_service import audit, credentials
from inventory_service.database import database
from inventory_service.errors import ConflictError, ForbiddenError, GoneError, NotFoundError, UnauthorizedError
from inventory_service.models import Host, JoinToken, Project, Release, Stage, Transition
from inventory_service.registry import join_tokens, liveness, names, reported, transitions
from inventory_service.registry.groups import check_groups, refuse_group_name

PREFIX = "cbh_"
SAME_ADDRESS = "the same address as the live host"
_REFUSED = "This host token does not hold. Enrol the host again with a join token of its stage."


@dataclasses.dataclass(frozen=True, slots=True)
class Enrolment:
    """What a machine says when it asks to enter. `address` None means: the address it calls from."""

    name: str
    address: str | None = None
    ssh_port: int = 22
    boot_id: str | None = None
    host_keys: tuple[str, ...] = ()
    agent_version: str | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def enrol(token: str, request: Enrolment, *, peer: str, judge: liveness.Judge) -> tuple[Host, str]:
    """Let a machine into the join token's stage; returns the host and its own token, shown once.

    A present host of the same name, address and host keys is the same machine that lost its state: it gets a new
    credential. A live one with other marks is a conflict; a stale one is replaced, its history kept.
    """
    join_token = join_tokens.find(token, at=judge.at)
    join_tokens.check_peer(join_token, peer)
    address = _claimed_address(request, join_token, peer)
    fields = _enrolled_fields(request, address)
    try:
        with database.atomic():
            join_tokens.spend(join_token)
            return _admit(join_token.stage, fields, join_token=join_token, judge=judge)
    except pw.IntegrityError as error:
        raise ConflictError(
            f"The name {fields['name']!r} was just taken by another machine. Choose another."
        ) from error


def _claimed_address(request: Enrolment, join_token: JoinToken, peer: str) -> str:
    """The peer's own address, or one that the machine claims inside the join token's networks (NAT)."""
    if request.address is None:
        return peer
    address = names.check_address(request.address)
    if address != peer and not names.is_in_networks(address, join_token.networks):
        raise ForbiddenError(
            f"The machine calls from {peer} and claims the address {address}, "
            "which lies in no network of its join token. Add the network to the token, or leave the address out."
        )
    return address


def _enrolled_fields(request: Enrolment, address: str) -> dict[str, Any]:
    facts = reported.check_facts(request.facts)
    return {
        "name": names.check_host_name(request.name, address=address),
        "address": address,
        "port": request.ssh_port,
        "host_keys": reported.check_host_keys(list(request.host_keys)),
        "boot_id": request.boot_id,
        "agent_version": request.agent_version,
        "facts": facts,
        "facts_hash": facts_hash(facts),
    }


def _admit(stage: Stage, fields: dict[str, Any], *, join_token: JoinToken, judge: liveness.Judge) -> tuple[Host, str]:
    present = find_present(stage, fields["name"])
    if present is not None and _is_same_machine(present, fields):
        return _readmit(present, fields, judge=judge)
    if present is not None and judge.is_listed(present, stage):
        raise ConflictError(
            f"A live host named {present.name!r} with another address or other host keys is in this stage already. "
            "Give this machine another name, or take the other one out first."
        )
    _refuse_taken_address(stage, fields, judge=judge)
    if present is not None:
        _end(present, "replaced by a new machine of that name", at=judge.at)
    refuse_group_name(stage, fields["name"])
    minted = credentials.mint(PREFIX)
    host = Host.create(
        id=minted.id,
        stage=stage,
        secret_sha256=minted.secret_sha256,
        join_token=join_token,
        groups=join_token.groups,
        enrolled_at=judge.at,
        last_seen_at=judge.at,
        recorded_state=liveness.LIVE,
        metrics={},
        **fields,
    )
    transitions.record(host, liveness.LIVE, "enrolled", at=judge.at, from_state=None)
    return host, minted.token


def _is_same_machine(present: Host, fields: dict[str, Any]) -> bool:
    return bool(fields["host_keys"]) and all(
        getattr(present, key) == fields[key] for key in ("address", "port", "host_keys")
    )


def _readmit(present: Host, fields: dict[str, Any], *, judge: liveness.Judge) -> tuple[Host, str]:
    minted = credentials.mint(PREFIX, for_id=present.id)
    Host.update(secret_sha256=minted.secret_sha256, sequence=None, **fields).where(Host.id == present.id).execute()
    _renew(present, judge=judge, reason="enrolled again")
    return get_host(present.id), minted.token


def _refuse_taken_address(stage: Stage, fields: dict[str, Any], *, judge: liveness.Judge) -> None:
    present = find_present(stage, fields["name"])
    newcomer = Host(id=present.id if present else "", address=fields["address"], port=fields["port"])
    taken = address_conflict(newcomer, stage, judge=judge)
    if taken is not None:
        raise ConflictError(f"The machine has {taken}. Take that host out first, or give the machine its own address.")


def find_present(stage: Stage, name: str) -> Host | None:
    """The host of that name that has not gone, whatever its state."""
    return Host.get_or_none((Host.stage == stage) & (Host.name == name) & Host.gone_at.is_null())


def get_host(host_id: str) -> Host:
    """The host of that id, present or gone, with its stage and project. Raises NotFoundError."""
    row: Host | None = Host.select(Host, Stage, Project).join(Stage).join(Project).where(Host.id == host_id).first()
    if row is None:
        raise NotFoundError(f"There is no host {host_id[:40]!r}.")
    return row


def authenticate(token: str) -> Host:
    """The present host that owns the token. Raises UnauthorizedError, or GoneError when the host has left."""
    parts = credentials.split(token)
    row: Host | None = (
        Host.select(Host, Stage, Project).join(Stage).join(Project).where(Host.id == parts[1]).first()
        if parts and parts[0] == PREFIX
        else None
    )
    if parts is None or row is None or not credentials.matches(parts[2], row.secret_sha256):
        raise UnauthorizedError(_REFUSED)
    if row.stage.archived_at is not None:
        raise GoneError(f"The stage of the host {row.name!r} is archived. Enrol in another.")
    _refuse_gone(row)
    return row


def _refuse_gone(host: Host) -> None:
    if host.gone_at is not None:
        raise GoneError(f"The host {host.name!r} has left the stage ({host.gone_reason}). Enrol again.")


def facts_hash(facts: dict[str, Any]) -> str:
    """SHA-256 of the facts as canonical JSON, the same on both ends of the wire."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def desired_release(stage: Stage) -> dict[str, Any] | None:
    """{number, revision} of what the stage should run; None before its first successful deploy."""
    if stage.desired_release_number is None:
        return None
    row = Release.get((Release.stage == stage) & (Release.number == stage.desired_release_number))
    return {"number": row.number, "revision": row.revision}


def _renew(host: Host, *, judge: liveness.Judge, reason: str) -> None:
    """Set `last_seen_at` and write the transitions that follow. The heartbeat wins over a sweep at the same time.

    Runs inside the caller's transaction and reads the row again there: a sweep may have moved it meanwhile.
    Raises GoneError when a goodbye overtook it.
    """
    host = get_host(host.id)
    _refuse_gone(host)
    transitions.record_renewal(host, host.stage, judge=judge, reason=reason)
    conflict = address_conflict(host, host.stage, judge=judge)
    Host.update(last_seen_at=judge.at, recorded_state=liveness.LIVE, expired_at=None, conflict=conflict).where(
        Host.id == host.id
    ).execute()


def address_conflict(host: Host, stage: Stage, *, judge: liveness.Judge) -> str | None:
    """Who else is live at this host's address and port, in words; None when nobody is.

    Two live hosts with one address would make Ansible work on one machine twice and on the other never.
    """
    same = (Host.address == host.address) & (Host.port == host.port) & (Host.stage == stage) & Host.gone_at.is_null()
    others = Host.select().where(same & (Host.id != host.id))
    held = next((other for other in others if judge.is_listed(other, stage)), None)
    return None if held is None else f"{SAME_ADDRESS} {held.name!r}: {host.address} port {host.port}"


def goodbye(host: Host, *, at: dt.datetime, reason: str = "said goodbye") -> None:
    """The host leaves now. Twice is no error."""
    with database.atomic():
        _end(host, reason, at=at)


def _end(host: Host, reason: str, *, at: dt.datetime) -> None:
    ended = (
        Host.update(gone_at=at, gone_reason=reason, recorded_state=liveness.GONE)
        .where((Host.id == host.id) & Host.gone_at.is_null())
        .execute()
    )
    if ended:
        transitions.record(host, liveness.GONE, reason, at=at, from_state=host.recorded_state)


def put(
    stage: Stage, address: str, *, actor: audit.Actor, judge: liveness.Judge, groups: list[str], port: int | None
) -> tuple[Host, bool]:
    """The one-line call: add this address to the stage, or renew it. Returns the host and whether it is new."""
    checked = names.check_address(address)
    name = names.check_host_name(checked, address=checked)
    with database.atomic():
        present = find_present(stage, name)
        if present is not None:
            _renew(present, judge=judge, reason="renewed")
            return get_host(present.id), False
        fields = {"name": name, "address": checked, "port": port or 22}
        _refuse_taken_address(stage, fields, judge=judge)
        checked_groups = check_groups(stage, groups)
        refuse_group_name(stage, name, own=checked_groups)
        host = Host.create(
            id=credentials.new_id(),
            stage=stage,
            groups=checked_groups,
            host_keys=[],
            enrolled_at=judge.at,
            last_seen_at=judge.at,
            recorded_state=liveness.LIVE,
            facts={},
            metrics={},
            **fields,
        )
        transitions.record(host, liveness.LIVE, f"added by {actor.name}", at=judge.at, from_state=None)
    return get_host(host.id), True


def remove(stage: Stage, address: str, *, actor: audit.Actor, at: dt.datetime) -> None:
    """Take an address out of the stage. Absent already is no error."""
    present = find_present(stage, names.check_address(address))
    if present is not None:
        goodbye(present, at=at, reason=f"removed by {actor.name}")


def change(
    host: Host,
    *,
    actor: audit.Actor,
    at: dt.datetime,
    is_draining: bool | None = None,
    is_quarantined: bool | None = None,
    reason: str | None = None,
    groups: list[str] | None = None,
    description: str | None = None,
    host_keys: list[str] | None = None,
) -> Host:
    """Drain, quarantine, release from quarantine, regroup, describe, or vouch for host keys; only what is given."""
    fields: dict[str, Any] = {"is_draining": is_draining, "description": description}
    if groups is not None:
        fields["groups"] = check_groups(host.stage, groups)
    if host_keys is not None:
        fields["host_keys"] = reported.check_host_keys(host_keys)
    if is_quarantined is not None:
        fields |= {"is_quarantined": is_quarantined, "quarantine_reason": reason if is_quarantined else ""}
        fields |= {"converge_attempts": 0, "converge_after": at}
    given = {key: value for key, value in fields.items() if value is not None}
    with database.atomic():
        if given:
            Host.update(**given).where(Host.id == host.id).execute()
        audit.record(actor, "host.update", host.name, at=at, id=host.id, fields=sorted(given))
    return get_host(host.id)


def list_hosts(stage: Stage) -> list[Host]:
    """The stage's hosts that have not gone, by name."""
    return list(Host.select().where((Host.stage == stage) & Host.gone_at.is_null()).order_by(Host.name))


def live_hosts(stage: Stage, *, judge: liveness.Judge) -> list[Host]:
    """The hosts that an inventory lists now, by name."""
    return [host for host in list_hosts(stage) if judge.is_listed(host, stage)]


def is_converged(host: Host, desired: dict[str, Any] | None) -> bool:
    """Whether the host runs what it should run. A host that reports no number is judged by its revision.

    A host that a deploy of a part of the stage reached is held on that release until the next whole one.
    """
    if host.held_release_number is not None:
        return host.release_number in (None, host.held_release_number)
    if desired is None:
        return True
    return host.revision == desired["revision"] and host.release_number in (None, desired["number"])


def list_transitions(host: Host, *, limit: int = 100) -> list[Transition]:
    """The host's history, newest first."""
    query = Transition.select().where(Transition.host == host)
    return list(query.order_by(Transition.at.desc(), Transition.id.desc()).limit(limit))
