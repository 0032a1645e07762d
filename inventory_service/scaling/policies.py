"""Scaling policies as an operator writes them: target tracking, step and schedule, in the words of AWS Auto Scaling.

A policy is a JSON object; `parse` turns it into one of the classes below or says what is wrong with it. Nothing here
reads a database or a clock.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import math
import re
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any, Self

from cronsim import CronSim, CronSimError

from inventory_service.adapters.ec2 import MetricQuery
from inventory_service.errors import InvalidError
from inventory_service.scaling import cloudwatch

TARGET, STEP, SCHEDULE = "target", "step", "schedule"
AVERAGE, MEDIAN, P95, MAXIMUM, SUM, MINIMUM = "avg", "p50", "p95", "max", "sum", "min"
STATISTICS = (AVERAGE, MEDIAN, P95, MAXIMUM, SUM, MINIMUM)
CHANGE, PERCENT, EXACT = "change", "percent", "exact"
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LARGEST_CAPACITY = 10_000
_MOST_STEPS = 20
_SHORTEST_WINDOW, _LONGEST_WINDOW = 60, 3600


@dataclasses.dataclass(frozen=True, slots=True)
class Signal:
    """What a policy looks at: a statistic of a metric over the hosts, averaged over the last `window_seconds`.

    `source`: the metric comes from CloudWatch instead; `statistic` then says whose it is: AVERAGE of one host, SUM of
    the stage.
    """

    metric: str
    statistic: str = AVERAGE
    window_seconds: int = 300
    source: MetricQuery | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class TargetTracking:
    """Keep the signal near `target`. For `sum` the target is what one host should carry."""

    name: str
    signal: Signal
    target: float
    is_scale_in_disabled: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step: holds while `lower <= value - threshold < upper` (None: no bound)."""

    lower: float | None
    upper: float | None
    adjustment: int

    def holds(self, above: float) -> bool:
        """Whether a value that lies so far above the threshold is this step's."""
        return (self.lower is None or above >= self.lower) and (self.upper is None or above < self.upper)


@dataclasses.dataclass(frozen=True, slots=True)
class StepScaling:
    """Change the capacity by steps: `adjustment` hosts, per cent of the capacity, or an exact number of them."""

    name: str
    signal: Signal
    threshold: float
    adjustment_type: str
    steps: tuple[Step, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Scheduled:
    """At the times that `cron` names, other bounds hold from then on, or the capacity is set once."""

    name: str
    cron: str
    timezone: str
    minimum: int | None = None
    maximum: int | None = None
    desired: int | None = None

    def last_before(self, at: dt.datetime) -> dt.datetime | None:
        """The last moment up to `at` that the expression names, in UTC; None when there is none in the last year."""
        known = _LAST_SPANS.get((self.cron, self.timezone))
        if known is None or not known[0] <= at < known[1]:
            known = self._span_around(at)
        return known[0] if known and at - known[0] <= _A_YEAR else None

    def _span_around(self, at: dt.datetime) -> tuple[dt.datetime, dt.datetime] | None:
        """The named moments before and after `at`; remembered, since a back-test asks minute by minute."""
        local = at.astimezone(zoneinfo.ZoneInfo(self.timezone))
        before = next(CronSim(self.cron, local + dt.timedelta(minutes=1), reverse=True), None)
        if before is None:
            return None
        after = next(CronSim(self.cron, local), None)
        span = before.astimezone(dt.UTC), after.astimezone(dt.UTC) if after else at + dt.timedelta(minutes=1)
        _LAST_SPANS[self.cron, self.timezone] = span
        return span


# One entry for each expression in use; what it holds is true for ever, so threads may share it.
_LAST_SPANS: dict[tuple[str, str], tuple[dt.datetime, dt.datetime]] = {}
_A_YEAR = dt.timedelta(days=366)


Policy = TargetTracking | StepScaling | Scheduled


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What holds for every policy of a stage. Seconds, numbers of hosts, and shares between 0 and 1."""

    minimum: int = 1
    maximum: int = 10
    scale_out_cooldown_seconds: int = 60
    scale_in_cooldown_seconds: int = 300
    warmup_seconds: int = 300
    scale_in_share: float = 0.25
    reporting_share: float = 0.5


class Parts:
    """Parses parts of a whole one by one and raises their errors as one InvalidError, each with its place."""

    def __init__(self) -> None:
        self._errors: list[dict[str, object]] = []

    def __enter__(self) -> Self:
        """The parts, to add to."""
        return self

    def add(self, parse: Callable[[Any], Any], text: Any, *place: str | int) -> Any:
        """What `parse` makes of the text; None, and its error kept with its place, where it refuses."""
        try:
            return parse(text)
        except InvalidError as error:
            for one in error.errors:
                loc = one["loc"] if isinstance(one["loc"], list) else [one["loc"]]
                within = loc[1:] if place and loc[:1] == [place[-1]] else loc
                self._errors.append({**one, "loc": [*place, *within]})
            return None

    def __exit__(self, kind: object, *_: object) -> None:
        """Raise what was gathered, unless something else went wrong."""
        if kind is None and self._errors:
            raise InvalidError(str(self._errors[0]["msg"]), errors=self._errors)


def parse_all(texts: list[Mapping[str, Any]]) -> tuple[Policy, ...]:
    """The policies of a stage; their names differ. Raises InvalidError that names every policy's wrong field."""
    with Parts() as parts:
        found = tuple(parts.add(parse, text, "policies", number) for number, text in enumerate(texts))
    names = [policy.name for policy in found]
    if len(set(names)) != len(names):
        raise InvalidError.at("policies", "Two policies have the same name.")
    signals = [policy.signal for policy in found if not isinstance(policy, Scheduled)]
    if len({signal.metric for signal in signals}) != len({(signal.metric, signal.source) for signal in signals}):
        raise InvalidError.at("policies", "Two metrics of CloudWatch are called the same; give each a name of its own.")
    return found


def parse(text: Mapping[str, Any]) -> Policy:
    """One policy. Raises InvalidError that names the field."""
    makers: dict[str, Callable[[_Reader], Policy]] = {TARGET: _target, STEP: _step, SCHEDULE: _schedule}
    reader = _Reader(text)
    kind = reader.text("type")
    if kind not in makers:
        raise InvalidError.at("type", f"{kind[:40]!r} is no type of policy; write {', '.join(makers)}.")
    policy = makers[kind](reader)
    reader.refuse_rest()
    return policy


class _Reader:
    """Takes fields out of a mapping, each checked, and knows which were not taken."""

    def __init__(self, text: Mapping[str, Any]) -> None:
        self._left = dict(text)

    def take(self, name: str, otherwise: Any = None) -> Any:
        return self._left.pop(name, otherwise)

    def has(self, name: str) -> bool:
        return self._left.get(name) is not None

    def text(self, name: str, otherwise: str | None = None) -> str:
        value = self.take(name, otherwise)
        if not isinstance(value, str) or not 0 < len(value) <= 200:  # noqa: PLR2004 - as in the API
            raise InvalidError.at(name, f"The policy needs {name!r} as text.")
        return value

    def number(self, name: str, otherwise: float | None = None) -> float:
        value = self.take(name, otherwise)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidError.at(name, f"The policy needs {name!r} as a finite number.")
        return float(value)

    def count(self, name: str, otherwise: int | None = None) -> int:
        value = self.take(name, otherwise)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_CAPACITY:
            raise InvalidError.at(name, f"{name!r} is a whole number from 0 to {_LARGEST_CAPACITY}.")
        return value

    def flag(self, name: str) -> bool:
        value = self.take(name, otherwise=False)
        if not isinstance(value, bool):
            raise InvalidError.at(name, f"{name!r} is true or false.")
        return value

    def refuse_rest(self) -> None:
        if self._left:
            name = min(self._left)
            raise InvalidError.at(str(name)[:60], f"The policy has no field {str(name)[:60]!r}.")


def _signal(reader: _Reader) -> Signal:
    metric, statistic = reader.text("metric"), reader.text("statistic", AVERAGE)
    window = reader.count("window_seconds", 300)
    if not _METRIC.fullmatch(metric):
        raise InvalidError.at("metric", f"{metric[:60]!r} is no name of a metric.")
    if statistic not in STATISTICS:
        raise InvalidError.at("statistic", f"{statistic[:40]!r} is no statistic; there are {', '.join(STATISTICS)}.")
    if not _SHORTEST_WINDOW <= window <= _LONGEST_WINDOW:
        raise InvalidError.at("window_seconds", f"A window lasts {_SHORTEST_WINDOW} to {_LONGEST_WINDOW} s.")
    if not reader.has("cloudwatch"):
        reader.take("cloudwatch")
        return Signal(metric, statistic, window)
    if statistic not in (AVERAGE, SUM):
        detail = (
            f"Of CloudWatch's metrics, write {AVERAGE} where the value is one host's, {SUM} where it is the stage's."
        )
        raise InvalidError.at("statistic", detail)
    with Parts() as parts:
        source = parts.add(cloudwatch.parse, reader.take("cloudwatch"), "cloudwatch")
    return Signal(cloudwatch.PREFIX + metric, statistic, window, source)


def _target(reader: _Reader) -> TargetTracking:
    name, signal, target = reader.text("name"), _signal(reader), reader.number("target")
    if target <= 0:
        raise InvalidError.at("target", "The target must be above 0.")
    return TargetTracking(name, signal, target, reader.flag("disable_scale_in"))


def _step(reader: _Reader) -> StepScaling:
    name, signal, threshold = reader.text("name"), _signal(reader), reader.number("threshold")
    kind = reader.text("adjustment_type", CHANGE)
    if kind not in (CHANGE, PERCENT, EXACT):
        raise InvalidError.at("adjustment_type", f"Write {CHANGE}, {PERCENT} or {EXACT}.")
    texts = reader.take("steps")
    if not isinstance(texts, list) or not 0 < len(texts) <= _MOST_STEPS:
        raise InvalidError.at("steps", f"A step policy has 1 to {_MOST_STEPS} steps.")
    with Parts() as parts:
        steps = tuple(parts.add(_one_step, text, "steps", number) for number, text in enumerate(texts))
    _check_steps(steps, kind)
    return StepScaling(name, signal, threshold, kind, steps)


def _one_step(text: Any) -> Step:
    if not isinstance(text, Mapping):
        detail = "A step is an object with lower, upper and adjustment."
        raise InvalidError(detail, errors=[{"loc": [], "msg": detail}])
    reader = _Reader(text)
    bounds = [reader.number(name) if reader.has(name) else reader.take(name) for name in ("lower", "upper")]
    adjustment = reader.take("adjustment")
    if isinstance(adjustment, bool) or not isinstance(adjustment, int) or abs(adjustment) > _LARGEST_CAPACITY:
        raise InvalidError.at("adjustment", "A step's adjustment is a whole number.")
    reader.refuse_rest()
    return Step(bounds[0], bounds[1], adjustment)


def _check_steps(steps: tuple[Step, ...], kind: str) -> None:
    """Steps don't overlap, and a higher value never asks for fewer hosts than a lower one."""
    ordered = sorted(steps, key=lambda step: -math.inf if step.lower is None else step.lower)
    for step in ordered:
        if step.lower is not None and step.upper is not None and step.lower >= step.upper:
            raise InvalidError.at("steps", "A step's lower bound lies below its upper one.")
        if kind == EXACT and step.adjustment < 0:
            raise InvalidError.at("steps", "An exact number of hosts is not below 0.")
    if kind == EXACT or ordered[0].adjustment < 0:
        _refuse(ordered[0].lower is not None, "The lowest step needs no lower bound: below it, hosts would stay.")
    if kind == EXACT or ordered[-1].adjustment > 0:
        _refuse(ordered[-1].upper is not None, "The highest step needs no upper bound: above it, nothing would happen.")
    for lower, upper in itertools.pairwise(ordered):
        if lower.upper is None or lower.upper != upper.lower:
            raise InvalidError.at("steps", "Each step begins where the one before ends: no gap, no overlap.")
        if lower.adjustment > upper.adjustment:
            raise InvalidError.at("steps", "A higher step must not ask for fewer hosts than a lower one.")


def _refuse(is_wrong: bool, detail: str) -> None:
    if is_wrong:
        raise InvalidError.at("steps", detail)


def _schedule(reader: _Reader) -> Scheduled:
    name, cron, timezone = reader.text("name"), reader.text("cron"), reader.text("timezone", "UTC")
    bounds = {
        key: reader.count(key) if reader.has(key) else reader.take(key) for key in ("minimum", "maximum", "desired")
    }
    policy = Scheduled(name, cron, timezone, **bounds)
    if all(value is None for value in bounds.values()):
        raise InvalidError.at("desired", "A schedule sets minimum, maximum or desired.")
    if policy.minimum is not None and policy.maximum is not None and policy.minimum > policy.maximum:
        raise InvalidError.at("minimum", "The minimum lies above the maximum.")
    _check_cron(cron, timezone)
    return policy


def _check_cron(cron: str, timezone: str) -> None:
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidError.at(
            "timezone", f"{timezone[:60]!r} is no time zone; write one like Europe/Berlin."
        ) from error
    try:
        CronSim(cron, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    except CronSimError as error:
        raise InvalidError.at("cron", f"{cron[:80]!r} is no crontab expression: {error}. Write five fields.") from error


def parse_limits(text: Mapping[str, Any]) -> Limits:
    """The limits of a stage; what is left out has its default. Raises InvalidError."""
    reader, usual = _Reader(text), Limits()
    seconds = {name: reader.count(name, getattr(usual, name)) for name in _SECONDS}
    limits = Limits(
        minimum=reader.count("minimum", usual.minimum),
        maximum=reader.count("maximum", usual.maximum),
        scale_in_share=reader.number("scale_in_share", usual.scale_in_share),
        reporting_share=reader.number("reporting_share", usual.reporting_share),
        **seconds,
    )
    reader.refuse_rest()
    if limits.minimum > limits.maximum:
        raise InvalidError.at("minimum", f"The minimum {limits.minimum} lies above the maximum {limits.maximum}.")
    for name in ("scale_in_share", "reporting_share"):
        if not 0 < getattr(limits, name) <= 1:
            raise InvalidError.at(name, f"{name!r} is a share above 0, at most 1.")
    return limits


_SECONDS = ("scale_out_cooldown_seconds", "scale_in_cooldown_seconds", "warmup_seconds")
