from __future__ import annotations

from typing import Any

import pytest

from inventory_service.text import MASKED, shown_change


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("viewer", "admin", ["x: viewer → admin"]),
        (False, True, ["x: no → yes"]),
        (None, 0, ["x: none → 0"]),
        ("", "25%", ["x: none → 25%"]),
        (["db"], ["db", "web"], ["x: db → db, web"]),
        (["db"], [], ["x: db → none"]),
        ([{"a": 1}], None, ['x: [{"a": 1}] → none']),
        ({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}, ["x.b.c: 2 → 3"]),
        ({"a": 1}, {"b": 2}, ["x.a: 1 → none", "x.b: none → 2"]),
        ({"$secret": "pin"}, {"$secret": "tan"}, ["x: secret pin → secret tan"]),
        (MASKED, MASKED, ["x: changed"]),
        (None, MASKED, ["x: set"]),
        ("a" * 200, "b", [f"x: {'a' * 119}… → b"]),
    ],
)
def test_a_change_is_told_in_a_line_for_each_part(old: Any, new: Any, lines: list[str]) -> None:
    assert shown_change("x", old, new) == lines
