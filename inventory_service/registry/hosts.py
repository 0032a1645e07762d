"""A host's life: enrol, renew (heartbeat), leave (goodbye), and what people do to it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from inventory_service import credentials
from inventory_service.codes.host import Conflict, Gone, Quarantine
from inventory_service.database import database
from inventory_service.errors import ConflictError, GoneError, NotFoundError, UnauthorizedError
from inventory_service.events import Actor
from inventory_service.models import Host, Project, Release, Stage, Transition
from inventory_service.reasons import Reason, because
from inventory_service.records import hosts as records
from inventory_service.records import reported
from inventory_service.registry import liveness
from inventory_service.registry.groups import check_groups
from inventory_service.registry.listing import ListedHost, MeasuredHost
from inventory_service.registry.stages import stage_name
from inventory_service.registry.sweep import record_due, record_return
from inventory_service.wording import host as wording

PREFIX = "cbh_"
_MOST_UNUSED = 3  # secrets of earlier answers, one of which the machine may have heard
REFUSED = "This host token does not hold. Enrol the host again with a join token of its stage."


class Addressed(Protocol):
    """A machine at an address; a row of Host is one."""

    id: str
    address: str
    port: int


class Holder(Protocol):
    """Who has a secret; a row of Host is one."""

    secret_sha256: str | None
    previous_secret_sha256: str | None


def find_present(stage: Stage, name: str) -> Host | None:
    """The host of that name that has not gone, whatever its state."""
    return Host.get_or_none((Host.stage == stage) & (Host.name == name) & Host.gone_at.is_null())


def get_host(host_id: str) -> Host:
    """The host of that id, present or gone, with its stage and project. Raises NotFoundError."""
    row: Host | None = Host.select(Host, Stage, Project).join(Stage).join(Project).where(Host.id == host_id).first()
    if row is None:
        raise NotFoundError(f"There is no host {host_id[:40]!r}.")
    return row


def authenticate(token: str, *, may_have_left: bool = False) -> Host:
    """The host that owns the token. Raises UnauthorizedError, or GoneError for a host that is no longer present."""
    parts = credentials.split(token)
    row: Host | None = (
        Host.select(Host, Stage, Project).join(Stage).join(Project).where(Host.id == parts[1]).first()
        if parts and parts[0] == PREFIX
        else None
    )
    if parts is None or row is None or not accepts_secret(row, parts[2]):
        raise UnauthorizedError(REFUSED)
    if may_have_left:
        return row
    if row.stage.archived_at is not None:
        raise GoneError(f"The stage of the host {row.name!r} is archived. Enrol in another.")
    _refuse_gone(row)
    return row


def accepts_secret(host: Holder, secret: str) -> bool:
    """Whether this is the host's newest secret, or one before it that is valid until that is used."""
    earlier = (host.previous_secret_sha256 or "").split()
    return any(credentials.matches(secret, kept) for kept in (host.secret_sha256, *earlier))


def kept_secrets(host: Holder, *, in_use: str | None = None) -> str:
    """What stays valid beside a new secret until that is used: the digest in use, then the latest of those that were
    given out and not used; the machine may have heard any of them. `in_use` None: the one on record.
    """
    first, *others = [*(host.previous_secret_sha256 or "").split(), host.secret_sha256 or ""]
    unused = others if in_use is None else [one for one in (first, *others) if one != in_use]
    return " ".join([in_use or first, *unused[-_MOST_UNUSED:]])


def _refuse_gone(host: Host) -> None:
    if host.gone_at is not None:
        why = wording.gone(host.gone_code, host.gone_params)
        raise GoneError(f"The host {host.name!r} has left the stage ({why}). Enrol again.")


def facts_hash(facts: dict[str, Any]) -> str:
    """SHA-256 of the facts as canonical JSON, the same on both ends of the wire."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def desired_release(stage: Stage) -> dict[str, Any] | None:
    """{number, revision} of what the stage should run; None before its first successful deploy."""
    if stage.desired_release_number is None:
        return None
    row = Release.get((Release.stage == stage) & (Release.number == stage.desired_release_number))
    return {"number": row.number, "revision": row.revision}


def renew(host: Host, *, expiry: liveness.Expiry, reason: Reason, actor: Actor) -> None:
    """Set `last_seen_at` and write the transitions that follow. The heartbeat wins over a sweep at the same time.

    Runs inside the caller's transaction and reads the row again there: a sweep may have moved it meanwhile.
    Raises GoneError when a goodbye overtook it.
    """
    host = get_host(host.id)
    _refuse_gone(host)
    record_return(host, host.stage, reason, expiry=expiry, actor=actor)
    if host.conflict_code in (None, Conflict.SAME_ADDRESS):
        records.settle_conflict(host, address_conflict(host, host.stage, expiry=expiry), at=expiry.at)
    records.renew(host, at=expiry.at)


def address_conflict(
    host: Addressed,
    stage: liveness.Terms,
    *,
    expiry: liveness.Expiry,
    known: Mapping[str, liveness.Lease] | None = None,
) -> Reason | None:
    """Who else is live at this host's address and port, as a conflict; None when nobody is.

    Two live hosts with one address would make Ansible work on one machine twice and on the other never. Leases there
    that have run out are recorded as such, so that no grace brings them back beside this host. `known`: rows by id
    that the caller has changed and not written yet.
    """
    others: list[liveness.Lease] = list(_others_at(host, stage))
    if known is not None:
        others = [known.get(other.id, other) for other in others]
    present = next((other for other in others if expiry.is_listed(other, stage)), None)
    if present is None:
        for other in others:
            record_due(other, stage, expiry=expiry)
    return None if present is None else _same_address(host, present)


def _others_at(host: Addressed, stage: liveness.Terms) -> list[Host]:
    same = (Host.address == host.address) & (Host.port == host.port) & (Host.stage == stage.id) & Host.gone_at.is_null()
    return list(Host.select().where(same & (Host.id != host.id)))


def _same_address(host: Addressed, other: liveness.Lease) -> Reason:
    return because(Conflict.SAME_ADDRESS, other=other.name, address=host.address, port=host.port)


def refuse_taken_address(stage: Stage, fields: dict[str, Any], *, expiry: liveness.Expiry) -> None:
    """Raise ConflictError when a live host of another name has the newcomer's address and port."""
    present = find_present(stage, fields["name"])
    newcomer = Host(id=present.id if present else "", address=fields["address"], port=fields["port"])
    taken = address_conflict(newcomer, stage, expiry=expiry)
    if taken is not None:
        same = wording.conflict(taken.code, taken.params)
        raise ConflictError(
            f"The machine has {same}. Take that host out first (callboard host remove), "
            "or give the machine its own address."
        )


def goodbye(host: Host, *, at: dt.datetime) -> None:
    """The host says that it leaves now. Twice is no error."""
    with database.atomic():
        records.end(host, because(Gone.GOODBYE), actor=records.actor_of(host), at=at)


def change(
    host: Host,
    *,
    actor: Actor,
    at: dt.datetime,
    is_draining: bool | None = None,
    is_quarantined: bool | None = None,
    reason: str | None = None,
    groups: list[str] | None = None,
    description: str | None = None,
    host_keys: list[str] | None = None,
) -> Host:
    """Drain, quarantine, release from quarantine, regroup, describe, or vouch for host keys; only what is given.

    Raises GoneError for a host that has left.
    """
    with database.atomic():
        host = _get_present(host)
        if is_draining is not None:
            (records.drain if is_draining else records.undrain)([host], actor=actor, at=at)
        if is_quarantined:
            why = because(Quarantine.PERSON, by=actor.name, text=reason or "")
            records.quarantine(host, why, actor=actor, at=at)
        elif is_quarantined is not None:
            records.release_from_quarantine([host], actor=actor, at=at, converge_after=at)
        checked = None if groups is None else check_groups(host.stage, groups)
        records.change(host, actor=actor, at=at, groups=checked, description=description)
        if host_keys is not None:
            records.vouch_for_keys(host, reported.check_host_keys(host_keys), actor=actor, at=at)
    return get_host(host.id)


def _get_present(host: Host) -> Host:
    """The host's row as it is now, inside the caller's transaction. Raises GoneError when it has left meanwhile."""
    row = get_host(host.id)
    if row.gone_at is not None:
        why = wording.gone(row.gone_code, row.gone_params)
        raise GoneError(f"The host {row.name!r} has left the stage ({why}); nothing of it can be changed.")
    return row


def approve(host: Host, *, actor: Actor, at: dt.datetime) -> Host:
    """Let a pending host in. Approved already is no error; one that has gone is a GoneError.

    Where another host may be live at its address, it is in conflict until its next heartbeat, which decides.
    """
    with database.atomic():
        host = _get_present(host)
        if records.approve(host, actor=actor, at=at):
            others = (row for row in _others_at(host, host.stage) if row.recorded_state == liveness.LIVE)
            taken = next((_same_address(host, other) for other in others), None)
            if taken is not None:
                records.mark_conflict(host, taken, at=at)
    return get_host(host.id)


def rotate(token: str, *, at: dt.datetime) -> tuple[Host, str]:
    """The token's host and a new token for it. The given one holds until the new one is first used, and so do others
    that were given out: a lost answer is harmless, and so is a request that was on its way for long.

    Raises UnauthorizedError, GoneError, or ConflictError where perhaps two machines have the token.
    """
    with database.atomic():
        host = authenticate(token)
        if host.conflict_code is not None:
            why = wording.conflict(host.conflict_code, host.conflict_params)
            raise ConflictError(f"The host {host.name!r} is in conflict: {why}. It gets no new token.")
        minted = credentials.mint(PREFIX, for_id=host.id)
        kept = kept_secrets(host, in_use=credentials.digest(token.partition(".")[2]))
        records.give_secret(host, minted.secret_sha256, beside=kept, at=at)
    return host, minted.token


def list_hosts(stage: Stage) -> list[Host]:
    """The stage's hosts that have not gone, by name."""
    return list(_select_present(stage))


def _select_present(stage: Stage) -> Any:
    return Host.select().where((Host.stage == stage) & Host.gone_at.is_null()).order_by(Host.name)


def list_unlike(stage: Stage, desired: dict[str, Any] | None) -> list[Host]:
    """The same without most of those that run what they should (`is_up_to_date` decides): nearly all of a fleet does,
    and the database passes over them a hundred times faster.
    """
    query = _select_present(stage)
    if desired is not None:
        is_number = (Host.release_number != desired["number"]) | Host.release_number.is_null()
        is_revision = (Host.revision != desired["revision"]) | Host.revision.is_null()
        query = query.where(is_number | is_revision | Host.pinned_release_number.is_null(False))
    return list(query)


def list_out_of_date(stage: Stage, desired: dict[str, Any] | None, *, expiry: liveness.Expiry) -> list[Host]:
    """Live hosts that do not run what they should."""
    return [
        host
        for host in list_unlike(stage, desired)
        if not is_up_to_date(host, desired) and expiry.is_listed(host, stage)
    ]


def refuse_up_to_date(stage: Stage, *, released: Collection[Host], expiry: liveness.Expiry) -> None:
    """Raise ConflictError where there is nobody whom convergence could bring to the desired release, when the hosts
    `released` are quarantined no more.
    """
    again, desired = {host.id for host in released}, desired_release(stage)
    found = [host for host in list_out_of_date(stage, desired, expiry=expiry) if not host.is_draining]
    left_alone = [host.name for host in found if host.quarantine_code is not None and host.id not in again]
    if len(left_alone) < len(found):
        return
    why = f"every live host of {stage_name(stage)} runs what it should."
    if left_alone:
        names = ", ".join(left_alone[:5])
        apart = f"is quarantined, excluded from convergence ({names})"
        why = f"who is out of date in {stage_name(stage)} {apart}. Release it first."
    raise ConflictError(f"Nobody to converge: {why}")


def list_quarantined(stage: Stage) -> list[Host]:
    """The hosts that convergence leaves alone until somebody releases them, by name."""
    return [host for host in list_hosts(stage) if host.quarantine_code is not None]


def live_hosts(stage: Stage, *, expiry: liveness.Expiry) -> list[Host]:
    """The hosts that an inventory lists now, by name."""
    return [host for host in list_hosts(stage) if expiry.is_listed(host, stage)]


def is_up_to_date(host: Host | ListedHost | MeasuredHost, desired: dict[str, Any] | None) -> bool:
    """Whether the host runs what it should run. A host that reports no number is judged by its revision.

    A host that a deploy of a part of the stage reached is pinned to that release until the next whole one.
    """
    if host.pinned_release_number is not None:
        return host.release_number in (None, host.pinned_release_number)
    if desired is None:
        return True
    return host.revision == desired["revision"] and host.release_number in (None, desired["number"])


def list_transitions(host: Host, *, limit: int = 100) -> list[Transition]:
    """The host's history, newest first."""
    query = Transition.select().where(Transition.host == host)
    return list(query.order_by(Transition.at.desc(), Transition.id.desc()).limit(limit))
