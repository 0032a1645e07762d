"""Hosts whose machines EC2 has ended, and that beat all the same: somebody else has their token, or EC2 errs."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from inventory_service.models import Host
from inventory_service.registry import alarms

EC2_SAYS = "EC2 says that"
TERMINATED = "terminated"
_LAST_BREATH = dt.timedelta(minutes=2)  # a machine that shuts down may beat until it is off


class Departed(Protocol):
    """A host that has gone; a row of Host is one."""

    id: str
    stage_id: int
    name: str
    gone_at: dt.datetime | None
    gone_reason: str | None
    conflict: str | None


def note(host: Departed, *, at: dt.datetime) -> None:
    """A host that has gone beats: where EC2 has ended its machine, that is a conflict, told once. Inside the caller's
    transaction. Stopped machines may be started again, and then only have to enrol.
    """
    reason = host.gone_reason or ""
    if host.conflict is not None or host.gone_at is None or at - host.gone_at < _LAST_BREATH:
        return
    if not reason.startswith(EC2_SAYS) or not reason.endswith(TERMINATED):
        return
    told = f"{reason}, but it beats"
    if Host.update(conflict=told).where((Host.id == host.id) & Host.conflict.is_null()).execute():
        alarms.tell(alarms.CONFLICT, host.stage_id, host.name, told, at=at)
