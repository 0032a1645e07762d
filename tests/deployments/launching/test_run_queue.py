from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from inventory_service.adapters import processes
from inventory_service.deployments import locks
from inventory_service.deployments.executor import execution
from inventory_service.deployments.launching import run_queue
from inventory_service.models import Release, Run, Stage, StageLock
from inventory_service.records import runs
from inventory_service.registry import stages
from tests.support import ADA, FakeClock, at_once, why

pytestmark = pytest.mark.each_database

Queue = Callable[..., Run]


def claim(run: Run, clock: FakeClock) -> Run | None:
    return execution.claim(run.id, at=clock.now())


# whose turn it is


def due() -> list[int]:
    return [run.id for run in run_queue.due_runs()]


def test_it_lets_one_run_of_each_stage_go_in_order(
    stage: Stage, make_stage: Callable[..., Stage], queue: Queue, clock: FakeClock
) -> None:
    first, second, other = queue(stage), queue(stage), queue(make_stage("staging"))
    assert due() == [first.id, other.id]
    claim(first, clock)
    assert due() == [other.id]
    Run.update(status="successful").where(Run.id == first.id).execute()
    assert due() == [second.id, other.id]


def test_it_cancels_what_waits_for_a_stage_that_is_archived(
    stage: Stage, make_stage: Callable[..., Stage], queue: Queue, clock: FakeClock
) -> None:
    running, waiting, other = queue(stage), queue(stage), queue(make_stage("staging"))
    claim(running, clock)
    stages.archive_stage(stage, actor=ADA, at=clock.now())
    assert [(run.status, why(run)) for run in Run.select().order_by(Run.id)] == [
        ("running", ""),
        ("canceled", "Canceled before it started: its stage was archived."),
        ("queued", ""),
    ]
    Run.update(status="queued").where(Run.id == waiting.id).execute()  # as if it had come at the same moment
    assert due() == [other.id]
    stages.archive_project(stage.project, actor=ADA, at=clock.now())
    assert Run.get_by_id(other.id).status == "canceled"


def test_it_puts_the_urgent_first(
    stage: Stage, make_stage: Callable[..., Stage], queue: Queue, release: Callable[..., Release], clock: FakeClock
) -> None:
    release(stage)
    release(stage)
    names = ("converge", "playbook", "deploy", "rollback")
    runs = {kind: queue(stage, kind, playbook="x.yml" if kind == "playbook" else None) for kind in names}
    elsewhere = queue(make_stage("staging"))
    assert due() == [runs["rollback"].id, elsewhere.id]
    order = [[kind for kind in names if claim(runs[kind], clock)] for _ in names if _end_all()]
    assert order == [["rollback"], ["deploy"], ["playbook"], ["converge"]]


def said(run: Run) -> tuple[int, str]:
    waiting = run_queue.waiting(run)
    return waiting.position, waiting.reason


def _end_all() -> bool:
    """End what runs, as if it had come to its end."""
    StageLock.delete().execute()
    Run.update(status="successful").where(Run.status == "running").execute()
    return True


def test_it_lets_nothing_go_on_a_stage_that_a_person_holds(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    run = queue(stage)
    locks.lock(stage, reason="wait", actor=ADA, at=clock.now())
    assert due() == []
    locks.unlock(stage, actor=ADA, at=clock.now())
    assert due() == [run.id]


def test_it_lets_a_run_past_the_lock_that_it_overrides(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    waiting = queue(stage)
    locks.lock(stage, reason="Black Friday", actor=ADA, at=clock.now())
    urgent = queue(stage, override_lock="the shop is down")
    assert due() == [urgent.id]
    assert said(urgent) == (1, "a free worker")
    assert said(waiting) == (2, "the lock by ada: Black Friday")
    assert [claim(run, clock) is not None for run in (waiting, urgent)] == [False, True]


def test_it_lets_no_run_past_a_lock_that_came_later(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    queue(stage, override_lock="the shop is down")
    clock.advance(1)
    locks.lock(stage, reason="auditors", actor=ADA, at=clock.now())
    assert due() == []


def test_it_says_what_a_run_waits_for(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    first, second, third = queue(stage), queue(stage), queue(stage)
    assert run_queue.waiting(first).reason == "a free worker"
    assert said(third) == (3, "run 1 (deploy, queued) and 1 more")
    claim(first, clock)
    assert said(second) == (1, "run 1 (deploy, running)")
    assert said(third) == (
        2,
        "run 1 (deploy, running) and 1 more",
    )


def test_it_counts_the_runs_whose_executors_live_here(
    stage: Stage, make_stage: Callable[..., Stage], queue: Queue, clock: FakeClock
) -> None:
    mine, dead, elsewhere = (queue(make_stage(name)) for name in ("a", "b", "c"))
    own = processes.identity_of(os.getpid())
    for run, executor in ((mine, own), (dead, {**own, "started": 1}), (elsewhere, {**own, "machine": "other"})):
        Run.update(status="running", executor=executor).where(Run.id == run.id).execute()
    assert run_queue.running_here() == {mine.id}


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


def test_the_row_alone_decides_who_gets_a_run_and_who_a_stage(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    """Also where nobody looked at the queue before."""
    own, rows = processes.own_identity(), [queue(stage), queue(stage)]
    got = at_once(lambda number: runs.claim(rows[number % 2], own, at=clock.now()), 8)
    assert sorted(got) == [False] * 7 + [True], got
    (lock,) = StageLock.select()
    assert {run.id: (run.status, run.attempt) for run in Run.select()} == {
        run.id: ("running", 1) if run.id == lock.run_id else ("queued", 0) for run in rows
    }


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
    assert not runs.claim(run, processes.own_identity(), at=clock.now()), "it was queued when somebody looked"
    assert (Run.get().status, StageLock.select().count()) == (status, 0)


def test_it_gives_no_run_away_while_a_person_holds_the_stage(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    run = queue(stage)
    locks.lock(stage, reason="wait", actor=ADA, at=clock.now())
    assert claim(run, clock) is None
