"""Is this host live? The one definition, used by the sweep, the inventory, the API and the pages.

A host's lease ages by the service's own receipt time. Silence during which the service could not have heard
anybody does not count: `grace_from` moves forward when the service becomes ready, when the sweep was stalled
and when the wall clock jumped. (Kubernetes and etcd do the same when a leader takes over.)

While expiry is paused hosts stay listed beyond their lease, and the pause's good end gives them a fresh one; both
together no longer than the limit of pauses, so that one after the other does not keep the dead. Everybody who needs a
stage's ttl or interval asks here.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from typing import Any, Protocol

from inventory_service.codes.host import State
from inventory_service.database import database, fetch
from inventory_service.errors import InvalidError
from inventory_service.models import ServiceState, Stage
from inventory_service.records import hosts as host_records
from inventory_service.records import stages as stage_records

DEFAULT_INTERVAL_SECONDS, DEFAULT_TTL_SECONDS = 60, 300
PENDING, LIVE, LATE, STALE, GONE = STATES = tuple(State)
LISTED = (LIVE, LATE)
_LATE_AFTER_INTERVALS = 1.5
_GRACE_KEY = "grace_from"
PAUSE_KEY = "expiry_pause"
_RESUMED_KEY = "expiry_resumed_at"
_LIMIT_KEY = "expiry_pause_limit"
_KEYS = (_GRACE_KEY, PAUSE_KEY, _RESUMED_KEY, _LIMIT_KEY)
_PAUSE_LIMIT_SECONDS = 3600.0
_SHORTEST_PATIENCE_SECONDS = 2.0
_LONG_AGO = 946_684_800.0  # the year 2000, when no grace was ever given


class Lease(Protocol):
    """What of a host decides its state; a row of Host is one."""

    id: str
    stage_id: int
    name: str
    last_seen_at: dt.datetime
    recorded_state: str
    stale_since: dt.datetime | None
    gone_at: dt.datetime | None
    conflict_code: str | None


class Terms(Protocol):
    """What of a stage decides its hosts' states; a row of Stage is one."""

    id: int
    interval_seconds: int
    ttl_seconds: int
    grace_from: dt.datetime | None
    expiry_paused_at: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class Expiry:
    """Everything besides host and stage themselves that a host's state depends on, taken at one moment.

    `grace_from`: since when the service can hear. `resumed_at`: when a pause for all ended well. `pause_limit`: how
    long pauses keep a host beyond its lease, at most. `failing_since`: since when heartbeats could not be written.
    """

    at: dt.datetime
    grace_from: dt.datetime
    gone_after: dt.timedelta
    paused_at: dt.datetime | None = None
    resumed_at: dt.datetime | None = None
    pause_limit: dt.timedelta = dt.timedelta(seconds=_PAUSE_LIMIT_SECONDS)
    failing_since: dt.datetime | None = None

    def silent_since(self, host: Lease, stage: Terms) -> dt.datetime:
        """The moment from which this host's silence counts."""
        heard = max(host.last_seen_at, self.grace_from)
        resumed_at = self._resumed_at(stage)
        return heard if resumed_at is None or resumed_at <= heard else min(resumed_at, heard + self.pause_limit)

    def reachable_since(self, stage: Terms) -> dt.datetime:
        """The moment from which, as far as the service knows, it heard this stage's hosts without interruption."""
        resumed_at = self._resumed_at(stage)
        return self.grace_from if resumed_at is None else max(self.grace_from, resumed_at)

    def _resumed_at(self, stage: Terms) -> dt.datetime | None:
        if self.resumed_at is None or stage.grace_from is None:
            return self.resumed_at or stage.grace_from
        return max(self.resumed_at, stage.grace_from)

    def stale_at(self, host: Lease, stage: Terms) -> dt.datetime:
        """When the lease runs out unless a heartbeat comes."""
        return self.silent_since(host, stage) + ttl(stage)

    def expires_at(self, host: Lease, stage: Terms) -> dt.datetime:
        """When the host leaves the inventory unless a heartbeat comes: when its lease runs out, or after a pause that
        began before that, but not later than the limit of pauses after the lease.
        """
        runs_out = self.stale_at(host, stage)
        latest = max(host.last_seen_at, self.grace_from) + ttl(stage) + self.pause_limit
        ends = [began + self.pause_limit for began in self._pauses(stage) if began <= runs_out]
        return max(runs_out, min(max(ends), latest)) if ends else runs_out

    def _pauses(self, stage: Terms) -> list[dt.datetime]:
        """When those that are on began; that nothing can be written is one."""
        return [began for began in (self.paused_at, stage.expiry_paused_at, self.failing_since) if began is not None]

    def gone_at(self, host: Lease, stage: Terms) -> dt.datetime:
        """When a host is given up for good: after so much silence as it was judged by when it became stale (a pending
        host: since it was heard), and not before it had a lease's time to be heard after an outage.
        """
        lease = ttl(stage)
        if host.recorded_state == PENDING:
            begin = host.last_seen_at
        elif host.recorded_state == STALE:
            begin = host.last_seen_at if host.stale_since is None else host.stale_since - lease
        else:
            begin = self.expires_at(host, stage) - lease
        return max(begin + self.gone_after, self.grace_from + lease)

    def is_paused(self, stage: Terms) -> bool:
        """Whether expiry has stopped for this stage, by its own pause or by the one for all."""
        return any(self.at < began + self.pause_limit for began in self._pauses(stage))

    def state(self, host: Lease, stage: Terms) -> str:
        """One of STATES."""
        if host.gone_at is not None:
            return GONE
        if host.recorded_state != LIVE:  # only approval or a heartbeat changes that, no new grace does
            return GONE if self.at >= self.gone_at(host, stage) else host.recorded_state
        silence = self.at - self.silent_since(host, stage)
        if silence <= late_after(stage) and silence < ttl(stage):
            return LIVE
        if self.at < self.expires_at(host, stage):
            return LATE
        return GONE if self.at >= self.gone_at(host, stage) else STALE

    def is_suspect(self, host: Lease, stage: Terms) -> bool:
        """Whether only a pause keeps the host listed: its lease has run out."""
        return self.stale_at(host, stage) <= self.at < self.expires_at(host, stage)

    def is_listed(self, host: Lease, stage: Terms) -> bool:
        """Whether the host belongs into an inventory of live hosts."""
        return host.conflict_code is None and self.state(host, stage) in LISTED


def late_after(stage: Terms) -> dt.timedelta:
    """Silence after which a host is late: half an interval beyond the heartbeat that was due."""
    return interval(stage) * _LATE_AFTER_INTERVALS


def ttl(stage: Terms) -> dt.timedelta:
    """How long a heartbeat's lease lasts: the rule, which only this module knows. Others are told what it gives."""
    return dt.timedelta(seconds=stage.ttl_seconds)


def ttl_seconds(stage: Terms) -> int:
    """The same as a number."""
    return round(ttl(stage).total_seconds())


def interval(stage: Terms) -> dt.timedelta:
    """How often hosts are to beat."""
    return dt.timedelta(seconds=stage.interval_seconds)


def terms(stage: Terms) -> dict[str, int]:
    """What hosts are told of it: {interval_seconds, ttl_seconds}."""
    return {"interval_seconds": stage.interval_seconds, "ttl_seconds": ttl_seconds(stage)}


def next_beat_seconds(stage: Terms) -> float:
    """When to beat next: the interval, less up to a tenth so that a fleet does not beat in step; never above ttl/3."""
    wanted = stage.interval_seconds * random.uniform(0.9, 1.0)  # noqa: S311 - spreading load, not a secret
    return round(min(wanted, ttl_seconds(stage) / 3), 2)


def rest_after_pause(longest_ttl: dt.timedelta) -> dt.timedelta:
    """How long no new pause begins after one that its limit or a person ended, so that what is silent can expire."""
    return 2 * longest_ttl


def check_timing(interval_seconds: int, ttl_seconds: int) -> None:
    """Raise InvalidError for terms under which hosts would come and go at one late heartbeat."""
    if interval_seconds < 1 or ttl_seconds < interval_seconds * 2:
        raise InvalidError.at(
            "ttl_seconds",
            f"A ttl of {ttl_seconds} s with an interval of {interval_seconds} s loses hosts at one late heartbeat; "
            "choose a ttl of at least twice the interval.",
        )


def expiry(*, at: dt.datetime, gone_after_seconds: float, failing_since: dt.datetime | None = None) -> Expiry:
    """Make the rules for this moment. `failing_since`: since when this process can't write heartbeats, if so."""
    rows = fetch("SELECT key, value FROM service_state WHERE key IN (?, ?, ?, ?)", _KEYS)
    known = {
        key: ServiceState.value.python_value(value)  # type: ignore[no-untyped-call]
        for key, value in rows
    }
    paused_at = (known.get(PAUSE_KEY) or {}).get("paused_at")
    return Expiry(
        at=at,
        grace_from=_moment(known.get(_GRACE_KEY, _LONG_AGO)),
        gone_after=dt.timedelta(seconds=gone_after_seconds),
        paused_at=None if paused_at is None else _moment(paused_at),
        resumed_at=_moment(known[_RESUMED_KEY]) if _RESUMED_KEY in known else None,
        pause_limit=dt.timedelta(seconds=known.get(_LIMIT_KEY, _PAUSE_LIMIT_SECONDS)),
        failing_since=failing_since,
    )


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def patience_seconds(most: float, *, share: float) -> float:
    """How long the service may be held up before silence meanwhile is excused: that share of the shortest ttl of all
    stages, `most` at most, two seconds at least.
    """
    shortest = min(map(ttl_seconds, Stage.select().where(Stage.archived_at.is_null())), default=None)
    return most if shortest is None else max(_SHORTEST_PATIENCE_SECONDS, min(most, shortest * share))


def begin_grace(*, at: dt.datetime, jump_seconds: float = 0.0) -> None:
    """From now on silence counts anew: nobody is declared stale for what was before.

    `jump_seconds`: by how much the wall clock was set forward, so that the time of stale hosts goes on as it was.
    Moments that lie in the future were written before the clock was set back. They become now: else a host that died
    would stay listed, and a pause would last, until the clock has caught up.
    """
    with database.atomic():
        remember(_GRACE_KEY, at.timestamp())
        host_records.correct_clock(at=at, jump_seconds=jump_seconds)
        stage_records.correct_clock(at=at)
        row = ServiceState.get_or_none(ServiceState.key == PAUSE_KEY)
        if row is not None and (row.value["paused_at"] or 0) > at.timestamp():
            remember(PAUSE_KEY, {**row.value, "paused_at": at.timestamp()})
        resumed = ServiceState.get_or_none(ServiceState.key == _RESUMED_KEY)
        if resumed is not None and resumed.value > at.timestamp():
            remember(_RESUMED_KEY, at.timestamp())


def resume_all(*, at: dt.datetime) -> None:
    """A pause for all has ended well: who is listed gets a fresh lease, as far as the limit of pauses allows."""
    remember(_RESUMED_KEY, at.timestamp())


def store_pause_limit(seconds: float, *, expiry: Expiry) -> None:
    """Let all readers know the limit of pauses, where they don't yet."""
    if expiry.pause_limit.total_seconds() != seconds:
        remember(_LIMIT_KEY, seconds)


def remember(key: str, value: Any) -> None:
    """Keep a value about the service itself."""
    row = ServiceState.insert(key=key, value=value)
    row.on_conflict(conflict_target=[ServiceState.key], preserve=[ServiceState.value]).execute()
