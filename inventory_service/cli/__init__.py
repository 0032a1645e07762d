"""The command `callboard`. One module per noun; each parses, calls and prints.

Modules are imported when their command is used, so that `callboard --help` answers at once.
"""

from __future__ import annotations

import importlib
import sys

import click

import inventory_service
from inventory_service.errors import CallboardError

# command → the module below this package that defines it, and its attribute there
_COMMANDS: dict[str, str] = {
    "serve": "service:serve",
    "web": "service:web",
    "worker": "service:worker",
    "init": "service:init",
    "migrate": "service:migrate",
    "doctor": "service:doctor",
    "backup": "service:backup",
    "restore": "service:restore",
    "demo": "demo:demo",
    "project": "project:project",
    "stage": "stage:stage",
    "host": "host:host",
    "hosts": "host:hosts",
    "known-hosts": "host:known_hosts",
    "join-token": "join_token:join_token",
    "secret": "secret:secret",
    "secrets": "secret:secrets",
    "userdata": "userdata:userdata",
    "scaling": "scaling:scaling",
    "schedule": "automation:schedule",
    "webhook": "automation:webhook",
    "notification": "automation:notification",
    "user": "user:user",
    "token": "token:token",
    "audit": "audit:audit",
    "deploy": "run:deploy",
    "rollback": "run:rollback",
    "run": "run:run",
    "converge": "run:converge",
    "runs": "run:runs",
    "logs": "run:logs",
    "cancel": "run:cancel",
    "export": "export:export",
    "spool": "spool:spool",
    "repeat": "run:repeat",
    "snapshot": "compare:snapshot",
    "diff": "compare:diff",
}
USAGE_ERROR = 64
click.UsageError.exit_code = USAGE_ERROR  # click's own 2 would read like a run that failed


class _Group(click.Group):
    """Finds commands by the table above and turns domain errors into one clear line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, HELP[name]) for name in _COMMANDS]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except CallboardError as error:
            click.echo(f"callboard: {error.detail}", err=True)
            for field in error.errors:
                if str(field["msg"]) not in error.detail:  # it is said already
                    place = ".".join(str(part) for part in field["loc"])  # type: ignore[attr-defined]
                    click.echo(f"  {place}: {field['msg']}", err=True)
            sys.exit(1)


# Shown by --help without importing the modules; a test compares it with their own words.
HELP: dict[str, str] = {
    "serve": "Run everything: web, worker, periodic jobs.",
    "web": "Run the HTTP part alone.",
    "worker": "Run the background part alone.",
    "init": "Make the data folder, the database and the first admin.",
    "migrate": "Apply pending database migrations.",
    "doctor": "Show every setting with its source, and check the surroundings.",
    "backup": "Write a consistent copy of the data folder's database.",
    "restore": "Put a backup in the place of the database.",
    "demo": "Play the whole story on this machine.",
    "project": "Add, show and change projects.",
    "stage": "Add, show, change, lock and unlock stages.",
    "host": "Show, drain, quarantine, approve and remove a host.",
    "hosts": "List a stage's hosts.",
    "known-hosts": "Print a stage's SSH host keys.",
    "join-token": "Make, list and revoke a stage's join tokens.",
    "secret": "Set, list and remove secrets of projects and stages.",
    "secrets": "Look after the keys that encrypt secrets.",
    "userdata": "Print cloud-init user data: a new machine installs the agent and enrols by itself.",
    "scaling": "Decide how many machines a stage has.",
    "schedule": "Let a clock start runs, as crontab does.",
    "webhook": "Let a push at GitHub or GitLab deploy.",
    "notification": "Send word of a stage's events to where people read.",
    "user": "Add and change people who sign in.",
    "token": "Make, list and revoke API tokens.",
    "audit": "Show who changed what, the newest first, and which machines were refused why.",
    "deploy": "Deploy a revision to a stage's live hosts and follow it.",
    "rollback": "Go back to an earlier release and follow it.",
    "run": "Run a playbook on a stage's live hosts and follow it.",
    "converge": "Bring the hosts that are out of date to the desired release now, and follow it.",
    "runs": "List runs.",
    "logs": "Print a run's log; -f follows it.",
    "cancel": "Stop a run.",
    "export": "Write a run into a file: everything, or its results as JUnit XML.",
    "spool": "Runs of this machine that wait for the service.",
    "repeat": "Repeat a run and follow it.",
    "snapshot": "Print what a run froze: commit, hosts, options, versions, variables.",
    "diff": "Print what differs between two runs.",
}


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(inventory_service.__version__, prog_name="callboard")
def main() -> None:
    """Callboard: deploy with Ansible to machines that come and go.

    Client commands speak HTTP: CALLBOARD_URL (default http://127.0.0.1:8500) and CALLBOARD_TOKEN.
    """
