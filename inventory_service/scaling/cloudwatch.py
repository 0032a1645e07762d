"""A policy's metric that comes from CloudWatch instead of the stage's hosts, as an operator writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from inventory_service.adapters.ec2 import MetricQuery
from inventory_service.errors import InvalidError

# Under this name such a metric is kept in the stage's windows; no agent can report one with a dot.
PREFIX = "cloudwatch."
_STATISTIC = re.compile(r"Average|Sum|Minimum|Maximum|SampleCount|p[0-9]{1,2}(\.[0-9]{1,2})?|p100")
_NAMESPACE = re.compile(r"[A-Za-z0-9._/#: -]{1,255}")
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")
_MOST_DIMENSIONS = 30
_LONGEST_PERIOD = 3600
_FIELDS = {"namespace", "name", "dimensions", "statistic", "period"}


def parse(text: Any) -> MetricQuery:
    """{namespace, name, dimensions: {name: value}, statistic (Average), period (60)}. Raises InvalidError."""
    if not isinstance(text, Mapping):
        raise InvalidError.at(
            "cloudwatch", "cloudwatch is an object with namespace, name, dimensions, statistic, period."
        )
    if extra := set(text) - _FIELDS:
        raise InvalidError.at(str(min(extra))[:60], f"cloudwatch has no field {str(min(extra))[:60]!r}.")
    return MetricQuery(
        namespace=_match(text, "namespace", _NAMESPACE, "a namespace such as AWS/SQS"),
        name=_match(text, "name", _PRINTABLE, "the metric's name in CloudWatch"),
        dimensions=_dimensions(text.get("dimensions", {})),
        statistic=_match(
            text, "statistic", _STATISTIC, "Average, Sum, Minimum, Maximum, SampleCount or p95", "Average"
        ),
        period=_period(text.get("period", 60)),
    )


def _match(text: Mapping[str, Any], field: str, pattern: re.Pattern[str], meaning: str, usual: str = "") -> str:
    value = text.get(field, usual)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidError.at(field, f"cloudwatch needs {field!r}: {meaning}.")
    return value


def _dimensions(value: Any) -> tuple[tuple[str, str], ...]:
    is_right = isinstance(value, Mapping) and len(value) <= _MOST_DIMENSIONS
    pairs = [(name, of) for name, of in value.items()] if is_right else [(None, None)]
    if not all(isinstance(word, str) and _PRINTABLE.fullmatch(word) for pair in pairs for word in pair):
        raise InvalidError.at(
            "dimensions", f"dimensions are up to {_MOST_DIMENSIONS} names, each with its value as text."
        )
    return tuple(sorted(pairs))


def _period(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value % 60 or not 0 < value <= _LONGEST_PERIOD:
        raise InvalidError.at("period", f"A period is a number of whole minutes, 60 to {_LONGEST_PERIOD} s.")
    return value
