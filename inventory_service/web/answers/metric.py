"""Metrics over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from inventory_service.scaling import charts, windows
from inventory_service.web.answers.base import Answer, Moment, Number


class MetricNames(Answer):
    items: list[str]


class MetricPoint(Answer):
    at: Moment
    value: Number
    reporting: int = Field(description="How many hosts the value is made of")

    @classmethod
    def of(cls, point: windows.Point) -> MetricPoint:
        """One frame."""
        return MetricPoint(at=point.at, value=point.value, reporting=point.reporting)


class Series(Answer):
    seconds: int = Field(description="What one point stands for")
    items: list[MetricPoint]

    @classmethod
    def of(cls, points: Iterable[windows.Point], seconds: int) -> Series:
        """Points of `seconds` each, in order."""
        return Series(seconds=seconds, items=[MetricPoint.of(point) for point in points])


class Chart(Answer):
    metric: str
    seconds: int = Field(description="What one value stands for")
    since: Moment = Field(description="When the first step begins; step n begins n times `seconds` later")
    columns: Mapping[str, Sequence[Number | None]] = Field(
        description="By statistic, one value a step; null: nobody reported"
    )

    @classmethod
    def of(cls, chart: charts.Chart) -> Chart:
        """Equal steps."""
        return Chart(metric=chart.metric, seconds=chart.seconds, since=chart.since, columns=chart.columns)
