"""Two runs task by task: what came of each on each host, and how long it took."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from inventory_service.models import Run, RunEvent

MOST_RESULTS = 50_000

# A play may hold tasks of one name several times: play, task, and which of them it is on its host.
Key = tuple[str, str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What one task came to on one host."""

    status: str
    seconds: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class HostResults:
    """One host's results of a task in both runs; None where it had none.

    `is_other`: both runs worked on the host, and the outcome is another one; `ok` and `changed` are two.
    """

    host: str
    before: Result | None
    after: Result | None
    is_other: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """A task in one run: on how many hosts it came to what, and the seconds it took on the slowest."""

    counts: dict[str, int]
    longest_seconds: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class TaskDiff:
    """One task in both runs; `number` counts the tasks of that name in its play from 1 on."""

    play: str
    task: str
    number: int
    before: Side | None
    after: Side | None
    hosts: tuple[HostResults, ...]

    @property
    def is_other(self) -> bool:
        """Whether the outcome is another one on some host."""
        return any(one.is_other for one in self.hosts)


@dataclasses.dataclass(frozen=True, slots=True)
class Tasks:
    """`is_cut`: one of the runs has more results than are compared."""

    items: tuple[TaskDiff, ...]
    is_cut: bool


def compare(before: Run, after: Run, *, most: int = MOST_RESULTS) -> Tasks:
    """Every task of either run, in the order of the second; those of the first alone stand where they stood there.

    `most`: how many results of each run are compared.
    """
    (old, is_old_cut), (new, is_new_cut) = _results(before, most), _results(after, most)
    both = {host for one in old.values() for host in one} & {host for one in new.values() for host in one}
    items = [_task(key, old.get(key), new.get(key), both) for key in _in_order(list(old), list(new))]
    return Tasks(tuple(items), is_old_cut or is_new_cut)


def _results(run: Run, most: int) -> tuple[dict[Key, dict[str, Result]], bool]:
    """Results by task and host, in the order in which the tasks began."""
    fields = (RunEvent.host, RunEvent.play, RunEvent.task, RunEvent.status, RunEvent.duration_seconds)
    ended = (RunEvent.run == run) & RunEvent.host.is_null(False) & RunEvent.status.is_null(False)
    rows: Any = RunEvent.select(*fields).where(ended).order_by(RunEvent.counter).limit(most + 1).tuples()
    found: dict[Key, dict[str, Result]] = {}
    times: Counter[tuple[str, str, str]] = Counter()
    for host, play, task, status, seconds in list(rows)[:most]:
        name = (play or "", task or "")
        times[host, *name] += 1
        found.setdefault((*name, times[host, *name]), {})[host] = Result(status, seconds)
    return found, len(rows) > most


def _in_order(old: list[Key], new: list[Key]) -> list[Key]:
    """The keys of `new`, and behind each those that `old` alone has before its next shared one."""
    shared, following = set(new), dict[Key | None, list[Key]]()
    last: Key | None = None
    for key in old:
        if key in shared:
            last = key
        else:
            following.setdefault(last, []).append(key)
    return following.get(None, []) + [one for key in new for one in (key, *following.get(key, []))]


def _task(key: Key, old: dict[str, Result] | None, new: dict[str, Result] | None, both: set[str]) -> TaskDiff:
    names = sorted({*(old or {}), *(new or {})})
    hosts = (_host(name, (old or {}).get(name), (new or {}).get(name), is_in_both=name in both) for name in names)
    return TaskDiff(*key, _side(old), _side(new), tuple(hosts))


def _host(name: str, old: Result | None, new: Result | None, *, is_in_both: bool) -> HostResults:
    is_other = is_in_both and (old and old.status) != (new and new.status)
    return HostResults(name, old, new, is_other)


def _side(results: dict[str, Result] | None) -> Side | None:
    if results is None:
        return None
    seconds = [one.seconds for one in results.values() if one.seconds is not None]
    return Side(dict(Counter(one.status for one in results.values())), max(seconds, default=None))
