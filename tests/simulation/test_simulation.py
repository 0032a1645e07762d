"""The registry under random faults, and the proof that the simulator sees what is broken."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import peewee
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from inventory_service.database import open_database
from inventory_service.jobs.periodic import Job, Ticker
from inventory_service.models import Transition
from tests.simulation import __main__ as simulator
from tests.simulation import faults
from tests.simulation.faults import Chaos
from tests.simulation.service import Timing
from tests.simulation.worker import plain_worker
from tests.simulation.world import Plan, ViolationError, World

NIGHT = Plan(
    hosts=20,
    minutes=1400,
    step=240,
    interval=480,
    ttl=1920,
    timing=Timing(sweep=240, self_check=240, gone_after=3600),
)


class Waiting:
    """Stands in for the event on which the Ticker waits: waiting lets virtual time go by."""

    def __init__(self, world: World) -> None:
        self.wait = world.wait


def real_worker(world: World) -> None:
    """The Ticker of jobs/periodic.py, its clock jumps, stalls and claims included."""
    timing = world.plan.timing
    table = (
        Job("self-check", timing.self_check, world.check_itself),
        Job("sweep", timing.sweep, world.service.pause_and_sweep),
    )
    is_fine = timing.self_check <= 20  # as in production; where a tick outlasts the guard's patience, it goes first
    ticker = Ticker(table[::-1] if is_fine else table, world.clock)
    ticker._stop = Waiting(world)
    ticker._loop()


MakeWorld = Callable[[Plan], World]


@pytest.fixture
def make_world(database: peewee.Database) -> MakeWorld:
    return lambda plan: World(plan, file=str(database.database))


@pytest.mark.parametrize(("seed", "stages"), [(1, ("production",)), (2, ("production", "lab-approved"))])
def test_it_keeps_its_promises_through_random_faults(make_world: MakeWorld, seed: int, stages: tuple[str, ...]) -> None:
    world = make_world(dataclasses.replace(NIGHT, seed=seed, stages=stages))
    Chaos(world)
    world.run(real_worker)
    assert len(world.faults) > 15
    assert sum(world.invariants.transitions.values()) > 50


def test_it_plays_the_same_again_and_with_the_plain_worker(tmp_path: Path, migrated: Path) -> None:
    histories = []
    for number, worker in enumerate((real_worker, plain_worker)):
        file = tmp_path / f"{number}.db"
        shutil.copyfile(migrated, file)
        opened = open_database(f"sqlite:///{file}")
        world = World(dataclasses.replace(NIGHT, seed=3, hosts=12, minutes=200), file=str(file))
        Chaos(world)
        world.run(worker)
        rows = Transition.select(Transition.at, Transition.from_state, Transition.to_state, Transition.reason_code)
        histories.append(list(rows.order_by(Transition.id).tuples()))
        opened.close()
    assert histories[0] == histories[1]


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=strategies.integers(0, 2**32),
    script=strategies.lists(
        strategies.tuples(strategies.sampled_from(faults.NAMES), strategies.integers(1, 25)), min_size=2, max_size=6
    ),
)
def test_it_keeps_its_promises_whatever_follows_on_what(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, seed: int, script: list[tuple[str, int]]
) -> None:
    file = tmp_path_factory.mktemp("simulation") / "callboard.db"
    shutil.copyfile(migrated, file)
    opened = open_database(f"sqlite:///{file}")
    plan = Plan(seed, hosts=8, minutes=100, step=60, timing=Timing(sweep=60, self_check=60, pause_limit=1200))
    world = World(plan, file=str(file))
    chaos = Chaos(world, pause=10_000)
    for number, (name, minutes) in enumerate(script, 1):
        world.at(number * 900.0, lambda name=name, minutes=minutes: chaos.inject(name, minutes * 60.0))
    try:
        world.run(real_worker)
    finally:
        opened.close()


def test_it_tells_what_a_promise_was_broken_by(make_world: MakeWorld) -> None:
    world = make_world(Plan(seed=9, hosts=3, minutes=20))
    world.at(400, lambda: setattr(world.machines[0], "is_up", False))
    world.at(400, lambda: [setattr(lease, "kept_from", 1e9) for lease in world.truth.leases.values()])
    with pytest.raises(ViolationError, match=r"(?s)seed 9.*no live host is out.*web-1.*The host's story"):
        world.run(real_worker)


def test_it_runs_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulator.main(["--seed", "4", "--hosts", "5", "--minutes", "60"]) == 0
    assert "ticks/s" in capsys.readouterr().out
