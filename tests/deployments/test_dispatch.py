from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from inventory_service.adapters import processes
from inventory_service.deployments import dispatch, execution, locks, requests
from inventory_service.models import Run, Stage
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
