from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from inventory_service.codes import statuses
from inventory_service.deployments.executor import event_writer
from inventory_service.deployments.runs import retention
from inventory_service.models import Run, RunEvent, RunHost, RunLogChunk, Stage
from inventory_service.settings import Settings
from tests.support import FakeClock

DAY = 86_400.0


@pytest.fixture
def make(queue: Callable[..., Run], settings: Settings, clock: FakeClock) -> Callable[..., Run]:
    """A run with events, a log in a file and in the database, and a host: make(stage, status, event_count)."""

    def make_run(stage: Stage, status: str = "successful", count: int = 3) -> Run:
        run = queue(stage)
        Run.update(status=status, ended_at=clock.now() if status in statuses.ENDED else None).where(
            Run.id == run.id
        ).execute()
        rows = [
            {"run": run.id, "counter": number, "at": clock.now(), "event": "runner_on_ok", "log_start": 0, "log_end": 0}
            for number in range(count)
        ]
        RunEvent.insert_many(rows).execute()
        event_writer.copy_log(run.id, 0, b"a line\n")
        settings.run_dir(run.id).mkdir(parents=True)
        (settings.run_dir(run.id) / "log").write_bytes(b"a line\n")
        RunHost.create(run=run, name="web-1", address="10.0.0.1", status="ok", ok=count)
        return run

    return make_run


def kept(settings: Settings, *runs: Run) -> list[bool]:
    """Which of the runs still have something; fails for one that has only a part of it."""
    found = []
    for run in runs:
        parts = {
            RunEvent.select().where(RunEvent.run == run).exists(),
            RunLogChunk.select().where(RunLogChunk.run == run).exists(),
            settings.run_dir(run.id).exists(),
            Run.get_by_id(run.id).events_removed_at is None,
        }
        assert len(parts) == 1, f"run {run.id} is there in part"
        found += parts
    return found


def prune(settings: Settings, clock: FakeClock) -> None:
    retention.prune_runs(settings, at=clock.now())
    retention.clear_folders(settings)


def test_it_removes_what_is_older_than_its_days(
    stage: Stage, make: Callable[..., Run], settings: Settings, clock: FakeClock
) -> None:
    old = make(stage)
    clock.advance(DAY)
    young = make(stage)
    clock.advance(89 * DAY + 1)
    prune(settings, clock)
    assert kept(settings, old, young) == [False, True]


def test_it_keeps_the_newest_of_each_stage(
    make_stage: Callable[..., Stage], make: Callable[..., Run], settings: Settings, clock: FakeClock
) -> None:
    one, other = make_stage("one"), make_stage("other")
    runs = [make(one), make(other), make(one), make(one)]
    prune(dataclasses.replace(settings, event_runs=2), clock)
    assert kept(settings, *runs) == [False, True, True, True]


@pytest.mark.parametrize("status", ["queued", "running"])
def test_it_never_touches_a_run_that_has_not_ended(
    stage: Stage, make: Callable[..., Run], settings: Settings, clock: FakeClock, status: str
) -> None:
    run = make(stage, status)
    make(stage)
    clock.advance(1000 * DAY)
    prune(dataclasses.replace(settings, event_runs=1), clock)
    assert kept(settings, run) == [True]


def test_it_keeps_the_run_and_what_it_did_to_each_host(
    stage: Stage, make: Callable[..., Run], settings: Settings, clock: FakeClock
) -> None:
    run = make(stage)
    clock.advance(91 * DAY)
    prune(settings, clock)
    assert (Run.get_by_id(run.id).status, RunHost.get(RunHost.run == run).ok) == ("successful", 3)


def test_it_goes_on_where_it_stopped(
    stage: Stage,
    make: Callable[..., Run],
    settings: Settings,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "_ROWS", 10)
    monkeypatch.setattr(retention, "_MOST_BATCHES", 2)
    runs = [make(stage, count=25), make(stage, count=5)]
    clock.advance(91 * DAY)
    retention.prune_runs(settings, at=clock.now())
    assert RunEvent.select().count() == 10
    for _ in range(3):
        prune(settings, clock)
    assert kept(settings, *runs) == [False, False]
