"""A stage's machines as EC2 and the registry see them together: what a decision needs, and where the two differ."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import Any

from inventory_service.adapters.ec2 import PENDING, RUNNING, STAGE_TAG, Cloud, Instance
from inventory_service.codes import statuses
from inventory_service.deployments import locks
from inventory_service.models import Host, Run, RunHost, ScalingDecision, Stage, StageScaling
from inventory_service.registry import hosts, liveness
from inventory_service.registry.stages import stage_name
from inventory_service.scaling.machine_selection import Candidate
from inventory_service.scaling.plan import OUT, Situation
from inventory_service.scaling.settings import GROUP, Actuator

CloudOf = Callable[[str], Cloud]  # by its region
_LAG = dt.timedelta(minutes=5)
_IN_SERVICE = ("", "InService")
_LOAD = "load1_per_cpu"


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """An instance with its host; either may be missing."""

    instance: Instance | None
    host: Host | None


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """All machines of a stage at one moment. `desired`: how many there are to be, as the actuator has it; `maximum`:
    how many it lets there be, None where nothing says so. `own`: the instances (by id) that the actuator made, which
    alone are capacity; `of_stage`: these and the ones whose tags say that they are of the stage.
    """

    pairs: tuple[Pair, ...]
    desired: int
    maximum: int | None = None
    own: frozenset[str] = frozenset()
    of_stage: frozenset[str] = frozenset()


def observe(stage: Stage, actuator: Actuator, cloud: Cloud, *, at: dt.datetime) -> Fleet:
    """Ask EC2, and match its instances with the stage's hosts. Raises CloudError; the registry is not touched."""
    tagged = cloud.instances_tagged(dict(actuator.tags.match) or {STAGE_TAG: stage_name(stage)})
    if actuator.kind == GROUP:
        group = cloud.group(actuator.group)
        instances, desired, maximum = cloud.instances_of(group), group.desired, group.maximum
    else:
        instances = cloud.instances_tagged({STAGE_TAG: stage_name(stage)}) if actuator.tags.match else list(tagged)
        desired, maximum = sum(not instance.is_leaving for instance in instances), None
        desired += len(_just_made(stage, at=at) - {instance.id for instance in instances})
    own = frozenset(instance.id for instance in instances)
    instances += [instance for instance in tagged if instance.id not in own]
    present = hosts.list_hosts(stage)
    of_stage = frozenset(instance.id for instance in instances)
    instances += cloud.instances({_own_id(host) for host in present} - of_stage - {""})
    return Fleet(tuple(_match(instances, present)), desired, maximum, own, of_stage)


def _just_made(stage: Stage, *, at: dt.datetime) -> set[str]:
    """Instances that were launched lately: EC2's list may not have them yet, and they must not be launched again."""
    recent = (ScalingDecision.stage == stage) & (ScalingDecision.action == OUT) & (ScalingDecision.ended_at > at - _LAG)
    return {made for row in ScalingDecision.select().where(recent) for made in row.instances}


def _own_id(host: Host) -> str:
    """The instance's id where AWS vouched for it at enrolment (account/region/id); "" otherwise."""
    return host.instance.rpartition("/")[2] if host.instance else ""


def _match(instances: list[Instance], present: list[Host]) -> list[Pair]:
    """By AWS's own id, else by the private address of an instance that runs: nothing that a host claims counts."""
    by_id = {_own_id(host): host for host in present if host.instance}
    by_address = {host.address: host for host in present if not host.instance}
    pairs, matched = [], set()
    for instance in instances:
        host = by_id.get(instance.id)
        if host is None and instance.state in (RUNNING, PENDING):
            host = by_address.get(instance.address)
        matched.add(host.id if host else "")
        pairs.append(Pair(instance, host))
    return pairs + [Pair(None, host) for host in present if host.id not in matched]


def situation(stage: Stage, fleet: Fleet, row: StageScaling, *, expiry: liveness.Expiry) -> Situation:
    """What the plan needs to know of this moment. Serving are only hosts that are live and on the desired release."""
    desired = hosts.desired_release(stage)
    serving = [
        pair
        for pair in fleet.pairs
        if pair.host and _serves(pair.host, desired, stage, expiry) and _is_in_service(pair, fleet)
    ]
    active = list(Run.select().where((Run.stage == stage) & Run.status.in_(statuses.ACTIVE)))
    lock = locks.find(stage, locks.BY_RUN)
    disturbing = [run.id for run in active if run.kind != statuses.CONVERGE]
    return Situation(
        at=expiry.at,
        capacity=fleet.desired,
        serving=min(len(serving), fleet.desired),
        is_expiry_paused=expiry.is_paused(stage),
        run=lock.run_id if lock else next(iter(disturbing), None),
        is_rolling_back=is_rolling_back(stage),
        last_out_at=row.last_out_at,
        last_in_at=row.last_in_at,
    )


def _is_in_service(pair: Pair, fleet: Fleet) -> bool:
    """Whether it is capacity, which the group has taken in; before that it waits, for our answer among others."""
    return pair.instance is not None and pair.instance.id in fleet.own and pair.instance.lifecycle in _IN_SERVICE


def is_rolling_back(stage: Stage) -> bool:
    """Whether a rollback waits or works: a new host would start with the release that it undoes."""
    active = (Run.stage == stage) & Run.status.in_(statuses.ACTIVE) & (Run.kind == statuses.ROLLBACK)
    return Run.select().where(active).exists()


def _serves(host: Host, desired: dict[str, Any] | None, stage: Stage, expiry: liveness.Expiry) -> bool:
    return expiry.is_listed(host, stage) and not host.is_draining and hosts.is_up_to_date(host, desired)


def candidates(stage: Stage, fleet: Fleet, *, expiry: liveness.Expiry) -> list[Candidate]:
    """The machines among which some may be chosen to go: those that EC2 runs and the registry knows."""
    desired, busy = hosts.desired_release(stage), in_a_run(stage)
    return [
        Candidate(
            id=pair.instance.id,
            zone=pair.instance.zone,
            template_version=pair.instance.template_version,
            release=pair.host.release_number or 0,
            load=pair.host.metrics.get(_LOAD),
            is_live=expiry.is_listed(pair.host, stage) and pair.instance.state == RUNNING,
            is_up_to_date=hosts.is_up_to_date(pair.host, desired),
            is_in_run=pair.host.id in busy,
            is_draining=pair.host.is_draining,
            is_protected=pair.instance.is_protected,
        )
        for pair in fleet.pairs
        if pair.instance and pair.host and not pair.instance.is_leaving and _is_in_service(pair, fleet)
    ]


def in_a_run(stage: Stage) -> set[str]:
    """The ids of the hosts on which a run works now: everybody's, while a run has not settled yet on whom."""
    running = list(Run.select(Run.id).where((Run.stage == stage) & (Run.status == statuses.RUNNING)))
    rows = list(RunHost.select().where(RunHost.run.in_([run.id for run in running])))
    if {run.id for run in running} - {row.run_id for row in rows}:
        return {host.id for host in hosts.list_hosts(stage)}
    return {row.host_id for row in rows if row.host_id}
