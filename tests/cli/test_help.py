from __future__ import annotations

import importlib
import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner

from inventory_service import cli

HEAVY = ("flask", "ansible_runner", "boto3", "peewee", "pydantic", "granian", "rich", "argon2", "yaml")


def test_it_imports_nothing_heavy_for_its_help() -> None:
    script = f"""
import sys
from inventory_service.cli import main
try:
    main(["--help"])
finally:
    print("LOADED", sorted(set(sys.modules) & {set(HEAVY)!r}), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "LOADED []\n")
    assert "deploy" in done.stdout


def test_it_answers_help_at_once() -> None:
    command = [sys.executable, "-m", "inventory_service.cli", "--help"]
    bare = [sys.executable, "-c", "import click"]
    took = []
    for words in (bare, command, bare, command):
        started = time.perf_counter()
        subprocess.run(words, capture_output=True, check=True)
        took.append(time.perf_counter() - started)
    assert min(took[1::2]) < min(took[::2]) + 0.5


@pytest.mark.parametrize("name", cli._COMMANDS)
def test_it_says_of_each_command_what_the_command_says_itself(name: str) -> None:
    command = cli.main.get_command(click.Context(cli.main), name)
    assert command is not None
    assert cli.HELP[name] == (command.help or "").splitlines()[0]


def test_it_lists_each_command_once() -> None:
    assert set(cli.HELP) == set(cli._COMMANDS)


def test_it_finds_each_command_in_its_module() -> None:
    for place in cli._COMMANDS.values():
        module, _, attribute = place.partition(":")
        assert isinstance(getattr(importlib.import_module(f"inventory_service.cli.{module}"), attribute), click.Command)


def walk(command: click.Command, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    below = ((name, command.get_command(click.Context(command), name)) for name in command.list_commands(None))
    return [found for name, item in below if item for found in walk(item, (*path, name))]


COMMANDS = walk(cli.main, ())


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_it_explains_each_command(path: tuple[str, ...], command: click.Command) -> None:
    done = CliRunner().invoke(cli.main, [*path, "--help"])
    assert (done.exit_code, command.help is not None) == (0, True)


def test_it_has_json_for_every_list() -> None:
    lists = [(path, command) for path, command in COMMANDS if path[-1] in ("list", "show", "hosts", "runs", "releases")]
    assert len(lists) >= 10
    for path, command in lists:
        assert "as_json" in [option.name for option in command.params], path


def test_it_tells_its_version() -> None:
    assert CliRunner().invoke(cli.main, ["--version"]).output.startswith("callboard, version ")


@pytest.mark.parametrize(
    "words", [["nonsense"], ["deploy"], ["deploy", "shop"], ["runs", "--limit", "x"], ["--nonsense"]]
)
def test_it_says_how_it_is_used_with_a_code_that_no_run_ends_with(words: list[str]) -> None:
    done = CliRunner().invoke(cli.main, words, env={"CALLBOARD_TOKEN": "x"})
    assert done.exit_code == cli.USAGE_ERROR
    assert "Usage:" in done.stderr
