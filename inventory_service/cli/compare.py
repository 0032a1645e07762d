"""`callboard diff`, `snapshot`: what two runs have in common, and what one froze."""

from __future__ import annotations

from typing import Any

import click

from inventory_service.client import Client
from inventory_service.terminal import (
    json_option,
    print_fields,
    print_json,
    print_table,
    print_variables,
)
from inventory_service.text import harmless, shown_value

_MOST_NAMED = 6
_PAIR = {"name": "NAME", "before": "BEFORE", "after": "AFTER"}


@click.command()
@click.argument("run_id", metavar="RUN", type=int)
@json_option
def snapshot(run_id: int, as_json: bool) -> None:
    """Print what a run froze: commit, hosts, options, versions, variables."""
    client = Client()
    run = client.get(f"/api/v1/runs/{run_id}")
    frozen = run["snapshot"]
    if as_json:
        print_json(frozen)
        return
    if frozen is None:
        click.echo(f"Run {run_id} has frozen nothing; it is {run['status']}.")
        return
    plain = {name: value for name, value in frozen.items() if name not in ("variables", "hosts", "missing", "notes")}
    print_fields({"stage": run["stage"], **plain, "hosts": ", ".join(frozen["hosts"])})
    for note in frozen.get("notes", []):
        click.echo(f"note: {harmless(note, colours=False)}")
    click.echo()
    print_variables(client.get(f"/api/v1/runs/{run_id}/variables")["items"])


@click.command()
@click.argument("before", metavar="RUN", type=int)
@click.argument("after", metavar="RUN", type=int)
@json_option
def diff(before: int, after: int, as_json: bool) -> None:
    """Print what differs between two runs."""
    found = Client().get(f"/api/v1/runs/{before}/diff/{after}")
    if as_json:
        print_json(found)
        return
    _print_runs(found)
    for note in found["notes"]:
        click.echo(f"Note: {harmless(note, colours=False)}")
    _print_commits(found["commits"])
    _print_pairs("Variables", [_variable(one) for one in found["variables"]])
    _print_hosts(found["hosts"])
    for section in ("options", "versions", "secrets"):
        _print_pairs(section.capitalize(), [_shown(one) for one in found[section]])
    _print_tasks(found)


def _print_runs(found: dict[str, Any]) -> None:
    names = ("stage", "kind", "playbook", "status", "release", "commit", "created_by", "started_at", "duration_seconds")
    runs = (found["before"], found["after"])
    rows = [{"name": name, "before": runs[0][name], "after": runs[1][name]} for name in names]
    columns = {"name": "", "before": f"RUN {runs[0]['id']}", "after": f"RUN {runs[1]['id']}"}
    print_table(rows, columns, empty="")


def _heading(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _print_commits(commits: dict[str, Any]) -> None:
    sentences = {
        "same": "the same",
        "ahead": "the second run's is newer",
        "behind": "the second run's is older",
        "diverged": "each has commits that the other has not",
        "other": "another one",
        "unknown": "not known",
    }
    _heading(f"Commit: {sentences[commits['relation']]}")
    if commits["reason"]:
        click.echo(harmless(commits["reason"], colours=False))
    rows = [{**one, "commit": one["commit"][:8], "in": "+" if one["in"] == "after" else "-"} for one in commits["log"]]
    if rows:
        print_table(rows, {"in": "", "commit": "COMMIT", "at": "AT", "author": "BY", "subject": "SUBJECT"}, empty="")
    if commits["log_cut"]:
        click.echo(f"… only the newest {len(rows)} are listed.")
    if commits["files"]:
        click.echo()
        print_table(commits["files"], {"path": "FILES", "added": "+", "removed": "-"}, empty="")
        click.echo(f"{commits['files_in_all']} in all, +{commits['added']} -{commits['removed']} lines.")


def _variable(one: dict[str, Any]) -> dict[str, Any]:
    sides = {side: _with_source(one[side]) for side in ("before", "after")}
    return {"name": one["name"], **sides}


def _with_source(side: dict[str, Any]) -> str:
    return "" if side["from"] is None else f"{shown_value(side['value'])}  ({side['from']})"


def _shown(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": one["name"],
        **{side: "" if one[side] is None else shown_value(one[side]) for side in ("before", "after")},
    }


def _print_pairs(title: str, rows: list[dict[str, Any]]) -> None:
    _heading(title if rows else f"{title}: no difference")
    if rows:
        print_table(rows, _PAIR, empty="")


def _print_hosts(hosts: dict[str, Any]) -> None:
    rows = [
        {"name": name, "what": what}
        for kind, what in (("added", "only in the second run"), ("removed", "only in the first run"))
        for name in hosts[kind]
    ]
    rows += [{"name": one["host"], "what": "; ".join(one["changes"])} for one in hosts["changed"]]
    _heading(f"Hosts: {len(hosts['same'])} the same")
    if rows:
        print_table(rows, {"name": "HOST", "what": "WHAT"}, empty="")


def _print_tasks(found: dict[str, Any]) -> None:
    _heading("Tasks" + (" (cut: there are more than can be compared)" if found["tasks_cut"] else ""))
    rows = [
        {
            "": "*" if one["different"] else "",
            "task": one["task"],
            "before": _outcome(one["before"]),
            "after": _outcome(one["after"]),
            "hosts": _different(one["hosts"]),
        }
        for one in found["tasks"]
    ]
    columns = {"": "", "task": "TASK", "before": "BEFORE", "after": "AFTER", "hosts": "OTHER ON"}
    print_table(rows, columns, empty="Neither run has come to a task.")


def _outcome(side: dict[str, Any] | None) -> str:
    if side is None:
        return "-"
    seconds = "" if side["longest_seconds"] is None else f", {side['longest_seconds']:.2f} s"
    return ", ".join(f"{count} {status}" for status, count in side["counts"].items()) + seconds


def _different(hosts: list[dict[str, Any]]) -> str:
    named = [f"{one['host']}: {_status(one['before'])} → {_status(one['after'])}" for one in hosts if one["different"]]
    more = f", {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return ", ".join(named[:_MOST_NAMED]) + more


def _status(side: dict[str, Any] | None) -> str:
    return "-" if side is None else str(side["status"])
