"""`callboard demo`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click

from inventory_service.demo import story
from inventory_service.demo.hosts import LoopbackHostError
from inventory_service.demo.machine import MachineError, is_free
from inventory_service.demo.service import ServiceError, free_port
from inventory_service.demo.story import Story, StoryError
from inventory_service.errors import CallboardError


@click.command()
@click.option("--once", is_flag=True, help="Play it, check every step, leave nothing behind; exit code 0 or 1.")
@click.option("--stop", "is_stop", is_flag=True, help="Stop the demo that an earlier command left running.")
@click.option("--port", type=int, default=8500, show_default=True, help="The service's port.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path(".demo"), show_default=True, help="Where everything lies."
)
def demo(once: bool, is_stop: bool, port: int, folder: Path) -> None:
    """Play the whole story on this machine."""
    with story.interruptible():
        if is_stop:
            click.echo("Stopped the demo." if story.stop(folder.absolute()) else f"No demo is running in {folder}.")
        elif once:
            sys.exit(_play_once())
        else:
            sys.exit(_play_and_stay(folder.absolute(), port))


def _play_once() -> int:
    with tempfile.TemporaryDirectory(prefix="callboard-demo-") as folder:
        played = Story(Path(folder), port=free_port())
        try:
            return _play(played)
        finally:
            played.close()


def _play_and_stay(folder: Path, port: int) -> int:
    story.stop(folder)
    if not is_free("127.0.0.1", port):
        other = f"--port {free_port()}"
        ways = f'callboard demo {other} (or: make demo DEMO="{other}")'
        raise CallboardError(f"Port {port} is taken. Stop what listens there, or choose another: {ways}")
    folder.mkdir(parents=True, exist_ok=True)
    played = Story(folder, port=port)
    code = 1
    try:
        code = _play(played)
    finally:
        if code != 0:
            played.close()
    if code == 0:
        _explain(played, folder)
    return code


def _play(played: Story) -> int:
    started = time.monotonic()
    try:
        played.play()
    except (StoryError, ServiceError, LoopbackHostError, MachineError, CallboardError) as error:
        click.secho(f"\nThe demo failed: {error}", fg="red", err=True)
        return 1
    except KeyboardInterrupt:
        click.secho("\nStopped.", err=True)
        return 1
    click.secho(f"\nAll steps came out as they should, in {time.monotonic() - started:.0f} s.", fg="green")
    return 0


def _explain(played: Story, folder: Path) -> None:
    environment = played.write_environment()
    click.echo(
        f"\nThe demo goes on: {played.service.url}  (user admin, password {played.service.password})\n\n"
        "Try it from this folder, as from a laptop:\n"
        f"   . {_short(environment)}\n"
        "   ansible-inventory -i registry.yml --graph\n"
        "   ansible-playbook -i registry.yml deploy.yml\n"
        "   callboard hosts shop/production\n"
        "   callboard deploy shop/production --revision v2\n\n"
        f"Stop it: make demo-stop   (or: callboard demo --stop --folder {_short(folder)})"
    )


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
