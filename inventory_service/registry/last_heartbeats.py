"""What hosts said in their last heartbeats: the question that a rollout asks between two batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from inventory_service.clock import iso
from inventory_service.models import Host, Stage
from inventory_service.registry import liveness
from inventory_service.registry.stages import stage_name


def read(stage: Stage, names: Iterable[str], *, expiry: liveness.Expiry) -> dict[str, Any]:
    """{stage, server_time, interval_seconds, ttl_seconds, hosts: {name: …}}; a name that is not present has state gone.

    `reported_at` is when the heartbeat with `release` and `revision` was received, by the service's clock.
    """
    wanted = set(names)
    present = Host.select().where((Host.stage == stage) & Host.name.in_(wanted) & Host.gone_at.is_null())
    found = {host.name: _of(host, stage, expiry) for host in present}
    return {
        "stage": stage_name(stage),
        "server_time": iso(expiry.at),
        **liveness.terms(stage),
        "hosts": {name: found.get(name, {"state": liveness.GONE}) for name in sorted(wanted)},
    }


def _of(host: Host, stage: Stage, expiry: liveness.Expiry) -> dict[str, Any]:
    return {
        "id": host.id,
        "agent": host.agent_version,
        "state": expiry.state(host, stage),
        "last_seen_at": iso(host.last_seen_at),
        "reported_at": iso(host.release_reported_at),
        "release": host.release_number,
        "revision": host.revision,
        "healthy": host.is_healthy,
        "reason": host.health_reason,
    }
