from __future__ import annotations

from collections.abc import Callable

import pytest

from inventory_service import records
from inventory_service.deployments import locks
from inventory_service.errors import ConflictError, InvalidError
from inventory_service.models import Event, Run, Stage
from tests.support import ADA, START, at_once, why_locked

pytestmark = pytest.mark.each_database


def lock(stage: Stage) -> object:
    return locks.lock(stage, reason=" Black Friday ", actor=ADA, at=START)


def test_it_locks_with_a_reason(stage: Stage) -> None:
    lock(stage)
    held = locks.find(stage, locks.BY_PERSON)
    assert held is not None
    assert (held.locked_by, why_locked(held), held.locked_at) == ("ada", "Black Friday", START)


def test_it_rejects_a_second_lock_and_says_whose_the_first_is(stage: Stage) -> None:
    lock(stage)
    with pytest.raises(ConflictError, match="locked already by ada: Black Friday"):
        lock(stage)


def test_it_gives_the_lock_to_one_of_many(stage: Stage) -> None:
    results = at_once(lambda _: lock(stage), 6)
    assert sum(isinstance(result, ConflictError) for result in results) == 5


def test_it_rejects_a_lock_without_a_reason(stage: Stage) -> None:
    with pytest.raises(InvalidError):
        locks.lock(stage, reason="  ", actor=ADA, at=START)


def test_it_unlocks_and_writes_it_down_once(stage: Stage) -> None:
    lock(stage)
    for _ in range(2):
        locks.unlock(stage, actor=ADA, at=START)
    assert locks.find(stage, locks.BY_PERSON) is None
    assert Event.select().where(Event.name == "stage.unlock").count() == 1


def test_it_leaves_a_runs_hold_when_a_person_unlocks(stage: Stage, queue: Callable[..., Run]) -> None:
    assert records.locks.take_for_run(queue(stage), at=START)
    locks.unlock(stage, actor=ADA, at=START)
    assert locks.find(stage, locks.BY_RUN) is not None


def test_it_holds_a_stage_for_one_run(stage: Stage, queue: Callable[..., Run]) -> None:
    first, second = queue(stage), queue(stage)
    assert (records.locks.take_for_run(first, at=START), records.locks.take_for_run(second, at=START)) == (True, False)


def test_it_frees_a_stage_only_from_the_run_that_holds_it(stage: Stage, queue: Callable[..., Run]) -> None:
    first, second = queue(stage), queue(stage)
    records.locks.take_for_run(first, at=START)
    records.locks.free_from_run(second.id)
    assert locks.find(stage, locks.BY_RUN) is not None
    records.locks.free_from_run(first.id)
    assert locks.find(stage, locks.BY_RUN) is None
