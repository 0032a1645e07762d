"""Heartbeat reports: a run's playbook asks here what its hosts said in their last heartbeats.

ansible-playbook needs no credential of the service for that, and learns nothing but the last heartbeats of the run's
own hosts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from inventory_service.clock import Clock
from inventory_service.models import Project, Stage
from inventory_service.registry import last_heartbeats, liveness


class HeartbeatReports:
    """Answers for the hosts of one run; `answer` is called over the run's socket (adapters/line_server.py)."""

    def __init__(self, stage: Stage, hosts: Iterable[str], *, clock: Clock, gone_after_seconds: float) -> None:
        self._stage_id = stage.id
        self._hosts = frozenset(hosts)
        self._clock = clock
        self._gone_after_seconds = gone_after_seconds

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Question: {hosts: [name, …]}. Answer: the last heartbeats of those that the run is for."""
        asked = self._hosts & set(question["hosts"])
        expiry = liveness.expiry(at=self._clock.now(), gone_after_seconds=self._gone_after_seconds)
        stage = Stage.select(Stage, Project).join(Project).where(Stage.id == self._stage_id).get()
        return last_heartbeats.read(stage, asked, expiry=expiry)
