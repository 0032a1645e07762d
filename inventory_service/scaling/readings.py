"""What policies see now: their signals read from the windows of what hosts report, and from CloudWatch."""

from __future__ import annotations

import datetime as dt
import math
import statistics
from collections.abc import Iterable

from inventory_service.adapters.ec2 import Cloud, Measured, MetricQuery
from inventory_service.codes import scaling as codes
from inventory_service.models import Stage
from inventory_service.reasons import because
from inventory_service.scaling import windows
from inventory_service.scaling.plan import Reading
from inventory_service.scaling.policies import Signal

# CloudWatch has a value some minutes after its period has ended.
_DELAY = dt.timedelta(minutes=3)


def read_all(stage: Stage, signals: Iterable[Signal], cloud: Cloud, *, at: dt.datetime) -> dict[Signal, Reading]:
    """Each signal's reading; one of CloudWatch is noted in the stage's windows as it was seen. Raises CloudError."""
    ours = {signal: windows.read(stage, signal, at=at) for signal in signals if signal.source is None}
    theirs = {signal: signal.source for signal in signals if signal.source is not None}
    if not theirs:
        return ours
    longest = max(_patience(source) + dt.timedelta(seconds=signal.window_seconds) for signal, source in theirs.items())
    measured = cloud.metric_data(set(theirs.values()), since=at - longest, until=at)
    found = {signal: reading_of(signal, source, measured[source], at=at) for signal, source in theirs.items()}
    for signal, reading in found.items():
        if reading.value is not None:
            windows.note(
                stage, signal.metric, reading.value, at=windows.floor(at, windows.MINUTE) - dt.timedelta(minutes=1)
            )
    return ours | found


def _patience(source: MetricQuery) -> dt.timedelta:
    """How old the beginning of the newest period may be: that, one more, and CloudWatch's delay."""
    return dt.timedelta(seconds=2 * source.period) + _DELAY


def reading_of(signal: Signal, source: MetricQuery, measured: Measured, *, at: dt.datetime) -> Reading:
    """The mean of the periods within a window that ends with the newest one. No value where that is too old, or none
    is a finite number; values from the future do not count.
    """
    if measured.problem:
        problem = because(codes.Reading.CLOUDWATCH_UNSURE, metric=signal.metric, text=measured.problem)
        return Reading(None, 0, 1, problem)
    known = [(moment, value) for moment, value in measured.points if moment <= at and math.isfinite(value)]
    if not known:
        return Reading(None, 0, 1, because(codes.Reading.CLOUDWATCH_EMPTY, metric=signal.metric))
    newest = max(moment for moment, _ in known)
    if at - newest > _patience(source):
        age = (at - newest).total_seconds()
        return Reading(None, 0, 1, because(codes.Reading.CLOUDWATCH_OLD, metric=signal.metric, seconds=age))
    since = newest - dt.timedelta(seconds=signal.window_seconds)
    return Reading(statistics.fmean(value for moment, value in known if moment > since), 1, 1)
