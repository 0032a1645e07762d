"""`callboard export`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import click

from inventory_service.client import Client

_ENDINGS = {"tar": "tar.gz", "junit": "xml"}


@click.command()
@click.argument("run_id", metavar="RUN", type=int)
@click.option("--format", "kind", type=click.Choice(list(_ENDINGS)), default="tar", show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Where to, `-` to print it; else run-RUN.tar.gz or .xml.")
def export(run_id: int, kind: str, output: str | None) -> None:
    """Write a run into a file: everything, or its results as JUnit XML."""
    client, path = Client(), f"/api/v1/runs/{run_id}/export?format={kind}"
    if output == "-":
        client.download(path, sys.stdout.buffer)
        return
    target = Path(output or f"run-{run_id}.{_ENDINGS[kind]}")
    try:
        _write(client, path, target)
    except OSError as error:
        raise click.ClickException(f"{target} can't be written: {error.strerror}.") from error
    click.echo(f"Run {run_id} is in {target}.")


def _write(client: Client, path: str, target: Path) -> None:
    """Whole or not at all: a half archive under the right name would be taken for one."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            client.download(path, file)
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)
