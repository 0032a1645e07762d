"""A sentence is said to people and never asked: states are compared by their codes.

Looks at every comparison of the package with a literal that reads like a sentence: one with a blank in it, or one that
ends as sentences do.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import inventory_service

PACKAGE = Path(inventory_service.__file__).parent
# (file, text): what other programs say, in words of theirs, and how files and headers are written.
ALLOWED: dict[tuple[str, str], str] = {
    ("deployments/executor/host_keys.py", "Host key verification failed"): "the last thing that ssh says",
    ("deployments/launching/checks.py", "no vault secrets found"): "Ansible's words",
    ("adapters/trial_run.py", r"core (\d[\w.]*)"): "Ansible's words",
    ("adapters/git.py", "ref: "): "git's words",
    ("adapters/ec2.py", "No active Lifecycle Action"): "AWS's words",
    ("agent/callboard_agent.py", "no crontab|no such file"): "cron's words",
    ("agent/callboard_agent.py", "written by `callboard-agent install`"): "a mark in a file of its own",
    ("demo/service.py", r"admin token\s+(\S+)"): "what the first start prints, for people alone",
    ("demo/story.py", "Sell compasses"): "a commit of the demo's own repository",
    ("demo/story.py", "it answered 500"): "the health check of the demo's own application",
    ("web/heartbeat_shim.py", "Bearer cbh_"): "an HTTP header",
    ("web/problems.py", "Value error, "): "pydantic's words",
}
_OF_TEXTS = ("startswith", "endswith", "removeprefix", "removesuffix", "count", "find", "index", "partition", "split")
_PATTERNS = ("match", "fullmatch", "search", "compile")
_SENTENCE = re.compile(r"[A-Za-z']{2,}[,:;]? [A-Za-z(]|[A-Za-z] [A-Za-z]+[.!?]$|^[A-Za-z]{2,}: $", re.ASCII)


def _reads_like_a_sentence(text: str) -> bool:
    return bool(_SENTENCE.search(text))


def _constants(tree: ast.Module) -> dict[str, list[str]]:
    """The texts that module-level names stand for."""
    found: dict[str, list[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = _texts(node.value, {})
    return found


def _texts(node: ast.AST, known: dict[str, list[str]]) -> list[str]:
    """The literal texts in an expression: itself, of a tuple, of an f-string, of a constant of the module."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.Name):
        return known.get(node.id, [])
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return [text for item in node.elts for text in _texts(item, known)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_texts(node.left, known), *_texts(node.right, known)]
    return []


def compared(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of each literal that something is compared with, or looked for in."""
    known = _constants(tree)
    for node in ast.walk(tree):
        sides: list[ast.AST] = []
        if isinstance(node, ast.Compare) and any(
            isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops
        ):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in _OF_TEXTS or (
                node.func.attr in _PATTERNS and isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
            ):
                sides = list(node.args[:1])
        elif isinstance(node, ast.MatchValue):
            sides = [node.value]
        for side in sides:
            yield from ((getattr(node, "lineno", 0), text) for text in _texts(side, known))


def _found(file: Path) -> list[tuple[str, int, str]]:
    name = str(file.relative_to(PACKAGE))
    return [
        (name, line, text)
        for line, text in compared(ast.parse(file.read_text()))
        if _reads_like_a_sentence(text) and (name, text) not in ALLOWED
    ]


def test_it_compares_with_no_sentence() -> None:
    files = [file for file in PACKAGE.rglob("*.py") if "migrations" not in file.parts and "sample" not in file.parts]
    assert [one for file in sorted(files) for one in _found(file)] == []


def test_it_allows_nothing_that_is_not_there() -> None:
    for name, text in ALLOWED:
        tree = ast.parse((PACKAGE / name).read_text())
        assert text in [found for _, found in compared(tree)], f"{name} does not compare with {text!r} any more"


def test_it_would_find_them() -> None:
    code = """
GAVE_UP = "Convergence gave up: "
if host.conflict == "two machines beat with this host's token": pass
if reason.startswith("EC2 says that"): pass
if reason.startswith(GAVE_UP): pass
if "is frozen" in error: pass
if Host.quarantine_reason.startswith(GAVE_UP): pass
if re.match(r"Canceled by (.*) before it started", error): pass
if error.removeprefix("Stopped: "): pass
if kind == "deploy" or name.endswith(".yml") or header == "text/event-stream": pass
"""
    lines = sorted({line for line, text in compared(ast.parse(code)) if _reads_like_a_sentence(text)})
    assert lines == [3, 4, 5, 6, 7, 8, 9]
