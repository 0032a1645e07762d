"""One look at a stage's instances that wait at a hook: what is answered, and what is done before that."""

from __future__ import annotations

import dataclasses
import datetime as dt

from inventory_service.adapters.ec2 import ABANDON, CONTINUE, Cloud
from inventory_service.codes import statuses
from inventory_service.codes.host import Gone
from inventory_service.codes.scaling import Lifecycle
from inventory_service.database import database
from inventory_service.deployments.launching import requests
from inventory_service.events import SCALING
from inventory_service.models import Host, LifecycleAction, Run, ScalingDecision, Stage
from inventory_service.reasons import Reason, because, columns
from inventory_service.records import hosts as host_records
from inventory_service.registry import hosts, liveness
from inventory_service.scaling import drains
from inventory_service.scaling import fleet as fleets
from inventory_service.scaling.fleet import Fleet, Pair
from inventory_service.scaling.lifecycle import actions
from inventory_service.scaling.lifecycle.actions import ABANDONED, CONTINUED, OVER, WAITS
from inventory_service.scaling.lifecycle.messages import LAUNCHING, TERMINATING
from inventory_service.scaling.settings import Scaling

_ON_ITS_WAY = {LAUNCHING: "Pending", TERMINATING: "Terminating"}
_LAG = dt.timedelta(minutes=2)  # for so long the group's own list may be behind a message
_LONGEST = {LAUNCHING: dt.timedelta(hours=2), TERMINATING: dt.timedelta(hours=3)}


@dataclasses.dataclass(frozen=True, slots=True)
class _Verdict:
    """`result` CONTINUE, ABANDON, or "" for not yet; `is_work`: the group is to be asked to wait longer."""

    result: str
    reason: Reason
    is_work: bool = False


class HookRound:
    """Answers the actions of a stage that wait, as far as they can be answered now."""

    def __init__(self, stage: Stage, scaling: Scaling, cloud: Cloud, fleet: Fleet, *, expiry: liveness.Expiry) -> None:
        assert scaling.actuator is not None
        self._stage, self._scaling, self._cloud, self._expiry = stage, scaling, cloud, expiry
        self._actuator = scaling.actuator
        self._pairs = {pair.instance.id: pair for pair in fleet.pairs if pair.instance is not None}
        self._desired = hosts.desired_release(stage)
        self._busy = fleets.in_a_run(stage)
        self._timeouts: dict[str, int] | None = None

    def run(self) -> list[int]:
        """Take each action a step further; returns the numbers of the drain runs that it queued. Raises CloudError."""
        found = actions.waiting(self._stage)
        self._adopt(found)
        run = self._drain([action for action in found if self._is_to_drain(action)])
        for action in found:
            self._step(action)
        return [run.id] if run is not None else []

    def _step(self, action: LifecycleAction) -> None:
        if action.hook != actions.hook_of(self._actuator, action.transition):
            self._end(action, OVER, because(Lifecycle.OTHER_HOOK))
            return
        pair = self._pairs.get(action.instance)
        lifecycle = pair.instance.lifecycle if pair and pair.instance else ""
        if pair is None or not lifecycle.startswith(_ON_ITS_WAY[action.transition]) or lifecycle.endswith(":Proceed"):
            if self._expiry.at - action.at > _LAG:
                self._end(action, OVER, because(Lifecycle.NOT_WAITING, state=lifecycle or None))
            return
        if lifecycle not in WAITS:
            return
        verdict = self._launching(pair) if action.transition == LAUNCHING else self._terminating(action, pair)
        if verdict.result:
            self._answer(action, pair, verdict)
            return
        actions.change(action, **columns("reason", verdict.reason))
        if verdict.is_work and self._expiry.at - action.at < _LONGEST[action.transition]:
            self._record_heartbeat(action)

    def _launching(self, pair: Pair) -> _Verdict:
        host = pair.host
        if host is None:
            return _Verdict("", because(Lifecycle.NOT_ENROLLED))
        if host.quarantine_code is not None:
            quarantine = {"code": host.quarantine_code, **(host.quarantine_params or {})}
            return _Verdict(ABANDON, because(Lifecycle.QUARANTINED, quarantine=quarantine))
        if not self._expiry.is_listed(host, self._stage):
            return _Verdict("", self._why_unlisted(host), is_work=host.recorded_state == liveness.PENDING)
        if not hosts.is_up_to_date(host, self._desired):
            number = self._desired["number"] if self._desired else None
            return _Verdict("", because(Lifecycle.OUT_OF_DATE, host=host.name, release=number), is_work=True)
        if host.is_healthy is False:
            reason = because(Lifecycle.NOT_HEALTHY, host=host.name, text=host.health_reason)
            return _Verdict("", reason, is_work=True)
        return _Verdict(CONTINUE, because(Lifecycle.READY, host=host.name))

    def _why_unlisted(self, host: Host) -> Reason:
        if host.conflict_code is not None:
            conflict = {"code": host.conflict_code, **(host.conflict_params or {})}
            return because(Lifecycle.IN_CONFLICT, host=host.name, conflict=conflict)
        return because(Lifecycle.NOT_LISTED, host=host.name, state=str(self._expiry.state(host, self._stage)))

    def _is_to_drain(self, action: LifecycleAction) -> bool:
        pair = self._pairs.get(action.instance)
        if action.transition != TERMINATING or action.run_id is not None or pair is None or pair.instance is None:
            return False
        return WAITS.get(pair.instance.lifecycle) == TERMINATING and self._is_reachable(pair)

    def _is_reachable(self, pair: Pair) -> bool:
        return pair.host is not None and self._expiry.is_listed(pair.host, self._stage)

    def _drain(self, due: list[LifecycleAction]) -> Run | None:
        """Their hosts leave `serving` and new runs, and one drain run is queued for all, in one transaction."""
        present = [host for action in due if (host := self._pairs[action.instance].host) is not None]
        if not present:
            return None
        with database.atomic():
            host_records.drain(present, actor=SCALING, at=self._expiry.at, is_leaving=True)
            if self._scaling.drain_playbook is None:
                return None
            comment = f"drain before {self._actuator.group} ends {', '.join(action.instance for action in due)}"
            playbook = self._scaling.drain_playbook
            run = drains.request(self._stage, playbook, present, comment[:500], at=self._expiry.at, while_paused=True)
            for action in due:
                actions.change(action, run_id=run.id)
        return run

    def _adopt(self, found: list[LifecycleAction]) -> None:
        """Where a scale-in of our own drains the instance already, its run is the one to wait for."""
        mine = (ScalingDecision.stage == self._stage) & ScalingDecision.run_id.is_null(False)
        open_ones = list(ScalingDecision.select().where(mine & ScalingDecision.ended_at.is_null()))
        runs = {instance: row.run_id for row in open_ones for instance in row.instances}
        for action in found:
            if action.transition == TERMINATING and action.run_id is None and action.instance in runs:
                actions.change(action, run_id=runs[action.instance])

    def _terminating(self, action: LifecycleAction, pair: Pair) -> _Verdict:
        """A drain that failed does not keep the instance: the group has decided that it ends."""
        if action.run_id is None:
            if pair.host is not None and pair.host.id in self._busy:
                return _Verdict("", because(Lifecycle.RUN_ACTIVE, host=pair.host.name), is_work=True)
            code = Lifecycle.DRAINED if self._is_reachable(pair) else Lifecycle.NOBODY_TO_DRAIN
            return _Verdict(CONTINUE, because(code))
        run = requests.get(action.run_id)
        if run.status not in statuses.ACTIVE:
            return _Verdict(CONTINUE, because(Lifecycle.DRAIN_ENDED, run=run.id, status=run.status))
        if self._expiry.at - action.at < _LONGEST[TERMINATING]:
            return _Verdict("", because(Lifecycle.DRAINING, run=run.id, status=run.status), is_work=True)
        requests.cancel(run, actor=SCALING, at=self._expiry.at)
        return _Verdict(CONTINUE, because(Lifecycle.DRAIN_TOO_LONG, run=run.id))

    # towards AWS

    def _answer(self, action: LifecycleAction, pair: Pair, verdict: _Verdict) -> None:
        is_taken = self._cloud.complete(
            self._actuator.group, action.hook, action.instance, verdict.result, token=action.token
        )
        if not is_taken:
            self._end(action, OVER, because(Lifecycle.NOT_TAKEN, answer=verdict.reason.to_json()))
            return
        status = CONTINUED if verdict.result == CONTINUE else ABANDONED
        with database.atomic():
            self._end(action, status, verdict.reason)
            if action.transition == TERMINATING and pair.host is not None:
                reason = because(Gone.GROUP_ENDS, group=self._actuator.group, instance=action.instance)
                host_records.end(pair.host, reason, actor=SCALING, at=self._expiry.at)

    def _record_heartbeat(self, action: LifecycleAction) -> None:
        """Ask the group to wait longer, thrice within the hook's own time."""
        if self._timeouts is None:
            self._timeouts = self._cloud.hook_timeouts(self._actuator.group)
        seconds = self._timeouts.get(action.hook, 0) / 3
        if (self._expiry.at - (action.heartbeat_at or action.at)).total_seconds() < seconds:
            return
        if self._cloud.record_heartbeat(self._actuator.group, action.hook, action.instance, token=action.token):
            actions.change(action, heartbeat_at=self._expiry.at)
        else:
            self._end(action, OVER, because(Lifecycle.NO_LONGER_WAITING))

    def _end(self, action: LifecycleAction, status: str, reason: Reason) -> None:
        actions.end(action, self._stage, status, reason, at=self._expiry.at)
