"""Heartbeats: renewing leases, many at a time in one transaction.

Decisions are made on rows read inside the transaction that writes them, so that a sweep or a goodbye at the same time
can't come between. The SQL is written out, because this is the one place that runs thousands of times a second.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

from inventory_service import credentials
from inventory_service.clock import iso
from inventory_service.codes.host import Cause, Conflict, Gone
from inventory_service.database import database
from inventory_service.errors import CallboardError, ConflictError, GoneError, UnauthorizedError
from inventory_service.models import Host, Stage
from inventory_service.reasons import Reason, because, columns
from inventory_service.records import hosts as records
from inventory_service.records.heartbeat import Heartbeat
from inventory_service.registry import boot_order, hosts, liveness, sweep
from inventory_service.rows import Reader
from inventory_service.wording import host as wording

_LAST_BREATH = dt.timedelta(minutes=2)  # a machine that shuts down may beat until it is off


@dataclasses.dataclass(slots=True)  # not frozen: that would make them three times as slow to build
class Renewal:
    """What the service answers to a heartbeat. `server_time` is the moment of receipt, ISO 8601. `wants_rotation`: the
    token is old, or a newer one that nobody has used yet stands beside it.
    """

    server_time: str | None
    state: str
    is_duplicate: bool
    generation: int
    ttl_seconds: int
    next_in_seconds: float
    desired_release: dict[str, Any] | None
    wants_facts: bool
    token_age_seconds: int | None = None
    wants_rotation: bool = False


def renew(token: str, beat: Heartbeat, *, expiry: liveness.Expiry, rotate_after: dt.timedelta | None = None) -> Renewal:
    """One heartbeat. Raises InvalidError, UnauthorizedError, GoneError or ConflictError."""
    result = renew_many([(token, beat.checked())], expiry=expiry, rotate_after=rotate_after)[0]
    if isinstance(result, Exception):
        raise result
    return result


def renew_many(
    beats: Sequence[tuple[str, Heartbeat]],
    *,
    expiry: liveness.Expiry | Callable[[], liveness.Expiry],
    rotate_after: dt.timedelta | None = None,
) -> list[Renewal | CallboardError]:
    """Renew the leases of checked heartbeats, (host token, heartbeat) each, in one transaction.

    `expiry` may be a function: it is called when the transaction has begun, for which a busy database makes one wait.
    `rotate_after`: age at which a host is told to get a new token; None for never.
    Returns in order either what to answer or the error to raise.
    """
    tokens = [credentials.split(token) for token, _ in beats]
    ids = {parts[1] for parts in tokens if parts is not None and parts[0] == hosts.PREFIX}
    with database.atomic():
        batch = _Batch(ids, expiry() if callable(expiry) else expiry, rotate_after)
        results = [batch.take(parts, beat) for parts, (_, beat) in zip(tokens, beats, strict=True)]
        batch.write()
    return results


@dataclasses.dataclass(slots=True)
class _Lease:
    """The columns of a host's row that a heartbeat reads or changes. (A model's instance takes ten times as long.)"""

    id: str
    stage_id: int
    name: str
    address: str
    port: int
    secret_sha256: str | None
    previous_secret_sha256: str | None
    recorded_state: str
    gone_code: str | None
    gone_params: dict[str, Any] | None
    conflict_code: str | None
    conflict_params: dict[str, Any] | None
    boot_id: str | None
    earlier_boots: str | None
    sequence: int | None
    facts_hash: str | None
    last_seen_at: dt.datetime
    stale_since: dt.datetime | None
    gone_at: dt.datetime | None
    secret_made_at: dt.datetime | None


@dataclasses.dataclass(slots=True)
class _Terms:
    """The columns of a stage's row that its hosts' heartbeats depend on, and its desired release."""

    id: int
    interval_seconds: int
    ttl_seconds: int
    generation: int
    desired_release_number: int | None
    desired_revision: str | None
    grace_from: dt.datetime | None
    expiry_paused_at: dt.datetime | None
    archived_at: dt.datetime | None

    @property
    def desired_release(self) -> dict[str, Any] | None:
        """{number, revision} of what the stage should run."""
        number = self.desired_release_number
        return None if number is None else {"number": number, "revision": self.desired_revision}


_read_leases = Reader(_Lease, Host)
_read_terms = Reader(_Terms, Stage, {"desired_revision": "release.revision"})
_RELEASE = "LEFT JOIN release ON release.stage_id = stage.id AND release.number = stage.desired_release_number"


class _Batch:
    """The rows of one transaction: read once, changed in memory by each heartbeat, written once."""

    def __init__(self, ids: set[str], expiry: liveness.Expiry, rotate_after: dt.timedelta | None) -> None:
        self._expiry = expiry
        self._rotate_after = rotate_after
        self._server_time = iso(expiry.at)
        leases = _read_leases(f"WHERE id IN ({_marks(ids)})", tuple(ids)) if ids else []
        self._hosts = {lease.id: lease for lease in leases}
        own = {lease.stage_id for lease in leases}
        terms = _read_terms(f"{_RELEASE} WHERE stage.id IN ({_marks(own)})", tuple(own)) if own else []
        self._stages = {one.id: one for one in terms}
        self._renewed: dict[str, Heartbeat] = {}
        self._facts: dict[str, records.Facts] = {}

    def take(self, parts: tuple[str, str, str] | None, beat: Heartbeat) -> Renewal | CallboardError:
        """Decide one heartbeat."""
        host = self._hosts.get(parts[1]) if parts is not None and parts[0] == hosts.PREFIX else None
        if parts is None or host is None or not hosts.accepts_secret(host, parts[2]):
            return UnauthorizedError(hosts.REFUSED)
        stage = self._stages[host.stage_id]
        if stage.archived_at is not None or host.gone_at is not None:
            self._note_heartbeat_of_gone(host)
            why = wording.gone(host.gone_code, host.gone_params) or "stage archived"
            return GoneError(f"The host {host.name!r} has left ({why}). Enrol again.")
        if host.previous_secret_sha256 is not None and credentials.matches(parts[2], host.secret_sha256):
            self._end_previous_secret(host)
        is_earlier = boot_order.is_earlier(host.earlier_boots, beat.boot_id)
        is_old = beat.boot_id == host.boot_id and host.sequence is not None and beat.seq <= host.sequence
        if is_earlier and boot_order.is_clone(host.earlier_boots, beat.boot_id, beat.seq, at=self._expiry.at):
            if host.conflict_code is None:  # two machines share one token
                self._settle(host, because(Conflict.CLONED))
        elif not is_earlier and not is_old:
            self._renew(host, stage, beat)
        if host.conflict_code is not None:
            apart = wording.conflict(host.conflict_code, host.conflict_params)
            return ConflictError(f"The host {host.name!r} is in conflict: {apart}.")
        return self._answer(host, stage, beat, is_duplicate=is_earlier or is_old)

    def _note_heartbeat_of_gone(self, host: _Lease) -> None:
        """A host that has gone beats. Where EC2 has ended its machine, somebody else has its token, or EC2 errs. A
        stopped machine may be started again, and then only has to enrol.
        """
        params = host.gone_params or {}
        is_ended = host.gone_code == Gone.EC2_ENDED and params.get("state") == "terminated"
        if is_ended and host.gone_at is not None and self._expiry.at - host.gone_at >= _LAST_BREATH:
            self._settle(host, because(Conflict.ENDED_BUT_BEATS, **params))

    def _settle(self, host: _Lease, conflict: Reason | None) -> None:
        """Write the host's conflict, or that it has none, if that is news."""
        if conflict is None and host.conflict_code is None:
            return
        records.settle_conflict(host, conflict, at=self._expiry.at)
        fields = columns("conflict", conflict)
        host.conflict_code, host.conflict_params = fields["conflict_code"], fields["conflict_params"]

    def _end_previous_secret(self, host: _Lease) -> None:
        """The new token is in use: the one before it ends, and the order of its heartbeats with it. Of two machines
        that shared it, one has the new one.
        """
        host.previous_secret_sha256 = host.earlier_boots = host.sequence = None
        records.end_previous_secrets(host)
        if host.conflict_code == Conflict.CLONED:
            self._settle(host, None)

    def _renew(self, host: _Lease, stage: _Terms, beat: Heartbeat) -> None:
        if host.recorded_state != liveness.PENDING:
            heard = because(Cause.HEARTBEAT)
            is_back = sweep.record_return(host, stage, heard, expiry=self._expiry, actor=records.actor_of(host))
            host.recorded_state = liveness.LIVE
            is_open = host.conflict_code != Conflict.ENDED_BUT_BEATS  # EC2 has the last word on that
            if host.conflict_code == Conflict.SAME_ADDRESS or (is_back and is_open):
                self._settle(host, hosts.address_conflict(host, stage, expiry=self._expiry, known=self._hosts))
        if host.boot_id is not None and beat.boot_id != host.boot_id:
            host.earlier_boots = boot_order.remember(
                host.earlier_boots, host.boot_id, host.sequence, at=self._expiry.at
            )
        host.last_seen_at, host.boot_id, host.sequence = self._expiry.at, beat.boot_id, beat.seq
        if beat.facts is not None:
            host.facts_hash = hosts.facts_hash(beat.facts)
            self._facts[host.id] = records.Facts(host.id, beat.facts, host.facts_hash)
        self._renewed[host.id] = beat

    def _answer(self, host: _Lease, stage: _Terms, beat: Heartbeat, *, is_duplicate: bool) -> Renewal:
        age = None if host.secret_made_at is None else self._expiry.at - host.secret_made_at
        return Renewal(
            server_time=self._server_time,
            state=self._expiry.state(host, stage),
            is_duplicate=is_duplicate,
            generation=stage.generation,
            ttl_seconds=liveness.ttl_seconds(stage),
            next_in_seconds=liveness.next_beat_seconds(stage),
            desired_release=stage.desired_release,
            wants_facts=beat.facts_hash is not None and beat.facts_hash != host.facts_hash,
            token_age_seconds=None if age is None else int(age.total_seconds()),
            wants_rotation=host.previous_secret_sha256 is not None or self._is_old(host, age),
        )

    def _is_old(self, host: _Lease, age: dt.timedelta | None) -> bool:
        """Whether a new token is due; spread by host over the last tenth of the time, for fleets that enrol at once."""
        if age is None or self._rotate_after is None or age < self._rotate_after * 0.9:
            return False
        return age >= self._rotate_after * (0.9 + zlib.crc32(host.id.encode()) / 2**32 / 10)

    def write(self) -> None:
        """Write what the heartbeats changed: the rows as the last of them left them."""
        beats = [_beat(self._hosts[id_], beat, at=self._expiry.at) for id_, beat in self._renewed.items()]
        records.renew_many(beats, self._facts.values())


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _beat(host: _Lease, beat: Heartbeat, *, at: dt.datetime) -> records.Beat:
    fields: dict[str, Any] = {
        "id": host.id,
        "last_seen_at": at,
        "recorded_state": host.recorded_state,
        "boot_id": beat.boot_id,
        "earlier_boots": host.earlier_boots,
        "sequence": beat.seq,
        "said": beat,
        "acknowledged_run": beat.run,
    }
    if beat.revision is None:
        return records.Beat(**fields)
    return records.BeatWithRelease(
        **fields, release_number=beat.release_number, revision=beat.revision, release_reported_at=at
    )
