"""A worker without threads, for the command line: the same rules as `jobs/periodic.py`, which lies above this layer.

The tests run the simulation with the real Ticker and the real claim instead, and compare both.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable

import peewee

from inventory_service.models import JobTick
from inventory_service.registry import liveness
from tests.simulation.world import World

_STALL = dt.timedelta(seconds=30)
_JUMP_SECONDS = 5.0
log = logging.getLogger(__name__)


def plain_worker(world: World) -> None:
    """Watch the clock, sweep, let the service check itself."""
    clock, timing = world.clock, world.plan.timing
    wall, monotonic = clock.now(), clock.monotonic()
    while not world.wait():
        now, ticked = clock.now(), clock.monotonic()
        jump = (now - wall).total_seconds() - (ticked - monotonic)
        if abs(jump) > _JUMP_SECONDS:
            liveness.begin_grace(at=now, jump_seconds=jump)
        wall, monotonic = now, ticked
        _try("self-check", timing.self_check, now, world.check_itself)
        _try("sweep", timing.sweep, now, world.service.pause_and_sweep)


def _try(name: str, seconds: float, at: dt.datetime, work: Callable[[dt.datetime], None]) -> None:
    try:
        if _claim(name, seconds, at):
            work(at)
    except peewee.OperationalError as error:
        log.debug("the job %s failed: %s", name, error)


def _claim(name: str, seconds: float, at: dt.datetime) -> bool:
    following = at + dt.timedelta(seconds=seconds)
    JobTick.insert(name=name, next_at=at).on_conflict_ignore().execute()
    due = JobTick.get(JobTick.name == name).next_at
    if at < due <= following + _STALL:
        return False
    JobTick.update(next_at=following).where(JobTick.name == name).execute()
    if name == "sweep" and at - due > _STALL:
        liveness.begin_grace(at=at)
    return True
