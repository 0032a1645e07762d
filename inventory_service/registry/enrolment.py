"""Enrolment: a machine's first contact, with a join token and, on EC2, with AWS's word on which instance it is."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection
from typing import Any

import peewee as pw

from inventory_service import credentials, events
from inventory_service.codes.host import Cause, Gone, KeyMismatch
from inventory_service.database import database
from inventory_service.errors import CallboardError, ConflictError, ForbiddenError, RefusedError
from inventory_service.events import ENROLMENT, Actor, EventName, Target, TargetKind, host_target
from inventory_service.models import Host, JoinToken, Stage, StageScaling
from inventory_service.reasons import because
from inventory_service.records import hosts as records
from inventory_service.records import reported
from inventory_service.registry import (
    boot_order,
    hosts,
    instance_identity,
    join_tokens,
    liveness,
    names,
)
from inventory_service.registry.groups import refuse_group_name
from inventory_service.registry.instance_identity import Certificates, InstanceIdentity
from inventory_service.registry.stages import stage_name

_JUST_NOW = dt.timedelta(minutes=5)


@dataclasses.dataclass(frozen=True, slots=True)
class Enrolment:
    """What a machine says when it asks to enter. `address` None means: the address it calls from.

    `identity` is EC2's identity document and its signature. `nonce` is the request's own random text: the machine that
    heard no answer asks again with the same one.
    """

    name: str
    address: str | None = None
    ssh_port: int = 22
    boot_id: str | None = None
    host_keys: tuple[str, ...] = ()
    agent_version: str | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    identity: tuple[str, str] | None = None
    nonce: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class IdentityRules:
    """Which EC2 instances may enrol: those of these accounts in this region, by these certificates."""

    region: str
    account_ids: tuple[str, ...]
    certificates: Certificates | None = None

    def check(
        self, identity: tuple[str, str] | None, *, at: dt.datetime, known_running: Collection[str] = ()
    ) -> InstanceIdentity:
        """The believed identity. Raises RefusedError, in the same words whether it is missing or forged."""
        document, signature = identity or ("", "")
        return instance_identity.verify(
            document,
            signature,
            region=self.region,
            account_ids=self.account_ids,
            at=at,
            certificates=self.certificates,
            known_running=known_running,
        )


def enrol(
    token: str,
    request: Enrolment,
    *,
    peer: str,
    expiry: liveness.Expiry,
    rules: IdentityRules | None = None,
    token_key: str = "",
    is_audited: bool = True,
) -> tuple[Host, str]:
    """Let a machine into the join token's stage; returns the host and its own token, shown once.

    A present host of the same name, address and host keys is the same machine that lost its state: it gets a new
    credential. A live one with other marks is a conflict; a stale one is replaced, its history kept. What is refused
    is in the audit log (unless `is_audited` is off), with a reason that the caller does not get to see.

    The same request again (its nonce tells) gets the same answer, changes nothing and spends no use of the join token.
    `token_key` is the service's secret behind that; without it, it gets a token of its own.
    """
    mint = _Mint(token_key, request.nonce)
    try:
        return _enrol(token, request, peer=peer, expiry=expiry, rules=rules, mint=mint)
    except CallboardError as error:
        if is_audited:
            _record_refusal(error, token, request, peer=peer, at=expiry.at)
        raise


def _record_refusal(error: CallboardError, token: str, request: Enrolment, *, peer: str, at: dt.datetime) -> None:
    with database.atomic():
        note_refusal(error, token, request.name, peer=peer, at=at)
        if isinstance(error, _KeyChangeError):
            records.note_key_mismatch(error.host, because(KeyMismatch.ENROLMENT, peer=peer), at=at)


def note_refusal(error: CallboardError, token: str, name: str, *, peer: str, at: dt.datetime) -> None:
    """Put a refused machine into the audit log with the reason. `stage` and `join_token` there are those of the token
    that was used, whether it held or not.
    """
    reason = str(error.reason if isinstance(error, RefusedError) else error.detail)
    parts = credentials.split(token)
    known = JoinToken.get_or_none(JoinToken.id == parts[1]) if parts else None
    place = {} if known is None else {"join_token": known.id, "stage": stage_name(known.stage)}
    stage = None if known is None else known.stage
    about = Target(TargetKind.HOST, None, name[:60]) if stage is None else host_target(None, name[:60], stage)
    machine = dataclasses.replace(ENROLMENT, peer=peer)
    events.record(EventName.HOST_REFUSE, about, actor=machine, at=at, details={"reason": reason[:500], **place})


class _KeyChangeError(ConflictError):
    """A machine has the name and the address of a live host, and other host keys."""

    def __init__(self, detail: str, host: Host) -> None:
        super().__init__(detail)
        self.host = host


@dataclasses.dataclass(frozen=True, slots=True)
class _Mint:
    """Makes the tokens for one request."""

    key: str
    nonce: str | None

    def __call__(self, host_id: str) -> credentials.Minted:
        if self.key and self.nonce:
            return credentials.derive(hosts.PREFIX, for_id=host_id, key=self.key, nonce=self.nonce)
        return credentials.mint(hosts.PREFIX, for_id=host_id)

    def repeats(self, host: Host) -> str | None:
        """The token that this host got from the same request before, while it holds; None for a new request."""
        if not self.key or not self.nonce:
            return None
        minted = self(host.id)
        return minted.token if hosts.accepts_secret(host, minted.token.partition(".")[2]) else None


def _enrol(
    token: str, request: Enrolment, *, peer: str, expiry: liveness.Expiry, rules: IdentityRules | None, mint: _Mint
) -> tuple[Host, str]:
    join_token = join_tokens.find(token, at=expiry.at, may_be_used_up=request.nonce is not None)
    join_tokens.check_peer(join_token, peer)
    joiner = join_tokens.actor_of(join_token, peer)
    fields = _enrolled_fields(request, _claimed_address(request, join_token, peer))
    expected = _expected(join_token.stage, at=expiry.at)
    if rules is not None:
        identity = rules.check(request.identity, at=expiry.at, known_running=expected)
        fields |= {"instance": _key(identity), "tag_groups": expected.get(identity.instance_id)}
    try:
        with database.atomic():
            present = hosts.find_present(join_token.stage, fields["name"])
            if present is not None and (own := mint.repeats(present)) is not None:
                return present, own
            join_tokens.spend(join_token)
            if present is not None and _is_same_machine(present, fields):
                return _readmit(present, fields, mint=mint, expiry=expiry, actor=joiner)
            return _admit(join_token, present, fields, mint=mint, expiry=expiry, actor=joiner)
    except pw.IntegrityError as error:
        if "instance" in str(error):
            raise RefusedError("the instance has enrolled already, or somebody replays its document") from error
        raise ConflictError(f"The name {fields['name']!r} was just taken by another machine.") from error


def _expected(stage: Stage, *, at: dt.datetime) -> dict[str, list[str]]:
    """The instances that run by EC2's word of just now and have not enrolled, each with the groups of its tags."""
    row = StageScaling.get_or_none(StageScaling.stage == stage)
    if row is None or row.looked_at is None or abs(at - row.looked_at) > _JUST_NOW:
        return {}
    return dict(row.expected or {})


def _key(identity: InstanceIdentity) -> str:
    return f"{identity.account_id}/{identity.region}/{identity.instance_id}"


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
        "facts_hash": hosts.facts_hash(facts),
    }


def _admit(
    join_token: JoinToken,
    present: Host | None,
    fields: dict[str, Any],
    *,
    mint: _Mint,
    expiry: liveness.Expiry,
    actor: Actor,
) -> tuple[Host, str]:
    """Let a machine in that was not here yet; `present` is another one of its name."""
    stage = join_token.stage
    if present is not None and expiry.is_listed(present, stage):
        taken = (
            f"A live host named {present.name!r} with another address or other host keys is in this stage already. "
            f"Give this machine another name, or take the other one out first: callboard host remove "
            f"{stage_name(stage)}/{present.name}"
        )
        if present.address == fields["address"] and present.host_keys and present.host_keys != fields["host_keys"]:
            raise _KeyChangeError(taken, present)
        raise ConflictError(taken)
    hosts.refuse_taken_address(stage, fields, expiry=expiry)
    if present is not None:
        records.end(present, because(Gone.REPLACED), actor=actor, at=expiry.at)
    refuse_group_name(stage, fields["name"])
    return _create(stage, fields, join_token=join_token, mint=mint, actor=actor, at=expiry.at)


def _create(
    stage: Stage, fields: dict[str, Any], *, join_token: JoinToken, mint: _Mint, actor: Actor, at: dt.datetime
) -> tuple[Host, str]:
    minted = mint(credentials.new_id())
    tag_groups = fields.get("tag_groups")
    secret = {"id": minted.id, "secret_sha256": minted.secret_sha256, "secret_made_at": at}
    host = records.enrol(
        {**fields, **secret},
        stage=stage,
        groups=sorted({*join_token.groups, *(tag_groups or [])}),
        join_token=join_token,
        is_pending=stage.has_approval,
        reason=because(Cause.ENROLLED if tag_groups is None else Cause.ENROLLED_EXPECTED),
        actor=actor,
        at=at,
    )
    return host, minted.token


def _is_same_machine(present: Host, fields: dict[str, Any]) -> bool:
    marks = ("address", "port", "host_keys", *(("instance",) if "instance" in fields else ()))
    return bool(fields["host_keys"]) and all(getattr(present, mark) == fields[mark] for mark in marks)


def _readmit(
    present: Host, fields: dict[str, Any], *, mint: _Mint, expiry: liveness.Expiry, actor: Actor
) -> tuple[Host, str]:
    """The new token gets in beside those before it, which end when it is used.

    So a request that was on its way for long, whose answer nobody reads, takes nobody's token.
    """
    minted = mint(present.id)
    kept = hosts.kept_secrets(present)
    fresh = {"secret_sha256": minted.secret_sha256, "previous_secret_sha256": kept, "secret_made_at": expiry.at}
    if present.boot_id not in (None, fields["boot_id"]):
        earlier = boot_order.remember(present.earlier_boots, present.boot_id, present.sequence, at=expiry.at)
        fresh |= {"sequence": None, "earlier_boots": earlier}
    fields.pop("tag_groups", None)  # the next look at EC2 has them
    records.readmit(present, {**fields, **fresh}, actor=actor, at=expiry.at)
    if present.recorded_state != liveness.PENDING:
        hosts.renew(present, expiry=expiry, reason=because(Cause.ENROLLED_AGAIN), actor=actor)
    return hosts.get_host(present.id), minted.token
