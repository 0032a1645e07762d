"""`callboard user …`."""

from __future__ import annotations

import click

from inventory_service.cli.arguments import given
from inventory_service.client import Client
from inventory_service.terminal import json_option, print_json, print_table

_ROLES = click.Choice(["viewer", "operator", "admin"])
_password = click.option(
    "--password", prompt=True, hide_input=True, confirmation_prompt=True, envvar="CALLBOARD_PASSWORD"
)


@click.group()
def user() -> None:
    """Add and change people who sign in."""


@user.command("list")
@json_option
def list_(as_json: bool) -> None:
    """All users."""
    rows = Client().get("/api/v1/users")["items"]
    columns = {"name": "USER", "role": "ROLE", "projects": "PROJECTS", "disabled": "DISABLED"}
    print_json(rows) if as_json else print_table(rows, columns, empty="No users.")


@user.command()
@click.argument("name")
@click.option("--role", type=_ROLES, default="viewer", show_default=True)
@click.option("--project", "projects", multiple=True, help="Only these projects; repeatable. All when left out.")
@_password
def add(name: str, role: str, projects: tuple[str, ...], password: str) -> None:
    """Add a user; the password is asked for."""
    body = given(name=name, role=role, projects=projects, password=password)
    Client().send("POST", "/api/v1/users", body)
    click.echo(f"Added the user {name} ({role}).")


@user.command("set")
@click.argument("name")
@click.option("--role", type=_ROLES)
@click.option("--disable/--enable", default=None)
def set_(name: str, role: str | None, disable: bool | None) -> None:
    """Change a user's role, or disable or enable them."""
    Client().send("PATCH", f"/api/v1/users/{name}", given(role=role, disabled=disable))
    click.echo(f"Changed the user {name}.")


@user.command()
@click.argument("name")
@_password
def password(name: str, password: str) -> None:
    """Set a user's password; ends their sessions."""
    Client().send("PATCH", f"/api/v1/users/{name}", {"password": password})
    click.echo(f"Set the password of {name}.")
