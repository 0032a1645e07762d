"""`callboard deploy`, `rollback`, `run`, `converge`, `runs`, `logs`, `cancel`, `repeat`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import click

from inventory_service.cli.arguments import given, mapping_in, secret_vars_option, stage_path, variables
from inventory_service.cli.prompting import advised, prompt_option, with_answers
from inventory_service.client import Client, ClientError
from inventory_service.codes import statuses
from inventory_service.codes.run import Wait
from inventory_service.terminal import json_option, print_json, print_log, print_table
from inventory_service.text import harmless

EXIT_CODES = {"successful": 0, "failed": 2, "canceled": 3, "lost": 4, "timeout": 4}
_RECONNECTS = 30
_PAUSE_SECONDS = 1.0
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("-l", "--limit", help="Only these hosts or groups, as in Ansible: web,!web-3"),
    click.option("--exclude", multiple=True, help="Leave this host out; repeatable."),
    click.option("-t", "--tags", multiple=True, help="Only tasks with this tag; repeatable."),
    click.option("--skip-tags", multiple=True),
    click.option("-C", "--check", is_flag=True, help="Change nothing, say what would be changed."),
    click.option("-D", "--diff", is_flag=True, help="Show the differences."),
    click.option("-e", "--extra-vars", "pairs", multiple=True, help="name=value, JSON or @file."),
    secret_vars_option,
    prompt_option,
    click.option("-m", "--comment", help="Why; kept with the run."),
    click.option("--refuse-if-locked", is_flag=True, help="Fail at once where the run would have to wait."),
    click.option("--override-lock", metavar="REASON", help="Go past the lock that a person holds; audited."),
    click.option("--allow-paused-expiry", is_flag=True, help="Run although it is unclear which hosts are live."),
    click.option("--allow-frozen", is_flag=True, hidden=True),  # as earlier versions named it
    click.option("--detach", is_flag=True, help="Print the run's number and do not follow it."),
)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _launch(stage: str, kind: str, options: dict[str, Any], **own: Any) -> None:
    stage_path(stage)
    client, detach = Client(), options.pop("detach")
    pairs, refuses, answers = (options.pop(name) for name in ("pairs", "refuse_if_locked", "answers"))
    secret = mapping_in(options.pop("secret_vars"))
    options["allow_paused_expiry"] |= options.pop("allow_frozen")
    body = given(stage=stage, kind=kind, **options, **own, extra_vars=variables(pairs) if pairs else None)
    body |= {"extra_vars_secret": secret} if secret else {}
    body = with_answers(client, body, answers)
    try:
        run = client.send("POST", "/api/v1/runs", {**body, **_if_locked(refuses)})
    except ClientError as error:
        raise advised(error) from error
    _await(client, run, detach=detach)


def _if_locked(refuses: bool) -> dict[str, str]:
    return {"if_locked": "refuse" if refuses else "wait"}


def _await(client: Client, run: dict[str, Any], *, detach: bool) -> None:
    """Follow a run that was just queued to its end, with its exit code."""
    click.echo(f"Run {run['id']}: {client.url}/runs/{run['id']}", err=True)
    queue = client.get(f"/api/v1/runs/{run['id']}")["queue"]
    if queue is not None and queue["code"] != Wait.WORKER:
        click.echo(f"Number {queue['position']} in the queue; waits for {queue['waits_for']}.", err=True)
    if detach:
        click.echo(run["id"])
        return
    sys.exit(_follow(client, run["id"]))


def _follow(client: Client, run_id: int) -> int:
    """Print the log until the run has ended, then its hosts; returns the exit code."""
    position = 0
    for _ in range(_RECONNECTS):
        try:
            for piece in client.stream(f"/api/v1/runs/{run_id}/log?follow=1&start={position}"):
                position += len(piece.encode())
                print_log(piece)
            run = client.get(f"/api/v1/runs/{run_id}")
        except ClientError as error:
            if 0 < error.status < 500:  # noqa: PLR2004 - the service refused; it would again
                raise
            click.echo(f"callboard: the connection was lost ({error}); trying again.", err=True)
            time.sleep(_PAUSE_SECONDS)
            continue
        if run["status"] in EXIT_CODES:
            _print_result(run)
            return EXIT_CODES[run["status"]]
    raise ClientError(f"The log of run {run_id} could not be followed; it goes on. Look again: callboard logs {run_id}")


def _print_result(run: dict[str, Any]) -> None:
    columns = {"host": "HOST", "status": "STATUS", "ok": "OK", "changed": "CHANGED", "failed": "FAILED"}
    click.echo()
    for note in (run["snapshot"] or {}).get("notes", []):
        click.echo(f"Note: {harmless(note, colours=False)}", err=True)
    print_table(run["hosts"], {**columns, "unreachable": "UNREACHABLE", "skipped": "SKIPPED"}, empty="No hosts.")
    release = f", release {run['release']}" if run["release"] else ""
    click.echo(f"\nRun {run['id']} ({run['kind']}{release}): {run['status']}" + _took(run))
    if run["error"]:
        click.echo(run["error"], err=True)


def _took(run: dict[str, Any]) -> str:
    return f" after {run['duration_seconds']:.0f} s" if run["duration_seconds"] is not None else ""


@click.command()
@click.argument("stage")
@click.option("-r", "--revision", help="Branch, tag or commit; the stage's default when left out.")
@_with_options
def deploy(stage: str, revision: str | None, **options: Any) -> None:
    """Deploy a revision to a stage's live hosts and follow it."""
    _launch(stage, "deploy", options, revision=revision)


@click.command()
@click.argument("stage")
@click.option("--release", type=int, help="The release's number; the one before the present one when left out.")
@_with_options
def rollback(stage: str, release: int | None, **options: Any) -> None:
    """Go back to an earlier release and follow it."""
    _launch(stage, "rollback", options, release=release)


@click.command()
@click.argument("stage")
@click.argument("playbook")
@click.option("-r", "--revision", help="Branch, tag or commit of the source.")
@_with_options
def run(stage: str, playbook: str, revision: str | None, **options: Any) -> None:
    """Run a playbook on a stage's live hosts and follow it."""
    _launch(stage, "playbook", options, playbook=playbook, revision=revision)


@click.command()
@click.argument("stage")
@click.option(
    "--release-quarantined",
    is_flag=True,
    help="First try again what is quarantined (excluded from convergence).",
)
@_with_options
def converge(stage: str, release_quarantined: bool, **options: Any) -> None:
    """Bring the hosts that are out of date to the desired release now, and follow it."""
    _launch(stage, "converge", options, release_quarantined=release_quarantined or None)


@click.command()
@click.option("--stage")
@click.option("--status", type=click.Choice(statuses.STATUSES))
@click.option("--kind", type=click.Choice(statuses.KINDS))
@click.option("--user", help="Who asked: ada, token:ci, webhook:ID, schedule:NAME.")
@click.option("-q", "text", help="Text of the comment, the revision or the playbook.")
@click.option("-n", "--limit", type=int, default=20, show_default=True)
@json_option
def runs(as_json: bool, text: str | None, **query: Any) -> None:
    """List runs."""
    rows = Client().get("/api/v1/runs", q=text, **query)["items"]
    columns = {
        "id": "RUN",
        "stage": "STAGE",
        "kind": "WHAT",
        "status": "STATUS",
        "release": "RELEASE",
        "revision": "REVISION",
        "created_by": "BY",
        "created_at": "AT",
        "comment": "COMMENT",
    }
    if as_json:
        print_json(rows)
        return
    print_table([{**row, "kind": _what(row)} for row in rows], columns, empty="No runs.")


def _what(run: dict[str, Any]) -> str:
    what = run["playbook"] if run["kind"] == "playbook" else run["kind"]
    return what if run["origin"] == "service" else f"{what} ({run['origin']})"


@click.command()
@click.argument("run_id", metavar="RUN", type=int)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended; ends with its exit code.")
def logs(run_id: int, follow: bool) -> None:
    """Print a run's log; -f follows it."""
    client = Client()
    if follow:
        sys.exit(_follow(client, run_id))
    for piece in client.stream(f"/api/v1/runs/{run_id}/log"):
        print_log(piece)


@click.command()
@click.argument("run_id", metavar="RUN", type=int)
def cancel(run_id: int) -> None:
    """Stop a run."""
    Client().send("POST", f"/api/v1/runs/{run_id}/cancel")
    click.echo(f"Run {run_id} is being stopped; tasks in flight may complete on their hosts.")


@click.command()
@click.argument("run_id", metavar="RUN", type=int)
@click.option("--mode", type=click.Choice(["exact", "live"]), default="exact", show_default=True)
@secret_vars_option
@click.option("-m", "--comment", help="Why; the repeated run's own when left out.")
@click.option("--refuse-if-locked", "refuses", is_flag=True, help="Fail at once where the run would have to wait.")
@click.option("--override-lock", metavar="REASON", help="Go past the lock that a person holds; audited.")
@click.option("--allow-paused-expiry", is_flag=True, help="Run although it is unclear which hosts are live.")
@click.option("--allow-frozen", is_flag=True, hidden=True)
@click.option("--detach", is_flag=True, help="Print the new run's number and do not follow it.")
def repeat(
    *,
    run_id: int,
    secret_vars: BinaryIO | None,
    refuses: bool,
    allow_paused_expiry: bool,
    allow_frozen: bool,
    detach: bool,
    **options: str | None,
) -> None:
    """Repeat a run and follow it.

    exact: the same commit, release, variables, extra vars and hosts. live: the same release or commit with the same
    options, on the hosts that are live now.
    """
    client = Client()
    secret = mapping_in(secret_vars)
    body = {**given(**options), "allow_paused_expiry": allow_paused_expiry or allow_frozen, **_if_locked(refuses)}
    body |= {"extra_vars_secret": secret} if secret else {}
    _await(client, client.send("POST", f"/api/v1/runs/{run_id}/repeat", body), detach=detach)
