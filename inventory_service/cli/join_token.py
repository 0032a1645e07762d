"""`callboard join-token …`."""

from __future__ import annotations

from typing import Any

import click

from inventory_service.cli.arguments import given, stage_path
from inventory_service.client import Client
from inventory_service.terminal import json_option, print_json, print_table


@click.group("join-token")
def join_token() -> None:
    """Make, list and revoke a stage's join tokens."""


@join_token.command()
@click.argument("stage")
@click.option("--group", "groups", multiple=True, help="Group of the hosts that enrol with it; repeatable.")
@click.option("--network", "networks", multiple=True, help="Network that may use it, as CIDR; repeatable.")
@click.option("--maximum-uses", type=int, help="How many machines may enrol with it.")
@click.option("--expires-at", help="ISO 8601 with zone.")
@click.option("--description")
@json_option
def add(
    stage: str,
    groups: tuple[str, ...],
    networks: tuple[str, ...],
    maximum_uses: int | None,
    expires_at: str | None,
    description: str | None,
    as_json: bool,
) -> None:
    """Make a join token; its secret is printed this once."""
    body = given(
        groups=groups, networks=networks, maximum_uses=maximum_uses, expires_at=expires_at, description=description
    )
    client = Client()
    row = client.send("POST", f"{stage_path(stage)}/join-tokens", body)
    if as_json:
        print_json(row)
        return
    click.echo(
        f"{row['token']}\n\nOn a machine that should join {stage}:\n"
        f"  curl -fsSo callboard-agent {client.url}/agent\n"
        f"  sudo CALLBOARD_JOIN_TOKEN={row['token']} python3 callboard-agent enrol --url {client.url}\n"
        "  sudo python3 callboard-agent install",
    )


@join_token.command("list")
@click.argument("stage")
@json_option
def list_(stage: str, as_json: bool) -> None:
    """A stage's join tokens."""
    rows = Client().get(f"{stage_path(stage)}/join-tokens")["items"]
    if as_json:
        print_json(rows)
        return
    columns = {
        "id": "ID",
        "description": "DESCRIPTION",
        "groups": "GROUPS",
        "networks": "NETWORKS",
        "used": "USES",
        "expires_at": "EXPIRES",
        "revoked_at": "REVOKED",
    }
    shown = [{**row, "used": _uses(row)} for row in rows]
    print_table(shown, columns, empty=f"No join tokens yet: callboard join-token add {stage}")


def _uses(row: dict[str, Any]) -> str:
    return str(row["uses"]) if row["maximum_uses"] is None else f"{row['uses']} of {row['maximum_uses']}"


@join_token.command()
@click.argument("stage")
@click.argument("token_id", metavar="ID")
def revoke(stage: str, token_id: str) -> None:
    """End a join token; the hosts that it let in stay."""
    Client().send("DELETE", f"{stage_path(stage)}/join-tokens/{token_id}")
    click.echo(f"Revoked {token_id}.")
