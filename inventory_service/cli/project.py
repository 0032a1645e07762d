"""`callboard project …`."""

from __future__ import annotations

import click

from inventory_service.cli.arguments import given, variables
from inventory_service.client import Client
from inventory_service.terminal import json_option, print_fields, print_json, print_table


@click.group()
def project() -> None:
    """Add, show and change projects."""


@project.command("list")
@json_option
def list_(as_json: bool) -> None:
    """All projects."""
    rows = Client().get_all("/api/v1/projects")
    if as_json:
        print_json(rows)
    else:
        columns = {"name": "PROJECT", "source": "SOURCE", "description": "DESCRIPTION"}
        print_table(rows, columns, empty="No projects yet: callboard project add NAME --source URL")


@project.command()
@click.argument("name")
@click.option("--source", required=True, help="Git URL, or absolute path of a repository or folder/.")
@click.option("--description", default="")
@click.option("-e", "--variable", "pairs", multiple=True, help="Default variable: name=value, JSON or @file.")
def add(name: str, source: str, description: str, pairs: tuple[str, ...]) -> None:
    """Add a project."""
    body = {"name": name, "source": source, "description": description, "variables": variables(pairs)}
    Client().send("POST", "/api/v1/projects", body)
    click.echo(f"Added the project {name}. Next: callboard stage add {name}/production")


@project.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """One project."""
    row = Client().get(f"/api/v1/projects/{name}")
    print_json(row) if as_json else print_fields({**row, "stages": [stage["name"] for stage in row["stages"]]})


@project.command("set")
@click.argument("name")
@click.option("--source")
@click.option("--description")
@click.option("-e", "--variable", "pairs", multiple=True, help="Replaces all default variables.")
def set_(name: str, source: str | None, description: str | None, pairs: tuple[str, ...]) -> None:
    """Change a project."""
    body = given(source=source, description=description, variables=variables(pairs) if pairs else None)
    Client().send("PATCH", f"/api/v1/projects/{name}", body)
    click.echo(f"Changed the project {name}.")


@project.command()
@click.argument("name")
@click.confirmation_option(prompt="Archive this project with all its stages?")
def archive(name: str) -> None:
    """Take a project out of sight; its history stays."""
    Client().send("DELETE", f"/api/v1/projects/{name}")
    click.echo(f"Archived the project {name}.")
