"""Each thing that the service must survive, by its name, in virtual time. The invariants hold at every tick of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peewee
import pytest

from inventory_service.models import Host, Transition
from inventory_service.registry import liveness
from tests.simulation.machines import BEAT, Machine
from tests.simulation.service import Timing
from tests.simulation.test_simulation import real_worker
from tests.simulation.world import Plan, World

MINUTE = 60.0


def timing(**fields: float) -> Timing:
    return Timing(sweep=20, self_check=20, **fields)


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(database: peewee.Database) -> MakeWorld:
    def make(**fields: Any) -> World:
        return World(
            Plan(**{"hosts": 12, "minutes": 20, "step": 20, "timing": timing(), **fields}),
            file=str(database.database),
        )

    return make


def run(world: World) -> set[str]:
    """The names of the listed hosts at the end."""
    world.run(real_worker)
    return set().union(*world.invariants.listed.values())


def expired() -> int:
    return Transition.select().where(Transition.to_state == liveness.STALE).count()


def conflicts() -> list[str]:
    return [row.name for row in Host.select().where(Host.conflict_code.is_null(False) & Host.gone_at.is_null())]


def look(world: World, *minutes: float) -> list[set[str]]:
    """The names of the listed hosts of the first stage at these times, once the world has run."""
    looks: list[set[str]] = []
    for minute in minutes:
        world.at(minute * MINUTE, lambda: looks.append(set(world.invariants.listed[world.stages[0].id])))
    return looks


def cut(world: World, machines: list[Machine], begin: float, end: float) -> None:
    network = world.network
    world.during(begin, end, lambda: network.cut.update(machines), lambda: network.cut.difference_update(machines))


def test_it_survives_ten_minutes_of_outage(make_world: MakeWorld) -> None:
    world = make_world()
    world.during(6 * MINUTE, 16 * MINUTE, world.stop, world.start)
    assert (len(run(world)), expired()) == (12, 0)


def test_it_survives_a_crash_loop(make_world: MakeWorld) -> None:
    world = make_world()
    for number in range(16):
        begin = 5 * MINUTE + number * 40
        world.during(begin, begin + 30, world.stop, world.start)
    assert (len(run(world)), expired()) == (12, 0)


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_it_survives_a_jump_of_the_wall_clock(make_world: MakeWorld, seconds: float) -> None:
    world = make_world()
    world.at(6 * MINUTE, lambda: world.jump(seconds))
    world.at(6 * MINUTE, lambda: world.machines[0].die(world.t))
    assert run(world) == {machine.name for machine in world.machines[1:]}
    assert expired() == 1


def test_it_survives_ten_minutes_without_a_sweep(make_world: MakeWorld) -> None:
    world = make_world()
    world.during(
        4 * MINUTE,
        14 * MINUTE,
        lambda: setattr(world.service, "is_sweeping", False),
        lambda: setattr(world.service, "is_sweeping", True),
    )
    world.at(4 * MINUTE, lambda: world.machines[0].die(world.t))
    assert (len(run(world)), expired()) == (11, 1)


def test_it_believes_no_hosts_clock(make_world: MakeWorld) -> None:
    world = make_world()
    world.at(5 * MINUTE, lambda: [setattr(machine, "clock_error", 1e7) for machine in world.machines[:6]])
    world.at(6 * MINUTE, lambda: world.machines[0].die(world.t))
    assert min(machine.clock_error for machine in world.machines) < -86400
    assert (len(run(world)), expired()) == (11, 1)


def test_it_lets_a_new_host_have_a_dead_ones_address(make_world: MakeWorld) -> None:
    world = make_world()
    dead = world.machines[0]
    world.at(5 * MINUTE, lambda: dead.die(world.t))
    world.at(6 * MINUTE, lambda: world.add(dead.stage, address=dead.address, name="heir"))
    assert "heir" in run(world)


def test_it_lets_no_grace_bring_a_dead_host_back_beside_its_heir(make_world: MakeWorld) -> None:
    world = make_world(minutes=20)
    dead = world.machines[0]
    world.at(4 * MINUTE, lambda: setattr(world.service, "is_sweeping", False))
    world.at(4 * MINUTE, lambda: dead.die(world.t))
    world.at(10 * MINUTE, lambda: world.add(dead.stage, address=dead.address, name="heir"))
    world.at(13 * MINUTE, lambda: setattr(world.service, "is_sweeping", True))
    assert len(run(world)) == 12


def test_it_lists_one_of_two_live_hosts_with_one_address(make_world: MakeWorld) -> None:
    world = make_world()
    first = world.machines[0]
    world.at(5 * MINUTE, lambda: world.add(first.stage, address=first.address, name="second"))
    listed = run(world)
    assert first.name in listed
    assert "second" not in listed


def test_it_lists_one_when_both_come_back_in_one_transaction(make_world: MakeWorld) -> None:
    world = make_world(minutes=30)
    first = world.machines[0]
    cut(world, [first], 3 * MINUTE, 20 * MINUTE)
    world.at(10 * MINUTE, lambda: world.add(first.stage, address=first.address, name="second"))
    world.at(12 * MINUTE, lambda: world.network.cut.add(world.machines[-1]))
    world.at(20 * MINUTE, lambda: [setattr(one, "next_at", 0.0) for one in (first, world.machines[-1])])
    world.at(20 * MINUTE, world.network.cut.clear)
    listed = run(world)
    assert (len(listed), len({first.name, "second"} & listed), len(conflicts())) == (12, 1, 1)


def test_it_shows_a_cloned_host(make_world: MakeWorld) -> None:
    world = make_world()
    world.at(5 * MINUTE, lambda: world.clone(world.machines[0]))
    assert world.machines[0].name not in run(world)
    assert conflicts() == [world.machines[0].name]


def test_it_takes_a_host_whose_address_changed(make_world: MakeWorld) -> None:
    world = make_world()
    world.at(5 * MINUTE, lambda: world.machines[0].move(world.t, "10.8.8.8"))
    assert len(run(world)) == 12
    assert Host.get((Host.name == world.machines[0].name) & Host.gone_at.is_null()).address == "10.8.8.8"


def test_it_takes_duplicate_late_and_replayed_heartbeats(make_world: MakeWorld) -> None:
    world = make_world()
    world.network.copies, world.network.replays, world.network.delay = 0.5, 0.9, 20.0
    world.at(8 * MINUTE, lambda: world.machines[0].die(world.t))
    assert (len(run(world)), expired()) == (11, 1)


@pytest.mark.parametrize(
    ("silent", "listed", "is_paused"), [(1, 19, False), (8, 20, True), (18, 20, True), (20, 20, True)]
)
def test_it_pauses_when_a_crowd_falls_silent(make_world: MakeWorld, silent: int, listed: int, is_paused: bool) -> None:
    world = make_world(hosts=20, minutes=15)
    cut(world, world.machines[:silent], 5 * MINUTE, 1000 * MINUTE)
    assert len(run(world)) == listed
    assert (world.invariants.paused_since(world.stages[0].id) is not None) is is_paused


def test_it_believes_the_silence_of_all_when_the_bound_is_over(make_world: MakeWorld) -> None:
    world = make_world(hosts=6, minutes=35, timing=timing(pause_limit=900))
    cut(world, world.machines, 5 * MINUTE, 1000 * MINUTE)
    assert run(world) == set()


def test_it_keeps_no_dead_host_by_one_pause_after_the_other(make_world: MakeWorld) -> None:
    world = make_world(hosts=8, minutes=55, timing=timing(pause_limit=900))
    dead, often_late = world.machines[0], world.machines[1:5]
    world.at(6 * MINUTE, lambda: dead.die(world.t))
    for minute in range(5, 55, 5):
        cut(world, often_late, minute * MINUTE, (minute + 3) * MINUTE)
    assert dead.name not in run(world)
    assert (expired(), world.invariants.pauses_begun > 5) == (1, True)


def test_it_gives_a_stale_host_up_although_the_service_starts_often(make_world: MakeWorld) -> None:
    world = make_world(hosts=4, minutes=60, timing=timing(gone_after=2400))
    dead = world.machines[0]
    world.at(4 * MINUTE, lambda: dead.die(world.t))
    for minute in range(12, 60, 12):
        world.during(minute * MINUTE, minute * MINUTE + 30, world.stop, world.start)
    run(world)
    assert Host.get_by_id(dead.host_id).gone_code == "silent"


def test_it_believes_an_operator(make_world: MakeWorld) -> None:
    world = make_world(minutes=20)
    cut(world, world.machines[:8], 5 * MINUTE, 1000 * MINUTE)
    world.at(14 * MINUTE, lambda: world.expire(world.stages[0]))
    assert len(run(world)) == 4


def test_it_pauses_one_stage_that_is_cut_off(make_world: MakeWorld) -> None:
    world = make_world(hosts=30, minutes=20, stages=("production", "staging", "test"))
    world.during(
        5 * MINUTE,
        16 * MINUTE,
        lambda: world.network.cut_stages.add(world.stages[1].id),
        world.network.cut_stages.clear,
    )
    assert (len(run(world)), expired()) == (30, 0)


def test_it_pauses_when_its_address_is_shut_off(make_world: MakeWorld) -> None:
    world = make_world(hosts=3)
    world.during(
        5 * MINUTE,
        16 * MINUTE,
        lambda: setattr(world.network, "is_door_shut", True),
        lambda: setattr(world.network, "is_door_shut", False),
    )
    assert (len(run(world)), expired()) == (3, 0)


@pytest.mark.parametrize("fault", ["lock", "fill"])
def test_it_survives_a_database_that_can_not_be_written(make_world: MakeWorld, fault: str) -> None:
    world = make_world(minutes=20)
    world.during(5 * MINUTE, 8 * MINUTE, getattr(world.service, fault), world.service.mend)
    assert (len(run(world)), expired()) == (12, 0)


def test_it_expires_nobody_for_a_database_that_was_locked_for_longer_than_the_ttl(make_world: MakeWorld) -> None:
    world = make_world(minutes=20)
    world.during(4 * MINUTE, 14 * MINUTE, world.service.lock, world.service.mend)
    looks = look(world, 10, 13.9)
    assert (len(run(world)), expired(), [len(names) for names in looks]) == (12, 0, [12, 12])


def test_it_keeps_hosts_while_nothing_can_be_written_although_no_worker_runs(make_world: MakeWorld) -> None:
    world = make_world(minutes=21, timing=timing(pause_limit=600))
    dead = world.machines[0]
    world.at(3 * MINUTE, lambda: setattr(world.service, "is_sweeping", False))
    world.at(3 * MINUTE, lambda: dead.die(world.t))
    world.during(4 * MINUTE, 14 * MINUTE, world.service.lock, world.service.mend)
    looks = look(world, 13.9, 16, 20)
    run(world)
    assert [(len(names), dead.name in names) for names in looks] == [(12, True), (12, True), (11, False)]


def test_it_believes_the_silence_in_a_database_that_stays_locked_beyond_the_bound(make_world: MakeWorld) -> None:
    world = make_world(minutes=30, timing=timing(pause_limit=600))
    world.at(4 * MINUTE, world.service.lock)
    looks = look(world, 14, 21)
    world.at(29 * MINUTE, world.service.mend)
    run(world)
    assert [len(names) for names in looks] == [12, 0]


def test_it_takes_a_thousand_hosts_that_boot_within_five_seconds(make_world: MakeWorld) -> None:
    world = make_world(hosts=0, minutes=2.5, step=5, stages=tuple("abcde"))
    for number in range(1000):
        world.add(world.stages[number % 5], after=world.random.uniform(0, 5))
    assert len(run(world)) == 1000


def test_it_takes_slow_clients(make_world: MakeWorld) -> None:
    world = make_world()
    world.network.slow.update(world.machines[:6])
    assert (len(run(world)), expired()) == (12, 0)


def test_it_takes_no_harm_from_huge_bodies(make_world: MakeWorld) -> None:
    """Who sends them is not heard, and expires like the silent; it is back with the first acceptable heartbeat."""
    world = make_world(minutes=24)
    huge = world.machines[:2]
    looks = look(world, 12)
    world.during(
        4 * MINUTE,
        16 * MINUTE,
        lambda: [setattr(machine, "is_huge", True) for machine in huge],
        lambda: [setattr(machine, "is_huge", False) for machine in huge],
    )
    assert (len(run(world)), expired()) == (12, 2)
    assert looks == [{machine.name for machine in world.machines[2:]}]


def test_it_gives_an_inventory_client_that_could_not_reach_it_no_empty_inventory(make_world: MakeWorld) -> None:
    world = make_world()
    seen: list[set[str] | None] = []
    for tick in range(9, 60):
        world.at(tick * 20.0, lambda: seen.append(world.read(world.stages[0])))
    world.during(6 * MINUTE, 16 * MINUTE, world.stop, world.start)
    run(world)
    assert seen.count(None) == 30
    assert {len(names) for names in seen if names is not None} == {12}


def test_it_rotates_tokens_through_lost_and_late_requests(make_world: MakeWorld) -> None:
    world = make_world(hosts=4, minutes=60, timing=timing(rotate_after=240))
    world.network.answer_loss, world.network.loss, world.network.delay = 0.2, 0.1, 70.0
    world.at(48 * MINUTE, lambda: [setattr(world.network, name, 0.0) for name in ("answer_loss", "loss", "delay")])
    assert len(run(world)) == 4
    assert world.truth.rotations > 4 * 3


def test_it_takes_a_host_back_that_was_called_terminated_while_it_beats(make_world: MakeWorld) -> None:
    world = make_world(minutes=15)
    world.at(5 * MINUTE, lambda: world.terminate(world.machines[0]))
    assert len(run(world)) == 12
    assert [row.gone_code for row in Host.select().where(Host.gone_at.is_null(False))] == ["ec2_ended"]


def test_it_expires_a_silent_host_that_is_called_running(make_world: MakeWorld) -> None:
    world = make_world(minutes=15)
    world.at(5 * MINUTE, lambda: world.machines[0].die(world.t))
    assert (len(run(world)), expired()) == (11, 1)


def test_it_lets_no_heartbeat_revive_a_host_whose_goodbye_overtook_it(make_world: MakeWorld) -> None:
    world = make_world(minutes=10)
    machine = world.machines[0]
    late = []
    world.at(5 * MINUTE, lambda: late.append(machine.message(BEAT, world.t)))
    world.at(5 * MINUTE, lambda: world.goodbye(machine))
    world.at(5 * MINUTE + 20, lambda: world.deliver(late))
    assert (len(run(world)), Host.get_by_id(machine.host_id).recorded_state) == (11, liveness.GONE)


def race(world: World, machine: Machine) -> Callable[[Host], None]:
    def beat(host: Host) -> None:
        if host.id == machine.host_id and machine in world.network.cut:
            world.network.cut.discard(machine)
            world.deliver([machine.message(BEAT, world.t)])

    return beat


def test_it_lets_a_heartbeat_win_against_the_sweep(make_world: MakeWorld) -> None:
    world = make_world(minutes=15)
    machine = world.machines[0]
    world.service.race = race(world, machine)
    world.at(4 * MINUTE, lambda: world.network.cut.add(machine))
    assert len(run(world)) == 12
    steps = Transition.select(Transition.to_state).where(Transition.host == machine.host_id).order_by(Transition.id)
    assert [row.to_state for row in steps] == ["live", "stale", "live"]


def test_it_records_once_what_two_sweeps_see(make_world: MakeWorld) -> None:
    world = make_world(minutes=15)
    world.service.race, world.service.sweeps_at_once = lambda _: None, 3
    world.at(4 * MINUTE, lambda: [machine.die(world.t) for machine in world.machines[:2]])
    assert (len(run(world)), expired()) == (10, 2)


def test_it_takes_a_host_out_between_two_looks_of_a_run(make_world: MakeWorld) -> None:
    world = make_world(minutes=15)
    world.at(5 * MINUTE, lambda: world.machines[0].die(world.t))
    looks = look(world, 6, 12)
    run(world)
    assert looks[0] - looks[1] == {world.machines[0].name}


def test_it_waits_for_approval(make_world: MakeWorld) -> None:
    world = make_world(minutes=12, stages=("lab-approved",))
    world.at(6 * MINUTE, world.approve)
    world.at(5 * MINUTE, lambda: world.tell(f"listed {len(world.invariants.listed[world.stages[0].id])}"))
    assert (len(run(world)), world.faults["listed 0"]) == (12, 1)
