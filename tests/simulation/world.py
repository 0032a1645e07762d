"""The simulation: machines, network, service, truth and faults, tick by tick."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Protocol

from inventory_service.codes.host import Gone
from inventory_service.database import database
from inventory_service.events import SERVICE, Actor, ActorKind
from inventory_service.models import Host, Project, Stage
from inventory_service.reasons import because
from inventory_service.records import hosts as records
from inventory_service.registry import hosts, inventory, join_tokens, stages, sweep
from inventory_service.registry.stage_settings import StageChange
from tests.simulation.clock import VirtualClock
from tests.simulation.invariants import STALL, UNNOTICED_JUMP, Invariants, Problem
from tests.simulation.machines import GOODBYE, Machine, Message, Reply, make_key
from tests.simulation.network import Network
from tests.simulation.service import Service, Timing
from tests.simulation.truth import Truth

_OPERATOR = Actor("simulator", kind=ActorKind.PERSON)
_STORY = 40


class ViolationError(AssertionError):
    """A promise was broken. Its text has the seed, the virtual time and the stories, to play it again."""


class Worker(Protocol):
    """The worker's loop, one process of it: calls `world.wait` before each look, until that returns True."""

    def __call__(self, world: World, /) -> None:
        """Run until the process ends."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """One simulation. `step`: the seconds of a tick. Names of stages that end in `-approved` let nobody in unasked."""

    seed: int = 1
    hosts: int = 20
    minutes: float = 60.0
    step: float = 5.0
    interval: int = 60
    ttl: int = 300
    stages: Sequence[str] = ("production",)
    timing: Timing = dataclasses.field(default_factory=Timing)


class World:
    """Everything. The models are bound to a migrated database already; its file is `file`."""

    def __init__(self, plan: Plan, *, file: str) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.clock = VirtualClock()
        self.network = Network(self.random)
        self.service = Service(self.clock, plan.timing, self.random, file=file)
        self.truth = Truth(pause_limit=plan.timing.pause_limit)
        self.invariants = Invariants(self.service, self.truth, step=plan.step)
        self.faults: Counter[str] = Counter()
        self.chaos: Callable[[float], None] | None = None
        self.machines: list[Machine] = []
        self.story: deque[str] = deque(maxlen=_STORY)
        self.ticks = 0
        self._jump = 0.0
        self._has_looked = False
        self._end = plan.minutes * 60
        self._patience = plan.timing.sweep + STALL
        self._script: list[tuple[float, int, Callable[[], object]]] = []
        self._healthy_since: dict[Machine, float] = {}
        self.stages = [self._make_stage(name) for name in plan.stages]
        self.service.start()
        for number in range(plan.hosts):
            self.add(self.stages[number % len(self.stages)], after=self.random.uniform(0, plan.interval))

    # --- making things happen ---

    @property
    def t(self) -> float:
        """True time in seconds."""
        return self.clock.monotonic()

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Do it when true time has come there."""
        self._script.append((seconds, len(self._script), action))
        self._script.sort(key=lambda entry: entry[:2])

    def during(self, begin: float, end: float, start: Callable[[], object], stop: Callable[[], object]) -> None:
        """Do one thing then and its opposite later."""
        self.at(begin, start)
        self.at(end, stop)

    def tell(self, words: str) -> None:
        """A fault, for the report and the summary's counts."""
        self.story.append(f"{self.t / 60:9.2f} min  {words}")
        self.faults[words.partition(":")[0]] += 1

    def add(self, stage: Stage, *, after: float = 0.0, address: str | None = None, name: str | None = None) -> Machine:
        """A new machine boots."""
        number = len(self.machines) + 1
        machine = Machine(
            name=name or f"web-{number}",
            stage=stage,
            address=address or f"10.{stage.id}.{number // 250}.{number % 250 + 1}",
            key=make_key(self.random),
            random=self.random,
            clock_error=self.random.uniform(-9, 9) * 86400,
            has_nonce=self.random.random() < 1 / 2,
        )
        self.machines.append(machine)
        machine.boot(self.t, after=after)
        return machine

    def clone(self, machine: Machine) -> Machine:
        """A second machine with its credential."""
        self.tell(f"clone: {machine.name}")
        twin = machine.clone(self.t)
        self.machines.append(twin)
        return twin

    def stop(self) -> None:
        """The service ends, web and worker."""
        self.tell("service down")
        self.service.is_up = False

    def start(self) -> None:
        """The service starts."""
        self.tell("service up")
        self.truth.failing_since = None
        self.service.start()
        if not self.service.is_broken:
            self.truth.excuse(self.t)

    def jump(self, seconds: float) -> None:
        """Somebody sets the service's clock; the worker looks a quarter of a second later."""
        self.tell(f"clock jump: {seconds:+.0f} s")
        self._jump += seconds

    def goodbye(self, machine: Machine) -> None:
        """The machine leaves by its own word."""
        self.tell(f"goodbye: {machine.name}")
        self.network.send(machine.message(GOODBYE, self.t), self.t)
        machine.tell(self.t, "says goodbye")
        machine.has_left = True

    def terminate(self, machine: Machine) -> None:
        """Somebody else says that the machine is gone."""
        self.tell(f"termination: {machine.name}")
        machine.tell(self.t, "is called terminated")
        if machine.host_id and not self.service.is_broken:
            why = because(Gone.EC2_ENDED, instance=machine.name, state="terminated")
            with database.atomic():
                records.end(hosts.get_host(machine.host_id), why, actor=SERVICE, at=self.clock.now())
            self.truth.end(machine.host_id)
            self._healthy_since.pop(machine, None)

    def approve(self) -> None:
        """A person lets in who waits and is there."""
        for lease in self.truth.leases.values():
            if lease.machine.is_up and not lease.is_approved and not lease.has_ended and not self.service.is_broken:
                hosts.approve(hosts.get_host(lease.host_id), actor=_OPERATOR, at=self.clock.now())
                lease.is_approved, lease.kept_from = True, lease.heard
                lease.is_in_conflict = hosts.get_host(lease.host_id).conflict_code is not None

    def expire(self, stage: Stage) -> int:
        """`callboard stage expire STAGE --force`."""
        self.tell(f"expire --force: {stage.name}")
        self.invariants.open_for_expiry(stage.id, self.t + 2 * stage.ttl_seconds)
        fresh = Stage.get_by_id(stage.id)
        expiry = self.service.expiry()
        for row in Host.select().where((Host.stage == stage) & Host.gone_at.is_null()):
            self.truth.leases[row.id].is_expired_by_word |= expiry.state(row, fresh) == "late"
        return sweep.expire_late(stages.get_stage(fresh.project.name, fresh.name), actor=_OPERATOR, expiry=expiry)

    # --- time ---

    def run(self, worker: Worker) -> None:
        """Until the plan's time is over. Raises ViolationError."""
        while self.t < self._end:
            worker(self)
        self.service.close()

    def wait(self, _seconds: float = 0.0) -> bool:
        """Let time go by until the worker looks again; True when its process ends."""
        self._check_if_read()
        while self.t < self._end:
            was_up = self.service.is_up
            self._step()
            if was_up and not self.service.is_up:
                return True
            if self.service.is_working:
                self._set_clock()
                return False
            self._set_clock()
            self._check_if_read()
        return True

    def _set_clock(self) -> None:
        if self._jump:
            jump, self._jump = self._jump, 0.0
            self.clock.jump(jump)
            self.invariants.excused_pause_until = self.t  # an odd moment for a self-check once a tick
            if self.service.is_working and not self.service.is_broken and abs(jump) > UNNOTICED_JUMP:
                self.truth.excuse(self.t)

    def _step(self) -> None:
        self.clock.advance(self.plan.step)
        self.ticks += 1
        while self._script and self._script[0][0] <= self.t:
            self._script.pop(0)[2]()
        if self.chaos is not None:
            self.chaos(self.t)
        for machine in self.machines:
            message = machine.request(self.t)
            if message is not None:
                self.network.send(message, self.t)
        arrived = self.network.arrivals(self.t)
        if self.service.is_up and arrived:
            self.deliver(arrived)

    def deliver(self, messages: list[Message]) -> None:
        """Hand messages to the service and its answers back."""
        for message, reply in self.service.handle(messages):
            message.machine.tell(self.t, f"{message.kind} {message.seq} is answered: {_words(reply)}")
            self.truth.take(message, reply, self.t)
            if not self.network.loses_answer(message.machine):
                message.machine.hear(reply, message, self.t)

    def read(self, stage: Stage) -> set[str] | None:
        """What an inventory client gets: the hosts' names, None when it can't reach the service."""
        if not self.service.is_up or self.network.is_door_shut:
            return None
        fresh = stages.get_stage(stage.project.name, stage.name)
        return set(inventory.render(fresh, expiry=self.service.expiry())["_meta"]["hostvars"])

    def check_itself(self, at: dt.datetime) -> None:
        """The self-check's job: its heartbeat takes the way that those of hosts take."""
        if not self.network.is_door_shut:
            self.service.check_itself(at)

    # --- judging ---

    def _make_stage(self, name: str) -> Stage:
        at = self.clock.now()
        project = Project.get_or_none(Project.name == "shop") or stages.create_project(
            name="shop", source="/srv/shop/", description="", variables={}, actor=_OPERATOR, at=at
        )
        change = StageChange(
            interval_seconds=self.plan.interval,
            ttl_seconds=self.plan.ttl,
            approval=name.endswith("-approved"),
        )
        stage = stages.create_stage(project, name=name, change=change, actor=_OPERATOR, at=at)
        self.service.join_tokens[stage.id] = join_tokens.create(stage, actor=_OPERATOR, at=at)[1]
        return stage

    def _check_if_read(self) -> None:
        if not self.service.is_up or not self.ticks:
            return
        has_short_stall = not self.service.is_sweeping and self.t - self.service.claimed_at <= self._patience
        is_failing = self.network.is_door_shut or self.service.is_broken or has_short_stall
        self.invariants.failing_since = (self.invariants.failing_since or self.t) if is_failing else None
        if is_failing:  # the self-check needs a tick to be heard again, and so does a stall too short for a grace
            self.invariants.excused_pause_until = self.t + 2 * self.plan.step
        problems = [*self.invariants.check(self.t), *self._unlisted()]
        if problems:
            raise ViolationError(self._report(problems))

    def _unlisted(self) -> list[Problem]:
        """Machines that have been healthy for so long that they must be listed."""
        found = []
        for machine in self.machines:
            if not self._is_healthy(machine):
                self._healthy_since.pop(machine, None)
                continue
            since = self._healthy_since.setdefault(machine, self.t)
            is_due = self.t - since > self.invariants.is_back_within(machine.stage)
            if is_due and machine.name not in self.invariants.listed[machine.stage.id]:
                lease = self.truth.leases.get(machine.host_id)
                words = f"{machine.name} has been healthy for {self.t - since:.0f} s and is not listed"
                found.append(Problem("every healthy host is in", words, lease))
        return found

    def _is_healthy(self, machine: Machine) -> bool:
        is_well = machine.is_up and not machine.has_left and not machine.is_cloned and not machine.is_huge
        can_call = is_well and self.network.reaches(machine)
        can_be_heard = self.network.is_calm and machine not in self.network.slow and not self.service.is_broken
        lease = self.truth.leases.get(machine.host_id)
        is_approved = not machine.stage.has_approval or (lease is not None and lease.is_approved)
        return can_call and can_be_heard and is_approved and not self._is_displaced(machine)

    def _is_displaced(self, machine: Machine) -> bool:
        """Somebody else is listed under its name or at its address; whether rightly, the other invariants say."""
        holders = [self.invariants.holders.get((machine.stage.id, mark)) for mark in (machine.name, machine.address)]
        return any(holder is not None and holder != machine.host_id for holder in holders)

    def _report(self, problems: list[Problem]) -> str:
        lines = [
            f"seed {self.plan.seed}, {self.t / 60:.2f} min, wall clock {self.clock.now().isoformat()}, {self.plan}"
        ]
        for problem in problems[:5]:
            who = f" [{problem.lease.machine.name} {problem.lease.host_id}]" if problem.lease else ""
            lines.append(f"VIOLATION {problem.name}{who}: {problem.words}")
        first = next((problem.lease for problem in problems if problem.lease), None)
        lines += ["The service's story:", *self.story]
        lines += ["The host's story:", *first.machine.story] if first else []
        return "\n".join(lines)


def _words(reply: Reply) -> str:
    return "not at all" if reply is None else getattr(reply, "state", type(reply).__name__)
