"""Charts of what hosts report, for a stage and for one host."""

from __future__ import annotations

import dataclasses

from flask import render_template, request, url_for

from inventory_service.models import Host, Stage
from inventory_service.registry import hosts
from inventory_service.scaling import charts, windows
from inventory_service.web import answers, auth, context
from inventory_service.web.pages.common import pages

SPAN_LABELS = {"1h": "1 hour", "24h": "24 hours", "14d": "14 days", "90d": "90 days"}
_TITLES = {
    "load1_per_cpu": "Load per CPU",
    "memory_used_ratio": "Memory used",
    "disk_used_ratio": "Disk used",
}
_COUNTER, _RATE, _RATIO, _CLOUDWATCH = "_total", "_per_second", "_ratio", "cloudwatch."


@dataclasses.dataclass(frozen=True, slots=True)
class Plot:
    """One chart of the page: `address` is the API's, `unit` what the script writes behind a value."""

    metric: str
    title: str
    unit: str
    address: str


def title(metric: str) -> str:
    """`queue_depth` → `Queue depth`."""
    plain = metric.removeprefix(_CLOUDWATCH).removesuffix(_RATIO).removesuffix(_RATE).replace("_", " ")
    shown = _TITLES.get(metric) or plain[:1].upper() + plain[1:]
    return f"{shown} (CloudWatch)" if metric.startswith(_CLOUDWATCH) else shown


def unit(metric: str) -> str:
    """What a value of the metric is, by the end of its name: percent, bytes, s, per second, or nothing."""
    known = {_RATIO: "percent", "_bytes": "bytes", "_seconds": "s", _RATE: "per second"}
    return next((word for end, word in known.items() if metric.endswith(end)), "")


def chosen_span() -> str:
    """?range= of the request, the last 24 hours when it names none that there is."""
    wanted = request.args.get("range", "")
    return wanted if wanted in charts.RANGES else "24h"


@pages.get("/stages/<project>/<stage>/metrics")
def metrics(project: str, stage: str) -> str:
    """?range= 1h, 24h, 14d or 90d."""
    row, span, now = auth.reach_stage(project, stage), chosen_span(), context.now()
    known = windows.names(row, at=now, since=now - charts.RANGES[span][0])
    return _show(row, None, span, [plot_of_stage(row, name, span) for name in known])


def plot_of_stage(row: Stage, metric: str, span: str) -> Plot:
    """A chart of the stage's metric."""
    address = url_for("scaling.chart_metric", project=row.project.name, stage=row.name, metric=metric, range=span)
    return Plot(metric, title(metric), unit(metric), address)


@pages.get("/hosts/<host>/metrics")
def host_metrics(host: str) -> str:
    """The same for one host."""
    row, span = auth.reach_host(hosts.get_host(host)), chosen_span()
    known = sorted(_kept_as(name) for name in row.metrics or {})
    return _show(row.stage, row, span, [_plot_of_host(row, name, span) for name in known])


def _kept_as(metric: str) -> str:
    """A counter is kept as its rise per second."""
    return metric.removesuffix(_COUNTER) + _RATE if metric.endswith(_COUNTER) else metric


def _plot_of_host(row: Host, metric: str, span: str) -> Plot:
    address = url_for("scaling.chart_host_metric", host=row.id, metric=metric, range=span)
    return Plot(metric, title(metric), unit(metric), address)


def _show(stage: Stage, host: Host | None, span: str, plots: list[Plot]) -> str:
    facts = {"stage": answers.Stage.of(stage), "host": host, "plots": plots, "span": span, "spans": SPAN_LABELS}
    return render_template("metrics.html", **facts)
