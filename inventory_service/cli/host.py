"""`callboard hosts`, `callboard host …`, `callboard known-hosts`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from inventory_service.cli.arguments import given, stage_path
from inventory_service.client import Client
from inventory_service.terminal import json_option, print_fields, print_json, print_table

_COLUMNS = {
    "name": "HOST",
    "address": "ADDRESS",
    "state": "STATE",
    "release": "RELEASE",
    "is_converged": "CONVERGED",
    "groups": "GROUPS",
    "last_seen_at": "LAST HEARTBEAT",
    "id": "ID",
}


@click.command()
@click.argument("stage")
@click.option("--state", help="live, late, stale, gone, pending; comma-separated.")
@click.option("--group")
@click.option("--drift", is_flag=True, help="Only hosts that do not run what they should.")
@click.option("-q", "text", help="Part of the name or address.")
@json_option
def hosts(stage: str, state: str | None, group: str | None, drift: bool, text: str | None, as_json: bool) -> None:
    """List a stage's hosts."""
    query = {"state": state, "group": group, "drift": "1" if drift else None, "q": text}
    rows = Client().get_all(f"{stage_path(stage)}/hosts", **query)
    print_json(rows) if as_json else print_table(rows, _COLUMNS, empty=f"{stage} has no such hosts.")


@click.command("known-hosts")
@click.argument("stage")
@click.option(
    "--ssh-config", type=click.Path(path_type=Path), help="Print an ssh_config that reads the keys from FILE."
)
def known_hosts(stage: str, ssh_config: Path | None) -> None:
    r"""Print a stage's SSH host keys.

    \b
    So that `ssh web-1` reaches a host of the stage by its name, and believes no other machine:
      callboard known-hosts shop/production > ~/.ssh/shop_keys
      callboard known-hosts shop/production --ssh-config ~/.ssh/shop_keys > ~/.ssh/shop_config
    and `Include shop_config` at the top of ~/.ssh/config.
    """
    client = Client()
    if ssh_config is None:
        click.echo(client.text(f"{stage_path(stage)}/known_hosts"), nl=False)
        return
    user = client.get(stage_path(stage))["ansible_user"]
    for row in client.get_all(f"{stage_path(stage)}/hosts", state="live,late"):
        if row["conflict"] is None:
            click.echo(_ssh_block(row, user, ssh_config.expanduser().absolute()))


def _ssh_block(row: dict[str, Any], user: str | None, keys: Path) -> str:
    """One `Host` block: `ssh web-1` then reaches the machine, and believes no other."""
    lines = [f"Host {row['name']}", f"  HostName {row['address']}", f"  Port {row['port']}"]
    lines += [f"  User {user}"] if user else []
    file = str(keys).replace("%", "%%")  # ssh has words of its own that begin with it
    lines += [f'  UserKnownHostsFile "{file}"', "  GlobalKnownHostsFile /dev/null"]
    return "\n".join([*lines, "  StrictHostKeyChecking yes", "  UpdateHostKeys no", ""])


@click.group()
def host() -> None:
    """Show, drain and quarantine a host."""


@host.command()
@click.argument("host_id", metavar="ID")
@json_option
def show(host_id: str, as_json: bool) -> None:
    """One host with its history."""
    row = Client().get(f"/api/v1/hosts/{host_id}")
    if as_json:
        print_json(row)
        return
    changes, runs = row.pop("transitions"), row.pop("runs")
    print_fields(row)
    click.echo()
    columns = {"at": "AT", "from": "FROM", "to": "TO", "reason": "REASON"}
    print_table(changes, columns, empty="No transitions.")
    click.echo()
    print_table(runs, {"run": "RUN", "kind": "KIND", "status": "STATUS", "ended_at": "ENDED"}, empty="No runs yet.")


@host.command()
@click.argument("host_id", metavar="ID")
@click.option("--off", is_flag=True, help="End the draining.")
def drain(host_id: str, off: bool) -> None:
    """Mark a host as draining: no convergence; plays can leave out the group `draining`."""
    Client().send("PATCH", f"/api/v1/hosts/{host_id}", {"draining": not off})
    click.echo("Draining ended." if off else "Draining.")


@host.command()
@click.argument("host_id", metavar="ID")
@click.option("--reason", help="Why; shown beside the host.")
@click.option("--off", is_flag=True, help="Release it from quarantine.")
def quarantine(host_id: str, reason: str | None, off: bool) -> None:
    """Keep convergence away from a host, or let it back."""
    Client().send("PATCH", f"/api/v1/hosts/{host_id}", given(quarantined=not off, reason=reason))
    click.echo("Released from quarantine." if off else "Quarantined.")


@host.command()
@click.argument("host_id", metavar="ID")
def approve(host_id: str) -> None:
    """Let a pending host into its stage."""
    Client().send("PATCH", f"/api/v1/hosts/{host_id}", {"approved": True})
    click.echo("Approved.")


@host.command()
@click.argument("host_id", metavar="ID")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def keys(host_id: str, files: tuple[Path, ...]) -> None:
    """Vouch for a host's SSH host keys, from its ssh_host_*_key.pub files."""
    lines = [" ".join(line.split()[:2]) for file in files for line in file.read_text().splitlines() if line.strip()]
    Client().send("PATCH", f"/api/v1/hosts/{host_id}", {"host_keys": lines})
    click.echo(f"Recorded {len(lines)} host keys.")
