"""The hosts of a stage as inventories and known_hosts need them: plain records, because a fleet has thousands.

A model's instance takes ten times as long to make, and holds what nobody here asks for.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from inventory_service.models import Host, Stage
from inventory_service.rows import Reader, json_value

_PRESENT = "WHERE stage_id = ? AND gone_at IS NULL"


@dataclasses.dataclass(slots=True)
class ListedHost:
    """A host that has not gone: the columns of its row that others are told."""

    id: str
    stage_id: int
    name: str
    address: str
    port: int
    recorded_state: str
    conflict_code: str | None
    is_draining: bool
    release_number: int | None
    revision: str | None
    pinned_release_number: int | None
    groups: list[str]
    stored_facts: Any
    stored_host_keys: Any
    last_seen_at: dt.datetime
    stale_since: dt.datetime | None
    gone_at: dt.datetime | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What the host says about itself; read when asked for, since known_hosts does not ask."""
        return dict(json_value(self.stored_facts))

    @property
    def host_keys(self) -> list[str]:
        """Its SSH host keys as `type base64`; read when asked for, since inventories do not ask."""
        return list(json_value(self.stored_host_keys))


def host_variables(host: Host | ListedHost, state: str) -> dict[str, Any]:
    """What an inventory tells of the host. Only the service's own words stand at the top; see `inventory`."""
    return {
        "ansible_host": host.address,
        "ansible_port": host.port,
        "callboard_host_id": host.id,
        "callboard_state": state,
        "callboard_actual_release": host.release_number,
        "callboard_actual_revision": host.revision,
        "callboard_reported": host.facts,
    }


@dataclasses.dataclass(slots=True)
class MeasuredHost:
    """A host that has not gone, with what decides its state, what it runs and the metrics that it sent last."""

    id: str
    stage_id: int
    name: str
    recorded_state: str
    conflict_code: str | None
    is_draining: bool
    release_number: int | None
    revision: str | None
    pinned_release_number: int | None
    metrics: dict[str, float]
    last_seen_at: dt.datetime
    stale_since: dt.datetime | None
    gone_at: dt.datetime | None = None


_read_listed = Reader(ListedHost, Host)
_read_measured = Reader(MeasuredHost, Host)


def read_metrics(stage: Stage) -> list[MeasuredHost]:
    """The stage's hosts that have not gone, in no order, with their metrics."""
    return _read_measured(_PRESENT, (stage.id,))


def read_present(stage: Stage, *, groups: frozenset[str] = frozenset()) -> list[ListedHost]:
    """The stage's hosts that have not gone, by name; with `groups`, those that an operator put into one of them."""
    either = " OR ".join("CAST(groups AS TEXT) LIKE ?" for _ in groups)
    condition = f" AND ({either})" if groups else ""
    found = _read_listed(f"{_PRESENT}{condition} ORDER BY name", (stage.id, *(f'%"{group}"%' for group in groups)))
    return [host for host in found if not groups or not groups.isdisjoint(host.groups)]
