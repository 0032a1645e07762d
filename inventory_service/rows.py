"""Rows as plain records: SQL whose columns are the fields of a dataclass, so that the two can't differ.

For the few questions and writes that happen thousands of times a second: a model's instance takes ten times as long to
make.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import peewee as pw
from pydantic_core import from_json, to_json

from inventory_service.database import (
    UtcDateTimeField,
    execute_many,
    fetch,
    from_microseconds,
    to_microseconds,
)

Record = TypeVar("Record")
_STORED = "stored_"
_KEEPS, _COLUMNS = "keeps_value_for_none", "columns"


def kept() -> Any:
    """A field of a record to write: None leaves the column as it is."""
    return dataclasses.field(metadata={_KEEPS: True})


def spread(columns: Iterable[str]) -> Any:
    """A field of a record to write that stands for several columns: attributes of its value, by their names."""
    return dataclasses.field(metadata={_COLUMNS: tuple(columns)})


def json_value(stored: Any) -> Any:
    """What a JSON column holds. SQLite keeps it as text; PostgreSQL's driver has read it already."""
    return from_json(stored) if isinstance(stored, str) else stored


def _attributes(field: dataclasses.Field[Any]) -> list[str]:
    """Where a record has the values of the columns that the field stands for."""
    columns = field.metadata.get(_COLUMNS)
    return [field.name] if columns is None else [f"{field.name}.{column}" for column in columns]


class Reader(Generic[Record]):
    """Reads rows of a model's table into a dataclass.

    Its fields are columns of the table, times and JSON as values; `stored_x` is the column x as it is stored, for who
    reads it later or never. Fields with a default are not read. `others`: {field: SQL} of what a join brings.
    """

    def __init__(self, record: type[Record], model: type[pw.Model], others: Mapping[str, str] | None = None) -> None:
        self._record = record
        every = dataclasses.fields(record)  # type: ignore[arg-type]
        fields = [field.name for field in every if not _has_default(field)]
        table, known = model._meta.table_name, model._meta.columns  # noqa: SLF001
        chosen = [(others or {}).get(name) or f"{table}.{name.removeprefix(_STORED)}" for name in fields]
        self._select = f"SELECT {', '.join(chosen)} FROM {table}"  # noqa: S608 - names of our own fields
        read = [(place, _reads(known.get(name))) for place, name in enumerate(fields)]
        self._reads = [(place, function) for place, function in read if function is not None]

    def __call__(self, rest: str, parameters: Sequence[Any] = ()) -> list[Record]:
        """The rows; `rest` is the SQL from the join or WHERE on, with ? for its parameters."""
        return [self._make(list(row)) for row in fetch(f"{self._select} {rest}", parameters)]

    def _make(self, row: list[Any]) -> Record:
        for place, function in self._reads:
            row[place] = function(row[place])
        return self._record(*row)


class Writer(Generic[Record]):
    """Updates rows of a model's table, by `id`, from dataclasses with that field and others that are its columns."""

    def __init__(self, record: type[Record], model: type[pw.Model]) -> None:
        fields = [field for field in dataclasses.fields(record) if field.name != "id"]  # type: ignore[arg-type]
        known = model._meta.columns  # noqa: SLF001
        attributes = [(name, field) for field in fields for name in _attributes(field)]
        sets = ", ".join(_set(_column(name), field) for name, field in attributes)
        self._update = f"UPDATE {model._meta.table_name} SET {sets} WHERE id = ?"  # noqa: S608, SLF001
        names = [*(name for name, _ in attributes), "id"]
        self._values = operator.attrgetter(*names)
        written = [(place, _writes(known[_column(name)])) for place, name in enumerate(names)]
        self._writes = [(place, function) for place, function in written if function is not None]

    def __call__(self, records: Iterable[Record]) -> None:
        """Write them all."""
        execute_many(self._update, [self._row(record) for record in records])

    def _row(self, record: Record) -> list[Any]:
        row = list(self._values(record))
        for place, function in self._writes:
            if row[place] is not None:
                row[place] = function(row[place])
        return row


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _column(attribute: str) -> str:
    return attribute.rpartition(".")[2]


def _set(column: str, field: dataclasses.Field[Any]) -> str:
    return f"{column} = COALESCE(?, {column})" if field.metadata.get(_KEEPS) else f"{column} = ?"


def _reads(field: pw.Field | None) -> Callable[[Any], Any] | None:
    if isinstance(field, UtcDateTimeField):
        return from_microseconds
    return json_value if isinstance(field, pw.JSONField) else None


def _writes(field: pw.Field) -> Callable[[Any], Any] | None:
    if isinstance(field, UtcDateTimeField):
        return to_microseconds
    return _to_text if isinstance(field, pw.JSONField) else None


def _to_text(value: Any) -> str:
    return to_json(value).decode()
