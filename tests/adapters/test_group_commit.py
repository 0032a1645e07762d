from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest

from inventory_service.adapters import group_commit
from inventory_service.adapters.group_commit import GroupCommit
from inventory_service.errors import BusyError
from tests.support import at_once, wait_for


def test_it_hands_each_its_own_result() -> None:
    commit: GroupCommit[int, int] = GroupCommit(lambda items: [item * 2 for item in items], name="twice")
    assert at_once(commit.submit, 8) == [0, 2, 4, 6, 8, 10, 12, 14]


def test_it_refuses_at_once_while_a_write_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "_PATIENCE_SECONDS", 0.2)
    gate, written = threading.Event(), []

    def write(items: list[int]) -> list[int]:
        gate.wait()
        written.extend(items)
        return items

    commit: GroupCommit[int, int] = GroupCommit(write, name="stuck")
    for _ in range(20):
        with pytest.raises(BusyError, match="did not answer in time"):
            commit.submit(1)
    gate.set()
    wait_for(lambda: bool(written) and commit._begun is None)
    assert written == [1]
    assert commit.submit(2) == 2


def test_it_begins_batches_at_least_the_pace_apart() -> None:
    begun: list[float] = []

    def write(items: Sequence[int]) -> Sequence[int]:
        begun.append(time.monotonic())
        return items

    commit: GroupCommit[int, int] = GroupCommit(write, name="paced", pace_seconds=0.05)
    assert [commit.submit(number) for number in range(3)] == [0, 1, 2]
    assert all(later - earlier >= 0.049 for earlier, later in pairwise(begun))


def test_a_crowd_does_not_wait_for_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "_CROWD", 4)
    batches: list[list[int]] = []

    def write(items: Sequence[int]) -> Sequence[int]:
        batches.append(list(items))
        return items

    commit: GroupCommit[int, int] = GroupCommit(write, name="crowded", pace_seconds=60)
    assert commit.submit(100) == 100
    first = threading.Thread(target=commit.submit, args=(200,))
    first.start()
    wait_for(commit._waiting.empty)
    assert at_once(commit.submit, 4) == [0, 1, 2, 3]
    first.join()
    assert [sorted(batch) for batch in batches] == [[100], [0, 1, 2, 3, 200]]
