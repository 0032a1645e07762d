"""What a run did so far: from its hosts' records after the end, from its events while it goes on."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from inventory_service.codes import results as codes
from inventory_service.deployments.runs import history
from inventory_service.deployments.runs.outcome import HostCount
from inventory_service.models import Run, RunEvent, RunHost
from inventory_service.text import natural
from inventory_service.wording import run as wording

_BAD = (codes.FAILED, codes.UNREACHABLE)
_TASK_STARTS = ("playbook_on_task_start", "playbook_on_handler_task_start")
_TROUBLE = (codes.FAILED, codes.UNREACHABLE, codes.LOST, codes.LEFT_OUT)
_ORDER = {result: place for place, result in enumerate((*_TROUBLE, codes.CHANGED, codes.OK))}
_MOST_FAILURES = 500
_MOST_NAMED = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """One host's line: its status so far and Ansible's counters."""

    name: str
    address: str
    port: int | None
    host_id: str | None
    status: str
    count: HostCount
    note: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """One task that failed with the same words on one or more hosts."""

    task: str
    status: str
    message: str
    hosts: tuple[str, ...]

    @property
    def named(self) -> str:
        """The hosts in words, not too many of them."""
        more = len(self.hosts) - _MOST_NAMED
        return ", ".join(self.hosts[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def results(run: Run, *, is_active: bool) -> list[Result]:
    """Each host of the run, those in trouble first."""
    rows = history.hosts_of_run(run)
    seen = history.count_results(run) if is_active else {}
    found = [result(row, seen.get(row.name)) for row in rows]
    return sorted(found, key=lambda one: (_ORDER.get(one.status, len(_ORDER)), natural(one.name)))


def result(row: RunHost, seen: HostCount | None = None) -> Result:
    """One host of a run. `seen`: the counts of its events, while the run goes on."""
    count = seen or HostCount(**{name: getattr(row, name) for name in HostCount().columns()})
    status = seen.status if seen and row.status == codes.PENDING else row.status
    note = wording.host_note(row.message_code, row.message_params)
    return Result(row.name, row.address, row.port, row.host_id, status, count, note)


def progress(rows: Sequence[Result]) -> Counter[str]:
    """How many hosts have each status."""
    return Counter(row.status for row in rows)


def failures(run: Run) -> list[Failure]:
    """What failed, in order; hosts that failed at one task with the same words stand together."""
    query = RunEvent.select().where((RunEvent.run == run) & RunEvent.status.in_(_BAD))
    groups: dict[tuple[str, str, str], list[str]] = {}
    for event in query.order_by(RunEvent.counter).limit(_MOST_FAILURES):
        key = (event.task or "", event.status or "", event.message or "")
        groups.setdefault(key, []).append(event.host or "")
    return [Failure(*key, tuple(dict.fromkeys(names))) for key, names in groups.items()]


def current_task(run: Run) -> RunEvent | None:
    """The task that began last."""
    begun = (RunEvent.run == run) & RunEvent.event.in_(_TASK_STARTS)
    found: RunEvent | None = RunEvent.select().where(begun).order_by(RunEvent.counter.desc()).first()
    return found
