"""`callboard hosts`, `callboard host …`, `callboard known-hosts`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from inventory_service.cli.arguments import given, stage_path
from inventory_service.client import Client, ClientError
from inventory_service.terminal import json_option, print_fields, print_json, print_table
from inventory_service.text import natural

_COLUMNS = {
    "name": "HOST",
    "where": "ADDRESS",
    "state": "STATE",
    "notes": "NOTES",
    "release": "RELEASE",
    "groups": "GROUPS",
    "heard": "HEARD, UTC",
}
_PAST_COLUMNS = {"name": "HOST", "where": "ADDRESS", "state": "STATE", "notes": "NOTES", "id": "ID"}
_ID = {"id": "ID"}  # where names may stand for several hosts
_SSH_PORT = 22


@click.command()
@click.argument("stage")
@click.option("--state", help="live, late, stale, gone, pending; comma-separated.")
@click.option("--group")
@click.option("--out-of-date", is_flag=True, help="Only hosts that do not run what they should.")
@click.option("--drift", is_flag=True, hidden=True)  # as earlier versions named it
@click.option("-q", "text", help="Part of the name or address.")
@click.option("--at", help="Who was there at this time: 2026-11-23T14:03:00Z.")
@json_option
def hosts(stage: str, as_json: bool, **options: Any) -> None:
    """List a stage's hosts."""
    query = {"state": options["state"], "group": options["group"], "q": options["text"], "at": options["at"]}
    client = Client()
    is_out_of_date = options["out_of_date"] or options["drift"]
    rows = client.get_all(f"{stage_path(stage)}/hosts", out_of_date="1" if is_out_of_date else None, **query)
    if as_json:
        print_json(rows)
        return
    rows.sort(key=lambda row: natural(row["name"]))
    if options["at"]:
        then = [{**_shown(row), "notes": ["conflict"] if row["conflict"] else []} for row in rows]
        print_table(then, _PAST_COLUMNS, empty=f"{stage} had no such hosts.")
        return
    columns = _COLUMNS | (_ID if any(row["gone_at"] for row in rows) else {})
    print_table([_shown(row) for row in rows], columns, empty=f"{stage} has no such hosts.")
    paused = client.get(stage_path(stage))["expiry_paused"]
    if paused is not None:
        click.echo(
            f"Expiry is paused since {paused['since']}: {paused['reason']}. Suspect hosts may be gone; "
            f"if they are: callboard stage expire {stage} --force",
            err=True,
        )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    port = "" if row["port"] == _SSH_PORT else f":{row['port']}"
    address = f"[{row['address']}]" if port and ":" in row["address"] else row["address"]
    return {
        **row,
        "where": f"{address}{port}",
        "notes": _notes(row),
        "heard": f"{row['last_seen_at'][5:10]} {row['last_seen_at'][11:19]}",
    }


def _notes(row: dict[str, Any]) -> list[str]:
    """What a person should know of the host beside its state; a host in conflict is in no inventory."""
    notes = {
        "conflict": row["conflict"],
        "suspect": row["suspect"],
        "other host key": row["host_key_mismatch"],
        "quarantined (excluded from convergence)": row["quarantined"],
        "draining": row["draining"],
        "unhealthy": row["healthy"] is False,
        "out of date": not row["up_to_date"],
    }
    return [note for note, is_so in notes.items() if is_so]


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
    """Show, drain, quarantine, approve and remove a host."""


_host_argument = click.argument("host_id", metavar="HOST")


def _host_path(client: Client, text: str) -> str:
    """The API path of a host, given by its id or as project/stage/name. Raises ClientError."""
    stage, slash, name = text.rpartition("/")
    if not slash:
        return f"/api/v1/hosts/{quote(text, safe='')}"
    found = [row for row in client.get_all(f"{stage_path(stage)}/hosts", q=name) if row["name"] == name.lower()]
    if not found:
        raise ClientError(f"{stage} has no host named {name!r}; callboard hosts {stage} lists them.")
    return f"/api/v1/hosts/{found[0]['id']}"


def _change(text: str, message: str, **fields: Any) -> None:
    """Change a host and say so; `{name}` in the words is its name."""
    client = Client()
    row = client.send("PATCH", _host_path(client, text), given(**fields))
    click.echo(message.format(name=row["name"]))


@host.command()
@_host_argument
@json_option
def show(host_id: str, as_json: bool) -> None:
    """One host with its history. HOST is its id, or project/stage/name."""
    client = Client()
    row = client.get(_host_path(client, host_id))
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
@_host_argument
@click.option("--off", is_flag=True, help="End the draining.")
def drain(host_id: str, off: bool) -> None:
    """Mark a host as draining: no convergence; plays can leave out the group `draining`."""
    _change(host_id, "{name} is draining no longer." if off else "{name} is draining.", draining=not off)


@host.command()
@_host_argument
@click.option("--reason", help="Why; shown beside the host.")
@click.option("--off", is_flag=True, help="Release it from quarantine.")
def quarantine(host_id: str, reason: str | None, off: bool) -> None:
    """Exclude a host from convergence, or let it back. Runs by hand still reach it."""
    kept = "{name} is quarantined: convergence leaves it alone, runs by hand still reach it."
    message = "{name} is released from quarantine." if off else kept
    _change(host_id, message, quarantined=not off, reason=reason)


@host.command()
@_host_argument
def approve(host_id: str) -> None:
    """Let a pending host into its stage."""
    _change(host_id, "{name} is let in.", approved=True)


@host.command()
@_host_argument
def remove(host_id: str) -> None:
    """Take a host out of its stage now. Its agent's token ends; to come back, it has to enrol."""
    client = Client()
    row = client.get(_host_path(client, host_id))
    if row["gone_at"] is not None:
        click.echo(f"{row['name']} has left already: {row['gone_reason']}.")
        return
    client.send("DELETE", f"{stage_path(row['stage'])}/hosts/{quote(row['name'], safe='')}")
    click.echo(f"{row['name']} is taken out of {row['stage']}.")


@host.command()
@_host_argument
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def keys(host_id: str, files: tuple[Path, ...]) -> None:
    """Vouch for a host's SSH host keys, from its ssh_host_*_key.pub files."""
    lines = [" ".join(line.split()[:2]) for file in files for line in file.read_text().splitlines() if line.strip()]
    _change(host_id, f"Recorded {len(lines)} host keys of {{name}}.", host_keys=lines)
