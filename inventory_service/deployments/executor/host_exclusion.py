"""Who of a run's hosts is still there: asked before each batch, and after each host that could not be reached.

A host that fell silent or left after the launch is no failure of the run: it is left out and recorded as such.
Whether a host is gone is the registry's word, never the playbook's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from inventory_service.clock import Clock, iso
from inventory_service.codes.run import HostNote
from inventory_service.deployments.executor.budget import Budget
from inventory_service.models import Host, Project, Run, Stage
from inventory_service.reasons import Reason, because
from inventory_service.records import runs
from inventory_service.registry import hosts, liveness
from inventory_service.wording import run as wording

_LEFT = (liveness.STALE, liveness.GONE)


class HostExclusion:
    """Keeps count for one run. `stale` holds the hosts that were left out, `tolerated` the unreachable ones that the
    stage's budget allows, `stop` why the run must end, if it must.
    """

    def __init__(
        self, run: Run, chosen: Iterable[Host], live: Sequence[Host], *, clock: Clock, gone_after_seconds: float
    ) -> None:
        """`chosen` are the hosts that the run is for, `live` all of the stage that were live when it began."""
        self.stale: dict[str, Reason] = {}
        self.tolerated: set[str] = set()
        self.stop: Reason | None = None
        self._unreachable: set[str] = set()
        self._failed: set[str] = set()
        self._run = run
        self._chosen = {host.name: host for host in chosen}
        self._live = live
        self._budget = Budget.of(run.stage)
        self._clock = clock
        self._gone_after_seconds = gone_after_seconds

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer plugins/plugin_utils/run_limits.py.

        Question: {batch: names about to begin, unreachable: names just lost, failed: all that failed so far}.
        Answer: {leave_out: {name: why}, stop: why or None}. Names that are no hosts of the run are nobody's business.
        """
        batch, unreachable, failed = (self._known(question[key]) for key in ("batch", "unreachable", "failed"))
        gone = self._gone()
        for name in [*batch, *unreachable]:
            host = self._chosen[name]
            if name not in self.stale and (reason := gone(host)) is not None:
                self._leave_out(name, reason)
        self._failed.update(failed)
        self._unreachable.update(name for name in unreachable if name not in self.stale)
        self.stop = self.stop or self._check(gone)
        if self._budget.tolerates_unreachable and self.stop is None:
            self.tolerated |= self._unreachable
        excused = dict.fromkeys(self.tolerated, wording.TOLERATED)
        left_out = {name: wording.left_out(note.code, note.params) for name, note in self.stale.items()}
        stop = wording.stops(self.stop.to_json()) if self.stop is not None else None
        return {"leave_out": {**excused, **left_out}, "stop": stop}

    def _known(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in self._chosen]

    def _gone(self) -> Callable[[Host], Reason | None]:
        """A function that says why a host is no longer there, None when it is; from the database as it is now."""
        stage = Stage.select(Stage, Project).join(Project).where(Stage.id == self._run.stage_id).get()
        expiry = liveness.expiry(at=self._clock.now(), gone_after_seconds=self._gone_after_seconds)
        present = {host.id: host for host in hosts.list_hosts(stage)}

        def why(host: Host) -> Reason | None:
            row = present.get(host.id)
            if row is None:
                return because(HostNote.LEFT_STAGE)
            if expiry.state(row, stage) in _LEFT:
                return because(HostNote.SILENT, since=iso(row.last_seen_at))
            return None

        return why

    def _leave_out(self, name: str, reason: Reason) -> None:
        self.stale[name] = reason
        runs.leave_out(self._run.id, name, reason)

    def _check(self, gone: Callable[[Host], Reason | None]) -> Reason | None:
        bad = self._failed | self._unreachable | set(self.stale)
        healthy = [host for host in self._live if host.name not in bad and gone(host) is None]
        return self._budget.broken(
            live=len(self._live), healthy=len(healthy), chosen=len(self._chosen), unreachable=len(self._unreachable)
        )
