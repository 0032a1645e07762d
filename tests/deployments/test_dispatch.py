from __future__ import annotations

import datetime as dt
import os
import socket
import subprocess
from collections.abc import Callable

import pytest

from inventory_service.adapters import processes
from inventory_service.deployments import dispatch, execution, locks, requests
from inventory_service.models import AuditEntry, Run, RunHost, Stage
from inventory_service.settings import Settings
from tests.support import ADA, FakeClock, at_once

Queue = Callable[..., Run]


def claim(run: Run, clock: FakeClock) -> Run | None:
    return execution.claim(run.id, at=clock.now())


# sending


def test_it_sends_nothing_that_was_just_sent(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    queue(stage)
    assert dispatch.due_runs(at=clock.advance(10)) == []


def test_it_sends_again_what_was_lost_on_the_way(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    run = queue(stage)
    clock.advance(11)
    assert [dispatch.due_runs(at=clock.now()) for _ in range(2)] == [[run.id], []]
    assert dispatch.due_runs(at=clock.advance(11)) == [run.id]


def test_it_sends_a_run_once_from_many_workers(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    queue(stage)
    clock.advance(11)
    assert sorted(at_once(lambda _: dispatch.due_runs(at=clock.now()), 6)) == [[], [], [], [], [], [1]]


def test_it_sends_one_run_of_a_stage_in_order(
    stage: Stage, make_stage: Callable[..., Stage], queue: Queue, clock: FakeClock
) -> None:
    first, second, other = queue(stage), queue(stage), queue(make_stage("staging"))
    assert dispatch.due_runs(at=clock.advance(11)) == [first.id, other.id]
    requests.cancel(first, actor=ADA, at=clock.now())
    assert dispatch.due_runs(at=clock.advance(11)) == [second.id, other.id]


def test_it_sends_nothing_to_a_stage_that_a_person_holds(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    run = queue(stage)
    locks.lock(stage, reason="wait", actor=ADA, at=clock.now())
    assert dispatch.due_runs(at=clock.advance(11)) == []
    locks.unlock(stage, actor=ADA, at=clock.now())
    assert dispatch.due_runs(at=clock.now()) == [run.id]


def test_it_knows_which_run_comes_next(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    first, second = queue(stage), queue(stage)
    assert dispatch.next_run(stage) == first.id
    Run.update(status="successful").where(Run.id == first.id).execute()
    assert dispatch.next_run(stage) == second.id
    requests.cancel(second, actor=ADA, at=clock.now())
    assert dispatch.next_run(stage) is None


# claiming


def test_it_makes_the_process_the_runs_executor(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    run = claim(queue(stage), clock)
    assert run is not None
    assert (run.status, run.started_at, run.lease_at) == ("running", clock.now(), clock.now())
    assert run.executor == processes.identity_of(os.getpid())
    assert locks.find(stage, locks.BY_RUN) is not None


def test_it_gives_a_run_to_one_of_many(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    run = queue(stage)
    assert sum(result is not None for result in at_once(lambda _: claim(run, clock), 6)) == 1


def test_it_keeps_the_order_of_a_stage(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    first, second = queue(stage), queue(stage)
    assert claim(second, clock) is None
    assert claim(first, clock) is not None
    assert claim(second, clock) is None


@pytest.mark.parametrize("status", ["canceled", "running", "successful", "lost"])
def test_it_gives_no_run_away_that_does_not_wait(stage: Stage, queue: Queue, clock: FakeClock, status: str) -> None:
    run = queue(stage)
    Run.update(status=status).execute()
    assert claim(run, clock) is None


def test_it_gives_no_run_away_while_a_person_holds_the_stage(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    run = queue(stage)
    locks.lock(stage, reason="wait", actor=ADA, at=clock.now())
    assert claim(run, clock) is None


# losing


def identity_of_the_dead() -> processes.Identity:
    child = subprocess.Popen(["sleep", "60"])
    identity = processes.identity_of(child.pid)
    child.kill()
    child.wait()
    assert identity is not None
    return identity


@pytest.fixture
def orphan(stage: Stage, queue: Queue, clock: FakeClock) -> Run:
    """A running run whose executor has died."""
    run = claim(queue(stage), clock)
    assert run is not None
    RunHost.create(run=run, name="web-1", address="10.0.0.1", status="pending")
    RunHost.create(run=run, name="web-2", address="10.0.0.2", status="ok")
    Run.update(executor=identity_of_the_dead()).execute()
    return requests.get(run.id)


def test_it_marks_a_run_lost_and_frees_its_stage(
    orphan: Run, settings: Settings, clock: FakeClock, queue: Queue
) -> None:
    assert dispatch.recover_lost(settings, at=clock.advance(16)) == [orphan.id]
    run = requests.get(orphan.id)
    assert (run.status, run.ended_at, "executor died" in run.error) == ("lost", clock.now(), True)
    assert [row.status for row in RunHost.select().order_by(RunHost.name)] == ["lost", "ok"]
    assert claim(queue(orphan.stage), clock) is not None
    assert AuditEntry.select().where(AuditEntry.action == "run.lost").count() == 1


def test_it_waits_for_the_lease_to_run_out(orphan: Run, settings: Settings, clock: FakeClock) -> None:
    assert dispatch.recover_lost(settings, at=clock.advance(15)) == []


def test_it_loses_no_run_whose_executor_lives(stage: Stage, queue: Queue, settings: Settings, clock: FakeClock) -> None:
    claim(queue(stage), clock)
    assert dispatch.recover_lost(settings, at=clock.advance(10_000)) == []


@pytest.mark.parametrize("field", ["started", "boot_id"])
def test_it_is_not_deceived_by_a_pid_that_is_used_again(
    orphan: Run, settings: Settings, clock: FakeClock, field: str
) -> None:
    own = dict(processes.identity_of(os.getpid()) or {})
    Run.update(executor={**own, field: 1}).execute()
    assert dispatch.recover_lost(settings, at=clock.advance(16)) == [orphan.id]


def test_it_waits_longer_for_an_executor_on_another_machine(orphan: Run, settings: Settings, clock: FakeClock) -> None:
    Run.update(executor={**orphan.executor, "machine": f"not-{socket.gethostname()}"}).execute()
    assert dispatch.recover_lost(settings, at=clock.advance(119)) == []
    assert dispatch.recover_lost(settings, at=clock.advance(2)) == [orphan.id]


def test_it_loses_a_run_once(orphan: Run, settings: Settings, clock: FakeClock) -> None:
    clock.advance(16)
    results = at_once(lambda _: dispatch.recover_lost(settings, at=clock.now()), 4)
    assert sorted(results) == [[], [], [], [orphan.id]]
    assert AuditEntry.select().where(AuditEntry.action == "run.lost").count() == 1


def test_it_ends_what_the_dead_executor_left_behind(orphan: Run, settings: Settings, clock: FakeClock) -> None:
    marked = {**os.environ, execution.MARKER: f"{settings.data_dir}#{orphan.id}"}
    other = {**os.environ, execution.MARKER: f"{settings.data_dir}#{orphan.id}0"}
    left, foreign = (subprocess.Popen(["sleep", "60"], env=environment) for environment in (marked, other))
    dispatch.recover_lost(settings, at=clock.advance(16))
    assert [processes.identity_of(child.pid) is None for child in (left, foreign)] == [True, False]
    foreign.kill()
    foreign.wait()


def test_it_keeps_a_lease_that_was_renewed_in_between(orphan: Run, settings: Settings, clock: FakeClock) -> None:
    Run.update(lease_at=clock.now() + dt.timedelta(seconds=1)).execute()
    assert not dispatch._lose(orphan, settings, at=clock.advance(16))
    assert requests.get(orphan.id).status == "running"
