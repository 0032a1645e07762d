"""Heartbeats: renewing leases, many at a time in one transaction.

Decisions are made on rows read inside the transaction that writes them, so that a sweep or a goodbye at the same time
can't come between. The SQL is written out, because this is the one place that runs thousands of times a second.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

from pydantic_core import to_json

from inventory_service import credentials
from inventory_service.clock import iso
from inventory_service.database import database, execute_many, fetch, from_microseconds, to_microseconds
from inventory_service.errors import CallboardError, ConflictError, GoneError, UnauthorizedError
from inventory_service.models import Host
from inventory_service.registry import alarms, boot_order, conflicts, hosts, liveness, reported, transitions, undead

_CLONED = "two machines beat with this host's token (a cloned image?); enrol each of them anew"
_RENEW = """
UPDATE host SET last_seen_at = ?, recorded_state = ?, expired_at = NULL, conflict = ?,
  boot_id = ?, earlier_boots = ?, sequence = ?, agent_version = ?, metrics = ?,
  release_number = CASE WHEN CAST(? AS TEXT) IS NULL THEN release_number ELSE ? END,
  revision = COALESCE(?, revision), release_reported_at = COALESCE(?, release_reported_at),
  acknowledged_run = COALESCE(?, acknowledged_run),
  is_healthy = ?, health_reason = ?
WHERE id = ?
"""
_KEEP_FACTS = "UPDATE host SET facts = ?, facts_hash = ? WHERE id = ?"


@dataclasses.dataclass(slots=True)  # not frozen: that would make them three times as slow to build
class Heartbeat:
    """What a host says once an interval. `revision` None means "I can't tell", and changes nothing.

    `is_healthy` is the word of the agent's own health check, None where it has none. `run` is the last run that reached
    the host; None changes nothing.
    """

    boot_id: str
    seq: int
    agent_version: str | None = None
    release_number: int | None = None
    revision: str | None = None
    facts_hash: str | None = None
    facts: dict[str, Any] | None = None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    is_healthy: bool | None = None
    health_reason: str | None = None
    run: int | None = None


@dataclasses.dataclass(slots=True)
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


def check(beat: Heartbeat) -> Heartbeat:
    """The heartbeat with everything in it acceptable. Raises InvalidError. Done before the transaction."""
    reported.check_metrics(beat.metrics)
    if beat.revision is not None:
        reported.check_revision(beat.revision)
    if beat.facts is not None:
        reported.check_facts(beat.facts)
    reported.check_reason(beat.health_reason)
    return beat


def renew(token: str, beat: Heartbeat, *, expiry: liveness.Expiry, rotate_after: dt.timedelta | None = None) -> Renewal:
    """One heartbeat. Raises InvalidError, UnauthorizedError, GoneError or ConflictError."""
    result = renew_many([(token, check(beat))], expiry=expiry, rotate_after=rotate_after)[0]
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
    gone_reason: str | None
    conflict: str | None
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
    desired_release: dict[str, Any] | None
    grace_from: dt.datetime | None
    frozen_at: dt.datetime | None
    archived_at: dt.datetime | None


_READ_LEASES = """
SELECT id, stage_id, name, address, port, secret_sha256, previous_secret_sha256, recorded_state, gone_reason, conflict,
  boot_id, earlier_boots, sequence, facts_hash, last_seen_at, stale_since, gone_at, secret_made_at
FROM host WHERE id IN
"""
_READ_TERMS = """
SELECT stage.id, interval_seconds, ttl_seconds, generation, desired_release_number, release.revision,
  grace_from, frozen_at, archived_at
FROM stage LEFT JOIN release ON release.stage_id = stage.id AND release.number = desired_release_number
WHERE stage.id IN
"""


class _Batch:
    """The rows of one transaction: read once, changed in memory by each heartbeat, written once."""

    def __init__(self, ids: set[str], expiry: liveness.Expiry, rotate_after: dt.timedelta | None) -> None:
        self._expiry = expiry
        self._rotate_after = rotate_after
        self._now, self._server_time = to_microseconds(expiry.at), iso(expiry.at)
        self._hosts = _read_leases(ids)
        self._stages = _read_terms({lease.stage_id for lease in self._hosts.values()})
        self._renewed: dict[str, Heartbeat] = {}
        self._facts: dict[str, tuple[str, str, str]] = {}

    def take(self, parts: tuple[str, str, str] | None, beat: Heartbeat) -> Renewal | CallboardError:
        """Decide one heartbeat."""
        host = self._hosts.get(parts[1]) if parts is not None and parts[0] == hosts.PREFIX else None
        if parts is None or host is None or not hosts.is_held(host, parts[2]):
            return UnauthorizedError(hosts.REFUSED)
        stage = self._stages[host.stage_id]
        if stage.archived_at is not None or host.gone_at is not None:
            undead.note(host, at=self._expiry.at)
            return GoneError(f"The host {host.name!r} has left ({host.gone_reason or 'stage archived'}). Enrol again.")
        if host.previous_secret_sha256 is not None and credentials.matches(parts[2], host.secret_sha256):
            self._end_previous_secret(host)
        is_earlier = boot_order.is_earlier(host.earlier_boots, beat.boot_id)
        is_old = beat.boot_id == host.boot_id and host.sequence is not None and beat.seq <= host.sequence
        if is_earlier and boot_order.is_clone(host.earlier_boots, beat.boot_id, beat.seq, at=self._expiry.at):
            self._mark_clone(host)
        elif not is_earlier and not is_old:
            self._renew(host, stage, beat)
        if host.conflict is not None:
            return ConflictError(f"The host {host.name!r} is in conflict: {host.conflict}.")
        return self._answer(host, stage, beat, is_duplicate=is_earlier or is_old)

    def _mark_clone(self, host: _Lease) -> None:
        """Two machines share one credential."""
        if host.conflict is None:
            host.conflict = _CLONED
            Host.update(conflict=_CLONED).where(Host.id == host.id).execute()
            conflicts.note(host, _CLONED, had=None, at=self._expiry.at)
            alarms.tell(alarms.CONFLICT, host.stage_id, host.name, _CLONED, at=self._expiry.at)

    def _end_previous_secret(self, host: _Lease) -> None:
        """The new token is in use: the one before it ends, and the order of its heartbeats with it. Of two machines
        that shared it, one has the new one.
        """
        host.previous_secret_sha256 = host.earlier_boots = host.sequence = None
        had, host.conflict = host.conflict, None if host.conflict == _CLONED else host.conflict
        conflicts.note(host, host.conflict, had=had, at=self._expiry.at)
        fields = {"previous_secret_sha256": None, "earlier_boots": None, "conflict": host.conflict}
        Host.update(**fields, sequence=None).where(Host.id == host.id).execute()

    def _renew(self, host: _Lease, stage: _Terms, beat: Heartbeat) -> None:
        if host.recorded_state != liveness.PENDING:
            is_back = transitions.record_renewal(host, stage, expiry=self._expiry, reason="heartbeat")
            host.recorded_state = liveness.LIVE
            if is_back or (host.conflict or "").startswith(hosts.SAME_ADDRESS):
                had = host.conflict
                host.conflict = hosts.address_conflict(host, stage, expiry=self._expiry, known=self._hosts)
                conflicts.note(host, host.conflict, had=had, at=self._expiry.at)
                if host.conflict is not None and had is None:
                    alarms.tell(alarms.CONFLICT, host.stage_id, host.name, host.conflict, at=self._expiry.at)
        if host.boot_id is not None and beat.boot_id != host.boot_id:
            host.earlier_boots = boot_order.remember(
                host.earlier_boots, host.boot_id, host.sequence, at=self._expiry.at
            )
        host.last_seen_at, host.boot_id, host.sequence = self._expiry.at, beat.boot_id, beat.seq
        if beat.facts is not None:
            host.facts_hash = hosts.facts_hash(beat.facts)
            self._facts[host.id] = (to_json(beat.facts).decode(), host.facts_hash, host.id)
        self._renewed[host.id] = beat

    def _answer(self, host: _Lease, stage: _Terms, beat: Heartbeat, *, is_duplicate: bool) -> Renewal:
        age = None if host.secret_made_at is None else self._expiry.at - host.secret_made_at
        return Renewal(
            server_time=self._server_time,
            state=self._expiry.state(host, stage),
            is_duplicate=is_duplicate,
            generation=stage.generation,
            ttl_seconds=stage.ttl_seconds,
            next_in_seconds=next_beat_seconds(stage),
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
        execute_many(_RENEW, [_row(self._hosts[id_], beat, now=self._now) for id_, beat in self._renewed.items()])
        execute_many(_KEEP_FACTS, list(self._facts.values()))


def _read_leases(ids: set[str]) -> dict[str, _Lease]:
    if not ids:
        return {}
    rows = fetch(f"{_READ_LEASES} ({_marks(ids)})", tuple(ids))
    return {row[0]: _Lease(*row[:-4], *map(from_microseconds, row[-4:])) for row in rows}


def _read_terms(ids: set[int]) -> dict[int, _Terms]:
    if not ids:
        return {}
    rows = fetch(f"{_READ_TERMS} ({_marks(ids)})", tuple(ids))
    return {row[0]: _terms(*row) for row in rows}


def _terms(stage_id: int, interval: int, ttl: int, generation: int, *more: Any) -> _Terms:
    number, revision, *moments = more
    desired = None if number is None else {"number": number, "revision": revision}
    grace_from, frozen_at, archived_at = map(from_microseconds, moments)
    return _Terms(stage_id, interval, ttl, generation, desired, grace_from, frozen_at, archived_at)


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _row(host: _Lease, beat: Heartbeat, *, now: int) -> tuple[Any, ...]:
    has_release = beat.revision is not None
    return (
        now,
        host.recorded_state,
        host.conflict,
        host.boot_id,
        host.earlier_boots,
        host.sequence,
        beat.agent_version,
        to_json(beat.metrics).decode(),
        beat.revision,
        beat.release_number,
        beat.revision,
        now if has_release else None,
        beat.run,
        beat.is_healthy,
        beat.health_reason,
        host.id,
    )


def next_beat_seconds(stage: _Terms) -> float:
    """When to beat next: the interval, less up to a tenth so that a fleet does not beat in step; never above ttl/3."""
    wanted = stage.interval_seconds * random.uniform(0.9, 1.0)  # noqa: S311 - spreading load, not a secret
    return round(min(wanted, stage.ttl_seconds / 3), 2)
