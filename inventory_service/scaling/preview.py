"""A look ahead: what policies would have done in the last days, against the present ones. For the page and the API."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any

from inventory_service.codes import scaling as codes
from inventory_service.errors import InvalidError
from inventory_service.models import MetricFrame, Stage
from inventory_service.reasons import Reason, because
from inventory_service.scaling import backtest, policies, settings, windows
from inventory_service.scaling.backtest import Load, Model, Moment, Outcome
from inventory_service.scaling.policies import (
    SUM,
    Limits,
    Policy,
    Scheduled,
    StepScaling,
    TargetTracking,
)

USUAL_METRIC, USUAL_OBJECTIVE = "load1_per_cpu", 0.8
AUTO, RECORDED, SHIPPED, GIVEN = "auto", "recorded", "shipped", "given"
SOURCES = (AUTO, RECORDED, SHIPPED)
NEW, PRESENT = "new", "present"
_DAYS = 7
_WEEK = dt.timedelta(days=_DAYS)
_LITTLE = dt.timedelta(days=6, hours=12)
_ROOM = 4 / 3  # over the target, where nobody says what users bear
_USUAL_SHARE = 0.6  # of the largest capacity, which the shipped trace fills in its usual peaks
_MOST_POINTS = 1008

Rules = tuple[Sequence[Policy], Limits]
Column = list[float | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """How to play. `source`: AUTO, RECORDED or SHIPPED; a `trace` that is given goes before. `objective` None: by the
    policy.
    """

    source: str = AUTO
    boot_seconds: int = 180
    objective: float | None = None
    price: float = 0.0
    trace: Sequence[Load] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Preview:
    """`outcomes` by NEW and, where it could be played, PRESENT. `notes`: what was played, and what was not."""

    outcomes: Mapping[str, Outcome]
    model: Model
    source: str
    notes: tuple[Reason, ...]


def of_texts(
    stage: Stage, limits: Mapping[str, Any], policy_texts: list[Mapping[str, Any]], how: Request, *, at: dt.datetime
) -> Preview:
    """The same for rules as people write them, against the stage's own. Raises InvalidError that names the fields."""
    settings.check(limits, policy_texts, None, None)
    new = policies.parse_all(policy_texts), policies.parse_limits(limits)
    row = settings.find(stage)
    present = (policies.parse_all(row.policies), policies.parse_limits(row.limits)) if row else None
    return preview(stage, new, present, how, at=at)


def preview(stage: Stage, new: Rules, present: Rules | None, how: Request, *, at: dt.datetime) -> Preview:
    """Play both. Raises InvalidError where the trace is not fit for the new policies."""
    metric = main_metric(new[0])
    model = Model(metric, how.boot_seconds, _objective(new[0], how), how.price)
    both = _needed(new[0]) | (metrics_of(present[0]) if present else set())
    source, trace, *notes = _trace(stage, new, present, both, how, at=at)
    most = max(new[1].maximum, 1)
    begin = min(trace[0].totals[metric] / model.objective, most) if trace else 0
    begin_with = min(max(math.ceil(begin), new[1].minimum, 1), most)
    outcomes = {NEW: backtest.simulate(*new, trace, model, capacity=begin_with)}
    if present is not None:
        if all(name in trace[0].totals for name in both):
            outcomes[PRESENT] = backtest.simulate(*present, trace, model, capacity=begin_with)
        else:
            notes.append(because(codes.Preview.PRESENT_NOT_PLAYED))
    return Preview(outcomes, model, source, tuple(notes))


def _reading(rules: Sequence[Policy]) -> list[TargetTracking | StepScaling]:
    """The policies that read a metric."""
    return [policy for policy in rules if not isinstance(policy, Scheduled)]


def metrics_of(rules: Sequence[Policy]) -> set[str]:
    """The metrics that the policies read."""
    return {policy.signal.metric for policy in _reading(rules)}


def _needed(rules: Sequence[Policy]) -> set[str]:
    """What a trace has to have of them."""
    return {main_metric(rules), *metrics_of(rules)}


def main_metric(rules: Sequence[Policy]) -> str:
    """The metric of the first policy that reads one: what users are said to feel."""
    found = _reading(rules)
    return found[0].signal.metric if found else USUAL_METRIC


def _objective(rules: Sequence[Policy], how: Request) -> float:
    if how.objective is not None:
        return how.objective
    first = next(iter(_reading(rules)), None)
    if first is None or first.signal.metric == USUAL_METRIC:
        return USUAL_OBJECTIVE
    aim = first.target if isinstance(first, TargetTracking) else first.threshold
    return aim * _ROOM if aim > 0 else USUAL_OBJECTIVE


def _trace(
    stage: Stage, new: Rules, present: Rules | None, both: set[str], how: Request, *, at: dt.datetime
) -> tuple[str, Sequence[Load], Reason]:
    """(source, trace, note). `both`: the metrics of the new policies and of the present ones."""
    if how.trace is not None:
        return GIVEN, how.trace, because(codes.Preview.GIVEN)
    if how.source == SHIPPED:
        return SHIPPED, shipped(new, both, at=at), because(codes.Preview.SHIPPED)
    needed = _needed(new[0])
    rules = [new[0], *([present[0]] if present else [])]
    found = recorded(stage, both, *rules, at=at) or recorded(stage, needed, *rules, at=at)
    covered = found[-1].at - found[0].at if found else dt.timedelta(0)
    if how.source == RECORDED or covered >= _LITTLE:
        if len(found) < 2:  # noqa: PLR2004 - a span needs two ends
            names = ", ".join(sorted(needed))
            raise InvalidError.at("source", f"Nothing of {names} is on record; play the shipped trace.")
        return RECORDED, found, because(codes.Preview.RECORDED, seconds=covered.total_seconds())
    seconds = covered.total_seconds() if found else None
    note = because(codes.Preview.TOO_LITTLE_RECORDED, metrics=sorted(needed), seconds=seconds)
    return SHIPPED, shipped(new, both, at=at), note


def recorded(stage: Stage, metrics: set[str], *rules: Sequence[Policy], at: dt.datetime) -> list[Load]:
    """What was recorded of these metrics in the last 7 days, in steps of five minutes: the load of the whole stage.

    Only steps in which all of them were reported. `rules` say which values of CloudWatch are those of one host.
    """
    live = {frame.at: float(frame.avg) for frame in _week(stage, windows.LIVE, at=at)}
    of_one_host = {name for found in rules for name in _of_one_host(found)}
    by_time: dict[dt.datetime, dict[str, float]] = {}
    for metric in sorted(metrics):
        is_per_host = metric in of_one_host
        for frame in _week(stage, metric, at=at):
            many = live.get(frame.at) if is_per_host else max(frame.expected, frame.reporting)
            if many is not None:
                by_time.setdefault(frame.at, {})[metric] = max(0.0, float(frame.avg) * many)
    return [Load(moment, totals) for moment, totals in sorted(by_time.items()) if len(totals) == len(metrics)]


def _week(stage: Stage, metric: str, *, at: dt.datetime) -> list[MetricFrame]:
    return windows.between(stage, windows.FIVE_MINUTES, at - _WEEK, at, metric)


def _of_one_host(rules: Sequence[Policy]) -> set[str]:
    """Metrics of CloudWatch that stand for one host: nothing says for how many, but how many were live."""
    signals = [policy.signal for policy in _reading(rules)]
    return {signal.metric for signal in signals if signal.source is not None and signal.statistic != SUM}


def shipped(rules: Rules, metrics: set[str], *, at: dt.datetime) -> list[Load]:
    """The generated week up to `at`, for each metric as high as the policies' machines can bear it."""
    start = windows.floor(at, 86400) - _WEEK
    largest = max(1, rules[1].maximum) * _USUAL_SHARE
    traces = [
        backtest.make_trace(metric=metric, days=_DAYS, start=start, peak=_aim(rules[0], metric) * largest)
        for metric in sorted(metrics)
    ]
    return [
        Load(loads[0].at, {name: value for load in loads for name, value in load.totals.items()})
        for loads in zip(*traces, strict=True)
    ]


def _aim(rules: Sequence[Policy], metric: str) -> float:
    """What one machine should carry of it."""
    for policy in rules:
        if isinstance(policy, TargetTracking) and policy.signal.metric == metric:
            return policy.target
        if isinstance(policy, StepScaling) and policy.signal.metric == metric and policy.threshold > 0:
            return policy.threshold / (_USUAL_SHARE if policy.signal.statistic == SUM else 1)
    return USUAL_OBJECTIVE


@dataclasses.dataclass(frozen=True, slots=True)
class Drawn:
    """An outcome as columns of equal steps: the largest capacity and value in each, None where the trace has a gap."""

    capacity: Column
    value: Column


def draw(preview: Preview) -> tuple[dt.datetime, int, dict[str, Drawn]]:
    """(since, seconds, columns by NEW and PRESENT) for a chart; at most about a thousand steps."""
    moments = preview.outcomes[NEW].moments
    since, until = moments[0].at, moments[-1].at
    minutes = max(1, math.ceil((until - since).total_seconds() / 60 / _MOST_POINTS))
    drawn = {name: _columns(one.moments, since, minutes * 60) for name, one in preview.outcomes.items()}
    return since, minutes * 60, drawn


def _columns(moments: Sequence[Moment], since: dt.datetime, seconds: int) -> Drawn:
    step = dt.timedelta(seconds=seconds)
    size = (moments[-1].at - since) // step + 1
    drawn = Drawn([None] * size, [None] * size)
    for moment in moments:
        place = (moment.at - since) // step
        drawn.capacity[place] = max(drawn.capacity[place] or 0, moment.capacity)
        if math.isfinite(moment.value):
            drawn.value[place] = round(max(drawn.value[place] or 0, moment.value), 4)
    return drawn
