"""From what Ansible counted to what a run and each of its hosts come to. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from inventory_service.deployments.executor import host_keys
from inventory_service.deployments.runs import statuses

OK, CHANGED, FAILED, UNREACHABLE, UNTOUCHED = "ok", "changed", "failed", "unreachable", "untouched"
PENDING, LOST = "pending", "lost"
LEFT_OUT = "skipped (stale)"  # hosts that died after the launch
GONE, STALE, CONFLICT = "gone", "stale", "conflict"  # hosts that a repeated run was to work on and could not
MISSING = (GONE, STALE, CONFLICT)
REACHED = (OK, CHANGED, FAILED, UNREACHABLE)  # hosts that tasks worked on, or tried to
WORKED_ON = (*REACHED, LOST)  # also those whose task never ended
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
_NOBODY = (
    "No hosts matched: the playbook's plays touched none of the run's hosts. Their `hosts:` have to name hosts or "
    "groups of the stage; localhost is none of them, a task goes there with delegate_to."
)


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

    def with_note(self, note: str) -> Ending:
        """The same ending with one more sentence."""
        return dataclasses.replace(self, error=f"{self.error} {note}" if self.error else note)


def canceled(by: str) -> Ending:
    """The end of a run that somebody did not want any more."""
    return Ending(statuses.CANCELED, f"Canceled by {by}; the tasks in flight may have completed on their hosts.")


def out_of_time(seconds: float) -> Ending:
    """The end of a run that took too long."""
    return Ending(
        statuses.TIMEOUT, f"Stopped: it took longer than {seconds:.0f} s; the tasks in flight may have completed."
    )


def silent(seconds: float) -> Ending:
    """The end of a run that showed no sign of life."""
    return Ending(
        statuses.TIMEOUT,
        f"Stopped: it was idle for {seconds:.0f} s, with no event and no output; "
        "the tasks in flight may have completed.",
    )


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

    def word(name: str) -> str:
        count = counts.get(name, HostCount())
        if count.failed:
            return count.status
        if name in stale:
            return LEFT_OUT
        return LOST if name in in_flight else count.status

    return {name: word(name) for name in expected}


def under_way(task: str) -> str:
    """What is said of a lost host."""
    return f"The task {(task or '?')!r} was under way when the run ended; it may have completed."


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
    words = host_statuses(counts, expected=expected, stale=stale)
    bad = [name for name, status in words.items() if status in (FAILED, UNREACHABLE) and name not in tolerated]
    if bad:
        return Ending(statuses.FAILED, _problems({name: words[name] for name in bad}, len(words)) + _keys(bad, counts))
    if return_code != 0:
        why = f": {complaint}" if complaint else "; the log says why."
        return Ending(statuses.FAILED, f"ansible-playbook ended with code {return_code}{why}")
    if any(status in (OK, CHANGED) for status in words.values()):
        return Ending(statuses.SUCCESSFUL)
    left_out = sum(status == LEFT_OUT for status in words.values())
    if left_out:
        return Ending(statuses.FAILED, f"No hosts left: {left_out} of {len(words)} fell silent before their turn.")
    return Ending(statuses.FAILED, _NOBODY)


def _problems(bad: Mapping[str, str], of: int) -> str:
    failed = [name for name, status in bad.items() if status == FAILED]
    lost = [name for name, status in bad.items() if status == UNREACHABLE]
    verb = "was" if len(lost) == 1 else "were"
    parts = [f"{len(failed)} of {of} hosts failed: {some(failed)}."] if failed else []
    return " ".join(parts + ([f"{len(lost)} of {of} hosts {verb} unreachable: {some(lost)}."] if lost else []))


def _keys(bad: list[str], counts: Mapping[str, HostCount]) -> str:
    """The hosts with another host key by name, after a space; nothing when there are none."""
    found = [name for name in bad if counts[name].message]
    return f" {host_keys.words(some(found))}" if found else ""


def some(names: list[str], most: int = 5) -> str:
    """The first names in a list for people, with how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
