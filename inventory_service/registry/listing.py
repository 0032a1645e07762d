"""The hosts of a stage as inventories and known_hosts need them: plain records, because a fleet has thousands.

A model's instance takes ten times as long to make, and holds what nobody here asks for.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from pydantic_core import from_json

from inventory_service.database import fetch, from_microseconds
from inventory_service.models import Stage

_READ = """
SELECT id, stage_id, name, address, port, recorded_state, conflict, is_draining,
  release_number, revision, held_release_number, groups, facts, host_keys, last_seen_at, stale_since
FROM host WHERE stage_id = ? AND gone_at IS NULL
"""
_READ_METRICS = """
SELECT id, stage_id, name, recorded_state, conflict, is_draining, release_number, revision, held_release_number,
  metrics, last_seen_at, stale_since
FROM host WHERE stage_id = ? AND gone_at IS NULL
"""


@dataclasses.dataclass(slots=True)
class ListedHost:
    """A host that has not gone: the columns of its row that others are told."""

    id: str
    stage_id: int
    name: str
    address: str
    port: int
    recorded_state: str
    conflict: str | None
    is_draining: bool
    release_number: int | None
    revision: str | None
    held_release_number: int | None
    groups: list[str]
    stored_facts: Any
    stored_host_keys: Any
    last_seen_at: dt.datetime
    stale_since: dt.datetime | None
    gone_at: dt.datetime | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What the host says about itself; read when asked for, since known_hosts does not ask."""
        return dict(_json(self.stored_facts))

    @property
    def host_keys(self) -> list[str]:
        """Its SSH host keys as `type base64`; read when asked for, since inventories do not ask."""
        return list(_json(self.stored_host_keys))


@dataclasses.dataclass(slots=True)
class MeasuredHost:
    """A host that has not gone, with what decides its state, what it runs and the metrics that it sent last."""

    id: str
    stage_id: int
    name: str
    recorded_state: str
    conflict: str | None
    is_draining: bool
    release_number: int | None
    revision: str | None
    held_release_number: int | None
    metrics: dict[str, float]
    last_seen_at: dt.datetime
    stale_since: dt.datetime | None
    gone_at: dt.datetime | None = None


def read_metrics(stage: Stage) -> list[MeasuredHost]:
    """The stage's hosts that have not gone, in no order, with their metrics."""
    return [_measured(*row) for row in fetch(_READ_METRICS, (stage.id,))]


def _measured(*row: Any) -> MeasuredHost:
    *plain, metrics, last_seen_at, stale_since = row
    fields = (*plain, _json(metrics), from_microseconds(last_seen_at), from_microseconds(stale_since))
    return MeasuredHost(*fields)


def read_present(stage: Stage, *, groups: frozenset[str] = frozenset()) -> list[ListedHost]:
    """The stage's hosts that have not gone, by name; with `groups`, those that an operator put into one of them."""
    either = " OR ".join("CAST(groups AS TEXT) LIKE ?" for _ in groups)
    condition = f" AND ({either})" if groups else ""
    rows = fetch(f"{_READ}{condition} ORDER BY name", (stage.id, *(f'%"{group}"%' for group in groups)))
    found = [_listed(*row) for row in rows]
    return [host for host in found if not groups or not groups.isdisjoint(host.groups)]


def _listed(*row: Any) -> ListedHost:
    *plain, groups, facts, host_keys, last_seen_at, stale_since = row
    moments = (from_microseconds(last_seen_at), from_microseconds(stale_since))
    fields = (*plain, _json(groups), facts, host_keys, *moments)
    return ListedHost(*fields)


def _json(stored: Any) -> Any:
    """SQLite keeps JSON as text; PostgreSQL's driver has read it already."""
    return from_json(stored) if isinstance(stored, str) else stored
