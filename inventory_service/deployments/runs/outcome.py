"""From what Ansible counted to what a run and each of its hosts come to. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from inventory_service.codes import results, statuses
from inventory_service.codes.run import End
from inventory_service.errors import CallboardError
from inventory_service.reasons import Reason, because
from inventory_service.wording import run as wording

_BAD = (results.FAILED, results.UNREACHABLE)
_COUNTERS = {
    "ok": "ok",
    "changed": "changed",
    "failures": "failed",
    "dark": "unreachable",
    "skipped": "skipped",
    "rescued": "rescued",
    "ignored": "ignored",
}
_MOST_NAMED = 5


@dataclasses.dataclass(slots=True)
class HostCount:
    """Ansible's counters for one host. `note` is what somebody has to know about it, None mostly."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0
    note: Reason | None = None

    def columns(self) -> dict[str, int]:
        """The counters by column."""
        return {ours: getattr(self, ours) for ours in _COUNTERS.values()}

    @property
    def status(self) -> str:
        """The one word for this host; `untouched` when no task of the playbook ran on it."""
        if self.unreachable:
            return results.UNREACHABLE
        if self.failed:
            return results.FAILED
        if self.changed:
            return results.CHANGED
        is_done = self.ok or self.skipped or self.rescued or self.ignored
        return results.OK if is_done else results.UNTOUCHED


def from_stats(stats: Mapping[str, Mapping[str, int]]) -> dict[str, HostCount]:
    """The counters in the data of ansible's `playbook_on_stats`, by host."""
    counts: dict[str, HostCount] = {}
    for theirs, ours in _COUNTERS.items():
        for host, number in stats.get(theirs, {}).items():
            setattr(counts.setdefault(host, HostCount()), ours, number)
    return counts


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: its status, and for everything but success why; what is to be known beside follows."""

    status: str
    reasons: tuple[Reason, ...] = ()

    def with_note(self, note: Reason) -> Ending:
        """The same ending with one more reason."""
        return dataclasses.replace(self, reasons=(*self.reasons, note))


def ending_because(status: str, code: End, **params: Any) -> Ending:
    """An ending with one reason."""
    return Ending(status, (because(code, **params),))


class RunEndsError(CallboardError):
    """Raised while a run is prepared: it ends here, with this status and reason."""

    def __init__(self, status: str, code: End, **params: Any) -> None:
        self.ending = ending_because(status, code, **params)
        super().__init__(wording.ended([reason.to_json() for reason in self.ending.reasons]) or "")


def host_statuses(
    counts: Mapping[str, HostCount],
    *,
    expected: Collection[str],
    stale: Collection[str] = (),
    in_flight: Collection[str] = (),
) -> dict[str, str]:
    """One word for each expected host. What failed stays failed also where the host fell silent later; a host whose
    task never ended is lost.
    """

    def status_of(name: str) -> str:
        count = counts.get(name, HostCount())
        if count.failed:
            return count.status
        if name in stale:
            return results.LEFT_OUT
        return results.LOST if name in in_flight else count.status

    return {name: status_of(name) for name in expected}


def ending_of(
    *,
    return_code: int,
    counts: Mapping[str, HostCount],
    expected: Collection[str],
    stale: Collection[str] = (),
    tolerated: Collection[str] = (),
    complaint: str = "",
) -> Ending:
    """Ansible ends with 0 in many cases that are no success, so success is: code 0, somebody was worked on, and no
    host of the run failed or was unreachable.

    Hosts that were left out as `stale` spoil nothing, nor do the unreachable ones that the stage's budget `tolerated`.
    `complaint`: Ansible's own last error, which counts where no host failed.
    """
    by_host = host_statuses(counts, expected=expected, stale=stale)
    bad = [name for name, status in by_host.items() if status in _BAD and name not in tolerated]
    if bad:
        return Ending(
            statuses.FAILED, (*_problems({name: by_host[name] for name in bad}, len(by_host)), *_keys(bad, counts))
        )
    if return_code != 0:
        return ending_because(statuses.FAILED, End.ANSIBLE_FAILED, return_code=return_code, text=complaint)
    if any(status in (results.OK, results.CHANGED) for status in by_host.values()):
        return Ending(statuses.SUCCESSFUL)
    left_out = sum(status == results.LEFT_OUT for status in by_host.values())
    if left_out:
        return ending_because(statuses.FAILED, End.NO_HOSTS_LEFT, count=left_out, of=len(by_host))
    return ending_because(statuses.FAILED, End.NOBODY_TOUCHED)


def _problems(bad: Mapping[str, str], of: int) -> list[Reason]:
    found = {
        End.HOSTS_FAILED: [name for name, status in bad.items() if status == results.FAILED],
        End.HOSTS_UNREACHABLE: [name for name, status in bad.items() if status == results.UNREACHABLE],
    }
    return [because(code, of=of, **first(names)) for code, names in found.items() if names]


def _keys(bad: list[str], counts: Mapping[str, HostCount]) -> list[Reason]:
    """The hosts with another host key."""
    found = [name for name in bad if counts[name].note is not None]
    return [because(End.HOST_KEYS_MISMATCH, **first(found))] if found else []


def first(names: Sequence[Any], most: int = _MOST_NAMED, key: str = "hosts") -> dict[str, Any]:
    """Parameters of a reason that names the first of many: {hosts: […], more: how many more there are}."""
    return {key: list(names[:most]), "more": max(0, len(names) - most)}
