"""`callboard spool`: runs that ansible-playbook recorded on this machine while the service was away."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from inventory_service.client import Client, ClientError
from inventory_service.terminal import json_option, print_json, print_table


def _folder() -> Path:
    """Where the callback plugin keeps them."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(state) / "callboard" / "spool"


@click.group()
def spool() -> None:
    """Runs of this machine that wait for the service."""


@spool.command("list")
@json_option
def list_spooled(as_json: bool) -> None:
    """List the runs that wait, and those that the service refused."""
    rows = [_row(path) for path in sorted(_folder().glob("*.jsonl")) + sorted(_folder().glob("*.refused"))]
    columns = {"file": "FILE", "service": "SERVICE", "stage": "STAGE", "playbook": "PLAYBOOK", "started_at": "STARTED"}
    print_json(rows) if as_json else print_table(rows, {**columns, "state": "STATE"}, empty="No run waits.")


def _row(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        head, first = _parse(file.readline()), _parse(file.readline())
    return {
        "file": str(path),
        "service": head.get("url"),
        "stage": first.get("stage"),
        "playbook": first.get("playbook"),
        "started_at": first.get("started_at"),
        "state": "refused" if path.suffix == ".refused" else "waiting",
    }


def _parse(line: bytes) -> dict[str, Any]:
    """One line; nothing where the disk was full in its middle."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


@spool.command("send")
def send() -> None:
    """Send the runs that wait for the service at CALLBOARD_URL. Sending one twice does no harm."""
    client, sent, refused = Client(), 0, []
    for path in sorted(_folder().glob("*.jsonl")):
        with path.open("rb") as file, contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by a run that is still writing
            if str(_parse(file.readline()).get("url", "")).rstrip("/") != client.url:
                continue
            problem = _send_all(client, file)
            if problem is None:
                path.unlink()
                sent += 1
            else:
                path.rename(path.with_suffix(".refused"))
                refused.append(f"{path.with_suffix('.refused')}: {problem}")
    click.echo(f"{sent} run{'' if sent == 1 else 's'} sent.")
    if refused:
        raise click.ClickException("The service refused: " + "; ".join(refused))


def _send_all(client: Client, file: IO[bytes]) -> str | None:
    """Every batch in order; the service's words when it refuses one. Raises ClientError when it is away."""
    for batch in _batches(file):
        try:
            client.send("POST", "/api/v1/runs/recorded", batch)
        except ClientError as error:
            if error.status in (0, 408, 429) or error.status >= 500:  # noqa: PLR2004 - it may take it later
                raise
            return error.detail
    return None


def _batches(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    yield from (batch for line in file if (batch := _parse(line)))
