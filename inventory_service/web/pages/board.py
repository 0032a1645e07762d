"""Hosts as the pages show them: state, release mark, gauges, and how many there are of each. Pure functions."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

from inventory_service.models import Host, Stage
from inventory_service.registry import hosts, liveness

OUT_OF_DATE, PINNED = "out-of-date", "pinned"
SUSPECT, CONFLICT, DRAINING, QUARANTINED, UNHEALTHY = "suspect", "conflict", "draining", "quarantined", "unhealthy"
_FLAGS = (SUSPECT, CONFLICT, DRAINING, QUARANTINED, UNHEALTHY)
FORMER_FILTERS = {"behind": OUT_OF_DATE, "held": PINNED}
FILTERS = (*liveness.LISTED, liveness.STALE, liveness.PENDING, OUT_OF_DATE, PINNED, *_FLAGS)
_GAUGES = (("load1_per_cpu", "CPU"), ("memory_used_ratio", "Memory"), ("disk_used_ratio", "Disk"))
_HIGH, _VERY_HIGH = 0.8, 0.95


@dataclasses.dataclass(frozen=True, slots=True)
class Gauge:
    """One measured share. `percent` may pass 100 (load per CPU); `level` is ok, high or very-high."""

    label: str
    percent: int
    level: str


@dataclasses.dataclass(frozen=True, slots=True)
class HostRow:
    """One line of the table. `mark` is out-of-date, pinned or empty; `tags` are the filters that it fits.

    `is_listed`: an inventory of live hosts, and so a run, has it.
    """

    host: Host
    state: str
    mark: str
    is_listed: bool
    tags: frozenset[str]
    gauges: tuple[Gauge | None, ...]


def row(host: Host, stage: Stage, *, expiry: liveness.Expiry, desired: dict[str, Any] | None) -> HostRow:
    """The host at the moment of `expiry`."""
    state, is_listed = expiry.state(host, stage), expiry.is_listed(host, stage)
    mark = _mark(host, is_listed=is_listed, desired=desired)
    is_set = (
        expiry.is_suspect(host, stage),
        host.conflict_code is not None or host.key_mismatch_code is not None,
        host.is_draining,
        host.quarantine_code is not None,
        host.is_healthy is False,
    )
    tags = {state, *([mark] if mark else []), *itertools.compress(_FLAGS, is_set)}
    gauges = tuple(_gauge(host, *gauge) for gauge in _GAUGES)
    return HostRow(host, state, mark, is_listed, frozenset(tags), gauges)


def _mark(host: Host, *, is_listed: bool, desired: dict[str, Any] | None) -> str:
    if is_listed and not hosts.is_up_to_date(host, desired):
        return OUT_OF_DATE
    return PINNED if host.pinned_release_number is not None else ""


def _gauge(host: Host, key: str, label: str) -> Gauge | None:
    value = (host.metrics or {}).get(key)
    if value is None:
        return None
    level = "very-high" if value >= _VERY_HIGH else "high" if value >= _HIGH else "ok"
    return Gauge(label, round(value * 100), level)


def tally(rows: Iterable[HostRow]) -> Counter[str]:
    """How many rows fit each filter."""
    return Counter(tag for one in rows for tag in one.tags)


def chosen(rows: Iterable[HostRow], *, state: str, text: str) -> list[HostRow]:
    """The rows that fit a filter and hold the text in name, address or a group."""
    words = text.lower().split()
    return [one for one in rows if (not state or state in one.tags) and _holds(one.host, words)]


def _holds(host: Host, words: list[str]) -> bool:
    searched = " ".join((host.name, host.address, *host.groups, host.revision or "")).lower()
    return all(word in searched for word in words)


def releases_in_use(rows: Iterable[HostRow]) -> Counter[int]:
    """On how many live hosts each release runs."""
    return Counter(one.host.release_number for one in rows if one.is_listed and one.host.release_number)
