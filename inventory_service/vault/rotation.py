"""Re-encrypting everything with a new first key.

The new key is on disk before it is used, each row changes in a statement of its own, and old keys go only when no row
needs them: an interruption at any moment leaves everything readable, and the next rotation goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from inventory_service.models import TABLES, Run
from inventory_service.records import runs
from inventory_service.settings import Settings
from inventory_service.vault import keyring
from inventory_service.vault.keyring import Keyring, SealError


@dataclasses.dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did: rows that are under the first key now, rows that no key opens, whether a key was made."""

    count: int
    unreadable: int
    has_new_key: bool


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    """One sealed value and where it stands."""

    model: Any
    column: Any
    id: int | str
    sealed: str


def rotate(settings: Settings, *, on_row: Callable[[], None] = lambda: None) -> Rotated:
    """Bring every row under the first key. Makes a new first key, unless the setting names the keys or an earlier
    rotation was interrupted. `on_row` is called after each row.
    """
    keys = keyring.load(settings)
    has_new_key = not settings.keyring and len(keys.texts) == 1
    if has_new_key:
        keys = keyring.add_key(settings)
    results = []
    for row in _rows():
        results.append(_reseal(row, keys))
        on_row()
    if not settings.keyring and _are_current(keys):
        keyring.keep_first(settings)
    return Rotated(results.count(True), results.count(False), has_new_key)


def _are_current(keys: Keyring) -> bool:
    return all(keys.is_current(row.sealed) for row in _rows())


def _rows() -> list[_Row]:
    """Every value of every column whose name begins with `sealed`."""
    found: list[_Row] = []
    for column in sealed_columns():
        query = column.model.select(column.model.id, column).where(column.is_null(False)).tuples()
        found += [_Row(column.model, column, key, sealed) for key, sealed in query]
    return found


def sealed_columns() -> list[Any]:
    """The columns that hold sealed values, told by their names."""
    tables: tuple[Any, ...] = TABLES
    columns = [item for table in tables for item in table._meta.fields.items()]  # noqa: SLF001 - peewee's own way
    return [column for name, column in columns if name.startswith("sealed")]


def _reseal(row: _Row, keys: Keyring) -> bool:
    """A row that somebody has set meanwhile stays as they set it: with the newest key."""
    try:
        fresh = row.sealed if keys.is_current(row.sealed) else keys.reseal(row.sealed)
    except SealError:
        return False
    if row.model is Run:
        runs.reseal(int(row.id), row.sealed, fresh)
        return True
    same = (row.model.id == row.id) & (row.column == row.sealed)
    row.model.update({row.column: fresh}).where(same).execute()
    return True
