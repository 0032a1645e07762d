"""Faults at random: what goes wrong, for how long, for whom. The seed decides."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from inventory_service.registry import liveness
from tests.simulation.machines import BEAT, Machine, Message
from tests.simulation.world import World

MINUTE = 60.0
_REBOOT_SECONDS = 5.0
_LARGEST_SHARE_OVER = 1.6

NAMES: tuple[str, ...] = (
    "outage",
    "crash_loop",
    "jump",
    "stall",
    "loss",
    "lost_answers",
    "lateness",
    "copies",
    "replays",
    "slow_clients",
    "huge_bodies",
    "cut_few",
    "cut_crowd",
    "cut_all",
    "flapping",
    "cut_stage",
    "shut_door",
    "locked_database",
    "full_database",
    "deaths",
    "reboots",
    "goodbyes",
    "overtaking",
    "terminations",
    "reused_address",
    "shared_address",
    "moved",
    "cloned",
    "storm",
    "two_sweeps",
)


class Chaos:
    """Called at each tick. `pause`: minutes between two faults, about. Faults overlap now and then."""

    def __init__(self, world: World, *, pause: float = 12.0) -> None:
        self.world = world
        self._pause = pause * MINUTE
        self._next = self._pause
        self._quiet_until: dict[str, float] = {}
        world.service.race = self.come_back
        world.chaos = self

    def __call__(self, t: float) -> None:
        """Do what is due."""
        if t >= self._next:
            self._next = t + self.world.random.uniform(0.3, 1.7) * self._pause
            self.inject(self.world.random.choice(NAMES), self.world.random.uniform(0.2, 20) * MINUTE)
            self._keep_the_fleet()
            self.world.approve()

    def inject(self, name: str, seconds: float) -> None:
        """The fault of that name. A service that is broken already is not broken once more in the same part."""
        getattr(self, f"_{name}")(seconds)

    def come_back(self, host: liveness.Lease) -> None:
        """A heartbeat that arrives after a sweep has read this host, and before it writes it."""
        world = self.world
        machine = world.truth.leases[host.id].machine
        is_free = machine.stage.id not in world.network.cut_stages and not world.network.is_door_shut
        if machine.is_up and machine.token and is_free and not machine.has_left and world.random.random() < 1 / 2:
            world.network.cut.discard(machine)
            world.faults["heartbeat races the sweep"] += 1
            world.deliver([machine.message(BEAT, world.t)])

    # --- the service ---

    def _is_alone(self, part: str, seconds: float) -> bool:
        """Whether that part works; if so, it is taken for so long and a little, to recover."""
        if self.world.t < self._quiet_until.get(part, 0.0):
            return False
        self._quiet_until[part] = self.world.t + seconds + MINUTE
        return True

    def _outage(self, seconds: float) -> None:
        if self._is_alone("service", seconds):
            self.world.stop()
            self._later(seconds, self.world.start)

    def _crash_loop(self, seconds: float) -> None:
        if not self._is_alone("service", seconds):
            return
        gap = max(2 * self.world.plan.step, 20.0)
        for number in range(min(6, math.floor(seconds / gap / 2))):
            self._later(number * 2 * gap, self.world.stop)
            self._later(number * 2 * gap + gap, self.world.start)

    def _jump(self, seconds: float) -> None:
        if self._is_alone("service", self.world.plan.step):
            self.world.jump(self.world.random.choice((1, -1)) * self.world.random.choice((3, 30, 600, 3600, seconds)))

    def _stall(self, seconds: float) -> None:
        if self._is_alone("service", seconds):
            self.world.tell("sweep stopped")
            self._for(seconds, self.world.service, "is_sweeping", False, True)

    def _two_sweeps(self, seconds: float) -> None:
        self.world.tell("two sweeps")
        self._for(seconds, self.world.service, "sweeps_at_once", 2, 1)

    def _locked_database(self, seconds: float) -> None:
        if self._is_alone("service", seconds):
            self.world.tell("database locked")
            self.world.service.lock()
            self._later(seconds, self.world.service.mend)

    def _full_database(self, seconds: float) -> None:
        if self._is_alone("service", seconds):
            self.world.tell("disk full")
            self.world.service.fill()
            self._later(seconds, self.world.service.mend)

    # --- the network ---

    def _loss(self, seconds: float) -> None:
        self.world.tell("lost requests")
        self._for(seconds, self.world.network, "loss", self.world.random.uniform(0.05, 0.6), 0.0)

    def _lost_answers(self, seconds: float) -> None:
        self.world.tell("lost answers")
        self._for(seconds, self.world.network, "answer_loss", self.world.random.uniform(0.05, 0.9), 0.0)

    def _lateness(self, seconds: float) -> None:
        self.world.tell("late requests")
        self._for(seconds, self.world.network, "delay", self.world.random.uniform(5, 45), 0.0)

    def _copies(self, seconds: float) -> None:
        self.world.tell("doubled requests")
        self._for(seconds, self.world.network, "copies", 0.5, 0.0)

    def _replays(self, seconds: float) -> None:
        self.world.tell("replayed requests")
        self._for(seconds, self.world.network, "replays", 0.5, 0.0)

    def _slow_clients(self, seconds: float) -> None:
        self.world.tell("slow clients")
        chosen = self._some(0.3)
        self.world.network.slow.update(chosen)
        self._later(seconds, lambda: self.world.network.slow.difference_update(chosen))

    def _huge_bodies(self, seconds: float) -> None:
        for machine in self._some(0.1):
            self.world.tell("huge bodies")
            self._for(seconds, machine, "is_huge", True, False)

    def _cut_few(self, seconds: float) -> None:
        self._cut(0.05, seconds)

    def _cut_crowd(self, seconds: float) -> None:
        self._cut(self.world.random.choice((0.4, 0.9)), seconds)

    def _cut_all(self, seconds: float) -> None:
        self._cut(1.0, seconds)

    def _cut(self, share: float, seconds: float) -> None:
        self.world.tell(f"silence of {share:.0%}")
        chosen = self._some(share)
        self.world.network.cut.update(chosen)
        self._later(seconds, lambda: self.world.network.cut.difference_update(chosen))

    def _flapping(self, seconds: float) -> None:
        """A third of the fleet is late again and again, while one host is dead."""
        self.world.tell("flapping")
        for machine in self._some(0.01):
            machine.die(self.world.t)
        chosen, period = self._some(0.4), 2 * self.world.plan.interval
        for number in range(math.ceil(seconds / period)):
            self._later(2 * number * period, lambda: self.world.network.cut.update(chosen))
            self._later((2 * number + 1) * period, lambda: self.world.network.cut.difference_update(chosen))

    def _cut_stage(self, seconds: float) -> None:
        stage = self.world.random.choice(self.world.stages).id
        self.world.tell("stage cut off")
        self.world.network.cut_stages.add(stage)
        self._later(seconds, lambda: self.world.network.cut_stages.discard(stage))

    def _shut_door(self, seconds: float) -> None:
        self.world.tell("address shut off")
        self._for(seconds, self.world.network, "is_door_shut", True, False)

    # --- the machines ---

    def _deaths(self, seconds: float) -> None:
        for machine in self._some(self.world.random.choice((0.05, 0.1, 0.4))):
            self.world.tell("death")
            machine.die(self.world.t)

    def _reboots(self, seconds: float) -> None:
        for machine in self._some(0.1):
            self.world.tell("reboot")
            machine.die(self.world.t)
            self._later(max(seconds / 4, _REBOOT_SECONDS), partial(self._boot, machine))

    def _boot(self, machine: Machine) -> None:
        if machine not in self.world.machines:
            self.world.machines.append(machine)
        machine.boot(self.world.t)

    def _goodbyes(self, seconds: float) -> None:
        for machine in self._some(0.1):
            self.world.goodbye(machine)

    def _overtaking(self, seconds: float) -> None:
        for machine in self._some(0.05):
            beat = machine.message(BEAT, self.world.t)
            self.world.goodbye(machine)
            self._later(30, partial(self._arrive, beat))

    def _arrive(self, message: Message) -> None:
        if self.world.service.is_up:
            self.world.deliver([message])

    def _end(self, machine: Machine) -> None:
        machine.die(self.world.t)

    def _terminations(self, seconds: float) -> None:
        for machine in self._some(0.05):
            self.world.terminate(machine)

    def _reused_address(self, seconds: float) -> None:
        for machine in self._some(0.05):
            machine.die(self.world.t)
            self.world.tell("address re-used")
            self._later(seconds / 2, partial(self._add, machine, machine.address))

    def _shared_address(self, seconds: float) -> None:
        for machine in self._some(0.05):
            self.world.tell("address shared")
            twin = self._add(machine, machine.address)
            self._later(seconds * 2, partial(self._end, twin))

    def _moved(self, seconds: float) -> None:
        for machine in self._some(0.05):
            self.world.tell("address changed")
            machine.move(self.world.t, f"10.99.{self.world.random.randrange(250)}.{self.world.random.randrange(250)}")

    def _cloned(self, seconds: float) -> None:
        machine = next(iter(self._some(0.01)), None)
        if machine is None or not machine.token or machine.is_cloned:
            return
        twin = self.world.clone(machine)
        self._later(seconds, lambda: twin.die(self.world.t))
        self._later(seconds + MINUTE, lambda: self._reinstall(machine))

    def _reinstall(self, machine: Machine) -> None:
        """What an operator does about a clone: the machine enrols anew."""
        machine.die(self.world.t)
        machine.token, machine.is_cloned = "", False
        self._boot(machine)

    def _storm(self, seconds: float) -> None:
        self.world.tell("storm of enrolments")
        for _ in range(max(3, self.world.plan.hosts // 3)):
            self._add(self.world.machines[0], None)

    def _add(self, like: Machine, address: str | None) -> Machine:
        return self.world.add(like.stage, after=self.world.random.uniform(0, 5), address=address)

    # --- tools ---

    def _some(self, share: float) -> list[Machine]:
        up = [machine for machine in self.world.machines if machine.is_up and not machine.has_left]
        return self.world.random.sample(up, min(len(up), math.ceil(share * len(up))))

    def _later(self, seconds: float, action: Callable[[], object]) -> None:
        self.world.at(self.world.t + seconds, action)

    def _for(self, seconds: float, thing: object, name: str, value: object, normal: object) -> None:
        setattr(thing, name, value)
        self._later(seconds, lambda: setattr(thing, name, normal))

    def _keep_the_fleet(self) -> None:
        """Autoscaling: new machines for those that are no more, and fewer after a storm."""
        world, wanted = self.world, self.world.plan.hosts
        up = self._some(1.0)
        for _ in range(wanted - len(up)):
            world.add(world.random.choice(world.stages), after=world.random.uniform(0, MINUTE))
        for machine in up[math.floor(wanted * _LARGEST_SHARE_OVER) :]:
            world.goodbye(machine)
        world.machines = [machine for machine in world.machines if machine.is_up and not machine.has_left]
        world.truth.forget_ended()
