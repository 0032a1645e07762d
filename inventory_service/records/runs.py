"""Writes what happens to runs and to the hosts of a run."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import peewee as pw

from inventory_service import events
from inventory_service.adapters import wakeup
from inventory_service.codes import results, statuses
from inventory_service.codes.lock import BY_PERSON
from inventory_service.codes.run import End
from inventory_service.database import database, execute_many, fetch, to_microseconds
from inventory_service.events import SERVICE, Actor, EventName
from inventory_service.models import Run, RunHost, RunInventory, Stage, StageLock
from inventory_service.reasons import Reason, because, columns
from inventory_service.records import locks

EXTERNAL = "external"  # executed elsewhere; the service only takes notes
_ROWS = 50
_RENEW = "UPDATE run SET lease_at = ? WHERE id = ? AND attempt = ? AND status = ? RETURNING cancel_requested_at"
_PROGRESS = "UPDATE run SET log_bytes = ?, is_log_cut = ?, in_flight = ? WHERE id = ?"


# queued


@dataclasses.dataclass(frozen=True, slots=True)
class SettledRun:
    """A run with everything about it checked and settled, as its row keeps it.

    `extra_vars` hold a secret one by reference; `sealed_vars` has their values, encrypted. `rolls_back` is the run
    that stopped and is undone by this one.
    """

    stage: Stage
    kind: str
    playbook: str
    revision: str | None = None
    source_commit: str | None = None
    release_number: int | None = None
    limit: str | None = None
    exclude: Sequence[str] = ()
    tags: Sequence[str] = ()
    skip_tags: Sequence[str] = ()
    is_check: bool = False
    is_diff: bool = False
    extra_vars: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sealed_vars: str | None = dataclasses.field(default=None, repr=False)
    comment: str = ""
    idempotency_key: str | None = None
    idempotency_hash: str | None = None
    override_lock: str | None = None
    allows_paused_expiry: bool = False
    repeat_of: int | None = None
    repeat_mode: str | None = None
    rolls_back: int | None = None

    @property
    def is_for_who_is_out_of_date(self) -> bool:
        """Whether it settles whom it is for when it starts."""
        return self.kind == statuses.CONVERGE and self.limit is None and self.repeat_of is None

    def columns(self) -> dict[str, Any]:
        """By the row's columns."""
        lists = {"exclude": list(self.exclude), "tags": list(self.tags), "skip_tags": list(self.skip_tags)}
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**plain, **lists, "extra_vars": dict(self.extra_vars)}


def queue(settled: SettledRun, *, actor: Actor, at: dt.datetime) -> Run:
    """The run waits for its turn from now on. Where its idempotency key made one at this very moment, that one."""
    try:
        with database.atomic():
            run = Run.create(status=statuses.QUEUED, **_by("created_by", actor), created_at=at, **settled.columns())
            repeats = {} if run.repeat_of is None else {"repeat_of": run.repeat_of}
            name = EventName(f"run.{run.kind}")
            events.record(name, events.target(run), actor=actor, at=at, details=repeats)
            _record_override(run, actor=actor, at=at)
            wakeup.wake_workers()
    except pw.IntegrityError:
        if settled.idempotency_key is None:
            raise
        run = Run.get(Run.idempotency_key == settled.idempotency_key)
    return run


def _by(column: str, actor: Actor) -> dict[str, Any]:
    return {column: actor.name, f"{column}_kind": str(actor.kind), f"{column}_id": actor.id}


def _record_override(run: Run, *, actor: Actor, at: dt.datetime) -> None:
    if run.override_lock is None:
        return
    lock = StageLock.get_or_none((StageLock.stage == run.stage) & (StageLock.holder == BY_PERSON))
    if lock is not None:
        details = {"run": run.id, "reason": run.override_lock, "locked_by": lock.locked_by, "lock": lock.reasons}
        target = events.target(run.stage)
        events.record(EventName.STAGE_OVERRIDE_LOCK, target, actor=actor, at=at, details=details)


def cancel_queued(run: Run, *, actor: Actor, at: dt.datetime) -> bool:
    """A run that has not begun ends. False when it has begun, or ended."""
    reason = because(End.CANCELED_BEFORE_START, by=actor.name)
    with database.atomic():
        is_canceled = _end_queued(Run.id == run.id, reason, at=at, cancel_requested_at=at, **_by_canceler(actor)) == 1
        if is_canceled:
            events.record(EventName.RUN_CANCEL, events.target(run), actor=actor, at=at)
            events.record(EventName.RUN_CANCELED, events.target(run), actor=actor, at=at, reason=reason)
    return is_canceled


def cancel_waiting_for(stages: pw.Expression, *, actor: Actor, at: dt.datetime) -> None:
    """The runs that wait for these stages, which are archived, end: else they would wait for ever."""
    reason = because(End.STAGE_ARCHIVED)
    waiting = (Run.status == statuses.QUEUED) & Run.stage.in_(Stage.select(Stage.id).where(stages))
    with database.atomic():
        for run in list(Run.select(Run.id, Run.stage).where(waiting)):
            if _end_queued(Run.id == run.id, reason, at=at) == 1:
                events.record(EventName.RUN_CANCELED, events.target(run), actor=actor, at=at, reason=reason)


def _by_canceler(actor: Actor) -> dict[str, Any]:
    return _by("cancel_requested_by", actor)


def _end_queued(which: pw.Expression, reason: Reason, *, at: dt.datetime, **fields: Any) -> int:
    ended = {"status": statuses.CANCELED, "ended_at": at, "sealed_vars": None, **_ended_because((reason,)), **fields}
    return int(Run.update(**ended).where(which & (Run.status == statuses.QUEUED)).execute())


def _ended_because(reasons: Sequence[Reason]) -> dict[str, Any]:
    return {
        "end_code": str(reasons[0].code) if reasons else None,
        "end_reasons": [reason.to_json() for reason in reasons],
    }


# at work


def claim(run: Run, executor: Mapping[str, Any], *, at: dt.datetime) -> bool:
    """The executor has the run and its stage from now on; False when the run is not queued any more, or another one has
    the stage.
    """
    mine = {"status": statuses.RUNNING, "executor": executor, "attempt": Run.attempt + 1}
    queued = (Run.id == run.id) & (Run.status == statuses.QUEUED)
    with database.atomic() as transaction:
        is_mine = Run.update(**mine, started_at=at, lease_at=at).where(queued).execute() == 1
        if not is_mine or not locks.take_for_run(run, at=at):
            transaction.rollback()
            return False
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class Renewal:
    """What an executor learns when it renews its lease: whether the run is still its own, and is wanted."""

    is_claimed: bool
    is_canceled: bool


def renew_lease(run: Run, *, at: dt.datetime) -> Renewal:
    """The executor's word, once a second, that it is still there. Every takeover of a run raises its `attempt`, and an
    executor writes only under the one with which it claimed the run: back from the dead it changes nothing any more.

    The SQL is written out, because every executor asks once a second.
    """
    with database.atomic():
        rows = fetch(_RENEW, (to_microseconds(at), run.id, run.attempt, statuses.RUNNING))
    return Renewal(bool(rows), any(requested_at is not None for (requested_at,) in rows))


def _still_claimed(run: Run) -> pw.Expression:
    """The condition under which the run is still the one that was claimed."""
    condition: pw.Expression = (Run.id == run.id) & (Run.attempt == run.attempt) & (Run.status == statuses.RUNNING)
    return condition


@dataclasses.dataclass(frozen=True, slots=True)
class SnapshotHost:
    """A host of a run as it was at the start; `result` says at once that it is missing, and `note` why."""

    name: str
    host_id: str | None
    address: str
    port: int | None = None
    keys_sha256: str | None = None
    result: str = results.PENDING
    note: Reason | None = None


def store_snapshot(run: Run, snapshot: Mapping[str, Any], inventory: bytes, hosts: Iterable[SnapshotHost]) -> None:
    """Everything that the run depends on stays as it is now. `inventory`: gzipped JSON."""
    with database.atomic():
        Run.update(snapshot=snapshot, source_commit=snapshot["commit"]).where(Run.id == run.id).execute()
        RunInventory.create(run=run, content=inventory)
        for one in hosts:
            RunHost.create(
                run=run,
                host=one.host_id,
                name=one.name,
                address=one.address,
                port=one.port,
                keys_sha256=one.keys_sha256,
                status=one.result,
                **columns("message", one.note),
            )


def name_release(run: Run, number: int) -> None:
    """It is settled which release the run brings."""
    Run.update(release_number=number).where(Run.id == run.id).execute()


def keep_answers(run: Run, extra_vars: Mapping[str, Any]) -> None:
    """It is settled what the run's prompts are answered with."""
    Run.update(extra_vars=extra_vars).where(Run.id == run.id).execute()


def note_progress(run_id: int, *, log_bytes: int, is_log_cut: bool, in_flight: str) -> None:
    """So far goes the log, and these tasks are under way (JSON: {host: task}). Several times a second."""
    execute_many(_PROGRESS, [(log_bytes, is_log_cut, in_flight, run_id)])


def leave_out(run_id: int, name: str, note: Reason) -> None:
    """A host has gone silent or left since the run began, and is no failure of it."""
    mine = (RunHost.run == run_id) & (RunHost.name == name)
    RunHost.update(status=results.LEFT_OUT, **columns("message", note)).where(mine).execute()


def request_cancel(run: Run, *, actor: Actor, at: dt.datetime) -> None:
    """Its executor is to stop it. The first who asks is the one who counts."""
    with database.atomic():
        open_ = (Run.id == run.id) & Run.cancel_requested_at.is_null()
        Run.update(cancel_requested_at=at, **_by_canceler(actor)).where(open_).execute()
        events.record(EventName.RUN_CANCEL, events.target(run), actor=actor, at=at)


# ended


@dataclasses.dataclass(frozen=True, slots=True)
class HostResult:
    """What a run did on one host: its word, and Ansible's counters by column."""

    result: str
    counts: Mapping[str, int]
    note: Reason | None = None


def record_results(rows: Iterable[tuple[RunHost, HostResult]]) -> None:
    """What the run did on each host; a note that was there before stays where there is no new one."""
    for row, one in rows:
        note = columns("message", one.note) if one.note is not None else {}
        RunHost.update(status=one.result, **one.counts, **note).where(RunHost.id == row.id).execute()


def end(run: Run, status: str, reasons: Sequence[Reason], *, at: dt.datetime) -> bool:
    """The run has ended and its stage is free. False when it is not its executor's any more: then nothing changes."""
    with database.atomic():
        ended = {"status": status, "ended_at": at, "in_flight": None, "sealed_vars": None, **_ended_because(reasons)}
        if Run.update(**ended).where(_still_claimed(run)).execute() != 1:
            return False
        locks.free_from_run(run.id)
        _record_end(run, status, reasons, actor=SERVICE, at=at)
    return True


def _record_end(run: Run, status: str, reasons: Sequence[Reason], *, actor: Actor, at: dt.datetime) -> None:
    first = reasons[0] if reasons else None
    events.record(EventName(f"run.{status}"), events.target(run), actor=actor, at=at, reason=first)


def lose(run: Run, reason: Reason, *, at: dt.datetime) -> bool:
    """The run's executor has died; its stage is free. False when the executor has shown itself meanwhile."""
    with database.atomic():
        lost = {"status": statuses.LOST, "ended_at": at, "attempt": Run.attempt + 1, "sealed_vars": None}
        same = _still_claimed(run) & (Run.lease_at == run.lease_at)
        if Run.update(**lost, **_ended_because((reason,))).where(same).execute() != 1:
            return False
        locks.free_from_run(run.id)
        _record_end(run, statuses.LOST, (reason,), actor=SERVICE, at=at)
    return True


# executed elsewhere


def record_external(stage: Stage, fields: Mapping[str, Any], *, key: str, actor: Actor, at: dt.datetime) -> Run:
    """A run goes on elsewhere from now on. `fields`: its options, by column; `key` names it when its sender comes
    again.

    Raises IntegrityError when the same key comes at the same moment.
    """
    with database.atomic():
        run = Run.create(
            stage=stage,
            status=statuses.RUNNING,
            **_by("created_by", actor),
            created_at=at,
            lease_at=at,
            idempotency_key=key,
            origin=EXTERNAL,
            **fields,
        )
        events.record(EventName.RUN_RECORDED, events.target(run), actor=actor, at=at)
    return run


def receive_log(run: Run, *, log_bytes: int, received_bytes: int, is_log_cut: bool) -> bool:
    """So much of an external run's log has come; False when another batch of it came at the same moment."""
    same = (Run.id == run.id) & (Run.received_bytes == run.received_bytes)
    fields = {"log_bytes": log_bytes, "received_bytes": received_bytes, "is_log_cut": is_log_cut}
    return bool(Run.update(**fields).where(same).execute() == 1)


def add_external_hosts(run: Run, hosts: Iterable[SnapshotHost]) -> None:
    """An external run will work on these; those that are known already stay as they are."""
    rows = [
        {"run": run, "host": one.host_id, "name": one.name, "address": one.address, "status": one.result}
        for one in hosts
    ]
    for some in pw.chunked(rows, _ROWS):
        RunHost.insert_many(some).on_conflict_ignore().execute()


def renew_external(run: Run, *, at: dt.datetime) -> None:
    """An external run goes on, also one that was taken for lost."""
    again = {"status": statuses.RUNNING, "ended_at": None, **_ended_because(())}
    Run.update(**again, lease_at=at).where(Run.id == run.id).execute()


def end_external(
    run: Run, status: str, reasons: Sequence[Reason], *, ended_at: dt.datetime, actor: Actor, at: dt.datetime
) -> None:
    """An external run has ended, at `ended_at` by its own word."""
    with database.atomic():
        ended = {"status": status, "ended_at": ended_at, "lease_at": at, **_ended_because(reasons)}
        Run.update(**ended).where(Run.id == run.id).execute()
        _record_end(run, status, reasons, actor=actor, at=at)


def lose_external(run: Run, *, at: dt.datetime) -> bool:
    """An external run has said nothing for long. False when it has spoken meanwhile."""
    reason = because(End.SENDER_SILENT)
    with database.atomic():
        same = (Run.id == run.id) & (Run.status == statuses.RUNNING) & (Run.lease_at == run.lease_at)
        lost = Run.update(status=statuses.LOST, ended_at=run.lease_at, **_ended_because((reason,)))
        if lost.where(same).execute() != 1:
            return False
        _record_end(run, statuses.LOST, (reason,), actor=SERVICE, at=at)
    return True


# later


def remove_events(run_ids: Collection[int], *, at: dt.datetime) -> int:
    """The events and logs of these runs are read by nobody any more; returns how many of them had some."""
    still_there = Run.id.in_(run_ids) & Run.status.in_(statuses.ENDED) & Run.events_removed_at.is_null()
    return int(Run.update(events_removed_at=at).where(still_there).execute())


def forget_hosts(host_ids: Collection[str]) -> None:
    """The rows of these hosts go; what runs did on them stays, under their names."""
    RunHost.update(host=None).where(RunHost.host.in_(host_ids)).execute()


def erase_secrets() -> None:
    """Runs that have ended, however that was, keep no secret extra vars."""
    Run.update(sealed_vars=None).where(Run.status.in_(statuses.ENDED) & Run.sealed_vars.is_null(False)).execute()


def reseal(run_id: int, before: str, after: str) -> None:
    """The run's secret extra vars are under another key, unless they were erased meanwhile."""
    Run.update(sealed_vars=after).where((Run.id == run_id) & (Run.sealed_vars == before)).execute()
