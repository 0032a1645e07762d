"""Is this host live? The one definition, used by the sweep, the inventory, the API and the pages.

A host's lease ages by the service's own receipt time. Silence during which the service could not have heard
anybody does not count: `grace_from` moves forward when the service becomes ready, when the sweep was stalled
and when the wall clock jumped. (Kubernetes and etcd do the same when a leader takes over.)
"""

from __future__ import annotations

import dataclasses
import datetime as dt

from inventory_service.models import Host, ServiceState, Stage

PENDING, LIVE, LATE, STALE, GONE = "pending", "live", "late", "stale", "gone"
STATES = (PENDING, LIVE, LATE, STALE, GONE)
LISTED = (LIVE, LATE)
_LATE_AFTER_INTERVALS = 1.5
_GRACE_KEY = "grace_from"


@dataclasses.dataclass(frozen=True, slots=True)
class Judge:
    """Everything besides the host itself that its state depends on, taken at one moment."""

    at: dt.datetime
    grace_from: dt.datetime
    gone_after: dt.timedelta

    def silent_since(self, host: Host) -> dt.datetime:
        """The moment from which this host's silence counts."""
        last_seen_at: dt.datetime = host.last_seen_at
        return max(last_seen_at, self.grace_from)

    def stale_at(self, host: Host, stage: Stage) -> dt.datetime:
        """When the lease runs out unless a heartbeat comes."""
        return self.silent_since(host) + dt.timedelta(seconds=stage.ttl_seconds)

    def gone_at(self, host: Host) -> dt.datetime:
        """When a silent host is given up for good."""
        return self.silent_since(host) + self.gone_after

    def state(self, host: Host, stage: Stage) -> str:
        """One of STATES."""
        if host.gone_at is not None:
            return GONE
        if host.recorded_state == PENDING:
            return PENDING
        if self.at >= self.gone_at(host):
            return GONE
        if self.at >= self.stale_at(host, stage):
            return STALE
        late_after = dt.timedelta(seconds=stage.interval_seconds * _LATE_AFTER_INTERVALS)
        return LATE if self.at - self.silent_since(host) > late_after else LIVE

    def is_listed(self, host: Host, stage: Stage) -> bool:
        """Whether the host belongs into an inventory of live hosts."""
        return self.state(host, stage) in LISTED


def judge(*, at: dt.datetime, gone_after_seconds: float) -> Judge:
    """Make a Judge for this moment."""
    return Judge(at=at, grace_from=grace_from(), gone_after=dt.timedelta(seconds=gone_after_seconds))


def grace_from() -> dt.datetime:
    """The moment before which silence does not count; long ago when none was ever set."""
    row = ServiceState.get_or_none(ServiceState.key == _GRACE_KEY)
    return dt.datetime.fromtimestamp(row.value, dt.UTC) if row else dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


def begin_grace(*, at: dt.datetime) -> None:
    """From now on silence counts anew: nobody is declared stale for what was before."""
    row = ServiceState.insert(key=_GRACE_KEY, value=at.timestamp())
    row.on_conflict(conflict_target=[ServiceState.key], preserve=[ServiceState.value]).execute()
