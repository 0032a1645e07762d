"""What ends a run at work. The processes are real; only the clock is turned by hand."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable

import peewee
import pytest

from inventory_service.deployments.executor import execution
from inventory_service.deployments.executor import supervisor as watching
from inventory_service.deployments.executor.supervisor import RunSupervisor
from inventory_service.deployments.launching import requests
from inventory_service.models import Run, Stage
from inventory_service.settings import Settings
from tests.support import ADA, FakeClock, why

Queue = Callable[..., Run]


@pytest.fixture
def run(stage: Stage, queue: Queue, clock: FakeClock) -> Run:
    claimed = execution.claim(queue(stage).id, at=clock.now())
    assert claimed is not None
    return claimed


@pytest.fixture
def watch(run: Run, settings: Settings, clock: FakeClock) -> RunSupervisor:
    """Times out after 100 s, or 10 s of silence."""
    return RunSupervisor(run, dataclasses.replace(settings, run_timeout_seconds=100, idle_timeout_seconds=10), clock)


def test_it_renews_the_lease(watch: RunSupervisor, run: Run, clock: FakeClock) -> None:
    clock.advance(5)
    watch._look()
    assert (requests.get(run.id).lease_at, watch.ending, watch.is_fenced) == (clock.now(), None, False)


def test_it_ends_a_run_that_takes_too_long(watch: RunSupervisor, clock: FakeClock) -> None:
    clock.advance(100)
    watch._look()
    assert watch.ending is None
    clock.advance(1)
    watch._look()
    assert watch.ending is not None
    assert watch.ending.status == "timeout"
    assert "longer than 100 s" in why(watch.ending)


def test_it_ends_a_run_that_fell_silent(watch: RunSupervisor, clock: FakeClock) -> None:
    clock.advance(50)
    watch._look()
    assert watch.ending is None, "nothing counts as idle before the playbook has begun"
    watch.note_activity()
    clock.advance(11)
    watch._look()
    assert watch.ending is not None
    assert watch.ending.status == "timeout"
    assert "idle for 10 s" in why(watch.ending)


def test_it_takes_the_times_of_the_stage_before_those_of_the_service(
    run: Run, settings: Settings, clock: FakeClock
) -> None:
    run.stage.run_timeout_seconds = 5
    watch = RunSupervisor(run, settings, clock)
    clock.advance(6)
    watch._look()
    assert watch.ending is not None


def test_it_hears_of_a_cancel(watch: RunSupervisor, run: Run, clock: FakeClock) -> None:
    requests.cancel(run, actor=ADA, at=clock.now())
    watch._look()
    assert watch.ending is not None
    assert watch.ending.status == "canceled"
    assert why(watch.ending).startswith("Canceled by ada; the tasks in flight")


def test_it_stops_the_work_of_an_executor_that_was_given_up(watch: RunSupervisor, run: Run) -> None:
    Run.update(attempt=Run.attempt + 1).execute()
    watch._look()
    assert watch.is_fenced


def test_it_goes_on_when_the_database_does_not_answer(
    watch: RunSupervisor, run: Run, clock: FakeClock, database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_LEASE_SECONDS", 0.01)
    database.execute_sql("ALTER TABLE run RENAME TO away")
    with watch:
        watch._stop.wait(0.2)
        database.execute_sql("ALTER TABLE away RENAME TO run")
        clock.advance(5)
        while requests.get(run.id).lease_at != clock.now():
            watch._stop.wait(0.01)


STUBBORN = """
import os, subprocess
from inventory_service.adapters import processes
from inventory_service.deployments.executor import supervisor

processes.adopt_orphans()
supervisor.PATIENCE_SECONDS = 0.3
script = "trap '' TERM; sh -c \\"trap '' TERM; echo ready; sleep 60\\" & wait; sleep 60"
child = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
child.stdout.readline()
before = processes.descendants(os.getpid())
supervisor.end_everything()
print(len(before), [pid for pid in before if processes.identity_of(pid) is not None])
"""


def test_it_kills_what_does_not_end_when_it_is_told() -> None:
    """A shell that ignores TERM, with children and grandchildren that do so too."""
    done = subprocess.run([sys.executable, "-c", STUBBORN], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout in ("2 []\n", "3 []\n")
