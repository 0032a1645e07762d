"""Recording that a host changed its state. Every change goes through `record`, exactly once."""

from __future__ import annotations

import datetime as dt

from inventory_service.models import Host, Stage, Transition


def record(host: Host, to_state: str, reason: str, *, at: dt.datetime, from_state: str | None) -> None:
    """Write the transition and raise the stage's generation, inside the caller's transaction."""
    Transition.create(host=host, stage=host.stage_id, at=at, from_state=from_state, to_state=to_state, reason=reason)
    Stage.update(generation=Stage.generation + 1).where(Stage.id == host.stage_id).execute()
