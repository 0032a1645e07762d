"""The drain playbook: a tracked run on hosts whose machines are about to end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from inventory_service.codes import statuses
from inventory_service.deployments.launching import launch
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.events import SCALING
from inventory_service.models import Host, Run, Stage
from inventory_service.registry import liveness


def request(
    stage: Stage,
    playbook: str,
    present: Sequence[Host],
    comment: str,
    *,
    at: dt.datetime,
    while_paused: bool = False,
) -> Run:
    """Queue the drain run, inside the caller's transaction. `while_paused`: also while expiry is paused."""
    wanted = RunRequest(
        kind=statuses.PLAYBOOK,
        playbook=playbook,
        limit=",".join(sorted(host.name for host in present)),
        comment=comment,
        allows_paused_expiry=while_paused,
    )
    return launch.launch(stage, wanted, actor=SCALING, expiry=liveness.expiry(at=at, gone_after_seconds=0))
