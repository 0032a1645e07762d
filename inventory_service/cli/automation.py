"""`callboard schedule …`, `callboard webhook …`, `callboard notification …`."""

from __future__ import annotations

import sys
from typing import Any

import click

from inventory_service.cli.arguments import given, stage_path, variables
from inventory_service.client import Client
from inventory_service.events import NOTIFIED
from inventory_service.terminal import json_option, print_json, print_table

_stage = click.argument("stage")
_name = click.argument("name")
_id = click.argument("own_id", metavar="ID")


@click.group()
def schedule() -> None:
    """Let a clock start runs, as crontab does."""


@schedule.command()
@_stage
@_name
@click.argument("cron")
@click.option("--timezone", help="IANA name such as Europe/Berlin; UTC when left out.")
@click.option("--kind", type=click.Choice(["playbook", "deploy", "converge"]), default="playbook", show_default=True)
@click.option("-p", "--playbook", help="The playbook, for the kind playbook.")
@click.option("-r", "--revision", help="Branch, tag or commit of the source.")
@click.option("-l", "--limit", help="Only these hosts or groups, as in Ansible: web,!web-3")
@click.option("-t", "--tags", multiple=True, help="Only tasks with this tag; repeatable.")
@click.option("--skip-tags", multiple=True)
@click.option("-C", "--check", is_flag=True, help="Change nothing, say what would be changed.")
@click.option("-e", "--extra-vars", "pairs", multiple=True, help="name=value, JSON or @file.")
def add(stage: str, name: str, cron: str, pairs: tuple[str, ...], **options: Any) -> None:
    """Add a schedule: callboard schedule add shop/production nightly "30 2 * * *" -p playbooks/backup.yml"""
    body = given(name=name, cron=cron, **options, extra_vars=variables(pairs) if pairs else None)
    row = Client().send("POST", f"{stage_path(stage)}/schedules", body)
    click.echo(f"Added the schedule {name}; it runs next at {row['next_at'] or 'no time ever'}.")


@schedule.command("list")
@_stage
@json_option
def list_schedules(stage: str, as_json: bool) -> None:
    """A stage's schedules."""
    rows = Client().get(f"{stage_path(stage)}/schedules")["items"]
    columns = {
        "name": "NAME",
        "cron": "CRON",
        "timezone": "TIMEZONE",
        "kind": "KIND",
        "playbook": "PLAYBOOK",
        "enabled": "ON",
        "next_at": "NEXT",
        "last_run": "LAST RUN",
        "last_error": "LAST ERROR",
    }
    print_json(rows) if as_json else print_table(rows, columns, empty="No schedules.")


@schedule.command()
@_stage
@_name
def pause(stage: str, name: str) -> None:
    """Let a schedule rest."""
    Client().send("PATCH", f"{stage_path(stage)}/schedules/{name}", {"enabled": False})
    click.echo(f"The schedule {name} rests.")


@schedule.command()
@_stage
@_name
def resume(stage: str, name: str) -> None:
    """Let a schedule go on."""
    row = Client().send("PATCH", f"{stage_path(stage)}/schedules/{name}", {"enabled": True})
    click.echo(f"The schedule {name} runs next at {row['next_at'] or 'no time ever'}.")


@schedule.command("remove")
@_stage
@_name
def remove_schedule(stage: str, name: str) -> None:
    """Remove a schedule; the runs that it started stay."""
    Client().send("DELETE", f"{stage_path(stage)}/schedules/{name}")
    click.echo(f"Removed the schedule {name}.")


@click.group()
def webhook() -> None:
    """Let a push at GitHub or GitLab deploy."""


@webhook.command("add")
@_stage
@click.option("--provider", type=click.Choice(["github", "gitlab"]), required=True)
@click.option("--ref", "refs", multiple=True, required=True, help="branch:main, tag:v* and so on; repeatable.")
@click.option("--description")
@click.option("-e", "--extra-vars", "pairs", multiple=True, help="Of its deploys: name=value, JSON or @file.")
@json_option
def add_webhook(stage: str, pairs: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Add a webhook; its secret is printed this once."""
    body = given(**options, extra_vars=variables(pairs) if pairs else None)
    row = Client().send("POST", f"{stage_path(stage)}/webhooks", body)
    if as_json:
        print_json(row)
        return
    field = "Secret" if row["provider"] == "github" else "Signing token (or, before GitLab has those, Secret token)"
    click.echo(
        f"Enter these where the repository has its webhooks (content type application/json, push events):\n"
        f"  URL     {row['url']}\n  {field}  {row['secret']}"
    )


@webhook.command("list")
@_stage
@json_option
def list_webhooks(stage: str, as_json: bool) -> None:
    """A stage's webhooks."""
    rows = Client().get(f"{stage_path(stage)}/webhooks")["items"]
    columns = {"id": "ID", "provider": "PROVIDER", "refs": "REFS", "description": "DESCRIPTION", "url": "URL"}
    print_json(rows) if as_json else print_table(rows, columns, empty="No webhooks.")


@webhook.command()
@_stage
@_id
@json_option
def deliveries(stage: str, own_id: str, as_json: bool) -> None:
    """What came in, and what came of it."""
    rows = Client().get(f"{stage_path(stage)}/webhooks/{own_id}")["deliveries"]
    columns = {"at": "AT", "event": "EVENT", "ref": "REF", "outcome": "OUTCOME", "run": "RUN", "detail": "DETAIL"}
    print_json(rows) if as_json else print_table(rows, columns, empty="Nothing came in yet.")


@webhook.command("remove")
@_stage
@_id
def remove_webhook(stage: str, own_id: str) -> None:
    """Remove a webhook."""
    Client().send("DELETE", f"{stage_path(stage)}/webhooks/{own_id}")
    click.echo("Removed.")


@click.group()
def notification() -> None:
    """Send word of a stage's events to where people read."""


@notification.command("add")
@_stage
@click.option(
    "--event",
    "events",
    multiple=True,
    help=f"Repeatable: {', '.join(one.word for one in NOTIFIED)}. Left out: what calls for a person.",
)
@click.option("--description")
def add_notification(stage: str, events: tuple[str, ...], description: str | None) -> None:
    """Tell an Apprise URL; it is read from the terminal or standard input, since it holds tokens."""
    url = click.prompt("Apprise URL", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline().strip()
    body = given(url=url, events=events, description=description)
    row = Client().send("POST", f"{stage_path(stage)}/notifications", body)
    click.echo(
        f"{row['description']} hears of {', '.join(row['events'])}. Try it: "
        f"callboard notification test {stage} {row['id']}"
    )


@notification.command("list")
@_stage
@json_option
def list_notifications(stage: str, as_json: bool) -> None:
    """Who hears of a stage's events."""
    rows = Client().get(f"{stage_path(stage)}/notifications")["items"]
    columns = {
        "id": "ID",
        "description": "WHERE",
        "events": "EVENTS",
        "last_event": "LAST",
        "last_sent_at": "SENT",
        "last_error": "ERROR",
    }
    print_json(rows) if as_json else print_table(rows, columns, empty="Nobody hears of this stage's events.")


@notification.command("test")
@_stage
@_id
def test_notification(stage: str, own_id: str) -> None:
    """Send a test message now."""
    Client().send("POST", f"{stage_path(stage)}/notifications/{own_id}/test")
    click.echo("The message was taken.")


@notification.command("remove")
@_stage
@_id
def remove_notification(stage: str, own_id: str) -> None:
    """Tell it no more."""
    Client().send("DELETE", f"{stage_path(stage)}/notifications/{own_id}")
    click.echo("Removed.")
