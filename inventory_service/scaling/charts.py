"""Charts: a metric over the last hour, day, fortnight or quarter, in equal steps with None where nobody reported."""

from __future__ import annotations

import dataclasses
import datetime as dt
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping

from inventory_service.models import Host, MetricFrame, Stage
from inventory_service.scaling import windows
from inventory_service.scaling.policies import AVERAGE, MAXIMUM, MEDIAN, MINIMUM, P95, SUM
from inventory_service.scaling.windows import FIVE_MINUTES, HOUR, MINUTE

# The span that a chart shows and the seconds of its steps: at most 2,160 points.
RANGES = {
    "1h": (dt.timedelta(hours=1), MINUTE),
    "24h": (dt.timedelta(hours=24), FIVE_MINUTES),
    "14d": (dt.timedelta(days=14), HOUR),
    "90d": (dt.timedelta(days=90), HOUR),
}
HOST_VALUE, REPORTING, EXPECTED = "host", "reporting", "expected"
_OF_STAGE = (AVERAGE, MEDIAN, P95, MAXIMUM, MINIMUM, SUM, REPORTING, EXPECTED)

Value = float | None
Take = Callable[[MetricFrame], Value]


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    """Columns of equal length; the value n of each stands for the `seconds` that begin n times `seconds` after `since`.

    None where nobody reported.
    """

    metric: str
    seconds: int
    since: dt.datetime
    columns: Mapping[str, list[Value]]


def of_stage(stage: Stage, metric: str, span: str, *, at: dt.datetime) -> Chart:
    """A metric's statistics over the stage's hosts, however many they are. `span`: a key of RANGES."""
    return _draw(stage, metric, span, {name: _statistic(name) for name in _OF_STAGE}, at=at)


def of_host(host: Host, metric: str, span: str, *, at: dt.datetime) -> Chart:
    """A host's own values, beside the average of its stage."""
    takes = {HOST_VALUE: lambda frame: windows.value_of(frame, host.id), AVERAGE: _statistic(AVERAGE)}
    return _draw(host.stage, metric, span, takes, at=at, is_packed=True)


def of_capacity(stage: Stage, span: str, *, at: dt.datetime) -> Chart:
    """How many machines there were: `stage.desired`, `stage.live`, `stage.on_release`."""
    parts = {name: _draw(stage, name, span, {name: _statistic(AVERAGE)}, at=at) for name in windows.CAPACITY}
    size = max(len(part.columns[name]) for name, part in parts.items())
    columns = {name: part.columns[name] + [None] * (size - len(part.columns[name])) for name, part in parts.items()}
    return dataclasses.replace(parts[windows.LIVE], metric="stage.capacity", columns=columns)


def _statistic(name: str) -> Take:
    def take(frame: MetricFrame) -> Value:
        return float(getattr(frame, name))

    return take


def _draw(
    stage: Stage, metric: str, span: str, takes: Mapping[str, Take], *, at: dt.datetime, is_packed: bool = False
) -> Chart:
    """The frames put into a regular grid. Steps that still go on, or ended a moment ago, are made of their minutes."""
    length, seconds = RANGES[span]
    step, end = dt.timedelta(seconds=seconds), windows.floor(at, seconds)
    since = windows.floor(at - length, seconds)
    by_step: defaultdict[int, list[MetricFrame]] = defaultdict(list)
    if seconds > MINUTE:
        for frame in windows.between(stage, MINUTE, end - step, at, metric, is_packed=is_packed):
            by_step[(frame.at - since) // step].append(frame)
    for frame in windows.between(stage, seconds, since, end, metric, is_packed=is_packed):
        by_step[(frame.at - since) // step] = [frame]
    size = (end - since) // step
    if seconds == MINUTE and size - 1 not in by_step:
        size -= 1  # the sampler has yet to come to this minute
    elif size in by_step:
        size += 1
    columns = {name: [_mean(by_step.get(number, []), take) for number in range(size)] for name, take in takes.items()}
    return Chart(metric, seconds, since, columns)


def _mean(frames: list[MetricFrame], take: Take) -> Value:
    values = [value for frame in frames if (value := take(frame)) is not None]
    return round(statistics.fmean(values), 6) if values else None
