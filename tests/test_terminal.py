from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_service.terminal import harmless, print_fields, print_table

LINK = "\x1b]8;;javascript:alert(1)\x1b\\click\x1b]8;;\x1b\\"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("grüß 😀", "grüß 😀"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[1;38;5;196mred\x1b[m", "\x1b[1;38;5;196mred\x1b[m"),
        (LINK, "click"),
        ("\x1b]8;;https://evil.example\x07click\x1b]8;;\x07", "click"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]2;title\x1b\\text", "text"),
        ("\x1b]52;c;aGk=\x07text", "text"),
        ("a\x1b[2Jb", "ab"),
        ("a\x1b[10;10Hb", "ab"),
        ("a\x1b[1Ab", "ab"),
        ("a\x1b[?1049hb", "ab"),
        ("a\x1b[6nb", "ab"),
        ("a\x1bcb", "ab"),
        ("a\x9b31mb", "a31mb"),
        ("a\x07\x08\x00\x7fb", "ab"),
        ("a\x1b", "a"),
        ("a\x1b[", "a"),
        ("a\x1b[31", "a31"),
        ("a\x1b]8;;never ends", "a"),
        ("\x1b\x1b[2J]8;;x\x07y", "[2J]8;;xy"),
    ],
)
def test_it_keeps_colours_and_nothing_else(text: str, kept: str) -> None:
    assert harmless(text, colours=True) == kept


def test_it_takes_colours_away_where_nobody_wants_them() -> None:
    assert harmless("\x1b[31mred\x1b[0m", colours=False) == "red"


ODD = st.text(alphabet="\x1b[]()mHJ;:?0319c \\\x07\x00\x9b\x9d\x9caβ\r\n", max_size=40)


@given(ODD)
def test_it_lets_no_sequence_through_but_colours(text: str) -> None:
    kept = harmless(text, colours=True)
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;:]*m", "", kept)
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]", kept)


@given(ODD, ODD)
def test_it_lets_none_through_that_comes_in_two_pieces(first: str, second: str) -> None:
    kept = harmless(first, colours=False) + harmless(second, colours=False)
    assert "\x1b" not in kept


def test_it_shows_hostile_names_as_plain_cells(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"name": f"{LINK}[bold]x[/bold]", "groups": ["web", "\x1b[2Jdb"], "is_ok": True, "release": None}
    print_table([row], {"name": "HOST", "groups": "GROUPS", "is_ok": "OK", "release": "RELEASE"}, empty="")
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert told.splitlines()[1].split() == ["click[bold]x[/bold]", "web,", "db", "yes"]


def test_it_says_when_there_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], {"name": "HOST"}, empty="No hosts.")
    assert capsys.readouterr().out == "No hosts.\n"


def test_it_prints_fields_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields({"name": f"x{LINK}", "lock": None, "groups": ["a"]})
    assert capsys.readouterr().out == 'name    xclick\nlock    \ngroups  ["a"]\n'


def test_it_keeps_words_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    row = {
        "id": 1,
        "status": "successful",
        "by": "token:first-start",
        "at": "2026-11-24T19:40:09.506Z",
        "note": "x " * 40,
    }
    print_table([{**row, "empty": None}], {name: name.upper() for name in (*row, "empty")}, empty="")
    lines = capsys.readouterr().out.splitlines()
    assert "successful" in lines[1]
    assert "EMPTY" not in lines[0]
    assert all(any(word in line for line in lines) for word in ("2026-11-24", "19:40:09"))
