"""No abandoned word comes back as a name in the code: docs/vocabulary.md has the words that stand in their place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ABANDONED = {  # part of a name between underscores or capitals: what is said instead
    "alarms": "reasons to pause",
    "amounts": "numbers or percentages",
    "asking": "prompts",
    "attendance": "host exclusion",
    "behind": "out of date",
    "bury": "mark as gone",
    "canary": "self-check; the first batch of a rollout",
    "converged": "up to date",
    "deaf": "failing",
    "deafness": "a failed self-check, an intake that fails",
    "drift": "out of date",
    "errand": "a request",
    "freeze": "a pause of expiry",
    "gate": "heartbeat reports",
    "handed": "what is handed over",
    "hearing": "heartbeat intake",
    "held": "locked, pinned, claimed",
    "judge": "expiry",
    "judged": "expiry",
    "laptop": "external",
    "sing": "self-check",
    "told": "what it is: an answer, details, output",
    "undead": "what it is: in conflict",
    "watch": "supervise, step pauses",
    "wish": "a query",
    "words": "what it is: a message, parts, arguments",
}
SEVERAL = {  # the same for names of several words, which are abandoned as a whole
    "last_words": "the last lines",
    "one_line": "agentless",
    "simple_join": "agentless",
    "told_bytes": "received_bytes",
}
ALIASES = {  # former names that the outside may use; tests/web/test_former_names.py holds them
    "BEHIND",  # also what git says of a commit
    "drift",
    "held_by_run",
    "held_release",
    "is_converged",
    "simple_join",
}
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")


def files() -> list[Path]:
    found = [*(ROOT / "inventory_service").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    return [path for path in found if "migrations" not in path.parts]


def names_in(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Names that the code gives: functions, classes, arguments, variables, attributes; with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def abandoned(name: str) -> str | None:
    """What is said instead, None for a good name."""
    if name in ALIASES:
        return None
    parts = [part.lower() for part in _PART.findall(name)]
    whole = f"_{'_'.join(parts)}_"
    several = next((now for words, now in SEVERAL.items() if f"_{words}_" in whole), None)
    return several or next((ABANDONED[part] for part in parts if part in ABANDONED), None)


@pytest.mark.parametrize("name", ["told", "_told", "GateKeeper", "is_held", "ask_gate", "has_simple_join", "WISH"])
def test_it_knows_an_abandoned_word(name: str) -> None:
    assert abandoned(name) is not None


@pytest.mark.parametrize("name", ["watcher", "aggregate", "held_release", "cloudwatch", "untold", "passwords"])
def test_it_lets_other_words_pass(name: str) -> None:
    assert abandoned(name) is None


def test_no_abandoned_word_is_a_name() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}; say {abandoned(name)}"
        for path in files()
        for name, line in names_in(ast.parse(path.read_text()))
        if abandoned(name) is not None
    ]
    assert not found, f"{len(found)} names of abandoned words:\n" + "\n".join(found)


def test_no_abandoned_word_is_a_module() -> None:
    found = [str(path.relative_to(ROOT)) for path in files() if abandoned(path.stem) is not None]
    assert not found, found
