"""Recording that a host changed its state. Every change goes through `record`, exactly once."""

from __future__ import annotations

import datetime as dt

from inventory_service.models import Stage, Transition
from inventory_service.registry import liveness


def record(host: liveness.Lease, to_state: str, reason: str, *, at: dt.datetime, from_state: str | None) -> None:
    """Write the transition and raise the stage's generation, inside the caller's transaction."""
    Transition.create(host=host.id, stage=host.stage_id, at=at, from_state=from_state, to_state=to_state, reason=reason)
    Stage.update(generation=Stage.generation + 1).where(Stage.id == host.stage_id).execute()


def record_renewal(host: liveness.Lease, stage: liveness.Terms, *, expiry: liveness.Expiry, reason: str) -> bool:
    """Write what follows for a host that is heard again, before its row is changed; True when it was not live.

    A lease that ran out before any sweep saw it leaves its transition too, at the moment when it ran out.
    """
    if expiry.state(host, stage) in liveness.LISTED:
        return False
    if host.recorded_state == liveness.LIVE:
        record(host, liveness.STALE, "silent", at=expiry.expires_at(host, stage), from_state=liveness.LIVE)
    record(host, liveness.LIVE, reason, at=expiry.at, from_state=liveness.STALE)
    return True
