"""Printing: tables for people, JSON for programs, and other machines' text made harmless."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from inventory_service.text import harmless, shown_value

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")

_NEVER_BROKEN = 12  # characters: a status cut in two on a narrow terminal is hard to read
_MOMENT = re.compile(r"\A(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z\Z")  # for people without T and milliseconds
STATE_STYLES = {
    "live": "green",
    "late": "yellow",
    "stale": "red",
    "gone": "dim",
    "pending": "cyan",
    "successful": "green",
    "running": "cyan",
    "queued": "cyan",
    "failed": "red",
    "lost": "red",
    "timeout": "red",
    "canceled": "yellow",
    "ok": "green",
    "changed": "yellow",
    "unreachable": "red",
    "untouched": "dim",
    "conflict": "yellow",
    "left_out": "yellow",
}


def print_log(text: str) -> None:
    """Write a piece of a run's log to the terminal."""
    sys.stdout.write(harmless(text, colours=sys.stdout.isatty()))
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Write JSON, indented."""
    click.echo(json.dumps(value, indent=2))


def print_table(rows: list[dict[str, Any]], columns: dict[str, str], *, empty: str) -> None:
    """Write rows as a table. `columns`: key → heading. `empty` is said when there are no rows."""
    if not rows:
        click.echo(empty)
        return
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    shown = [(heading, [_cell(row.get(key)) for row in rows]) for key, heading in columns.items()]
    if sum(_width(*column) + 2 for column in shown) - 2 > console.width:
        shown = [(heading, cells) for heading, cells in shown if any(cells)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, cells in shown:
        table.add_column(heading, overflow="fold", no_wrap=_width(heading, cells) <= _NEVER_BROKEN)
    for row in zip(*(cells for _, cells in shown), strict=True):
        table.add_row(*row)
    console.print(table)


def _width(heading: str, cells: list[Text]) -> int:
    return max(len(heading), *(cell.cell_len for cell in cells))


def _cell(value: Any) -> Text:
    if isinstance(value, bool):
        value = "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(str(item) for item in value)
    text = "" if value is None else harmless(str(value), colours=False)
    text = _MOMENT.sub(r"\1 \2", text)
    return Text(text, style=STATE_STYLES.get(text, ""))


def print_variables(items: list[dict[str, Any]]) -> None:
    """Write effective variables: each value with its source and what it beats."""
    rows = [
        {
            "name": item["name"],
            "value": shown_value(item["value"]),
            "from": item["from"],
            "overridden": [f"{one['from']}: {shown_value(one['value'])}" for one in item["overridden"]],
        }
        for item in items
    ]
    print_table(
        rows, {"name": "VARIABLE", "value": "VALUE", "from": "FROM", "overridden": "OVERRIDES"}, empty="No variables."
    )


def print_fields(row: dict[str, Any]) -> None:
    """Write one thing as `name: value` lines."""
    width = max(len(key) for key in row)
    for key, value in row.items():
        shown = json.dumps(value) if isinstance(value, dict | list) else "" if value is None else value
        click.echo(f"{key:<{width}}  {harmless(str(shown), colours=False)}")
