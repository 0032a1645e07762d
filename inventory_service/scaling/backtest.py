"""Back-tests: a trace of load played through the very plan that decides in earnest, with a model of booting machines.

The model: load spreads evenly over the serving machines; a machine that is asked for serves after `boot_seconds`; one
that is taken away serves no more at once. Time goes by in steps of a minute. Pure functions.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import math
import random
import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from inventory_service.clock import parse_iso
from inventory_service.codes import scaling as codes
from inventory_service.errors import InvalidError
from inventory_service.reasons import because
from inventory_service.scaling.plan import HOLD, IN, OUT, Decision, Reading, Situation, plan
from inventory_service.scaling.policies import SUM, Limits, Policy, Scheduled, Signal

_MINUTE = dt.timedelta(minutes=1)
_MOST_ROWS = 200_000
_LONGEST_GAP = dt.timedelta(hours=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """The load of the whole stage at a moment, by metric: the sum over all machines."""

    at: dt.datetime
    totals: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """How the machines behave, and what they are measured by.

    `objective` is the value per machine of `metric` above which users suffer; `price` is money per machine and hour.
    """

    metric: str
    boot_seconds: int = 180
    objective: float = 0.8
    price: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """One minute of a back-test. `value` is the metric per serving machine."""

    at: dt.datetime
    value: float
    capacity: int
    serving: int
    decision: Decision


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy would have done: its minutes, and what they come to."""

    moments: tuple[Moment, ...]
    violation_minutes: int
    host_hours: float
    cost: float
    changes: int

    @property
    def peak(self) -> int:
        """The most machines that there were at once."""
        return max((moment.capacity for moment in self.moments), default=0)


def simulate(
    policies: Sequence[Policy], limits: Limits, trace: Sequence[Load], model: Model, *, capacity: int | None = None
) -> Outcome:
    """Play the trace. `capacity` is what it begins with (default: the minimum, at least 1). Raises InvalidError."""
    signals = {policy.signal for policy in policies if not isinstance(policy, Scheduled)}
    _check(trace, {model.metric, *(signal.metric for signal in signals)})
    fleet = _Fleet(capacity if capacity is not None else max(1, limits.minimum), model.boot_seconds)
    past: deque[tuple[Load, int]] = deque(maxlen=60)
    moments = []
    for load in _by_minute(trace):
        serving = fleet.serving(load.at)
        past.append((load, serving))
        readings = {signal: _reading(signal, past, serving, load.at) for signal in signals}
        decision = plan(policies, limits, readings, fleet.situation(load.at))
        value = load.totals[model.metric] / serving if serving else math.inf
        moments.append(Moment(load.at, value, fleet.capacity, serving, decision))
        fleet.follow(decision, load.at)
    return _sum_up(moments, model)


def _check(trace: Sequence[Load], metrics: Iterable[str]) -> None:
    if len(trace) < 2:  # noqa: PLR2004 - a span needs two ends
        raise InvalidError.at("trace", "The trace needs at least two rows.")
    for metric in sorted(metrics):
        if any(metric not in load.totals for load in trace):
            raise InvalidError.at(
                "trace", f"The trace has no column {metric!r}, which a policy or the objective reads."
            )


def _by_minute(trace: Sequence[Load]) -> Iterable[Load]:
    """The trace in steps of a minute; between two rows the earlier one holds, but for an hour at most."""
    rows = iter(trace)
    row, following = next(rows), next(rows)
    at = row.at
    while True:
        while following is not None and following.at <= at:
            row, following = following, next(rows, None)  # type: ignore[assignment]
        if following is None and at > row.at:
            return
        if at - row.at > _LONGEST_GAP:
            at = following.at
            continue
        yield Load(at, row.totals)
        at += _MINUTE


def _reading(signal: Signal, past: Iterable[tuple[Load, int]], serving: int, at: dt.datetime) -> Reading:
    since = at - dt.timedelta(seconds=signal.window_seconds)
    values = [_value(signal, load, count) for load, count in past if load.at > since and count]
    if not values or not serving:
        return Reading(None, 0, serving, because(codes.Reading.NOBODY_SERVES))
    load = statistics.fmean(load.totals[signal.metric] for load, count in past if load.at > since and count)
    return Reading(statistics.fmean(values), serving, serving, load=load)


def _value(signal: Signal, load: Load, serving: int) -> float:
    total = load.totals[signal.metric]
    return total if signal.statistic == SUM else total / serving


class _Fleet:
    """The machines of the model: how many were asked for, and from when each serves."""

    def __init__(self, count: int, boot_seconds: int) -> None:
        self._boot = dt.timedelta(seconds=boot_seconds)
        self._ready: list[dt.datetime | None] = [None] * count
        self._last: dict[str, dt.datetime | None] = {OUT: None, IN: None}

    @property
    def capacity(self) -> int:
        return len(self._ready)

    def serving(self, at: dt.datetime) -> int:
        return sum(moment is None or moment <= at for moment in self._ready)

    def situation(self, at: dt.datetime) -> Situation:
        return Situation(at, self.capacity, self.serving(at), last_out_at=self._last[OUT], last_in_at=self._last[IN])

    def follow(self, decision: Decision, at: dt.datetime) -> None:
        if decision.action == HOLD:
            return
        self._last[decision.action] = at
        if decision.action == OUT:
            self._ready += [at + self._boot] * (decision.to_capacity - self.capacity)
        else:
            del self._ready[decision.to_capacity :]


def _sum_up(moments: Sequence[Moment], model: Model) -> Outcome:
    hours = sum(moment.capacity for moment in moments) / 60
    return Outcome(
        moments=tuple(moments),
        violation_minutes=sum(moment.value > model.objective for moment in moments),
        host_hours=hours,
        cost=hours * model.price,
        changes=sum(moment.decision.action != HOLD for moment in moments),
    )


def read_trace(lines: Iterable[str]) -> list[Load]:
    """A trace from CSV: a column `at` (ISO 8601 with zone) and one column for each metric, the load of the whole stage.

    Raises InvalidError that names the line.
    """
    rows = csv.DictReader(lines)
    metrics = [name for name in rows.fieldnames or [] if name != "at"]
    if "at" not in (rows.fieldnames or []) or not metrics:
        raise InvalidError.at("trace", "The trace's first line names its columns: at, and one for each metric.")
    trace: list[Load] = []
    for row in rows:
        load = _parse(row, metrics, rows.line_num)
        if trace and load.at <= trace[-1].at:
            raise InvalidError.at("trace", f"Line {rows.line_num}: its time does not lie after the line before.")
        if len(trace) >= _MOST_ROWS:
            raise InvalidError.at("trace", f"The trace is longer than {_MOST_ROWS} lines.")
        trace.append(load)
    return trace


def _parse(row: Mapping[str, str | None], metrics: Sequence[str], line: int) -> Load:
    try:
        totals = {metric: float(row[metric] or "nan") for metric in metrics}
        at = parse_iso(row["at"] or "")
    except (ValueError, TypeError) as error:
        raise InvalidError.at("trace", f"Line {line}: {error}.") from error
    if not all(math.isfinite(value) and value >= 0 for value in totals.values()):
        raise InvalidError.at("trace", f"Line {line}: a load is a finite number, not below 0.")
    return Load(at, totals)


def make_trace(
    *, metric: str = "load1_per_cpu", days: int = 7, start: dt.datetime, seed: int = 17, peak: float = 6.0
) -> list[Load]:
    """A week of a web shop's traffic as it is often published: low before dawn, two humps a day, quieter weekends, a
    little noise, and one flash crowd. The same seed gives the same trace. `peak` is about the highest usual total.
    """
    noise = random.Random(seed)  # noqa: S311 - no secret
    flash = start + dt.timedelta(days=noise.uniform(1, max(1.5, days - 1)), hours=1)
    trace, wander = [], 0.0
    for number in range(days * 24 * 60):
        at = start + number * _MINUTE
        wander = 0.98 * wander + noise.gauss(0, 0.01)
        level = _daily(at) * (0.7 if at.weekday() >= 5 else 1.0) * (1 + wander) + _crowd(at - flash)  # noqa: PLR2004
        trace.append(Load(at, {metric: round(max(0.02, level * (1 + noise.gauss(0, 0.02))) * peak, 4)}))
    return trace


def _daily(at: dt.datetime) -> float:
    """Between 0.1 before dawn and 1 in the evening, with a smaller hump at noon."""
    hour = at.hour + at.minute / 60
    noon, evening = math.exp(-(((hour - 12.5) / 3) ** 2)), math.exp(-(((hour - 20) / 2.5) ** 2))
    return 0.1 + 0.65 * noon + 0.9 * evening


def _crowd(since: dt.timedelta) -> float:
    """A crowd comes within five minutes and loses interest over an hour."""
    minutes = since.total_seconds() / 60
    if minutes < 0:
        return 0.0
    return 0.8 * min(1.0, minutes / 5) * math.exp(-max(0.0, minutes - 5) / 25)


def write_trace(trace: Sequence[Load]) -> Iterable[str]:
    """The trace as lines of CSV, as `read_trace` takes them."""
    metrics = list(trace[0].totals)
    yield ",".join(["at", *metrics]) + "\n"
    for load in trace:
        yield ",".join([load.at.isoformat(), *(f"{load.totals[metric]:g}" for metric in metrics)]) + "\n"
