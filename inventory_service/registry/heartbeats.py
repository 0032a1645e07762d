"""Heartbeats: renewing leases, many at a time in one transaction.

Decisions are made on rows read inside the transaction that writes them, so that a sweep or a goodbye at the same time
can't come between. The SQL is written out, because this is the one place that runs thousands of times a second.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import random
from collections.abc import Sequence
from typing import Any

from inventory_service import credentials
from inventory_service.database import database, to_microseconds
from inventory_service.errors import CallboardError, ConflictError, GoneError, UnauthorizedError
from inventory_service.models import Host, Project, Stage
from inventory_service.registry import hosts, liveness, reported, transitions

_CLONED = "two machines beat with this host's token (a cloned image?); enrol each of them anew"
_COLUMNS = (
    Host.id,
    Host.stage,
    Host.name,
    Host.address,
    Host.port,
    Host.secret_sha256,
    Host.previous_secret_sha256,
    Host.last_seen_at,
    Host.recorded_state,
    Host.gone_at,
    Host.gone_reason,
    Host.conflict,
    Host.boot_id,
    Host.previous_boot_id,
    Host.sequence,
    Host.facts_hash,
)
_RENEW = """
UPDATE host SET last_seen_at = ?, recorded_state = ?, expired_at = NULL, conflict = ?,
  boot_id = ?, previous_boot_id = ?, sequence = ?, agent_version = ?, metrics = ?,
  release_number = CASE WHEN CAST(? AS TEXT) IS NULL THEN release_number ELSE ? END,
  revision = COALESCE(?, revision), release_reported_at = COALESCE(?, release_reported_at),
  is_healthy = ?, health_reason = ?
WHERE id = ?
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a host says once an interval. `revision` None means "I can't tell", and changes nothing.

    `is_healthy` is the word of the agent's own health check, None where it has none.
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


@dataclasses.dataclass(frozen=True, slots=True)
class Renewal:
    """What the service answers to a heartbeat."""

    state: str
    is_duplicate: bool
    generation: int
    ttl_seconds: int
    next_in_seconds: float
    desired_release: dict[str, Any] | None
    wants_facts: bool


def check(beat: Heartbeat) -> Heartbeat:
    """The heartbeat with everything in it acceptable. Raises InvalidError. Done before the transaction."""
    reported.check_metrics(beat.metrics)
    if beat.revision is not None:
        reported.check_revision(beat.revision)
    if beat.facts is not None:
        reported.check_facts(beat.facts)
    reported.check_reason(beat.health_reason)
    return beat


def renew(token: str, beat: Heartbeat, *, judge: liveness.Judge) -> Renewal:
    """One heartbeat. Raises InvalidError, UnauthorizedError, GoneError or ConflictError."""
    result = renew_many([(token, check(beat))], judge=judge)[0]
    if isinstance(result, Exception):
        raise result
    return result


def renew_many(beats: Sequence[tuple[str, Heartbeat]], *, judge: liveness.Judge) -> list[Renewal | CallboardError]:
    """Renew the leases of checked heartbeats, (host token, heartbeat) each, in one transaction.

    Returns in order either what to answer or the error to raise.
    """
    tokens = [credentials.split(token) for token, _ in beats]
    ids = {parts[1] for parts in tokens if parts is not None and parts[0] == hosts.PREFIX}
    with database.atomic():
        batch = _Batch(ids, judge)
        results = [batch.take(parts, beat) for parts, (_, beat) in zip(tokens, beats, strict=True)]
        batch.write()
    return results


class _Batch:
    """The rows of one transaction: read once, changed in memory by each heartbeat, written once."""

    def __init__(self, ids: set[str], judge: liveness.Judge) -> None:
        self._judge = judge
        self._hosts = {row.id: row for row in Host.select(*_COLUMNS).where(Host.id.in_(ids))}
        stage_ids = {row.stage_id for row in self._hosts.values()}
        stages = Stage.select(Stage, Project).join(Project).where(Stage.id.in_(stage_ids))
        self._stages = {row.id: row for row in stages}
        self._desired = {row.id: hosts.desired_release(row) for row in self._stages.values()}
        self._updates: dict[str, tuple[Any, ...]] = {}
        self._facts: dict[str, dict[str, Any]] = {}

    def take(self, parts: tuple[str, str, str] | None, beat: Heartbeat) -> Renewal | CallboardError:
        """Decide one heartbeat."""
        host = self._hosts.get(parts[1]) if parts is not None and parts[0] == hosts.PREFIX else None
        if parts is None or host is None or not hosts.is_held(host, parts[2]):
            return UnauthorizedError(hosts.REFUSED)
        stage = self._stages[host.stage_id]
        if stage.archived_at is not None or host.gone_at is not None:
            return GoneError(f"The host {host.name!r} has left ({host.gone_reason or 'stage archived'}). Enrol again.")
        if beat.boot_id == host.previous_boot_id:
            return self._mark_clone(host)
        if host.previous_secret_sha256 is not None and credentials.matches(parts[2], host.secret_sha256):
            self._end_previous_secret(host)
        is_duplicate = beat.boot_id == host.boot_id and host.sequence is not None and beat.seq <= host.sequence
        if not is_duplicate:
            self._renew(host, stage, beat)
        if host.conflict is not None:
            return ConflictError(f"The host {host.name!r} is in conflict: {host.conflict}.")
        return self._answer(host, stage, beat, is_duplicate=is_duplicate)

    def _mark_clone(self, host: Host) -> ConflictError:
        """A boot that a later one replaced beats again: two machines share one credential."""
        if host.conflict is None:
            host.conflict = _CLONED
            Host.update(conflict=_CLONED).where(Host.id == host.id).execute()
        return ConflictError(f"The host {host.name!r} is in conflict: {host.conflict}.")

    def _end_previous_secret(self, host: Host) -> None:
        """The new token of a rotation is in use: the one before it ends."""
        host.previous_secret_sha256 = None
        Host.update(previous_secret_sha256=None).where(Host.id == host.id).execute()

    def _renew(self, host: Host, stage: Stage, beat: Heartbeat) -> None:
        if host.recorded_state != liveness.PENDING:
            is_back = transitions.record_renewal(host, stage, judge=self._judge, reason="heartbeat")
            host.recorded_state = liveness.LIVE
            if is_back or (host.conflict or "").startswith(hosts.SAME_ADDRESS):
                host.conflict = hosts.address_conflict(host, stage, judge=self._judge, known=self._hosts)
        if beat.boot_id != host.boot_id:
            host.previous_boot_id = host.boot_id
        host.last_seen_at, host.boot_id, host.sequence = self._judge.at, beat.boot_id, beat.seq
        if beat.facts is not None:
            host.facts_hash = hosts.facts_hash(beat.facts)
            self._facts[host.id] = beat.facts
        self._updates[host.id] = _row(host, beat, at=self._judge.at)

    def _answer(self, host: Host, stage: Stage, beat: Heartbeat, *, is_duplicate: bool) -> Renewal:
        return Renewal(
            state=self._judge.state(host, stage),
            is_duplicate=is_duplicate,
            generation=stage.generation,
            ttl_seconds=stage.ttl_seconds,
            next_in_seconds=next_beat_seconds(stage),
            desired_release=self._desired[stage.id],
            wants_facts=beat.facts_hash is not None and beat.facts_hash != host.facts_hash,
        )

    def write(self) -> None:
        """Write what the heartbeats changed."""
        if self._updates:
            statement = _RENEW.replace("?", str(database.param))
            database.connection().cursor().executemany(statement, list(self._updates.values()))
        for host_id, facts in self._facts.items():
            Host.update(facts=facts, facts_hash=hosts.facts_hash(facts)).where(Host.id == host_id).execute()


def _row(host: Host, beat: Heartbeat, *, at: dt.datetime) -> tuple[Any, ...]:
    now = to_microseconds(at)
    has_release = beat.revision is not None
    return (
        now,
        host.recorded_state,
        host.conflict,
        host.boot_id,
        host.previous_boot_id,
        host.sequence,
        beat.agent_version,
        json.dumps(beat.metrics),
        beat.revision,
        beat.release_number,
        beat.revision,
        now if has_release else None,
        beat.is_healthy,
        beat.health_reason,
        host.id,
    )


def next_beat_seconds(stage: Stage) -> float:
    """When to beat next: the interval, less up to a tenth so that a fleet does not beat in step; never above ttl/3."""
    wanted = stage.interval_seconds * random.uniform(0.9, 1.0)  # noqa: S311 - spreading load, not a secret
    return round(min(wanted, stage.ttl_seconds / 3), 2)
