"""Arguments and options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import click
import yaml


def stage_path(stage: str) -> str:
    """The API path of `shop/production`. Raises BadParameter for anything without exactly one slash."""
    project, slash, name = stage.partition("/")
    if not slash or not project or not name or "/" in name:
        raise click.BadParameter(f"{stage!r} is no stage; write it as project/stage.", param_hint="STAGE")
    return f"/api/v1/stages/{quote(project, safe='')}/{quote(name, safe='')}"


def project_or_stage_path(owner: str) -> str:
    """The API path of `shop` (a project) or `shop/production` (a stage)."""
    return stage_path(owner) if "/" in owner else f"/api/v1/projects/{quote(owner, safe='')}"


def variables(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Ansible's habit for -e: `name=value` (text), `{"json": …}`, or `@file` of YAML or JSON."""
    found: dict[str, Any] = {}
    for pair in pairs:
        found |= _variables_of(pair)
    return found


def _variables_of(pair: str) -> dict[str, Any]:
    try:
        if pair.startswith("@"):
            return _mapping(yaml.safe_load(Path(pair[1:]).read_text()), pair)
        if pair.lstrip().startswith("{"):
            return _mapping(json.loads(pair), pair)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise click.BadParameter(f"{pair!r} can't be read: {' '.join(str(error).split())}.") from error
    name, equals, value = pair.partition("=")
    if not equals:
        raise click.BadParameter(f"{pair!r} is no variable; write name=value, JSON or @file.")
    return {name: value}


secret_vars_option = click.option(
    "--secret-vars",
    type=click.File("rb"),
    metavar="FILE",
    help="YAML or JSON file (- for standard input) with extra vars that are encrypted, masked, and erased at the end.",
)


def mapping_in(file: BinaryIO | None) -> dict[str, Any]:
    """The names and values in a YAML or JSON file; a message about it shows nothing of its content."""
    if file is None:
        return {}
    try:
        return _mapping(yaml.safe_load(file.read()), file.name)
    except (ValueError, yaml.YAMLError):
        raise click.BadParameter(f"{file.name!r} is neither YAML nor JSON.", param_hint="--secret-vars") from None


def _mapping(value: Any, source: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise click.BadParameter(f"{source!r} holds no mapping of names to values.")
    return value


def batches(_context: click.Context, _option: click.Parameter, text: str | None) -> list[int | str] | None:
    """`1,25%,100%` as numbers and shares; the empty text is the empty list."""
    if text is None:
        return None
    return [int(part) if part.isascii() and part.isdecimal() else part for part in text.replace(",", " ").split()]


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are neither None nor empty tuples."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in fields.items()
        if value not in (None, ())
    }
