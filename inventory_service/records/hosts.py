"""The only writer of hosts. Each function writes the row, its history and its event, inside the caller's transaction.

What to do is decided elsewhere (registry/); here stands what belongs to it. What two writers at once may race for is a
condition of the UPDATE, and the answer says whether it was this one.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from inventory_service import events
from inventory_service.codes.host import Cause, Conflict, Gone, Quarantine, State
from inventory_service.database import fetch
from inventory_service.events import SERVICE, Actor, ActorKind, EventName, Target, TargetKind
from inventory_service.models import Conflict as ConflictSpan
from inventory_service.models import Host, JoinToken, Stage, Transition
from inventory_service.reasons import Reason, because, columns
from inventory_service.records import runs, stages
from inventory_service.records.heartbeat import KEPT, Heartbeat
from inventory_service.rows import Writer, kept, spread

_WHERE = """
SELECT project.name, stage.name FROM stage JOIN project ON project.id = stage.project_id WHERE stage.id = ?
"""


class Known(Protocol):
    """What says which host is meant; a row of Host is one."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def stage_id(self) -> int:
        """Its stage's id."""

    @property
    def name(self) -> str:
        """Its name in the stage."""


class Leased(Known, Protocol):
    """A host as it was read, with what a write at the same time would change."""

    @property
    def last_seen_at(self) -> dt.datetime:
        """When it was heard."""

    @property
    def recorded_state(self) -> str:
        """The state that its history ends with."""


class InConflict(Known, Protocol):
    """A host as it was read, with its conflict."""

    @property
    def conflict_code(self) -> str | None:
        """Of codes.host.Conflict; None for none."""

    @property
    def conflict_params(self) -> dict[str, Any] | None:
        """Its parameters."""


def actor_of(host: Known) -> Actor:
    """The host itself, as the one who acts."""
    return Actor(f"host:{host.name}", kind=ActorKind.HOST, id=host.id)


def _note(
    name: EventName,
    host: Known,
    *,
    actor: Actor,
    at: dt.datetime,
    reason: Reason | None = None,
    changes: Mapping[str, tuple[Any, Any]] | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    ((project, stage),) = fetch(_WHERE, (host.stage_id,))
    about = Target(TargetKind.HOST, host.id, f"{project}/{stage}/{host.name}", host.stage_id)
    events.record(name, about, actor=actor, at=at, reason=reason, changes=changes, details=details)


def _move(
    name: EventName, host: Known, to_state: State, reason: Reason, *, at: dt.datetime, before: str | None, actor: Actor
) -> None:
    """One step of the host's history; raises the stage's generation."""
    Transition.create(
        host=host.id,
        stage=host.stage_id,
        at=at,
        from_state=before,
        to_state=str(to_state),
        **columns("reason", reason),
    )
    stages.count_transition(host.stage_id)
    _note(name, host, actor=actor, at=at, reason=reason, changes={"state": (before, str(to_state))})


# coming in


def enrol(
    fields: Mapping[str, Any],
    *,
    stage: Stage,
    groups: list[str],
    join_token: JoinToken | None,
    is_pending: bool,
    reason: Reason,
    actor: Actor,
    at: dt.datetime,
) -> Host:
    """A new host. `fields`: its `id`, name, address, port, what it reported, and its secret, if it has one. `reason` is
    of Cause: ADDED for one without an agent.
    """
    state = State.PENDING if is_pending else State.LIVE
    reported = {"host_keys": [], "facts": {}, "metrics": {}, **fields}
    host: Host = Host.create(
        stage=stage,
        join_token=join_token,
        groups=groups,
        enrolled_at=at,
        last_seen_at=at,
        recorded_state=str(state),
        **reported,
    )
    name = EventName.HOST_ADD if reason.code == Cause.ADDED else EventName.HOST_ENROL
    _move(name, host, state, reason, at=at, before=None, actor=actor)
    return host


def readmit(host: Host, fields: Mapping[str, Any], *, actor: Actor, at: dt.datetime) -> None:
    """The machine that the host was asked to enter again. `fields`: what it reported, and its new secret beside those
    that still hold. A conflict and a note about its keys end with that.
    """
    end_conflict(host, at=at)
    Host.update(**fields, **columns("key_mismatch", None)).where(Host.id == host.id).execute()
    _note(EventName.HOST_ENROL, host, actor=actor, at=at, reason=because(Cause.ENROLLED_AGAIN))


def approve(host: Host, *, actor: Actor, at: dt.datetime) -> bool:
    """Let a pending host in; False when it was approved already, or has left."""
    pending = (Host.id == host.id) & (Host.recorded_state == State.PENDING) & Host.gone_at.is_null()
    if Host.update(recorded_state=str(State.LIVE)).where(pending).execute() != 1:
        return False
    reason = because(Cause.APPROVED, by=actor.name)
    _move(EventName.HOST_APPROVE, host, State.LIVE, reason, at=at, before=State.PENDING, actor=actor)
    return True


# secrets


def give_secret(host: Host, secret_sha256: str, *, beside: str, at: dt.datetime) -> None:
    """A new secret for a host that asked. `beside`: the digests of those that hold until it is used."""
    fresh = {"secret_sha256": secret_sha256, "previous_secret_sha256": beside, "secret_made_at": at}
    Host.update(**fresh).where((Host.id == host.id) & Host.gone_at.is_null()).execute()
    _note(EventName.HOST_ROTATE, host, actor=actor_of(host), at=at)


def end_previous_secrets(host: Known) -> None:
    """The newest secret is in use: those before it end, and the order of their heartbeats."""
    ended = {"previous_secret_sha256": None, "earlier_boots": None, "sequence": None}
    Host.update(**ended).where(Host.id == host.id).execute()


# beating


@dataclasses.dataclass(slots=True)
class Beat:
    """What a heartbeat leaves in its host's row."""

    id: str
    last_seen_at: dt.datetime
    recorded_state: str
    boot_id: str
    earlier_boots: str | None
    sequence: int
    said: Heartbeat = spread(KEPT)  # noqa: RUF009 - a field
    acknowledged_run: int | None = kept()
    expired_at: None = None


@dataclasses.dataclass(slots=True)
class BeatWithRelease(Beat):
    """The same of a host that can tell what it runs."""

    release_number: int | None = None
    revision: str | None = None
    release_reported_at: dt.datetime | None = None


@dataclasses.dataclass(slots=True)
class Facts:
    """What a host says about itself, which it seldom does anew."""

    id: str
    facts: dict[str, Any]
    facts_hash: str


_write_beats = Writer(Beat, Host)
_write_beats_with_release = Writer(BeatWithRelease, Host)
_write_facts = Writer(Facts, Host)


def renew_many(beats: Iterable[Beat], facts: Iterable[Facts]) -> None:
    """Write what heartbeats changed, many at a time. Their history is written before, by `come_back`."""
    found = list(beats)
    _write_beats(beat for beat in found if not isinstance(beat, BeatWithRelease))
    _write_beats_with_release(beat for beat in found if isinstance(beat, BeatWithRelease))
    _write_facts(facts)


def renew(host: Known, *, at: dt.datetime) -> None:
    """The host was heard otherwise than by its agent. Its history is written before, by `come_back`."""
    fields = {"last_seen_at": at, "recorded_state": str(State.LIVE), "expired_at": None}
    Host.update(**fields).where(Host.id == host.id).execute()


def renew_pending(host: Known, *, at: dt.datetime) -> None:
    """A host that waits for approval was heard."""
    Host.update(last_seen_at=at).where((Host.id == host.id) & Host.gone_at.is_null()).execute()


def come_back(host: Leased, reason: Reason, *, ran_out_at: dt.datetime, actor: Actor, at: dt.datetime) -> None:
    """The history of a host that is heard again; the row follows. Where no sweep saw that its lease ran out, the time
    in which it was stale is written, too.
    """
    if host.recorded_state == State.LIVE:
        silent = because(Cause.SILENT)
        _move(EventName.HOST_STALE, host, State.STALE, silent, at=ran_out_at, before=State.LIVE, actor=SERVICE)
    _move(EventName.HOST_RETURN, host, State.LIVE, reason, at=at, before=State.STALE, actor=actor)


# leaving


def mark_stale(host: Leased, reason: Reason, *, at: dt.datetime, actor: Actor = SERVICE) -> bool:
    """The host's lease ran out at that moment; False when a heartbeat or another sweep was first."""
    fields: dict[str, Any] = {"recorded_state": str(State.STALE), "stale_since": at}
    fields |= {"expired_at": at} if reason.code == Cause.SILENT else {}
    if not _update_unchanged(host, fields):
        return False
    _move(EventName.HOST_STALE, host, State.STALE, reason, at=at, before=host.recorded_state, actor=actor)
    return True


def mark_gone(host: Leased, reason: Reason, *, at: dt.datetime, actor: Actor = SERVICE) -> bool:
    """The host is given up after its silence; False when a heartbeat or another sweep was first."""
    fields = {"recorded_state": str(State.GONE), "gone_at": at, **columns("gone", reason)}
    if not _update_unchanged(host, fields):
        return False
    _move(EventName.HOST_GONE, host, State.GONE, reason, at=at, before=host.recorded_state, actor=actor)
    return True


def _update_unchanged(host: Leased, fields: Mapping[str, Any]) -> bool:
    unchanged = (Host.last_seen_at == host.last_seen_at) & (Host.recorded_state == host.recorded_state)
    return bool(Host.update(**fields).where((Host.id == host.id) & unchanged).execute() == 1)


def end(host: Leased, reason: Reason, *, actor: Actor, at: dt.datetime) -> bool:
    """The host leaves now, whatever its lease; False when it had left."""
    fields = {"recorded_state": str(State.GONE), "gone_at": at, **columns("gone", reason)}
    if Host.update(**fields).where((Host.id == host.id) & Host.gone_at.is_null()).execute() != 1:
        return False
    name = EventName.HOST_REMOVE if reason.code == Gone.REMOVED else EventName.HOST_GONE
    _move(name, host, State.GONE, reason, at=at, before=host.recorded_state, actor=actor)
    return True


# contradictions


def mark_conflict(host: Known, reason: Reason, *, at: dt.datetime) -> bool:
    """From now on no inventory lists the host; False when it was in conflict already."""
    free = (Host.id == host.id) & Host.conflict_code.is_null()
    if Host.update(**columns("conflict", reason)).where(free).execute() != 1:
        return False
    ConflictSpan.create(host=host.id, stage=host.stage_id, since=at, **columns("reason", reason))
    _note(EventName.HOST_CONFLICT, host, actor=SERVICE, at=at, reason=reason)
    return True


def end_conflict(host: InConflict, *, at: dt.datetime) -> bool:
    """The host's conflict is over; False when it had none."""
    if host.conflict_code is None:
        return False
    mine = (Host.id == host.id) & (Host.conflict_code == host.conflict_code)
    if Host.update(**columns("conflict", None)).where(mine).execute() != 1:
        return False
    ConflictSpan.update(until=at).where((ConflictSpan.host == host.id) & ConflictSpan.until.is_null()).execute()
    was = Reason(Conflict(host.conflict_code), host.conflict_params or {})
    _note(EventName.HOST_CONFLICT_END, host, actor=SERVICE, at=at, reason=was)
    return True


def settle_conflict(host: InConflict, reason: Reason | None, *, at: dt.datetime) -> None:
    """Make this the host's conflict, or none of it. Only another party to the same kind of conflict is no news."""
    if reason is None or (host.conflict_code is not None and host.conflict_code != reason.code):
        end_conflict(host, at=at)
    if reason is None:
        return
    if host.conflict_code == reason.code:
        Host.update(**columns("conflict", reason)).where(Host.id == host.id).execute()
    else:
        mark_conflict(host, reason, at=at)


def note_key_mismatch(host: Known, reason: Reason, *, at: dt.datetime) -> None:
    """Somebody at the host's address, or under its name, has SSH host keys that are not on record. The host stays
    listed, and nothing of those keys is kept: whoever answered there could have any. Told when there was no such note.
    """
    noted = Host.update(**columns("key_mismatch", reason))
    if noted.where((Host.id == host.id) & Host.key_mismatch_code.is_null()).execute() == 1:
        _note(EventName.HOST_KEY_MISMATCH, host, actor=SERVICE, at=at, reason=reason)
    else:
        noted.where(Host.id == host.id).execute()


# what people do, and the service in their place


def drain(hosts: Iterable[Host], *, actor: Actor, at: dt.datetime, is_leaving: bool = False) -> None:
    """They take no more work. `is_leaving`: their machines are to be ended, and new runs leave them out."""
    fields: dict[str, Any] = {"is_draining": True, **({"leaving_at": at} if is_leaving else {})}
    free = Host.leaving_at.is_null() if is_leaving else Host.is_draining == False  # noqa: E712 - SQL
    for host in hosts:
        if Host.update(**fields).where((Host.id == host.id) & free).execute() == 1:
            _note(EventName.HOST_DRAIN, host, actor=actor, at=at, details={"leaving": True} if is_leaving else None)


def undrain(hosts: Iterable[Host], *, actor: Actor, at: dt.datetime, was_leaving: bool = False) -> None:
    """They serve again. `was_leaving`: only those whose machines were to be ended, which now stay."""
    fields: dict[str, Any] = {"is_draining": False, **({"leaving_at": None} if was_leaving else {})}
    draining = Host.leaving_at.is_null(False) if was_leaving else Host.is_draining == True  # noqa: E712 - SQL
    for host in hosts:
        if Host.update(**fields).where((Host.id == host.id) & draining).execute() == 1:
            _note(EventName.HOST_UNDRAIN, host, actor=actor, at=at)


def quarantine(host: Host, reason: Reason, *, actor: Actor, at: dt.datetime) -> None:
    """Exclude the host from convergence. A person's word takes the place of convergence's own."""
    fields = columns("quarantine", reason)
    if reason.code == Quarantine.PERSON:
        fields |= {"converge_attempts": 0, "converge_after": at}
    if _is_other(fields, host, "quarantine_code", "quarantine_params"):
        Host.update(**fields).where(Host.id == host.id).execute()
        _note(EventName.HOST_QUARANTINE, host, actor=actor, at=at, reason=reason)


def _is_other(fields: Mapping[str, Any], host: Host, *names: str) -> bool:
    return any(getattr(host, name) != fields[name] for name in names)


def release_from_quarantine(
    hosts: Sequence[Host], *, actor: Actor, at: dt.datetime, converge_after: dt.datetime | None = None
) -> None:
    """Let convergence work on them again, with all of their attempts, from `converge_after` on; None: at once."""
    anew = {**columns("quarantine", None), "converge_attempts": 0, "converge_after": converge_after}
    Host.update(**anew).where(Host.id.in_([host.id for host in hosts])).execute()
    for host in hosts:
        if host.quarantine_code is not None:
            _note(EventName.HOST_RELEASE, host, actor=actor, at=at)


def change(
    host: Host, *, actor: Actor, at: dt.datetime, groups: list[str] | None = None, description: str | None = None
) -> None:
    """Regroup or describe it; only what is given."""
    given = {"groups": groups, "description": description}
    after = {field: value for field, value in given.items() if value is not None}
    changes = events.changed({field: getattr(host, field) for field in after}, after)
    if changes:
        Host.update(**{field: after[field] for field in changes}).where(Host.id == host.id).execute()
        _note(EventName.HOST_UPDATE, host, actor=actor, at=at, changes=changes)


def place_by_tags(host: Host, tag_groups: list[str], *, actor: Actor, at: dt.datetime) -> None:
    """Give the host the groups of its instance's tags, in the place of those that earlier tags gave it."""
    groups = sorted({*set(host.groups).difference(host.tag_groups or []), *tag_groups})
    Host.update(groups=groups, tag_groups=tag_groups).where(Host.id == host.id).execute()
    changes = events.changed({"groups": host.groups}, {"groups": groups})
    if changes:
        _note(EventName.HOST_UPDATE, host, actor=actor, at=at, changes=changes)


def vouch_for_keys(host: Host, host_keys: list[str], *, actor: Actor, at: dt.datetime) -> None:
    """A person says that these are the host's SSH keys. A note about others ends with that."""
    fields = {"host_keys": host_keys, **columns("key_mismatch", None)}
    Host.update(**fields).where(Host.id == host.id).execute()
    changes = events.changed({"host_keys": host.host_keys}, {"host_keys": host_keys})
    _note(EventName.HOST_VOUCH, host, actor=actor, at=at, changes=changes)


# releases and convergence


def record_release(host_ids: Sequence[str], *, number: int, revision: str, is_pinned: bool) -> None:
    """These hosts run the release now. `is_pinned`: it is not the stage's desired one, and they stay on it."""
    fields = {"release_number": number, "revision": revision, "pinned_release_number": number if is_pinned else None}
    Host.update(**fields, converge_attempts=0).where(Host.id.in_(host_ids)).execute()


def unpin_all(stage_id: int) -> None:
    """The stage has a new desired release: hosts that were pinned to another are let go, attempts count anew."""
    anew = {"pinned_release_number": None, "converge_attempts": 0, "converge_after": None}
    Host.update(**anew).where((Host.stage == stage_id) & Host.gone_at.is_null()).execute()


def count_converge_attempt(host: Host, *, converge_after: dt.datetime) -> None:
    """Convergence tries to bring it its release, and not again before that moment."""
    fields = {"converge_attempts": host.converge_attempts + 1, "converge_after": converge_after}
    Host.update(**fields).where(Host.id == host.id).execute()


def give_back_converge_attempt(host_ids: Sequence[str]) -> None:
    """The attempt did not reach them, and does not count."""
    mine = Host.id.in_(host_ids) & (Host.converge_attempts > 0)
    Host.update(converge_attempts=Host.converge_attempts - 1, converge_after=None).where(mine).execute()


# time and forgetting


def correct_clock(*, at: dt.datetime, jump_seconds: float) -> None:
    """The service's clock was set, forward by `jump_seconds`: the time of stale hosts goes on as it was. Moments that
    lie in the future become now.
    """
    if jump_seconds:
        moved = Host.stale_since + round(jump_seconds * 1_000_000)
        Host.update(stale_since=moved).where(Host.stale_since.is_null(False)).execute()
    for field in (Host.last_seen_at, Host.expired_at, Host.stale_since):
        Host.update({field: at}).where(field > at).execute()


def strip(host_ids: Sequence[str]) -> int:
    """Forget what these hosts, which have gone, said, and their credentials; returns how many."""
    said: dict[str, Any] = {"facts": {}, "facts_hash": None, "metrics": {}, "host_keys": [], "health_reason": None}
    credentials = {"secret_sha256": None, "previous_secret_sha256": None, "earlier_boots": None}
    return int(Host.update(**said, **credentials).where(Host.id.in_(host_ids)).execute())


def forget(host_ids: Sequence[str]) -> None:
    """Forget these hosts and their history. Runs keep their names; only the link to the row ends."""
    runs.forget_hosts(host_ids)
    Transition.delete().where(Transition.host.in_(host_ids)).execute()
    ConflictSpan.delete().where(ConflictSpan.host.in_(host_ids)).execute()
    Host.delete().where(Host.id.in_(host_ids)).execute()
