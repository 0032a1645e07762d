"""Is this host live? The one definition, used by the sweep, the inventory, the API and the pages.

A host's lease ages by the service's own receipt time. Silence during which the service could not have heard
anybody does not count: `grace_from` moves forward when the service becomes ready, when the sweep was stalled
and when the wall clock jumped. (Kubernetes and etcd do the same when a leader takes over.)

A freeze keeps hosts listed beyond their lease, and its good end gives them a fresh one; both together no longer than
the freeze's bound, so that one freeze after the other does not keep the dead.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any, Protocol

from peewee import fn

from inventory_service.database import database, fetch
from inventory_service.models import Host, ServiceState, Stage

PENDING, LIVE, LATE, STALE, GONE = "pending", "live", "late", "stale", "gone"
STATES = (PENDING, LIVE, LATE, STALE, GONE)
LISTED = (LIVE, LATE)
_LATE_AFTER_INTERVALS = 1.5
_GRACE_KEY = "grace_from"
FREEZE_KEY = "freeze"
_THAW_KEY = "thaw_from"
_LIMIT_KEY = "freeze_limit"
_KEYS = (_GRACE_KEY, FREEZE_KEY, _THAW_KEY, _LIMIT_KEY)
_FREEZE_LIMIT_SECONDS = 3600.0
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
    conflict: str | None


class Terms(Protocol):
    """What of a stage decides its hosts' states; a row of Stage is one."""

    id: int
    interval_seconds: int
    ttl_seconds: int
    grace_from: dt.datetime | None
    frozen_at: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class Expiry:
    """Everything besides host and stage themselves that a host's state depends on, taken at one moment.

    `grace_from`: since when the service can hear. `thaw_from`: when a freeze for all ended well. `freeze_limit`: how
    long freezes keep a host beyond its lease, at most. `failing_since`: since when heartbeats could not be written.
    """

    at: dt.datetime
    grace_from: dt.datetime
    gone_after: dt.timedelta
    frozen_at: dt.datetime | None = None
    thaw_from: dt.datetime | None = None
    freeze_limit: dt.timedelta = dt.timedelta(seconds=_FREEZE_LIMIT_SECONDS)
    failing_since: dt.datetime | None = None

    def silent_since(self, host: Lease, stage: Terms) -> dt.datetime:
        """The moment from which this host's silence counts."""
        heard = max(host.last_seen_at, self.grace_from)
        thaw = self._thaw_from(stage)
        return heard if thaw is None or thaw <= heard else min(thaw, heard + self.freeze_limit)

    def heard_from(self, stage: Terms) -> dt.datetime:
        """The moment from which, as far as the service knows, it heard this stage's hosts without interruption."""
        thaw = self._thaw_from(stage)
        return self.grace_from if thaw is None else max(self.grace_from, thaw)

    def _thaw_from(self, stage: Terms) -> dt.datetime | None:
        if self.thaw_from is None or stage.grace_from is None:
            return self.thaw_from or stage.grace_from
        return max(self.thaw_from, stage.grace_from)

    def stale_at(self, host: Lease, stage: Terms) -> dt.datetime:
        """When the lease runs out unless a heartbeat comes."""
        return self.silent_since(host, stage) + dt.timedelta(seconds=stage.ttl_seconds)

    def expires_at(self, host: Lease, stage: Terms) -> dt.datetime:
        """When the host leaves the inventory unless a heartbeat comes: when its lease runs out, or after a freeze that
        began before that, but not later than the freeze's bound after the lease.
        """
        runs_out = self.stale_at(host, stage)
        latest = max(host.last_seen_at, self.grace_from) + dt.timedelta(seconds=stage.ttl_seconds) + self.freeze_limit
        ends = [began + self.freeze_limit for began in self._freezes(stage) if began <= runs_out]
        return max(runs_out, min(max(ends), latest)) if ends else runs_out

    def _freezes(self, stage: Terms) -> list[dt.datetime]:
        """When those that are on began; that nothing can be written is one."""
        return [began for began in (self.frozen_at, stage.frozen_at, self.failing_since) if began is not None]

    def gone_at(self, host: Lease, stage: Terms) -> dt.datetime:
        """When a host is given up for good: after so much silence as it was judged by when it became stale (a pending
        host: since it was heard), and not before it had a lease's time to be heard after an outage.
        """
        lease = dt.timedelta(seconds=stage.ttl_seconds)
        if host.recorded_state == PENDING:
            begin = host.last_seen_at
        elif host.recorded_state == STALE:
            begin = host.last_seen_at if host.stale_since is None else host.stale_since - lease
        else:
            begin = self.expires_at(host, stage) - lease
        return max(begin + self.gone_after, self.grace_from + lease)

    def is_frozen(self, stage: Terms) -> bool:
        """Whether expiry has stopped for this stage, by its own freeze or by the one for all."""
        return any(self.at < began + self.freeze_limit for began in self._freezes(stage))

    def state(self, host: Lease, stage: Terms) -> str:
        """One of STATES."""
        if host.gone_at is not None:
            return GONE
        if host.recorded_state != LIVE:  # only approval or a heartbeat changes that, no new grace does
            return GONE if self.at >= self.gone_at(host, stage) else host.recorded_state
        silence = self.at - self.silent_since(host, stage)
        if silence <= late_after(stage) and silence.total_seconds() < stage.ttl_seconds:
            return LIVE
        if self.at < self.expires_at(host, stage):
            return LATE
        return GONE if self.at >= self.gone_at(host, stage) else STALE

    def is_suspect(self, host: Lease, stage: Terms) -> bool:
        """Whether only a freeze keeps the host listed: its lease has run out."""
        return self.stale_at(host, stage) <= self.at < self.expires_at(host, stage)

    def is_listed(self, host: Lease, stage: Terms) -> bool:
        """Whether the host belongs into an inventory of live hosts."""
        return host.conflict is None and self.state(host, stage) in LISTED


def late_after(stage: Terms) -> dt.timedelta:
    """Silence after which a host is late: half an interval beyond the heartbeat that was due."""
    return dt.timedelta(seconds=stage.interval_seconds * _LATE_AFTER_INTERVALS)


def expiry(*, at: dt.datetime, gone_after_seconds: float, failing_since: dt.datetime | None = None) -> Expiry:
    """Make the rules for this moment. `failing_since`: since when this process can't write heartbeats, if so."""
    rows = fetch("SELECT key, value FROM service_state WHERE key IN (?, ?, ?, ?)", _KEYS)
    known = {
        key: ServiceState.value.python_value(value)  # type: ignore[no-untyped-call]
        for key, value in rows
    }
    frozen_at = (known.get(FREEZE_KEY) or {}).get("frozen_at")
    return Expiry(
        at=at,
        grace_from=_moment(known.get(_GRACE_KEY, _LONG_AGO)),
        gone_after=dt.timedelta(seconds=gone_after_seconds),
        frozen_at=None if frozen_at is None else _moment(frozen_at),
        thaw_from=_moment(known[_THAW_KEY]) if _THAW_KEY in known else None,
        freeze_limit=dt.timedelta(seconds=known.get(_LIMIT_KEY, _FREEZE_LIMIT_SECONDS)),
        failing_since=failing_since,
    )


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def patience_seconds(most: float, *, share: float) -> float:
    """How long the service may be held up before silence meanwhile is excused: that share of the shortest ttl of all
    stages, `most` at most, two seconds at least.
    """
    query = Stage.select(fn.MIN(Stage.ttl_seconds)).where(Stage.archived_at.is_null())
    shortest = query.scalar()
    return most if shortest is None else max(_SHORTEST_PATIENCE_SECONDS, min(most, shortest * share))


def begin_grace(*, at: dt.datetime, jump_seconds: float = 0.0) -> None:
    """From now on silence counts anew: nobody is declared stale for what was before.

    `jump_seconds`: by how much the wall clock was set forward, so that the time of stale hosts goes on as it was.
    Moments that lie in the future were written before the clock was set back. They become now: else a host that died
    would stay listed, and a freeze would last, until the clock has caught up.
    """
    with database.atomic():
        remember(_GRACE_KEY, at.timestamp())
        if jump_seconds:
            moved = Host.stale_since + round(jump_seconds * 1_000_000)
            Host.update(stale_since=moved).where(Host.stale_since.is_null(False)).execute()
        for field in (Host.last_seen_at, Host.expired_at, Host.stale_since, Stage.grace_from, Stage.frozen_at):
            field.model.update({field: at}).where(field > at).execute()
        row = ServiceState.get_or_none(ServiceState.key == FREEZE_KEY)
        if row is not None and (row.value["frozen_at"] or 0) > at.timestamp():
            remember(FREEZE_KEY, {**row.value, "frozen_at": at.timestamp()})
        thaw = ServiceState.get_or_none(ServiceState.key == _THAW_KEY)
        if thaw is not None and thaw.value > at.timestamp():
            remember(_THAW_KEY, at.timestamp())


def begin_thaw(*, at: dt.datetime) -> None:
    """A freeze for all has ended well: who is listed gets a fresh lease, as far as the freeze's bound allows."""
    remember(_THAW_KEY, at.timestamp())


def tell_freeze_limit(seconds: float, *, expiry: Expiry) -> None:
    """Let all readers know the freeze's bound, where they don't yet."""
    if expiry.freeze_limit.total_seconds() != seconds:
        remember(_LIMIT_KEY, seconds)


def remember(key: str, value: Any) -> None:
    """Keep a value about the service itself."""
    row = ServiceState.insert(key=key, value=value)
    row.on_conflict(conflict_target=[ServiceState.key], preserve=[ServiceState.value]).execute()
