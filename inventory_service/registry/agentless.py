"""Agentless heartbeats, of cron and curl: a host known by its address, without an agent and a credential of its own."""

from __future__ import annotations

import datetime as dt

from inventory_service import credentials
from inventory_service.codes.host import Cause, Gone
from inventory_service.database import database
from inventory_service.errors import ConflictError, ForbiddenError
from inventory_service.events import Actor
from inventory_service.models import Host, JoinToken, Stage
from inventory_service.reasons import because
from inventory_service.records import hosts as records
from inventory_service.registry import hosts, join_tokens, liveness, names
from inventory_service.registry.groups import check_groups, refuse_group_name


def put(
    stage: Stage,
    address: str,
    *,
    actor: Actor,
    expiry: liveness.Expiry,
    groups: list[str],
    port: int | None,
    join_token: JoinToken | None = None,
) -> tuple[Host, bool]:
    """An agentless heartbeat: add this address to the stage, or renew it. Returns the host and whether it is new.

    `join_token` None: an operator calls, whose word is an approval, too. A machine with a join token gets the token's
    groups, spends one of its uses when it is new, and waits for approval where the stage has that. `groups` and `port`
    count for a new host only.
    """
    checked = names.check_address(address)
    name = names.check_host_name(checked, address=checked)
    with database.atomic():
        checked_groups = check_groups(stage, _granted(groups, join_token))
        present = hosts.find_present(stage, name)
        if present is not None:
            _refuse_credential(present, join_token)
            _renew_by_call(present, actor=actor, expiry=expiry, is_operator=join_token is None)
            return hosts.get_host(present.id), False
        if join_token is not None:
            join_tokens.spend(join_token)
        fields = {"name": name, "address": checked, "port": port or 22}
        hosts.refuse_taken_address(stage, fields, expiry=expiry)
        refuse_group_name(stage, name, own=checked_groups)
        host = records.enrol(
            {"id": credentials.new_id(), **fields},
            stage=stage,
            groups=checked_groups,
            join_token=join_token,
            is_pending=stage.has_approval and join_token is not None,
            reason=because(Cause.ADDED, by=actor.name),
            actor=actor,
            at=expiry.at,
        )
    return hosts.get_host(host.id), True


def _granted(groups: list[str], join_token: JoinToken | None) -> list[str]:
    """The groups of a new host: an operator's choice, a machine's only among those of its join token."""
    if join_token is None:
        return groups
    others = sorted(set(groups) - set(join_token.groups))
    if others:
        raise ForbiddenError(
            f"The join token does not give the group {others[0][:60]!r}. Leave the groups out to get the token's own."
        )
    return groups or join_token.groups


def _refuse_credential(host: Host, join_token: JoinToken | None) -> None:
    """Whoever shares an address with a host that enrolled does not have its credential."""
    if join_token is not None and host.secret_sha256 is not None:
        raise ConflictError(
            f"The host {host.name!r} enrolled with the agent: only its own credential renews it or takes it out, "
            "or an operator."
        )


def _renew_by_call(host: Host, *, actor: Actor, expiry: liveness.Expiry, is_operator: bool) -> None:
    if host.recorded_state == liveness.PENDING:
        records.renew_pending(host, at=expiry.at)
        if not is_operator:
            return
        hosts.approve(host, actor=actor, at=expiry.at)
    hosts.renew(host, expiry=expiry, reason=because(Cause.RENEWED), actor=actor)


def remove(stage: Stage, address: str, *, actor: Actor, at: dt.datetime, join_token: JoinToken | None = None) -> None:
    """Take a host out of the stage, by its name or by an address that no other host there has. Absent already is no
    error. `join_token` as for `put`. Raises ConflictError when several hosts have the address.
    """
    present = hosts.find_present(stage, address.lower())
    if present is None:
        checked = names.check_address(address)
        present = _only_host_at(stage, checked) if join_token is None else hosts.find_present(stage, checked)
    if present is not None:
        _refuse_credential(present, join_token)
        with database.atomic():
            records.end(present, because(Gone.REMOVED, by=actor.name), actor=actor, at=at)


def _only_host_at(stage: Stage, address: str) -> Host | None:
    here = (Host.stage == stage) & ((Host.name == address) | (Host.address == address)) & Host.gone_at.is_null()
    found = list(Host.select().where(here).order_by(Host.name))
    if len(found) > 1:
        others = ", ".join(host.name for host in found[:10])
        raise ConflictError(f"Several hosts have the address {address}: {others}. Take each out by its name.")
    return found[0] if found else None
