"""`callboard secret …` through the API; `callboard secrets rotate` on the data folder."""

from __future__ import annotations

import base64
import sys
from typing import Any, BinaryIO

import click

from inventory_service import settings as settings_module
from inventory_service.cli.arguments import project_or_stage_path
from inventory_service.client import Client
from inventory_service.database import open_database
from inventory_service.errors import CallboardError
from inventory_service.terminal import json_option, print_json, print_table
from inventory_service.vault import kinds
from inventory_service.vault.rotation import rotate as rotate_all

_WHOLE = (kinds.FILE, kinds.SSH_KEY, kinds.GIT_KEY)  # a final line end belongs to these


@click.group()
def secret() -> None:
    """Set, list and remove secrets of projects and stages.

    OWNER is a project (shop) or a stage (shop/production); a stage's own secret beats the project's of the same name.
    """


@secret.command("set")
@click.argument("owner")
@click.argument("name")
@click.option("--kind", type=click.Choice(kinds.KINDS), default=kinds.VARIABLE, show_default=True)
@click.option("--file", "source", type=click.File("rb"), help="Read the value from this file.")
def set_(owner: str, name: str, kind: str, source: BinaryIO | None) -> None:
    """Set a secret. The value comes from --file or standard input; on a terminal it is asked for, unseen.

    There is no option for the value itself: every user of the machine would see it in the process list.
    """
    body = {"kind": kind, **_value(_read(name, source), kind)}
    Client().send("PUT", f"{project_or_stage_path(owner)}/secrets/{name}", body)
    click.echo(f"Set the {kind} {name} of {owner}.")


def _read(name: str, source: BinaryIO | None) -> bytes:
    if source is not None:
        return source.read()
    if sys.stdin.isatty():
        asked: str = click.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True)
        return asked.encode()
    return sys.stdin.buffer.read()


def _value(content: bytes, kind: str) -> dict[str, Any]:
    if kind not in _WHOLE:
        content = content.removesuffix(b"\n").removesuffix(b"\r")
    try:
        return {"value": content.decode()}
    except UnicodeDecodeError:
        return {"value_base64": base64.b64encode(content).decode()}


@secret.command("list")
@click.argument("owner")
@json_option
def list_(owner: str, as_json: bool) -> None:
    """The names of secrets, and who set them when. A stage's list holds what its runs get from the project, too."""
    rows = Client().get(f"{project_or_stage_path(owner)}/secrets")["items"]
    columns = {"name": "SECRET", "kind": "KIND", "of": "OF", "updated_by": "SET BY", "updated_at": "AT"}
    print_json(rows) if as_json else print_table(rows, columns, empty=f"No secrets: callboard secret set {owner} NAME")


@secret.command()
@click.argument("owner")
@click.argument("name")
def remove(owner: str, name: str) -> None:
    """Remove a secret."""
    Client().send("DELETE", f"{project_or_stage_path(owner)}/secrets/{name}")
    click.echo(f"Removed {name} of {owner}.")


@click.group()
def secrets() -> None:
    """Look after the keys that encrypt secrets."""


@secrets.command()
def rotate() -> None:
    """Encrypt everything anew with a new key, then forget the old one. Runs on the service's machine.

    May be interrupted at any time and called again. Where CALLBOARD_KEYRING names the keys, its first one is used.
    """
    settings = settings_module.load()
    open_database(settings.database_url)
    done = rotate_all(settings)
    click.echo(f"{done.count} secrets are encrypted with the {'new' if done.has_new_key else 'first'} key now.")
    if done.unreadable:
        raise CallboardError(
            f"{done.unreadable} can't be decrypted with any key; set them again. The old keys were kept."
        )
    if settings.keyring:
        click.echo("Every key of CALLBOARD_KEYRING but the first can go.")
