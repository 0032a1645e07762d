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
import re
import statistics
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inventory_service.codes import scaling as codes
from inventory_service.models import Host, MetricFrame, ScalingDecision, ServiceState, Stage
from inventory_service.reasons import because
from inventory_service.registry import hosts, listing, liveness, stages
from inventory_service.registry.listing import MeasuredHost
from inventory_service.scaling.plan import Reading
from inventory_service.scaling.policies import AVERAGE, MAXIMUM, MEDIAN, MINIMUM, P95, STATISTICS, SUM, Signal

MINUTE, FIVE_MINUTES, HOUR = 60, 300, 3600
# Seconds of a frame → how long such frames are kept.
KEPT = {MINUTE: dt.timedelta(hours=24), FIVE_MINUTES: dt.timedelta(days=14), HOUR: dt.timedelta(days=90)}
_FINER = {FIVE_MINUTES: MINUTE, HOUR: FIVE_MINUTES}
_COUNTER, _RATE = "_total", "_per_second"
_MOST_METRICS = 64
_MOST_VALUES = 2000  # hosts whose own values a frame holds; statistics cover them all
_PATIENCE = dt.timedelta(seconds=150)
_DECIDED_LATELY = dt.timedelta(minutes=10)
_BATCH = 500
_NUMBERS = (
    MetricFrame.at,
    MetricFrame.metric,
    MetricFrame.expected,
    MetricFrame.reporting,
    *(getattr(MetricFrame, name) for name in STATISTICS),
)
_LAST_COUNTERS = "metric_counters"
# Numbers of machines, kept as frames as well. No agent can report a name with a dot.
DESIRED, LIVE, ON_RELEASE = "stage.desired", "stage.live", "stage.on_release"
CAPACITY = (DESIRED, LIVE, ON_RELEASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """One frame for a chart: `value` of a statistic, or of one host."""

    at: dt.datetime
    value: float
    reporting: int


def sample(*, expiry: liveness.Expiry) -> int:
    """Make the frames of the minute that has just ended from what hosts reported last, and the longer frames that
    ended with it; returns how many. Twice for one minute is no error: the first stays, unless it lies in the future, as
    after the clock was set back: that is no measurement of what will be then.
    """
    for seconds in KEPT:
        ahead = MetricFrame.at > expiry.at - dt.timedelta(seconds=seconds)
        MetricFrame.delete().where((MetricFrame.seconds == seconds) & ahead).execute()
    at = floor(expiry.at, MINUTE) - dt.timedelta(seconds=MINUTE)
    made = 0
    for stage in stages.list_stages():
        made += _sample_stage(stage, at, expiry=expiry)
        for seconds in (FIVE_MINUTES, HOUR):
            if floor(expiry.at, seconds) == floor(expiry.at, MINUTE):
                made += _roll_up(stage, seconds, floor(expiry.at, seconds) - dt.timedelta(seconds=seconds))
    return made


def floor(at: dt.datetime, seconds: int) -> dt.datetime:
    """When the frame of this length began to which the moment belongs."""
    return dt.datetime.fromtimestamp(at.timestamp() // seconds * seconds, dt.UTC)


def _sample_stage(stage: Stage, at: dt.datetime, *, expiry: liveness.Expiry) -> int:
    """Only what was reported within the last interval and a half: an older value is no measurement of this minute."""
    states = [(host, expiry.state(host, stage)) for host in listing.read_metrics(stage) if host.conflict_code is None]
    present = [host for host, state in states if state in liveness.LISTED]
    made = _sample_capacity(stage, at, present, expiry=expiry)
    values: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for host in (host for host, state in states if state == liveness.LIVE):
        for name, value in host.metrics.items():
            values[name][host.id] = float(value)
    for name in [name for name in values if name.endswith(_COUNTER)]:
        values[name.removesuffix(_COUNTER) + _RATE] = _rates(stage, name, values.pop(name), expiry.at)
    return made + sum(
        _write(stage, name, MINUTE, at, of_hosts, expected=len(present))
        for name, of_hosts in sorted(values.items())[:_MOST_METRICS]
        if of_hosts
    )


def _sample_capacity(stage: Stage, at: dt.datetime, present: Sequence[MeasuredHost], *, expiry: liveness.Expiry) -> int:
    """How many machines there were: live, of these on the desired release, and as many as scaling wanted."""
    if not present and not MetricFrame.select().where(MetricFrame.stage == stage).exists():
        return 0  # nobody was ever here
    desired = hosts.desired_release(stage)
    counts = {
        LIVE: len(present),
        ON_RELEASE: sum(hosts.is_up_to_date(host, desired) and not host.is_draining for host in present),
        DESIRED: wanted(stage, at=expiry.at),
    }
    return sum(note(stage, name, count, at=at) for name, count in counts.items() if count is not None)


def wanted(stage: Stage, *, at: dt.datetime) -> int | None:
    """The capacity that scaling wants, as its last decision left it; None where it has not looked lately."""
    is_open = ScalingDecision.status.in_(("planned", "acting"))  # a drain may take hours
    recent = (ScalingDecision.at > at - _DECIDED_LATELY) | is_open
    query = ScalingDecision.select().where((ScalingDecision.stage == stage) & recent)
    last: ScalingDecision | None = query.order_by(ScalingDecision.id.desc()).first()
    if last is None:
        return None
    is_followed = last.status in ("planned", "acting", "done")
    return int(last.to_capacity if is_followed else last.from_capacity)


def note(stage: Stage, metric: str, value: float, *, at: dt.datetime) -> int:
    """Keep one number of the whole stage as the frame of the minute that begins at `at`; 1 unless there is one."""
    return _write(stage, metric, MINUTE, at, {"": float(value)}, expected=1)


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


def value_of(frame: MetricFrame, host_id: str) -> float | None:
    """One host's own value, found without reading those of all others; None where it reported none."""
    found = re.search(rf'"{re.escape(host_id)}": ([^,}}]+)', zlib.decompress(bytes(frame.packed)).decode())
    return float(found[1]) if found else None


def _roll_up(stage: Stage, seconds: int, at: dt.datetime) -> int:
    """A longer frame from the shorter ones within it: each host's mean, then the statistics over hosts."""
    finer = between(stage, _FINER[seconds], at, at + dt.timedelta(seconds=seconds), is_packed=True)
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


def between(
    stage: Stage,
    seconds: int,
    since: dt.datetime,
    until: dt.datetime,
    metric: str | None = None,
    *,
    is_packed: bool = False,
) -> list[MetricFrame]:
    """The frames of this length that begin in the span, oldest first; `is_packed`: with the hosts' own values."""
    inside = (MetricFrame.at >= since) & (MetricFrame.at < until)
    fields = (*_NUMBERS, MetricFrame.packed) if is_packed else _NUMBERS
    query = MetricFrame.select(*fields).where((MetricFrame.stage == stage) & (MetricFrame.seconds == seconds) & inside)
    query = query.where(MetricFrame.metric == metric) if metric else query
    return list(query.order_by(MetricFrame.at))


def read(stage: Stage, signal: Signal, *, at: dt.datetime) -> Reading:
    """The signal now: the mean of its minutes within the window. Without fresh minutes there is no value."""
    since = at - dt.timedelta(seconds=signal.window_seconds)
    frames = between(stage, MINUTE, since - dt.timedelta(seconds=MINUTE), at, signal.metric)
    if not frames:
        problem = because(codes.Reading.NOT_REPORTED, metric=signal.metric, seconds=signal.window_seconds)
        return Reading(None, 0, 0, problem)
    newest = frames[-1]
    age = at - newest.at - dt.timedelta(seconds=MINUTE)
    if age > _PATIENCE:
        problem = because(codes.Reading.REPORTED_BEFORE, metric=signal.metric, seconds=age.total_seconds())
        return Reading(None, 0, newest.expected, problem)
    value = statistics.fmean(getattr(frame, signal.statistic) for frame in frames)
    of_all = (getattr(frame, signal.statistic) * max(frame.expected, frame.reporting) for frame in frames)
    load = value if signal.statistic == SUM else statistics.fmean(of_all)
    return Reading(value, newest.reporting, newest.expected, load=load)


def latest(*, at: dt.datetime) -> dict[int, list[MetricFrame]]:
    """Each metric's newest minute by stage id, sorted by name, without what nobody reported lately."""
    fresh = (MetricFrame.seconds == MINUTE) & (MetricFrame.at >= at - _PATIENCE - dt.timedelta(seconds=MINUTE))
    newest: dict[tuple[int, str], MetricFrame] = {}
    for frame in MetricFrame.select(MetricFrame.stage, *_NUMBERS).where(fresh).order_by(MetricFrame.at):
        if frame.metric not in CAPACITY:
            newest[frame.stage_id, frame.metric] = frame
    found: defaultdict[int, list[MetricFrame]] = defaultdict(list)
    for (stage_id, _), frame in sorted(newest.items(), key=lambda item: item[0]):
        found[stage_id].append(frame)
    return found


def names(stage: Stage, *, at: dt.datetime, since: dt.datetime | None = None) -> list[str]:
    """The metrics that somebody reported since then (None: within the last day)."""
    since = at - KEPT[MINUTE] if since is None else since
    of_stage = MetricFrame.stage == stage
    longer = of_stage & (MetricFrame.seconds == HOUR) & (MetricFrame.at >= since - dt.timedelta(seconds=HOUR))
    newest = of_stage & (MetricFrame.seconds == MINUTE) & (MetricFrame.at >= since)
    query = MetricFrame.select(MetricFrame.metric).where(longer | newest).distinct()
    return sorted(row.metric for row in query if row.metric not in CAPACITY)


def series(
    stage: Stage, metric: str, *, since: dt.datetime, until: dt.datetime, at: dt.datetime, statistic: str = AVERAGE
) -> list[Point]:
    """A chart's points, from the finest frames that reach back to `since`."""
    frames = between(stage, resolution(since, until, at=at), since, until, metric)
    return [Point(frame.at, getattr(frame, statistic), frame.reporting) for frame in frames]


def series_of_host(host: Host, metric: str, *, since: dt.datetime, until: dt.datetime, at: dt.datetime) -> list[Point]:
    """The same for one host's own values."""
    frames = between(host.stage, resolution(since, until, at=at), since, until, metric, is_packed=True)
    values = ((frame.at, value_of(frame, host.id)) for frame in frames)
    return [Point(moment, value, 1) for moment, value in values if value is not None]


def resolution(since: dt.datetime, until: dt.datetime, *, at: dt.datetime) -> int:
    """The seconds of the finest frames that are still kept of `since`, and make at most ~900 points."""
    span, age = until - since, at - since
    if span <= dt.timedelta(hours=12) and age <= KEPT[MINUTE]:
        return MINUTE
    return FIVE_MINUTES if span <= dt.timedelta(days=3) and age <= KEPT[FIVE_MINUTES] else HOUR


def prune(*, at: dt.datetime) -> int:
    """Forget frames that are older than their kind is kept, a batch at a time; returns how many."""
    gone = 0
    for seconds, kept in KEPT.items():
        old = (MetricFrame.seconds == seconds) & (MetricFrame.at < at - kept)
        some = MetricFrame.select(MetricFrame.id).where(old).limit(_BATCH)
        gone += int(MetricFrame.delete().where(MetricFrame.id.in_(list(some))).execute())
    return gone
