"""`callboard token …`."""

from __future__ import annotations

import click

from inventory_service.cli.arguments import given
from inventory_service.client import Client
from inventory_service.terminal import json_option, print_json, print_table


@click.group()
def token() -> None:
    """Make, list and revoke API tokens."""


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["viewer", "operator", "admin"]), default="viewer", show_default=True)
@click.option("--project", "projects", multiple=True, help="Only these projects; repeatable. All when left out.")
@click.option("--expires-at", help="ISO 8601 with zone.")
def add(name: str, role: str, projects: tuple[str, ...], expires_at: str | None) -> None:
    """Make a token for a person or a CI job; printed this once."""
    body = given(name=name, role=role, projects=projects, expires_at=expires_at)
    click.echo(Client().send("POST", "/api/v1/tokens", body)["token"])


@token.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Tokens that were not revoked."""
    rows = Client().get("/api/v1/tokens")["items"]
    columns = {"id": "ID", "name": "NAME", "role": "ROLE", "projects": "PROJECTS", "expires_at": "EXPIRES"}
    print_json(rows) if as_json else print_table(rows, columns, empty="No tokens.")


@token.command()
@click.argument("token_id", metavar="ID")
def revoke(token_id: str) -> None:
    """End a token."""
    Client().send("DELETE", f"/api/v1/tokens/{token_id}")
    click.echo("Revoked.")
