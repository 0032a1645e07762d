"""What hosts report and how stages scale, for Prometheus.

Bounded: of each stage at most as many metrics as the sampler keeps, and of all stages together MOST_METRICS. No series
of single hosts: Prometheus gets those from the hosts themselves.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily

from inventory_service.models import MetricFrame, Stage, StageScaling
from inventory_service.registry.stages import stage_name
from inventory_service.scaling import windows
from inventory_service.scaling.policies import STATISTICS

MOST_METRICS = 1000


def collect(found: Sequence[Stage], *, at: dt.datetime) -> Iterator[GaugeMetricFamily]:
    """Of these stages, the last minute; nothing of a metric that nobody reported in the last minutes."""
    latest = windows.latest(at=at)
    yield from _metrics([(stage, frame) for stage in found for frame in latest.get(stage.id, [])])
    yield from _scaling(found, at=at)


def _metrics(frames: Sequence[tuple[Stage, MetricFrame]]) -> Iterator[GaugeMetricFamily]:
    values = GaugeMetricFamily(
        "callboard_stage_metric",
        "What the hosts of a stage reported in the last minute, by statistic over the hosts",
        labels=["stage", "metric", "statistic"],
    )
    labels = ["stage", "metric"]
    reporting = GaugeMetricFamily("callboard_stage_metric_reporting_hosts", "Hosts that reported it", labels=labels)
    expected = GaugeMetricFamily("callboard_stage_metric_expected_hosts", "Hosts that should have", labels=labels)
    for stage, frame in itertools.islice(frames, MOST_METRICS):
        names = [stage_name(stage), frame.metric]
        for statistic in STATISTICS:
            values.add_metric([*names, statistic], getattr(frame, statistic))
        reporting.add_metric(names, frame.reporting)
        expected.add_metric(names, frame.expected)
    left_out = GaugeMetricFamily(
        "callboard_stage_metrics_left_out", f"Metrics beyond the {MOST_METRICS} that are shown"
    )
    left_out.add_metric([], max(0, len(frames) - MOST_METRICS))
    yield from (values, reporting, expected, left_out)


def _scaling(found: Sequence[Stage], *, at: dt.datetime) -> Iterator[GaugeMetricFamily]:
    """Of stages that have scaling set."""
    rows = {row.stage_id: row for row in StageScaling.select()}
    enabled = GaugeMetricFamily("callboard_scaling_enabled", "1: the stage scales", labels=["stage"])
    dry_run = GaugeMetricFamily("callboard_scaling_dry_run", "1: decisions are only recorded", labels=["stage"])
    failing = GaugeMetricFamily("callboard_scaling_failing", "1: the last look at EC2 failed", labels=["stage"])
    desired = GaugeMetricFamily("callboard_hosts_desired", "Machines that scaling wants", labels=["stage"])
    changed = GaugeMetricFamily(
        "callboard_scaling_last_change_timestamp_seconds",
        "When machines were last added (out) or taken away (in)",
        labels=["stage", "action"],
    )
    for stage in found:
        if (row := rows.get(stage.id)) is None:
            continue
        name = stage_name(stage)
        enabled.add_metric([name], row.is_enabled)
        dry_run.add_metric([name], row.is_dry_run)
        failing.add_metric([name], row.is_enabled and row.problem_code is not None)
        if (wanted := windows.wanted(stage, at=at)) is not None:
            desired.add_metric([name], wanted)
        for action, moment in (("out", row.last_out_at), ("in", row.last_in_at)):
            if moment is not None:
                changed.add_metric([name, action], moment.timestamp())
    yield from (enabled, dry_run, failing, desired, changed)
