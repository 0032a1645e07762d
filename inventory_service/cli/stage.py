"""`callboard stage …`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from inventory_service.cli.arguments import batches, given, stage_path, variables
from inventory_service.client import Client
from inventory_service.deployments.prompting.prompts import Prompt
from inventory_service.registry.stage_settings import CHOICE, FLAG, LIST, MAPPING, NUMBER, TABLE, Described
from inventory_service.terminal import json_option, print_fields, print_json, print_table, print_variables
from inventory_service.text import shown_value


class _Option(click.Option):
    """An option that takes its former name, too, which no help shows."""

    def __init__(self, *spelled: Any, former: str | None, **about: Any) -> None:
        super().__init__(*spelled, **about)
        self._former = former and former.replace("_", "-")

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """With the former name."""
        shown = self.opts, self.secondary_opts
        if self._former is not None:
            self.opts = [*self.opts, f"--{self._former}"]
            self.secondary_opts = [*self.secondary_opts, *([f"--no-{self._former}"] if self.secondary_opts else [])]
        super().add_to_parser(parser, ctx)
        self.opts, self.secondary_opts = shown


def _option(one: Described) -> Callable[[Any], Any]:
    """The option of a setting, by its name; a former name is taken, too."""
    spelled = one.name.replace("_", "-")
    about: dict[str, Any] = {"help": one.setting.help, "default": None, "cls": _Option, "former": one.former}
    if one.kind == FLAG:
        return click.option(one.name, f"--{spelled}/--no-{spelled}", **about)
    if one.kind == MAPPING:
        return click.option("-e", "--variable", "pairs", multiple=True, help="Variables: name=value, JSON or @file.")
    if one.kind == LIST:
        about["callback"] = batches
    if one.kind in {NUMBER, CHOICE}:
        about["type"] = int if one.kind == NUMBER else click.Choice(one.choices)
    return click.option(one.name, f"--{spelled}", **about)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for one in reversed(tuple(TABLE.values())):
        command = _option(one)(command)
    return command


def _fields(pairs: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    return given(**options, variables=variables(pairs) if pairs else None)


@click.group()
def stage() -> None:
    """Add, show, change, lock and unlock stages."""


@stage.command("list")
@click.argument("project")
@json_option
def list_(project: str, as_json: bool) -> None:
    """A project's stages."""
    rows = Client().get_all(f"/api/v1/projects/{project}/stages")
    if as_json:
        print_json(rows)
        return
    shown = [{**row, "release": (row["desired_release"] or {}).get("number")} for row in rows]
    columns = {"stage": "STAGE", "release": "RELEASE", "ttl_seconds": "TTL", "interval_seconds": "INTERVAL"}
    print_table(shown, columns, empty=f"No stages yet: callboard stage add {project}/production")


@stage.command()
@click.argument("name", metavar="STAGE")
@_with_options
def add(name: str, pairs: tuple[str, ...], **options: Any) -> None:
    """Add a stage, written project/stage."""
    stage_path(name)
    project, _, own = name.partition("/")
    Client().send("POST", f"/api/v1/projects/{project}/stages", {"name": own, **_fields(pairs, options)})
    click.echo(f"Added the stage {name}. Next: callboard join-token add {name}")


@stage.command("set")
@click.argument("name", metavar="STAGE")
@_with_options
def set_(name: str, pairs: tuple[str, ...], **options: Any) -> None:
    """Change a stage. Variables given here replace all of its variables."""
    fields = _fields(pairs, options)
    if not fields:
        raise click.UsageError(f"Nothing to change was given; callboard stage show {name} shows what there is.")
    Client().send("PATCH", stage_path(name), fields)
    click.echo(f"Changed the stage {name}.")


@stage.command()
@click.argument("name", metavar="STAGE")
@json_option
def show(name: str, as_json: bool) -> None:
    """One stage."""
    row = Client().get(stage_path(name))
    print_json(row) if as_json else print_fields(row)


@stage.command()
@click.argument("name", metavar="STAGE")
@click.argument("reason")
def lock(name: str, reason: str) -> None:
    """Lock a stage: runs wait until it is unlocked."""
    Client().send("PUT", f"{stage_path(name)}/lock", {"reason": reason})
    click.echo(f"Locked {name}: {reason}")


@stage.command()
@click.argument("name", metavar="STAGE")
def unlock(name: str) -> None:
    """Unlock a stage."""
    Client().send("DELETE", f"{stage_path(name)}/lock")
    click.echo(f"Unlocked {name}.")


@stage.command()
@click.argument("name", metavar="STAGE")
@click.option("--force", is_flag=True, help="Needed: it is you who says that the silent machines are gone.")
def expire(name: str, force: bool) -> None:
    """Believe the silence: every late host becomes stale now, and the pause of the stage's expiry ends."""
    if not force:
        raise click.UsageError("Hosts that still live would leave the inventory; say --force if you are sure.")
    count = Client().send("POST", f"{stage_path(name)}/expire")["expired"]
    click.echo(f"{count} silent hosts of {name} are stale now.")


@stage.command()
@click.argument("name", metavar="STAGE")
@json_option
def releases(name: str, as_json: bool) -> None:
    """A stage's releases, newest first."""
    rows = Client().get(f"{stage_path(name)}/releases")["items"]
    if as_json:
        print_json(rows)
        return
    columns = {
        "number": "RELEASE",
        "revision_name": "REVISION",
        "revision": "COMMIT",
        "created_by": "BY",
        "succeeded_at": "DEPLOYED",
    }
    print_table(rows, columns, empty=f"No releases yet: callboard deploy {name}")


@stage.command()
@click.argument("name", metavar="STAGE")
@json_option
def playbooks(name: str, as_json: bool) -> None:
    """What the stage's source offers to run."""
    rows = Client().get(f"{stage_path(name)}/playbooks")["items"]
    if as_json:
        print_json(rows)
    else:
        columns = {"playbook": "PLAYBOOK", "description": "DESCRIPTION"}
        print_table(rows, columns, empty="The source has no playbooks.")


@stage.command()
@click.argument("name", metavar="STAGE")
@click.argument("playbook", required=False)
@click.option("--kind", type=click.Choice(["deploy", "rollback", "converge"]), help="Without a playbook: deploy.")
@click.option("-r", "--revision", help="Branch, tag or commit; the stage's default when left out.")
@json_option
def prompts(name: str, playbook: str | None, kind: str | None, revision: str | None, as_json: bool) -> None:
    """What a deploy, or a run of PLAYBOOK, asks at its launch."""
    asked = {"kind": "playbook" if playbook else kind, "playbook": playbook, "revision": revision}
    rows = Client().get(f"{stage_path(name)}/prompts", **asked)["items"]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["question"] = f"{row['question']} ({row['help']})" if row["help"] else row["question"]
    shown = [{**row, "rules": Prompt.from_json(row).rules, "fallback": _shown(row["fallback"])} for row in rows]
    columns = {"name": "PROMPT", "question": "QUESTION", "rules": "ANSWER", "open": "REQUIRED", "fallback": "ELSE"}
    print_table(shown, columns, empty="It asks nothing.")


def _shown(fallback: Any) -> str:
    return "" if fallback is None else ", ".join(fallback) if isinstance(fallback, list) else shown_value(fallback)


@stage.command("variables")
@click.argument("name", metavar="STAGE")
@json_option
def show_variables(name: str, as_json: bool) -> None:
    """What a run of now would see, and where each value comes from."""
    found = Client().get(f"{stage_path(name)}/variables")
    if as_json:
        print_json(found)
        return
    print_variables(found["items"])
    for change in found["changed_since_release"]:
        message = f"{change['name']} was {change['change']} since the desired release was made"
        click.echo(f"{message}: convergence brings the release's value until the next deploy.", err=True)


@stage.command()
@click.argument("name", metavar="STAGE")
@click.argument("playbook", required=False)
@click.option("-r", "--revision", help="Branch, tag or commit; the stage's default when left out.")
@json_option
def check(name: str, playbook: str | None, revision: str | None, as_json: bool) -> None:
    """Say every reason why a deploy, or a run of PLAYBOOK, is impossible or unwise now; ends with 1 when impossible."""
    answer = Client().get(f"{stage_path(name)}/check", revision=revision, playbook=playbook)
    if as_json:
        print_json(answer)
    else:
        what = f"a run of {playbook} on" if playbook else "a deploy to"
        columns = {"level": "LEVEL", "code": "CODE", "detail": "WHAT", "advice": "WHAT TO DO"}
        print_table(answer["items"], columns, empty=f"Nothing stands in the way of {what} {name}.")
    if not answer["is_possible"]:
        sys.exit(1)


@stage.command()
@click.argument("name", metavar="STAGE")
@click.confirmation_option(prompt="Archive this stage? Its hosts' tokens end.")
def archive(name: str) -> None:
    """Take a stage out of sight; its history stays."""
    Client().send("DELETE", stage_path(name))
    click.echo(f"Archived the stage {name}.")
