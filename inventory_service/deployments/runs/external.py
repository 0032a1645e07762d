"""Runs that somebody else executed: a plain `ansible-playbook` on a laptop tells what it does, batch by batch.

The service only takes notes. It can neither stop such a run nor lock the stage for it, and what the laptop says moves
no release: what a host runs is what its heartbeats say. Every batch may be sent again, in order.

What it sends is masked before it is kept: a laptop knows which texts `no_log` hides, and not the stage's secrets. So
the log here differs in length from the one there; `received_bytes` of a run counts the latter.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import peewee as pw

from inventory_service.clock import iso
from inventory_service.codes import statuses
from inventory_service.codes.run import End
from inventory_service.database import database
from inventory_service.deployments.executor import event_writer
from inventory_service.deployments.runs import outcome
from inventory_service.deployments.runs.outcome import HostCount
from inventory_service.errors import BusyError, ConflictError
from inventory_service.events import Actor
from inventory_service.models import Run, RunEvent, RunHost, Stage
from inventory_service.records import runs
from inventory_service.records.runs import EXTERNAL, HostResult, SnapshotHost
from inventory_service.registry import hosts
from inventory_service.vault.masking import Masker

log = logging.getLogger(__name__)

NOT_RECORDED = "(not recorded)"
_SILENCE = dt.timedelta(minutes=10)
_LARGEST_LOG = 64 * 1024 * 1024
_ROWS = 50
_SHOWN = ("play", "task", "action", "message")


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """What a laptop says about its run. `client_id` is of its own making and names the run when a batch comes again."""

    client_id: str
    playbook: str
    started_at: dt.datetime
    user: str
    machine: str
    commit: str | None = None
    branch: str | None = None
    is_dirty: bool | None = None
    limit: str | None = None
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    is_check: bool = False
    is_diff: bool = False
    extra_vars: tuple[str, ...] = ()
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """How it ended: Ansible's counters by host, or that it was interrupted before Ansible had any."""

    ended_at: dt.datetime
    counts: Mapping[str, HostCount]
    is_interrupted: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Something new: hosts that it will work on, events (rows of RunEvent without the run), log from a byte offset."""

    hosts: tuple[str, ...] = ()
    events: Sequence[dict[str, Any]] = ()
    log: str = ""
    log_start: int = 0
    ending: Ending | None = None


def record(
    stage: Stage, head: Head, batch: Batch, *, masker: Masker, actor: Actor, at: dt.datetime
) -> tuple[Run, bool]:
    """Take a batch; returns the run and whether it is new. What was taken before is passed over. `masker`: of the
    stage's secrets.

    Raises ConflictError when the id belongs to another stage's run, or when a piece of the log before this one is
    missing.
    """
    with database.atomic():
        run, is_new = _find_or_create(stage, head, masker=masker, actor=actor, at=at)
        if run.status in statuses.ENDED and run.status != statuses.LOST:
            return run, False
        place = _append(run, batch, masker)
        _add_hosts(run, batch.hosts)
        rows = [_row(run, event, place, masker) for event in batch.events]
        for some in pw.chunked(rows, _ROWS):
            RunEvent.insert_many(some).on_conflict_ignore().execute()
        if batch.ending is not None:
            _end(run, batch.ending, actor=actor, at=at)
        else:  # one that had fallen silent is back
            runs.renew_external(run, at=at)
    return Run.get_by_id(run.id), is_new


def _row(run: Run, event: dict[str, Any], place: Callable[[int], int], masker: Masker) -> dict[str, Any]:
    masked = {name: masker.text(event[name]) for name in _SHOWN if event.get(name)}
    places = {name: place(event[name]) for name in ("log_start", "log_end")}
    return {**event, **masked, **places, "run": run.id}


def _find_or_create(stage: Stage, head: Head, *, masker: Masker, actor: Actor, at: dt.datetime) -> tuple[Run, bool]:
    key = f"recorded {actor.name} {head.client_id}"
    known = Run.get_or_none(Run.idempotency_key == key)
    if known is not None:
        if known.stage_id != stage.id:
            raise ConflictError(f"The id {head.client_id} belongs to run {known.id}, which is of another stage.")
        return known, False
    fields = {
        "kind": _kind(stage, head.playbook),
        "playbook": masker.text(head.playbook),
        "limit": head.limit and masker.text(head.limit),
        "exclude": [],
        "tags": masker.texts(head.tags),
        "skip_tags": masker.texts(head.skip_tags),
        "is_check": head.is_check,
        "is_diff": head.is_diff,
        "extra_vars": dict.fromkeys(head.extra_vars, NOT_RECORDED),
        "started_at": min(head.started_at, at),
        "snapshot": masker.value(_snapshot(head)),
        "source_commit": head.commit,
    }
    return runs.record_external(stage, fields, key=key, actor=actor, at=at), True


def _kind(stage: Stage, playbook: str) -> str:
    """A playbook with the name of the stage's own is what that one is."""
    name = PurePosixPath(playbook).name
    if name == PurePosixPath(stage.deploy_playbook).name:
        return statuses.DEPLOY
    return statuses.ROLLBACK if name == PurePosixPath(stage.rollback_playbook).name else statuses.PLAYBOOK


def _snapshot(head: Head) -> dict[str, Any]:
    """Much less than a run of the service freezes: it can be looked at, not repeated."""
    return {
        "at": iso(head.started_at),
        "commit": head.commit,
        "release": None,
        "hosts": [],
        "versions": dict(head.versions),
        "sender": {"user": head.user, "machine": head.machine, "branch": head.branch, "dirty": head.is_dirty},
    }


def _append(run: Run, batch: Batch, masker: Masker) -> Callable[[int], int]:
    """Keep the part of the log that is new, masked; returns what finds a laptop's byte offset in the log that is kept.

    Its copy in the database is the only one: any web process may get a batch.
    """
    start, data = run.received_bytes, batch.log.encode()
    if batch.log_start > start:
        raise ConflictError(
            f"The log of run {run.id} has {start} bytes; what lies before byte {batch.log_start} is missing."
        )
    new = data[start - batch.log_start :]
    ends = {event[name] - start for event in batch.events for name in ("log_start", "log_end")}
    cuts = sorted({0, len(new)} | {end for end in ends if 0 < end < len(new)})
    masked = masker.texts([new[left:right].decode("utf-8", "replace") for left, right in itertools.pairwise(cuts)])
    kept = [text.encode() for text in masked]
    places = dict(zip(cuts, itertools.accumulate(map(len, kept), initial=run.log_bytes), strict=True))
    _store(run, b"".join(kept), received_bytes=start + len(new))
    return lambda offset: min(places[min(max(offset - start, 0), len(new))], _LARGEST_LOG)


def _store(run: Run, content: bytes, *, received_bytes: int) -> None:
    room = max(0, _LARGEST_LOG - run.log_bytes)
    if received_bytes == run.received_bytes:
        return
    is_taken = runs.receive_log(
        run,
        log_bytes=run.log_bytes + min(len(content), room),
        received_bytes=received_bytes,
        is_log_cut=run.is_log_cut or len(content) >= room,
    )
    if not is_taken:
        raise BusyError(f"Another batch of run {run.id} came at the same time; send this one again.")
    event_writer.copy_log(run.id, run.log_bytes, content[:room])


def _add_hosts(run: Run, names: Sequence[str]) -> None:
    """Hosts of the stage are linked to their rows; others, such as localhost, are only named."""
    present = {host.name: host for host in hosts.list_hosts(run.stage)} if names else {}
    found = {name: present.get(name) for name in dict.fromkeys(names)}
    runs.add_external_hosts(
        run,
        [SnapshotHost(name, host.id if host else None, host.address if host else "") for name, host in found.items()],
    )


def _end(run: Run, ending: Ending, *, actor: Actor, at: dt.datetime) -> None:
    _add_hosts(run, tuple(ending.counts))
    rows = list(RunHost.select().where(RunHost.run == run))
    found = [(row, ending.counts.get(row.name, HostCount())) for row in rows]
    runs.record_results([(row, HostResult(count.status, count.columns())) for row, count in found])
    ended = _ending_of(ending)
    ended_at = max(run.started_at, min(ending.ended_at, at))
    runs.end_external(run, ended.status, ended.reasons, ended_at=ended_at, actor=actor, at=at)


def _ending_of(ending: Ending) -> outcome.Ending:
    if ending.is_interrupted:
        return outcome.ending_because(statuses.CANCELED, End.INTERRUPTED)
    return outcome.ending_of(return_code=0, counts=ending.counts, expected=list(ending.counts))


def lose_silent(*, at: dt.datetime) -> list[int]:
    """Mark external runs that said nothing for ten minutes as lost; a batch that comes late brings them back."""
    silent = (Run.origin == EXTERNAL) & (Run.status == statuses.RUNNING) & (Run.lease_at < at - _SILENCE)
    found = list(Run.select(Run.id, Run.stage, Run.lease_at).where(silent))
    return [run.id for run in found if runs.lose_external(run, at=at)]
