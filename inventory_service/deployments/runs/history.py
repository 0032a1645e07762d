"""Questions about the past: what a run did, what was done to a host."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import peewee as pw

from inventory_service.codes import results
from inventory_service.deployments.runs.logs import RunLog
from inventory_service.deployments.runs.outcome import HostCount
from inventory_service.models import Host, Run, RunEvent, RunHost, Stage
from inventory_service.text import harmless

_BAD = ("failed", "unreachable")
_LONGEST_FAILURE = 400


@dataclasses.dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted; None and "" mean any. `task` and `text` are parts, whatever their case."""

    host: str | None = None
    task: str | None = None
    status: str | None = None
    text: str | None = None
    is_failed: bool = False
    has_result: bool = False

    def tests(self, run: Run) -> list[Any]:
        """The conditions, but for the text."""
        tests: list[Any] = [RunEvent.run == run]
        tests += [RunEvent.host == self.host] if self.host else []
        tests += [RunEvent.task.contains(self.task)] if self.task else []
        tests += [RunEvent.status == self.status] if self.status else []
        tests += [RunEvent.status.in_(_BAD)] if self.is_failed else []
        tests += [RunEvent.status.is_null(False)] if self.has_result else []
        return tests


_ANY_EVENT = EventFilter()


def hosts_of_run(run: Run) -> list[RunHost]:
    """The run's hosts by name; also those that have left since."""
    return list(RunHost.select().where(RunHost.run == run).order_by(RunHost.name))


def count_results(run: Run) -> dict[str, HostCount]:
    """Counters by host, from the events so far; a changed task is also ok, as Ansible counts."""
    number = pw.fn.COUNT(pw.SQL("*"))
    query = (
        RunEvent.select(RunEvent.host, RunEvent.status, number)
        .where((RunEvent.run == run) & RunEvent.host.is_null(False) & RunEvent.status.is_null(False))
        .group_by(RunEvent.host, RunEvent.status)
    )
    rows: Any = query.tuples()
    found: dict[str, HostCount] = {}
    for host, status, times in rows:
        count = found.setdefault(host, HostCount())
        if hasattr(count, status):
            setattr(count, status, getattr(count, status) + times)
        if status == results.CHANGED:
            count.ok += times
    return found


def runs_of_host(host: Host, *, limit: int = 50) -> list[RunHost]:
    """What runs did on this host, newest first, each with its run."""
    query = RunHost.select(RunHost, Run).join(Run).where(RunHost.host == host).order_by(Run.id.desc()).limit(limit)
    return list(query)


def failure_of(run: Run, host: str) -> str:
    """The last words of a host that failed in the run, on one line; empty when there are none."""
    failed = (RunEvent.run == run) & RunEvent.status.in_(_BAD) & (RunEvent.host == host)
    event: RunEvent | None = RunEvent.select().where(failed).order_by(RunEvent.counter.desc()).first()
    text = " ".join((event.message or "").split()) if event else ""
    return text.removeprefix(f"{host}: ")[:_LONGEST_FAILURE]


def list_events(run: Run, *, log: RunLog, after: int, limit: int, wanted: EventFilter = _ANY_EVENT) -> list[RunEvent]:
    """The run's events after a counter, in order. The text is looked for in the messages and in the log's lines."""
    tests = [*wanted.tests(run), RunEvent.counter > after]
    if wanted.text:
        printed = _printed_with(wanted.text, log, tests, limit)
        tests.append(RunEvent.message.contains(wanted.text) | RunEvent.counter.in_(printed))
    return list(RunEvent.select().where(*tests).order_by(RunEvent.counter).limit(limit))


def _printed_with(text: str, log: RunLog, tests: list[Any], limit: int) -> list[int]:
    """The counters of the first `limit` events whose part of the log holds the text."""
    spans = RunEvent.select(RunEvent.counter, RunEvent.log_start, RunEvent.log_end).where(
        *tests, RunEvent.log_end > RunEvent.log_start
    )
    rows: Any = spans.order_by(RunEvent.counter).tuples()
    needle, found = text.lower(), []
    for counter, start, end in list(rows):
        if needle in harmless(log.text(start, end), colours=False).lower():
            found.append(counter)
            if len(found) == limit:
                break
    return found


def all_hosts(stage: Stage, *, gone_since: dt.datetime) -> list[Host]:
    """The stage's hosts, those that have gone since then among them, by name."""
    is_shown = Host.gone_at.is_null() | (Host.gone_at >= gone_since)
    return list(Host.select().where((Host.stage == stage) & is_shown).order_by(Host.name, Host.enrolled_at))
