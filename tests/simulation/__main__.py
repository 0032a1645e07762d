"""`python -m tests.simulation --seed 17`: years of bad nights for the registry, in seconds.

Runs a fleet of virtual hosts against the real registry on a database of its own, lets one thing after another go
wrong, and checks at every tick what must never happen. docs/liveness.md explains what it checks.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from inventory_service.database import database, migrate, open_database
from tests.simulation.faults import Chaos
from tests.simulation.service import Timing
from tests.simulation.worker import plain_worker
from tests.simulation.world import Plan, ViolationError, World


def main(words: Sequence[str] | None = None) -> int:
    """Simulate once; 1 when a promise was broken."""
    logging.basicConfig(level=logging.CRITICAL)
    chosen = _parser().parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        world = _world(chosen, Path(folder) / "simulation.db")
        Chaos(world, pause=chosen.pause)
        began = time.perf_counter()
        try:
            world.run(plain_worker)
        except ViolationError as error:
            sys.stdout.write(f"{error}\n")
            return 1
        finally:
            database.close()
        sys.stdout.write(summary(world, time.perf_counter() - began))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulator", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hosts", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=2000)
    parser.add_argument("--step", type=float, default=60, help="seconds of a tick, and of the sweep's interval")
    parser.add_argument("--stages", type=int, default=1, choices=(1, 2), help="the second one has approval")
    parser.add_argument("--pause", type=float, default=12, help="minutes between two faults, about")
    return parser


def _world(chosen: argparse.Namespace, file: Path) -> World:
    opened = open_database(f"sqlite:///{file}")
    migrate(opened)
    opened.pragma("synchronous", 0, permanent=True)  # type: ignore[attr-defined]
    timing = Timing(sweep=chosen.step, self_check=chosen.step, gone_after=3600)
    stages = ("production", "lab-approved")[: chosen.stages]
    interval = round(2 * chosen.step)
    plan = Plan(chosen.seed, chosen.hosts, chosen.minutes, chosen.step, interval, 5 * interval, stages, timing)
    return World(plan, file=str(file))


def summary(world: World, seconds: float) -> str:
    """What was done and seen, in a few lines."""
    faults = ", ".join(f"{name} {count}" for name, count in sorted(world.faults.items()))
    transitions = ", ".join(f"{name} {count}" for name, count in sorted(world.invariants.transitions.items()))
    return (
        f"seed {world.plan.seed}: {world.ticks} ticks, {world.t / 60:.0f} virtual minutes, {len(world.machines)} hosts "
        f"in {seconds:.1f} s ({world.ticks / seconds:.0f} ticks/s); no promise broken\n"
        f"faults: {faults}\ntransitions: {transitions}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
