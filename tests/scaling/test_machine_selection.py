from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_service.scaling.machine_selection import Candidate, choose


def ids(*candidates: Candidate, count: int = 1) -> list[str]:
    return [candidate.id for candidate in choose(candidates, count)]


def test_it_balances_zones_first() -> None:
    a1, a2, b1 = Candidate("a1", "a", 9), Candidate("a2", "a", 9), Candidate("b1", "b", 1)
    assert ids(a1, a2, b1) == ["a1"]
    assert ids(a1, a2, b1, count=2) == ["a1", "b1"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"template_version": 1}, {"template_version": 2}),
        ({"release": 1}, {"release": 2}),
        ({"load": 0.1}, {"load": 0.2}),
        ({"load": None}, {"load": 0.0}),
        ({"template_version": 1, "release": 9}, {"template_version": 2, "release": 1}),
        ({"release": 1, "load": 9.0}, {"release": 2, "load": 0.1}),
    ],
)
def test_it_takes_the_oldest_and_the_least_loaded(first: dict[str, int], second: dict[str, int]) -> None:
    assert ids(Candidate("z", **first), Candidate("a", **second)) == ["z"]


@pytest.mark.parametrize(
    "state",
    [{"is_live": False}, {"is_up_to_date": False}, {"is_in_run": True}, {"is_draining": True}, {"is_protected": True}],
)
def test_it_leaves_alone_what_must_stay(state: dict[str, bool]) -> None:
    assert ids(Candidate("a", **state), count=3) == []


@given(st.permutations([Candidate(f"h{number}", "abc"[number % 3], load=float(number % 4)) for number in range(9)]))
def test_the_order_of_the_list_does_not_matter(candidates: list[Candidate]) -> None:
    assert ids(*candidates, count=4) == ["h0", "h4", "h8", "h1"]
