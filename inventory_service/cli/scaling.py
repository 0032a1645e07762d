"""`callboard scaling …`."""

from __future__ import annotations

import datetime as dt
import io
import sys
from pathlib import Path
from typing import IO, Any

import click
import yaml

from inventory_service.cli.arguments import stage_path
from inventory_service.client import Client, ClientError
from inventory_service.clock import SystemClock
from inventory_service.errors import CallboardError
from inventory_service.scaling import backtest, policies
from inventory_service.scaling.backtest import Load, Model, Outcome
from inventory_service.scaling.policies import Limits, Policy
from inventory_service.terminal import json_option, print_fields, print_json, print_table

_stage = click.argument("stage")
_file = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))


@click.group()
def scaling() -> None:
    """Decide how many machines a stage has."""


@scaling.command()
@_stage
@json_option
def show(stage: str, as_json: bool) -> None:
    """How the stage scales, and what stands in its way."""
    row = Client().get(f"{stage_path(stage)}/scaling")
    if as_json:
        print_json(row)
        return
    print_fields({name: value for name, value in row.items() if name != "findings" and not name.endswith("_code")})
    columns = {"kind": "EC2 AND THE REGISTRY DIFFER", "instance": "INSTANCE", "since": "SINCE", "detail": "DETAIL"}
    if row["findings"]:
        click.echo()
        print_table(row["findings"], columns, empty="")


@scaling.command("set")
@_stage
@_file
def set_(stage: str, file: Path) -> None:
    """Set how the stage scales from a YAML or JSON file: limits, policies, actuator, enabled, dry_run."""
    row = Client().send("PUT", f"{stage_path(stage)}/scaling", _read(file))
    state = "scales" if row["enabled"] else "does not scale yet (enabled: false)"
    click.echo(f"{stage} {state}{', as a dry run' if row['dry_run'] else ''}.")


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CallboardError(f"{file} can't be read: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise CallboardError(f"{file} holds no mapping; write limits: …, policies: [ … ].")
    return content


@scaling.command()
@_stage
@click.confirmation_option(prompt="Scale this stage no more? Its machines stay as they are.")
def remove(stage: str) -> None:
    """Scale the stage no more."""
    Client().send("DELETE", f"{stage_path(stage)}/scaling")
    click.echo(f"{stage} scales no more.")


@scaling.command()
@_stage
@click.option("-n", "--limit", type=int, default=20, show_default=True)
@click.option("--all", "is_all", is_flag=True, help="Also those that change nothing.")
@json_option
def decisions(stage: str, limit: int, is_all: bool, as_json: bool) -> None:
    """What was decided, and why."""
    query = {"limit": limit, "changes": None if is_all else "true"}
    rows = Client().get(f"{stage_path(stage)}/scaling/decisions", **query)["items"]
    if as_json:
        print_json(rows)
        return
    shown = [{**row, "why": " ".join(row["reasons"]), "hosts": _hosts(row)} for row in rows]
    columns = {"at": "AT", "action": "ACTION", "hosts": "HOSTS", "status": "STATUS", "why": "WHY", "error": "ERROR"}
    print_table(shown, columns, empty="Nothing was changed yet.")


@scaling.command()
@_stage
@click.option("-n", "--limit", type=int, default=20, show_default=True)
@json_option
def lifecycle(stage: str, limit: int, as_json: bool) -> None:
    """What the group's lifecycle hooks asked, and what was answered."""
    rows = Client().get(f"{stage_path(stage)}/scaling/lifecycle", limit=limit)["items"]
    columns = {
        "at": "AT",
        "instance": "INSTANCE",
        "transition": "IS",
        "status": "STATUS",
        "run": "RUN",
        "reason": "WHY",
    }
    print_json(rows) if as_json else print_table(rows, columns, empty="No lifecycle hook has asked yet.")


def _hosts(row: dict[str, Any]) -> str:
    return f"{row['from_capacity']} → {row['to_capacity']}"


@scaling.command()
@click.option("--days", type=click.IntRange(1, 90), default=7, show_default=True)
@click.option("--metric", default="load1_per_cpu", show_default=True)
@click.option("--peak", type=float, default=6.0, show_default=True, help="About the highest usual load of the stage.")
@click.option("--seed", type=int, default=17, show_default=True)
def trace(days: int, metric: str, peak: float, seed: int) -> None:
    """Print a trace of a web shop's traffic, as CSV for `simulate --trace`."""
    start = dt.datetime(2026, 11, 16, tzinfo=dt.UTC)
    made = backtest.make_trace(metric=metric, days=days, start=start, seed=seed, peak=peak)
    sys.stdout.writelines(backtest.write_trace(made))


@scaling.command()
@_stage
@click.option("--policy", "file", required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--trace", "trace_file", type=click.File("r"), help="CSV; what was recorded in 7 days when left out.")
@click.option("--boot-seconds", type=int, default=180, show_default=True, help="From asking for a machine to serving.")
@click.option(
    "--objective", type=float, default=0.8, show_default=True, help="Load of a machine above which users suffer."
)
@click.option("--price", type=float, default=0.0, help="Money per machine and hour.")
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="Draw both into this file.")
@json_option
def simulate(stage: str, file: Path, trace_file: IO[str] | None, png: Path | None, as_json: bool, **model: Any) -> None:
    """Play a policy against the present one, minute by minute, through the plan that decides in earnest."""
    client, wanted = Client(), _read(file)
    rules = _rules(wanted)
    metric = _metric(rules[0])
    played = backtest.read_trace(trace_file) if trace_file else _recorded(client, stage, metric)
    how = Model(metric=metric, **model)
    outcomes = {"new": backtest.simulate(*rules, played, how)}
    present = _present(client, stage)
    if present is not None and _metric(present[0]) == metric:
        outcomes["present"] = backtest.simulate(*present, played, how)
    rows = [_summary(name, outcome) for name, outcome in outcomes.items()]
    columns = {
        "policy": "POLICY",
        "violation_minutes": "MINUTES TOO SLOW",
        "host_hours": "HOST HOURS",
        "cost": "COST",
        "peak": "PEAK",
        "changes": "CHANGES",
    }
    print_json(rows) if as_json else print_table(rows, columns, empty="")
    if png is not None:
        png.write_bytes(draw(outcomes, how))
        click.echo(f"Drew {png}.", err=True)


def _rules(content: dict[str, Any]) -> tuple[tuple[Policy, ...], Limits]:
    texts = content.get("policies", [])
    if not isinstance(texts, list) or not all(isinstance(text, dict) for text in texts):
        raise CallboardError("The policies are a list of mappings.")
    return policies.parse_all(texts), policies.parse_limits(content.get("limits", {}))


def _metric(found: tuple[Policy, ...]) -> str:
    metrics = [policy.signal.metric for policy in found if not isinstance(policy, policies.Scheduled)]
    return metrics[0] if metrics else "load1_per_cpu"


def _present(client: Client, stage: str) -> tuple[tuple[Policy, ...], Limits] | None:
    try:
        row = client.get(f"{stage_path(stage)}/scaling")
    except ClientError as error:
        if error.status == 404:  # noqa: PLR2004 - it does not scale yet
            return None
        raise
    return _rules(row)


def _recorded(client: Client, stage: str, metric: str) -> list[Load]:
    """The load of 7 days: three of them at a time come in steps of five minutes, more at once by the hour."""
    path, now = f"{stage_path(stage)}/metrics/{metric}", SystemClock().now()
    loads: list[Load] = []
    for days in (7, 5, 3, 1):
        since, until = now - dt.timedelta(days=days), now - dt.timedelta(days=max(0, days - 2))
        points = client.get(path, since=since.isoformat(), until=until.isoformat(), statistic="sum")["items"]
        loads += [Load(dt.datetime.fromisoformat(point["at"]), {metric: point["value"]}) for point in points]
    return loads


def _summary(name: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "policy": name,
        "violation_minutes": outcome.violation_minutes,
        "host_hours": round(outcome.host_hours, 1),
        "cost": round(outcome.cost, 2),
        "peak": outcome.peak,
        "changes": outcome.changes,
    }


def draw(outcomes: dict[str, Outcome], model: Model) -> bytes:
    """A PNG: the metric per machine with its objective above, the machines below, a line for each policy."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an optional dependency, and a large one
    except ImportError as error:
        raise CallboardError("Drawing needs matplotlib: pip install 'callboard[charts]'.") from error
    figure = Figure(figsize=(12, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name, outcome in outcomes.items():
        times = [moment.at for moment in outcome.moments]
        label = f"{name}: {outcome.violation_minutes} min too slow, {outcome.host_hours:.0f} host hours"
        values = [min(moment.value, 3 * model.objective) for moment in outcome.moments]
        above.plot(times, values, label=label, linewidth=0.8)
        below.step(times, [moment.capacity for moment in outcome.moments], where="post", label=name, linewidth=1)
    above.axhline(model.objective, color="firebrick", linestyle="--", linewidth=0.8, label="objective")
    above.set_ylabel(f"{model.metric} per machine")
    below.set_ylabel("machines")
    below.set_ylim(bottom=0)
    above.legend(loc="upper left", fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
