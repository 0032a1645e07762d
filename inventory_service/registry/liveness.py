"""Is this host live? The one definition, used by the sweep, the inventory, the API and the pages.

A host's lease ages by the service's own receipt time. Silence during which the service could not have heard
anybody does not count: `grace_from` moves forward when the service becomes ready, when the sweep was stalled
and when the wall clock jumped. (Kubernetes and etcd do the same when a leader takes over.)
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any, Protocol

from inventory_service.database import database, fetch
from inventory_service.models import Host, ServiceState, Stage

PENDING, LIVE, LATE, STALE, GONE = "pending", "live", "late", "stale", "gone"
STATES = (PENDING, LIVE, LATE, STALE, GONE)
LISTED = (LIVE, LATE)
_LATE_AFTER_INTERVALS = 1.5
_GRACE_KEY = "grace_from"
FREEZE_KEY = "freeze"
_LONG_AGO = 946_684_800.0  # the year 2000, when no grace was ever given


class Lease(Protocol):
    """What of a host decides its state; a row of Host is one."""

    id: str
    stage_id: int
    name: str
    last_seen_at: dt.datetime
    recorded_state: str
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
class Judge:
    """Everything besides host and stage themselves that a host's state depends on, taken at one moment."""

    at: dt.datetime
    grace_from: dt.datetime
    gone_after: dt.timedelta
    frozen_at: dt.datetime | None = None

    def silent_since(self, host: Lease, stage: Terms) -> dt.datetime:
        """The moment from which this host's silence counts."""
        return max(host.last_seen_at, self.heard_from(stage))

    def heard_from(self, stage: Terms) -> dt.datetime:
        """The moment from which the service could hear this stage's hosts without interruption."""
        return self.grace_from if stage.grace_from is None else max(self.grace_from, stage.grace_from)

    def stale_at(self, host: Lease, stage: Terms) -> dt.datetime:
        """When the lease runs out unless a heartbeat comes."""
        return self.silent_since(host, stage) + dt.timedelta(seconds=stage.ttl_seconds)

    def gone_at(self, host: Lease, stage: Terms) -> dt.datetime:
        """When a silent host is given up for good."""
        return self.silent_since(host, stage) + self.gone_after

    def is_frozen(self, stage: Terms) -> bool:
        """Whether expiry has stopped for this stage, by its own freeze or by the one for all."""
        return self.frozen_at is not None or stage.frozen_at is not None

    def state(self, host: Lease, stage: Terms) -> str:
        """One of STATES."""
        if host.gone_at is not None:
            return GONE
        silence = self.at - self.silent_since(host, stage)
        if (
            host.recorded_state != LIVE
        ):  # pending or stale: only approval or a heartbeat changes that, no new grace does
            return GONE if silence >= self.gone_after else host.recorded_state
        if self.is_suspect(host, stage):
            return LATE
        return self._state_by_silence(silence, stage)

    def _state_by_silence(self, silence: dt.timedelta, stage: Terms) -> str:
        if silence >= self.gone_after:
            return GONE
        if silence.total_seconds() >= stage.ttl_seconds:
            return STALE
        return LATE if silence > late_after(stage) else LIVE

    def is_suspect(self, host: Lease, stage: Terms) -> bool:
        """Whether only the freeze keeps the host listed: its lease ran out after the freeze began."""
        if not self.is_frozen(stage):
            return False
        began = [moment for moment in (self.frozen_at, stage.frozen_at) if moment is not None]
        return min(began) <= self.stale_at(host, stage) <= self.at

    def is_listed(self, host: Lease, stage: Terms) -> bool:
        """Whether the host belongs into an inventory of live hosts."""
        return host.conflict is None and self.state(host, stage) in LISTED


def late_after(stage: Terms) -> dt.timedelta:
    """Silence after which a host is late: half an interval beyond the heartbeat that was due."""
    return dt.timedelta(seconds=stage.interval_seconds * _LATE_AFTER_INTERVALS)


def judge(*, at: dt.datetime, gone_after_seconds: float) -> Judge:
    """Make a Judge for this moment."""
    rows = fetch("SELECT key, value FROM service_state WHERE key IN (?, ?)", (_GRACE_KEY, FREEZE_KEY))
    known = {
        key: ServiceState.value.python_value(value)  # type: ignore[no-untyped-call]
        for key, value in rows
    }
    frozen_at = (known.get(FREEZE_KEY) or {}).get("frozen_at")
    return Judge(
        at=at,
        grace_from=_moment(known.get(_GRACE_KEY, _LONG_AGO)),
        gone_after=dt.timedelta(seconds=gone_after_seconds),
        frozen_at=None if frozen_at is None else _moment(frozen_at),
    )


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def begin_grace(*, at: dt.datetime) -> None:
    """From now on silence counts anew: nobody is declared stale for what was before.

    Moments that lie in the future were written before the clock was set back. They become now: else a host that died
    would stay listed, and a freeze would last, until the clock has caught up.
    """
    with database.atomic():
        remember(_GRACE_KEY, at.timestamp())
        for field in (Host.last_seen_at, Host.expired_at, Stage.grace_from, Stage.frozen_at):
            field.model.update({field: at}).where(field > at).execute()
        row = ServiceState.get_or_none(ServiceState.key == FREEZE_KEY)
        if row is not None and (row.value["frozen_at"] or 0) > at.timestamp():
            remember(FREEZE_KEY, {**row.value, "frozen_at": at.timestamp()})


def remember(key: str, value: Any) -> None:
    """Keep a value about the service itself."""
    row = ServiceState.insert(key=key, value=value)
    row.on_conflict(conflict_target=[ServiceState.key], preserve=[ServiceState.value]).execute()
