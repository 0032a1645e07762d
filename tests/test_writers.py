"""Each table of state has one module that writes it; everybody else asks that module."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import inventory_service

PACKAGE = Path(inventory_service.__file__).parent
WRITERS = {"Run": "records/runs.py", "RunHost": "records/runs.py", "StageLock": "records/locks.py"}
_WRITES = ("create", "insert", "insert_many", "update", "delete", "replace", "bulk_create", "bulk_update")
_OF_ROWS = ("save", "delete_instance")
_TABLES = {re.sub(r"(?<!^)(?=[A-Z])", "_", model).lower(): model for model in WRITERS}
_SQL = re.compile(rf"\b(?:INSERT INTO|UPDATE|DELETE FROM) (?P<table>{'|'.join(_TABLES)})\b")


def _files() -> list[Path]:
    return sorted(file for file in PACKAGE.rglob("*.py") if "migrations" not in file.parts)


def writes(code: str) -> set[str]:
    """The models that a module writes: `Run.update(…)`, or SQL that is written out."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _WRITES:
            found |= {node.func.value.id} & WRITERS.keys() if isinstance(node.func.value, ast.Name) else set()
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {_TABLES[match["table"]] for match in _SQL.finditer(node.value)}
    return found


@pytest.mark.parametrize(("model", "writer"), WRITERS.items())
def test_it_writes_a_table_in_one_module(model: str, writer: str) -> None:
    found = {str(file.relative_to(PACKAGE)) for file in _files() if model in writes(file.read_text())}
    assert found == {writer}


def test_it_saves_no_row() -> None:
    """What is written is named column by column, on condition where that matters; a row would be written whole."""
    calls = [
        (str(file.relative_to(PACKAGE)), node.lineno)
        for file in _files()
        if "agent" not in file.parts
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _OF_ROWS
    ]
    assert calls == []


@pytest.mark.parametrize(
    "code",
    [
        "Run.update(status='lost').execute()",
        "Run.update({Run.status: 'lost'}).where(Run.id == 1).execute()",
        "RunHost.insert_many(rows).execute()",
        "execute('UPDATE run_host SET status = ?')",
        "execute('DELETE FROM stage_lock WHERE id = ?')",
    ],
)
def test_it_would_find_a_write(code: str) -> None:
    assert writes(code)


def test_it_takes_no_other_table_for_one_of_them() -> None:
    assert (
        writes("RunEvent.insert_many(rows)\nexecute('INSERT INTO run_event (id) VALUES (?)')\nhost.update(x)") == set()
    )
