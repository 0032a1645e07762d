"""`callboard audit`."""

from __future__ import annotations

import click

from inventory_service.client import Client
from inventory_service.terminal import json_option, print_json, print_table

_COLUMNS = {"at": "AT", "actor": "WHO", "peer": "FROM", "action": "ACTION", "target": "WHAT", "said": "DETAILS"}


@click.command()
@click.option("--action", help="host.refuse; or host, for all about hosts.")
@click.option("--actor", help="Exactly this one.")
@click.option("--target", help="shop/production, and everything in it.")
@click.option("-n", "limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many at most.")
@json_option
def audit(action: str | None, actor: str | None, target: str | None, limit: int, as_json: bool) -> None:
    """Show who changed what, the newest first, and which machines were refused why."""
    rows = Client().get("/api/v1/audit", action=action, actor=actor, target=target, limit=limit)["items"]
    if as_json:
        print_json(rows)
        return
    print_table([{**row, "said": "; ".join(row["said"])} for row in rows], _COLUMNS, empty="No such entries.")
