from __future__ import annotations

from collections.abc import Callable

import pytest

from inventory_service.deployments.comparing import task_diff
from inventory_service.models import Run, RunEvent, Stage
from tests.support import START

Record = Callable[..., Run]


@pytest.fixture
def record(stage: Stage, queue: Callable[..., Run]) -> Record:
    """A run with these results: record((task, host, status, seconds), …)."""

    def make(*results: tuple[str, str, str, float | None]) -> Run:
        run = queue(stage)
        for counter, (task, host, status, seconds) in enumerate(results, start=1):
            RunEvent.create(
                run=run,
                counter=counter,
                at=START,
                event="runner_on_ok",
                host=host,
                play="Shop",
                task=task,
                status=status,
                duration_seconds=seconds,
                log_start=0,
                log_end=0,
            )
        return run

    return make


def test_it_compares_outcome_and_time_on_each_host(record: Record) -> None:
    before = record(("Copy", "web-1", "changed", 1.5), ("Copy", "web-2", "ok", 0.5))
    after = record(("Copy", "web-1", "changed", 2.5), ("Copy", "web-2", "failed", None))
    (task,) = task_diff.compare(before, after).items
    assert (task.play, task.task, task.number, task.is_other) == ("Shop", "Copy", 1, True)
    assert task.before == task_diff.Side({"changed": 1, "ok": 1}, 1.5)
    assert task.after == task_diff.Side({"changed": 1, "failed": 1}, 2.5)
    assert [(one.host, one.is_other) for one in task.hosts] == [("web-1", False), ("web-2", True)]


def test_it_takes_no_host_for_other_that_only_one_run_worked_on(record: Record) -> None:
    before = record(("Copy", "web-1", "ok", 1), ("Copy", "web-2", "ok", 1))
    after = record(("Copy", "web-1", "ok", 1), ("Link", "web-1", "ok", 1))
    copy, link = task_diff.compare(before, after).items
    assert ([host.host for host in copy.hosts], copy.is_other, link.is_other) == (["web-1", "web-2"], False, True)


def test_it_tells_tasks_of_one_name_apart(record: Record) -> None:
    before = record(("Link", "web-1", "ok", 1), ("Link", "web-1", "changed", 1), ("Link", "web-2", "ok", 1))
    items = task_diff.compare(before, record(("Link", "web-1", "ok", 1))).items
    assert [(one.number, one.after is None, [host.host for host in one.hosts]) for one in items] == [
        (1, False, ["web-1", "web-2"]),
        (2, True, ["web-1"]),
    ]


def test_it_puts_tasks_where_they_stood(record: Record) -> None:
    before = record(*((task, "web-1", "ok", 1.0) for task in ("first", "a", "gone", "b")))
    after = record(*((task, "web-1", "ok", 1.0) for task in ("a", "b", "new")))
    assert [one.task for one in task_diff.compare(before, after).items] == ["first", "a", "gone", "b", "new"]


def test_it_says_when_there_is_too_much(record: Record) -> None:
    run = record(("a", "web-1", "ok", 1), ("b", "web-1", "ok", 1))
    assert not task_diff.compare(run, run).is_cut
    found = task_diff.compare(run, run, most=1)
    assert ([one.task for one in found.items], found.is_cut) == (["a"], True)
