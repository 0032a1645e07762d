"""The sweep records what time has done: hosts that fell silent become stale, and later gone.

It decides nothing that a reader does not also compute (liveness.py); a dead sweep leaves no dead host listed.
"""

from __future__ import annotations

import datetime as dt

from inventory_service.database import database
from inventory_service.models import Host, Stage
from inventory_service.registry import liveness, transitions


def sweep(*, judge: liveness.Judge) -> int:
    """Record the transitions that are due; returns how many. Two sweeps at once record each of them once."""
    due = [
        (host, state)
        for host in _suspects(judge)
        if (state := judge.state(host, host.stage)) in (liveness.STALE, liveness.GONE) and state != host.recorded_state
    ]
    return sum(_expire(host, state, judge=judge) for host, state in due)


def _suspects(judge: liveness.Judge) -> list[Host]:
    shortest = Stage.select(Stage.ttl_seconds).order_by(Stage.ttl_seconds).limit(1).scalar() or 0
    silent_before = judge.at - dt.timedelta(seconds=shortest)
    query = Host.select(Host, Stage).join(Stage).where(Host.gone_at.is_null() & (Host.last_seen_at <= silent_before))
    return list(query)


def _expire(host: Host, state: str, *, judge: liveness.Judge) -> int:
    is_gone = state == liveness.GONE
    moment = judge.gone_at(host) if is_gone else judge.stale_at(host, host.stage)
    fields = {"recorded_state": state, **({"gone_at": moment, "gone_reason": "silent"} if is_gone else {})}
    unchanged = (Host.last_seen_at == host.last_seen_at) & (Host.recorded_state == host.recorded_state)
    with database.atomic():
        if Host.update(**fields).where((Host.id == host.id) & unchanged).execute() != 1:
            return 0  # a heartbeat came, or another sweep was first
        transitions.record(host, state, "silent", at=moment, from_state=host.recorded_state)
    return 1
