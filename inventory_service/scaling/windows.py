"""Metric windows: what hosts report, kept as frames of one minute, five minutes and one hour.

A frame is one metric of one stage in one span of time: its statistics over the hosts, and each host's own value packed
beside them. So a fleet of any size costs one row a metric and minute, and there is no row per heartbeat.

A metric whose name ends in `_total` is a counter: what is kept is its rise per second, under `…_per_second`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import statistics
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inventory_service.models import Host, MetricFrame, ServiceState, Stage
from inventory_service.registry import hosts, liveness, stages
from inventory_service.scaling.plan import Reading
from inventory_service.scaling.policies import AVERAGE, MAXIMUM, MEDIAN, MINIMUM, P95, SUM, Signal

MINUTE, FIVE_MINUTES, HOUR = 60, 300, 3600
# Seconds of a frame → how long such frames are kept.
KEPT = {MINUTE: dt.timedelta(hours=24), FIVE_MINUTES: dt.timedelta(days=14), HOUR: dt.timedelta(days=90)}
_FINER = {FIVE_MINUTES: MINUTE, HOUR: FIVE_MINUTES}
_COUNTER, _RATE = "_total", "_per_second"
_MOST_METRICS = 64
_MOST_VALUES = 2000  # hosts whose own values a frame holds; statistics cover them all
_PATIENCE = dt.timedelta(seconds=150)
_BATCH = 500
_LAST_COUNTERS = "metric_counters"


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """One frame for a chart: `value` of a statistic, or of one host."""

    at: dt.datetime
    value: float
    reporting: int


def sample(*, judge: liveness.Judge) -> int:
    """Make the frames of the minute that has just ended from what hosts reported last, and the longer frames that
    ended with it; returns how many. Twice for one minute is no error: the first stays.
    """
    at = _floor(judge.at, MINUTE) - dt.timedelta(seconds=MINUTE)
    made = 0
    for stage in stages.list_stages():
        made += _sample_stage(stage, at, judge=judge)
        for seconds in (FIVE_MINUTES, HOUR):
            if _floor(judge.at, seconds) == _floor(judge.at, MINUTE):
                made += _roll_up(stage, seconds, _floor(judge.at, seconds) - dt.timedelta(seconds=seconds))
    return made


def _floor(at: dt.datetime, seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at.timestamp() // seconds * seconds, dt.UTC)


def _sample_stage(stage: Stage, at: dt.datetime, *, judge: liveness.Judge) -> int:
    """Only what was reported within the last interval and a half: an older value is no measurement of this minute."""
    present = hosts.live_hosts(stage, judge=judge)
    fresh = [host for host in present if judge.state(host, stage) == liveness.LIVE]
    values: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for host in fresh:
        for name, value in host.metrics.items():
            values[name][host.id] = float(value)
    for name in [name for name in values if name.endswith(_COUNTER)]:
        values[name.removesuffix(_COUNTER) + _RATE] = _rates(stage, name, values.pop(name), judge.at)
    return sum(
        _write(stage, name, MINUTE, at, of_hosts, expected=len(present))
        for name, of_hosts in sorted(values.items())[:_MOST_METRICS]
        if of_hosts
    )


def _rates(stage: Stage, name: str, now: dict[str, float], at: dt.datetime) -> dict[str, float]:
    """The rise per second since the last sample; a counter that fell was reset and tells nothing this time."""
    key = f"{_LAST_COUNTERS}:{stage.id}:{name}"
    row = ServiceState.get_or_none(ServiceState.key == key)
    before: dict[str, Any] = row.value if row else {"at": None, "values": {}}
    liveness.remember(key, {"at": at.timestamp(), "values": now})
    seconds = at.timestamp() - before["at"] if before["at"] else 0
    if not 0 < seconds <= 5 * MINUTE:
        return {}
    old = before["values"]
    return {host: (value - old[host]) / seconds for host, value in now.items() if host in old and value >= old[host]}


def _write(
    stage: Stage, metric: str, seconds: int, at: dt.datetime, values: Mapping[str, float], *, expected: int
) -> int:
    kept = dict(list(values.items())[:_MOST_VALUES])
    packed = zlib.compress(json.dumps({host: round(value, 6) for host, value in kept.items()}).encode())
    row = {"stage": stage, "metric": metric, "seconds": seconds, "at": at, "expected": expected, "packed": packed}
    query = MetricFrame.insert(**row, **describe(values.values())).on_conflict_ignore()
    return 1 if query.execute() else 0


def describe(values: Iterable[float]) -> dict[str, Any]:
    """The statistics of one frame over its hosts. p95 by the nearest rank."""
    ordered = sorted(values)
    rank = max(1, math.ceil(0.95 * len(ordered)))
    return {
        "reporting": len(ordered),
        AVERAGE: statistics.fmean(ordered),
        MEDIAN: statistics.median(ordered),
        P95: ordered[rank - 1],
        MAXIMUM: ordered[-1],
        MINIMUM: ordered[0],
        SUM: math.fsum(ordered),
    }


def unpack(frame: MetricFrame) -> dict[str, float]:
    """Each host's own value, by host id."""
    found: dict[str, float] = json.loads(zlib.decompress(bytes(frame.packed)))
    return found


def _roll_up(stage: Stage, seconds: int, at: dt.datetime) -> int:
    """A longer frame from the shorter ones within it: each host's mean, then the statistics over hosts."""
    finer = _between(stage, _FINER[seconds], at, at + dt.timedelta(seconds=seconds))
    by_metric: defaultdict[str, list[MetricFrame]] = defaultdict(list)
    for frame in finer:
        by_metric[frame.metric].append(frame)
    return sum(
        _write(stage, metric, seconds, at, _means(frames), expected=max(frame.expected for frame in frames))
        for metric, frames in by_metric.items()
    )


def _means(frames: Sequence[MetricFrame]) -> dict[str, float]:
    values: defaultdict[str, list[float]] = defaultdict(list)
    for frame in frames:
        for host, value in unpack(frame).items():
            values[host].append(value)
    return {host: statistics.fmean(found) for host, found in values.items()}


def _between(
    stage: Stage, seconds: int, since: dt.datetime, until: dt.datetime, metric: str | None = None
) -> list[MetricFrame]:
    inside = (MetricFrame.at >= since) & (MetricFrame.at < until)
    query = MetricFrame.select().where((MetricFrame.stage == stage) & (MetricFrame.seconds == seconds) & inside)
    query = query.where(MetricFrame.metric == metric) if metric else query
    return list(query.order_by(MetricFrame.at))


def read(stage: Stage, signal: Signal, *, at: dt.datetime) -> Reading:
    """The signal now: the mean of its minutes within the window. Without fresh minutes there is no value."""
    since = at - dt.timedelta(seconds=signal.window_seconds)
    frames = _between(stage, MINUTE, since - dt.timedelta(seconds=MINUTE), at, signal.metric)
    if not frames:
        return Reading(None, 0, 0, f"nobody reported {signal.metric} for {signal.window_seconds} s")
    newest = frames[-1]
    age = at - newest.at - dt.timedelta(seconds=MINUTE)
    if age > _PATIENCE:
        return Reading(None, 0, newest.expected, f"{signal.metric} was last reported {age.total_seconds():.0f} s ago")
    value = statistics.fmean(getattr(frame, signal.statistic) for frame in frames)
    return Reading(value, newest.reporting, newest.expected)


def names(stage: Stage, *, at: dt.datetime) -> list[str]:
    """The metrics that somebody reported within the last day."""
    recent = (MetricFrame.stage == stage) & (MetricFrame.seconds == HOUR) & (MetricFrame.at >= at - KEPT[MINUTE])
    newest = (MetricFrame.stage == stage) & (MetricFrame.seconds == MINUTE)
    query = MetricFrame.select(MetricFrame.metric).where(recent | newest).distinct()
    return sorted(row.metric for row in query)


def series(
    stage: Stage, metric: str, *, since: dt.datetime, until: dt.datetime, statistic: str = AVERAGE
) -> list[Point]:
    """A chart's points, from the finest frames that reach back to `since`."""
    frames = _between(stage, resolution(since, at=until), since, until, metric)
    return [Point(frame.at, getattr(frame, statistic), frame.reporting) for frame in frames]


def series_of_host(host: Host, metric: str, *, since: dt.datetime, until: dt.datetime) -> list[Point]:
    """The same for one host's own values."""
    frames = _between(host.stage, resolution(since, at=until), since, until, metric)
    values = ((frame.at, unpack(frame).get(host.id)) for frame in frames)
    return [Point(moment, value, 1) for moment, value in values if value is not None]


def resolution(since: dt.datetime, *, at: dt.datetime) -> int:
    """The seconds of the finest frames that are kept for as long as from `since` to `at`, at most ~700 points."""
    span = at - since
    if span <= dt.timedelta(hours=12):
        return MINUTE
    return FIVE_MINUTES if span <= dt.timedelta(days=3) else HOUR


def prune(*, at: dt.datetime) -> int:
    """Forget frames that are older than their kind is kept, a batch at a time; returns how many."""
    gone = 0
    for seconds, kept in KEPT.items():
        old = (MetricFrame.seconds == seconds) & (MetricFrame.at < at - kept)
        some = MetricFrame.select(MetricFrame.id).where(old).limit(_BATCH)
        gone += int(MetricFrame.delete().where(MetricFrame.id.in_(list(some))).execute())
    return gone
