from __future__ import annotations

from typing import Any

import pytest

from inventory_service.deployments.prompting.prompts import AnswerError, Prompt


def prompt(**fields: Any) -> Prompt:
    chosen = {"choices": ("eu", "us", "as, pacific")} if "choice" in fields.get("type", "") else {}
    return Prompt(**{"name": "x", "question": "X?", **chosen, **fields})


@pytest.mark.parametrize(
    ("fields", "given", "settled"),
    [
        ({}, "blue", "blue"),
        ({}, 3, "3"),
        ({}, {"$secret": "db"}, {"$secret": "db"}),
        ({"minimum": 2, "maximum": 3, "pattern": "[a-z]+"}, "abc", "abc"),
        ({"type": "textarea"}, "two\nlines", "two\nlines"),
        ({"is_secret": True}, "4711", "4711"),
        ({"type": "integer", "minimum": -5}, " -5 ", -5),
        ({"type": "integer"}, 7, 7),
        ({"type": "float", "maximum": 2}, "1.5e0", 1.5),
        ({"type": "float"}, 2, 2.0),
        ({"type": "boolean"}, "No", False),
        ({"type": "boolean"}, True, True),
        ({"type": "choice"}, "us", "us"),
        ({"type": "choice", "choices": ("1", "2")}, 2, "2"),
        ({"type": "multiple_choice"}, "us, eu", ["eu", "us"]),
        ({"type": "multiple_choice", "maximum": 2}, ["us", "us", "as, pacific"], ["us", "as, pacific"]),
        ({"type": "multiple_choice"}, "as, pacific", ["as, pacific"]),
    ],
)
def test_it_takes_an_answer_in_its_type(fields: dict[str, Any], given: Any, settled: Any) -> None:
    found = prompt(**fields).settle(given)
    assert (found, type(found)) == (settled, type(settled))


@pytest.mark.parametrize(
    ("fields", "given", "words"),
    [
        ({}, True, "a text"),
        ({}, ["a"], "a text"),
        ({}, "two\nlines", "one line"),
        ({}, "nul\0", "one line"),
        ({}, "x" * 10_001, "longer than"),
        ({"minimum": 2}, "a", "text, at least 2 characters"),
        ({"pattern": "[a-z]+"}, "a1", r"pattern \[a-z\]\+"),
        ({"pattern": "(a+)+b"}, "a" * 60, r"\(a\+\)\+b takes too long to try on it"),
        ({"is_secret": True}, "471", "could not be masked"),
        ({"type": "integer"}, "1.0", "whole number"),
        ({"type": "integer"}, 1.0, "whole number"),
        ({"type": "integer"}, True, "whole number"),
        ({"type": "integer"}, "٣", "whole number"),
        ({"type": "integer"}, 10**18, "whole number"),
        ({"type": "integer", "minimum": 1, "maximum": 5}, 6, "integer, 1 to 5"),
        ({"type": "integer"}, {"$secret": "db"}, "whole number"),
        ({"type": "float"}, "nan", "a number"),
        ({"type": "float"}, "1e999", "a number"),
        ({"type": "float"}, float("nan"), "a number"),
        ({"type": "boolean"}, "perhaps", "true or false"),
        ({"type": "boolean"}, 1.5, "true or false"),
        ({"type": "choice"}, "mars", "one of eu, us"),
        ({"type": "choice"}, True, "one of eu, us"),
        ({"type": "multiple_choice"}, ["eu", "mars"], "one of eu, us"),
        ({"type": "multiple_choice"}, {"eu": 1}, "a list"),
        ({"type": "multiple_choice"}, [["eu"]], "a list"),
        ({"type": "multiple_choice", "maximum": 1}, "eu,us", "at most 1 of them"),
    ],
)
def test_it_rejects_what_is_no_answer(fields: dict[str, Any], given: Any, words: str) -> None:
    with pytest.raises(AnswerError, match=words):
        prompt(**fields).settle(given)


def test_it_never_repeats_a_secret() -> None:
    with pytest.raises(AnswerError) as caught:
        prompt(is_secret=True, maximum=3).settle("canary")
    assert "canary" not in str(caught.value)


def test_it_comes_back_from_json() -> None:
    one = prompt(type="multiple_choice", minimum=1, default=["eu"], help="Where")
    assert Prompt.from_json(one.to_json()) == one
