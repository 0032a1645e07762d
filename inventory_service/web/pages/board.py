"""Hosts as the pages show them: state, release mark, gauges, and how many there are of each. Pure functions."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable

from inventory_service.registry import liveness
from inventory_service.web.answers import Host

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
    mark: str
    is_listed: bool
    tags: frozenset[str]
    gauges: tuple[Gauge | None, ...]


def row(host: Host) -> HostRow:
    """One host, as it is answered for a moment."""
    is_listed = host.conflict is None and host.state in liveness.LISTED
    mark = _mark(host, is_listed=is_listed)
    is_set = (
        host.suspect,
        host.conflict is not None or host.host_key_mismatch is not None,
        host.draining,
        host.quarantined,
        host.healthy is False,
    )
    tags = {host.state, *([mark] if mark else []), *itertools.compress(_FLAGS, is_set)}
    gauges = tuple(_gauge(host, *gauge) for gauge in _GAUGES)
    return HostRow(host, mark, is_listed, frozenset(tags), gauges)


def _mark(host: Host, *, is_listed: bool) -> str:
    if is_listed and not host.up_to_date:
        return OUT_OF_DATE
    return PINNED if host.pinned_release is not None else ""


def _gauge(host: Host, key: str, label: str) -> Gauge | None:
    value = host.metrics.get(key)
    if value is None:
        return None
    level = "very-high" if value >= _VERY_HIGH else "high" if value >= _HIGH else "ok"
    return Gauge(label, round(value * 100), level)


def tally(rows: Iterable[HostRow]) -> Counter[str]:
    """How many rows fit each filter."""
    return Counter(tag for one in rows for tag in one.tags)


def chosen(rows: Iterable[HostRow], *, state: str, text: str) -> list[HostRow]:
    """The rows that fit a filter and hold the text in name, address or a group."""
    terms = text.lower().split()
    return [one for one in rows if (not state or state in one.tags) and _contains(one.host, terms)]


def _contains(host: Host, terms: list[str]) -> bool:
    searched = " ".join((host.name, host.address, *host.groups, host.revision or "")).lower()
    return all(term in searched for term in terms)


def releases_in_use(rows: Iterable[HostRow]) -> Counter[int]:
    """On how many live hosts each release runs."""
    return Counter(one.host.release for one in rows if one.is_listed and one.host.release)
