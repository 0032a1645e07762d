"""Each table of state has one module that writes it; everybody else asks that module."""

from __future__ import annotations

import ast
import contextlib
import re
import sys
from pathlib import Path

import pytest

import inventory_service
from inventory_service.database import migrate
from inventory_service.models import Host

PACKAGE = Path(inventory_service.__file__).parent
TESTS = Path(__file__).parent
WRITERS = {
    "Host": "records/hosts.py",
    "Run": "records/runs.py",
    "RunHost": "records/runs.py",
    "Stage": "records/stages.py",
    "StageLock": "records/locks.py",
}
_WRITES = ("create", "insert", "insert_many", "update", "delete", "replace", "bulk_create", "bulk_update")
_OF_ROWS = ("save", "delete_instance")
_OWN = (str(PACKAGE / "database.py"), str(PACKAGE / "postgresql.py"))
_TABLES = {re.sub(r"(?<!^)(?=[A-Z])", "_", model).lower(): model for model in WRITERS}
_SQL = re.compile(rf'\b(?:INSERT INTO|UPDATE|DELETE FROM) "?(?P<table>{"|".join(_TABLES)})\b')


def check_writer(sql: str) -> None:
    """Raises AssertionError where a statement writes one of the tables, and was not sent by the module that writes it.

    Asked at run time for every statement that the service sends in tests; tests themselves write what they like.
    """
    match = _SQL.match(sql)
    if match is None:
        return
    frame = sys._getframe(2)  # who asked the one that asks us
    while frame is not None:
        file = frame.f_code.co_filename
        if frame.f_code is migrate.__code__:  # they write what they like, too
            return
        if file.startswith(str(PACKAGE)) and file not in _OWN and "migrations" not in file:
            writer = WRITERS[_TABLES[match["table"]]]
            assert file == str(PACKAGE / writer), f"{file} writes a table of {writer}: {sql[:200]}"
            return
        if file.startswith(str(TESTS)):
            return
        frame = frame.f_back


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


@pytest.mark.parametrize(
    ("file", "is_refused"), [("registry/hosts.py", True), ("records/hosts.py", False), ("database.py", False)]
)
def test_it_stops_a_write_that_is_sent_from_elsewhere(database: object, file: str, is_refused: bool) -> None:
    code = compile("Host.update(description='').execute()", str(PACKAGE / file), "exec")
    with pytest.raises(AssertionError, match="writes a table of") if is_refused else contextlib.nullcontext():
        exec(code, {"Host": Host})
