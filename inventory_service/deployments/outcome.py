"""From what Ansible counted to what a run and each of its hosts come to. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from inventory_service.deployments import host_keys, statuses

OK, CHANGED, FAILED, UNREACHABLE, UNTOUCHED = "ok", "changed", "failed", "unreachable", "untouched"
PENDING = "pending"
GONE, STALE, CONFLICT = "gone", "stale", "conflict"  # hosts that a repeated run was to work on and could not
MISSING = (GONE, STALE, CONFLICT)
_COUNTERS = {
    "ok": "ok",
    "changed": "changed",
    "failures": "failed",
    "dark": "unreachable",
    "skipped": "skipped",
    "rescued": "rescued",
    "ignored": "ignored",
}
TIMEOUT_CODE = 254


@dataclasses.dataclass(slots=True)
class HostCount:
    """Ansible's counters for one host. `message` is what somebody has to know about it, None mostly."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0
    message: str | None = None

    @property
    def status(self) -> str:
        """The one word for this host; `untouched` when no task of the playbook ran on it."""
        if self.unreachable:
            return UNREACHABLE
        if self.failed:
            return FAILED
        if self.changed:
            return CHANGED
        return OK if self.ok or self.skipped or self.rescued or self.ignored else UNTOUCHED


def from_stats(stats: Mapping[str, Mapping[str, int]]) -> dict[str, HostCount]:
    """The counters in the data of ansible's `playbook_on_stats`, by host."""
    counts: dict[str, HostCount] = {}
    for theirs, ours in _COUNTERS.items():
        for host, number in stats.get(theirs, {}).items():
            setattr(counts.setdefault(host, HostCount()), ours, number)
    return counts


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: its status, and for everything but success the reason in one sentence."""

    status: str
    error: str | None = None


def judge_run(
    *, return_code: int, is_canceled: bool, is_timeout: bool, counts: Mapping[str, HostCount], expected: Iterable[str]
) -> Ending:
    """Ansible ends with 0 in many cases that are no success, so success is: code 0, somebody was worked on, and no
    expected host failed or was unreachable.
    """
    expected = list(expected)
    bad = [name for name in expected if name in counts and counts[name].status in (FAILED, UNREACHABLE)]
    touched = [name for name in expected if name in counts and counts[name].status != UNTOUCHED]
    if is_canceled:
        return Ending(statuses.CANCELED, "Canceled; the tasks in flight may have completed on their hosts.")
    if is_timeout:
        return Ending(statuses.TIMEOUT, "Stopped: the run took longer than its time allows.")
    if bad:
        return Ending(
            statuses.FAILED, f"{len(bad)} of {len(expected)} hosts failed: {_some(bad)}." + _keys(bad, counts)
        )
    if return_code != 0:
        return Ending(statuses.FAILED, f"ansible-playbook ended with code {return_code}; the log says why.")
    if not touched:
        return Ending(statuses.FAILED, "No hosts matched: the playbook's plays touched none of the run's hosts.")
    return Ending(statuses.SUCCESSFUL)


def _keys(bad: list[str], counts: Mapping[str, HostCount]) -> str:
    """The hosts with another host key by name, after a space; nothing when there are none."""
    found = [name for name in bad if counts[name].message]
    return f" {host_keys.words(_some(found))}" if found else ""


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
