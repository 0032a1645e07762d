"""Executing one run, in a process of its own: claim, prepare, run the playbook, record what came of it.

The process survives a restart of web and worker. The runs table tells everybody how far it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import peewee as pw

from inventory_service.adapters import line_server, processes, runner
from inventory_service.adapters.processes import Identity
from inventory_service.clock import Clock
from inventory_service.codes import results, statuses
from inventory_service.codes.host import KeyMismatch
from inventory_service.codes.run import End, HostNote
from inventory_service.content import content_dir
from inventory_service.database import database
from inventory_service.deployments import convergence, releases, rollout, variables
from inventory_service.deployments.executor import targets
from inventory_service.deployments.executor.event_writer import EventWriter
from inventory_service.deployments.executor.heartbeat_reports import HeartbeatReports
from inventory_service.deployments.executor.host_exclusion import HostExclusion
from inventory_service.deployments.executor.supervisor import PATIENCE_SECONDS, RunSupervisor
from inventory_service.deployments.launching import repeat, requests, run_queue
from inventory_service.deployments.prompting import answering
from inventory_service.deployments.runs import logs, outcome, run_secrets, snapshot
from inventory_service.deployments.runs.outcome import Ending, RunEndsError, ending_because, ending_of
from inventory_service.deployments.runs.run_secrets import CONTROL, CONTROL_PREFIX, RESERVE, WORK, LaidOut, RunSecrets
from inventory_service.deployments.source.sources import SHIPPED, Source, find_playbook, folder_reader
from inventory_service.errors import CallboardError, ConflictError
from inventory_service.models import Host, Release, Run, RunHost
from inventory_service.reasons import Reason, because
from inventory_service.records import hosts as host_records
from inventory_service.records import runs
from inventory_service.records.runs import HostResult
from inventory_service.registry import hosts, known_hosts, liveness
from inventory_service.registry import inventory as rendering
from inventory_service.registry.stage_settings import MITOGEN
from inventory_service.registry.stages import stage_name
from inventory_service.settings import Settings
from inventory_service.vault import masking
from inventory_service.wording import run as wording

log = logging.getLogger(__name__)
T = TypeVar("T")

MARKER = "CALLBOARD_RUN"
_REPORTS = "heartbeats"
_RESERVE_BYTES = 4 * 2**20
_TRIES = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that was frozen for one run. `hosts` are those that it is for, `live` all live ones of the stage."""

    call: runner.PlaybookCall
    hosts: tuple[Host, ...]
    release: Release | None
    live: tuple[Host, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. `prepared` is None where it ended before it had its hosts; `stale` were left out;
    `in_flight` are the hosts with a task that never ended, and the task.
    """

    ending: Ending
    prepared: Prepared | None = None
    stale: frozenset[str] = frozenset()
    in_flight: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def with_note(self, note: Reason) -> Result:
        """The same result with one more reason."""
        return dataclasses.replace(self, ending=self.ending.with_note(note))


def claim(run_id: int, *, at: dt.datetime, executor: Identity | None = None) -> Run | None:
    """Make a process (None: this one) the run's executor and hold its stage. None: not due, or somebody else has it.

    A run is due when it comes first of those that wait for its stage and no person's lock is in its way.
    """
    with database.atomic():
        run = requests.get(run_id)
        if not run_queue.is_due(run) or not runs.claim(run, executor or processes.own_identity(), at=at):
            return None
    return requests.get(run_id)


def claimed(run_id: int) -> Run | None:
    """The run, if this process is its executor; None when it is not, or was given up."""
    run = requests.get(run_id)
    return run if run.status == statuses.RUNNING and run.executor == processes.own_identity() else None


def execute(run: Run, *, settings: Settings, clock: Clock) -> str:
    """Carry a claimed run to its end and return its status. Never raises: what goes wrong is recorded."""
    folder = settings.run_dir(run.id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    reserve, work = _make_reserve(folder / RESERVE), folder / WORK
    largest = settings.run_log_mb * 2**20
    writer = EventWriter(run.id, folder / "log", clock, has_copy=settings.has_log_copies, largest_log=largest)
    supervisor = RunSupervisor(run, settings, clock)
    result = Result(Ending(statuses.FAILED))
    try:
        result = _work(run, writer, supervisor, work, settings=settings, clock=clock)
    except CallboardError as error:
        writer.say(error.detail)
        result = Result(_ending_of(error))
    except Exception as error:
        log.exception("run %s failed inside the service", run.id)
        result = Result(ending_because(statuses.FAILED, End.SERVICE_FAILED, text=repr(error)))
    finally:
        writer.close()
    result = dataclasses.replace(result, in_flight=writer.in_flight)
    if supervisor.ending is not None:
        result = dataclasses.replace(result, ending=supervisor.ending)
    if writer.problem is not None:
        result = result.with_note(writer.problem)
    if result.ending.status == statuses.FAILED and shutil.disk_usage(settings.data_dir).free < _RESERVE_BYTES // 4:
        result = result.with_note(because(End.DISK_FULL, folder=str(settings.data_dir)))
    masked = (because(one.code, **writer.masker.value(dict(one.params))) for one in result.ending.reasons)
    result = dataclasses.replace(result, ending=dataclasses.replace(result.ending, reasons=tuple(masked)))
    reserve.unlink(missing_ok=True)
    make_room = functools.partial(shutil.rmtree, work, ignore_errors=True)
    status = insist(lambda: _finish(run, result, writer.counts, at=clock.now()), between=make_room)
    make_room()
    return status


def _ending_of(error: CallboardError) -> Ending:
    if isinstance(error, RunEndsError):
        return error.ending
    return ending_because(statuses.FAILED, End.NOT_PREPARED, text=error.detail)


def _make_reserve(path: Path) -> Path:
    """Some disk space to give back for the outcome, should the run fill the disk. Without room there is none."""
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, _RESERVE_BYTES)
    except OSError:
        path.unlink(missing_ok=True)
    return path


def insist(ask: Callable[[], T], *, between: Callable[[], None] = lambda: None) -> T:
    """What a question or a write gives; where the database does not take it, tried again for a minute, with `between`
    before each. A run that is claimed would be lost with this process.
    """
    for _ in range(_TRIES):
        try:
            return ask()
        except pw.OperationalError:
            log.exception("the database does not answer yet")
            between()
            time.sleep(1)
    return ask()


def _work(
    run: Run, writer: EventWriter, supervisor: RunSupervisor, work: Path, *, settings: Settings, clock: Clock
) -> Result:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    secrets = run_secrets.open_for(run, settings)
    writer.masker = secrets.masker()
    masking.use(writer.masker)
    with contextlib.ExitStack() as stack:
        control = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=CONTROL_PREFIX)))  # short, for sockets
        (work / CONTROL).symlink_to(control)
        laid_out = stack.enter_context(secrets.laid_out(work / "secrets", control / "agent"))
        stack.enter_context(supervisor)
        prepared = _prepare(run, work, control, secrets, laid_out, settings=settings, clock=clock)
        after = settings.gone_after_seconds
        exclusion = HostExclusion(run, prepared.hosts, prepared.live, clock=clock, gone_after_seconds=after)
        names = [host.name for host in prepared.hosts]
        reports = HeartbeatReports(run.stage, names, clock=clock, gone_after_seconds=after)

        def on_event(event: dict[str, Any]) -> None:
            supervisor.note_activity()
            writer.handle(event)

        stack.enter_context(line_server.answering(control / _REPORTS, reports.answer))
        stack.enter_context(line_server.answering(prepared.call.exclusion_socket, exclusion.answer))
        played = _play(prepared.call, on_event)
    processes.end(processes.descendants(os.getpid()), patience_seconds=PATIENCE_SECONDS)
    writer.close()
    return _result(played, prepared, exclusion, writer.counts, complaint=logs.last_error(work.parent / "log"))


def _play(call: runner.PlaybookCall, on_event: Callable[[dict[str, Any]], None]) -> runner.Outcome:
    """Run the playbook. ansible-runner may fail to note the end on a full disk, when all is done already."""
    try:
        return runner.run_playbook(call, on_event)
    except OSError as error:
        log.exception("ansible-runner could not write")
        return runner.Outcome(-1, error.strerror or str(error))


def _result(
    played: runner.Outcome,
    prepared: Prepared,
    exclusion: HostExclusion,
    counts: dict[str, outcome.HostCount],
    *,
    complaint: str,
) -> Result:
    ending = ending_of(
        return_code=played.return_code,
        counts=counts,
        expected=[host.name for host in prepared.hosts],
        stale=exclusion.stale,
        tolerated=exclusion.tolerated,
        complaint=complaint,
    )
    if played.problem is not None and ending.status == statuses.FAILED:
        ending = ending.with_note(because(End.FILES_UNWRITABLE, text=played.problem))
    if exclusion.stop is not None:
        ending = Ending(statuses.FAILED, (exclusion.stop,))
    return Result(ending, prepared, frozenset(exclusion.stale))


def _prepare(
    run: Run, work: Path, control: Path, secrets: RunSecrets, laid_out: LaidOut, *, settings: Settings, clock: Clock
) -> Prepared:
    _check_space(settings)
    stage, source = run.stage, Source(run.stage.project, settings)
    expiry = liveness.expiry(at=clock.now(), gone_after_seconds=settings.gone_after_seconds)
    original = repeat.exactly_repeated(run)
    chosen = _targets(run, original, expiry=expiry)
    if not run.allows_paused_expiry and expiry.is_paused(stage):  # it was asked for earlier
        raise ConflictError(wording.PAUSED.format(stage=stage_name(stage)))
    release = _release(run, source, at=clock.now())
    revision = (
        release.revision if release else source.resolve(run.source_commit or run.revision or stage.default_revision)
    )
    source.checkout(revision, work / "source")
    answering.fill_in(run, folder_reader(work / "source"), release)
    batches = repeat.batches_of(original) if original else rollout.variables(run)
    own = _own_extra_vars(run, source, release, revision, work) | batches
    layers = repeat.group_layers(original) if original else _group_layers(run, release)
    chosen.listing[rendering.own_group(stage)]["vars"] = variables.merged(layers)
    frozen = snapshot.take(
        run,
        targets=chosen,
        commit=revision,
        release=release,
        layers=[*layers, *variables.of_extra_vars(run, own)],
        source=work / "source",
        original=original,
        settings=settings,
        at=clock.now(),
    )
    snapshot.store(run, frozen, chosen)
    chosen.refuse_nobody()
    call = _call(
        run,
        settings=settings,
        work=work,
        control_dir=control,
        inventory=_write_inventory(work, _with_templates(chosen.listing, run, secrets)),
        chosen=chosen.chosen,
        extra_vars={
            **secrets.resolve(run.extra_vars, work / "secrets"),
            **own,
            "callboard_heartbeat_socket": str(control / _REPORTS),
            "callboard_gate": str(control / _REPORTS),  # for a wait_for_heartbeat of before 0.2 beside the playbook
        },
        laid_out=laid_out,
    )
    return Prepared(call, chosen.chosen, release, tuple(hosts.live_hosts(stage, expiry=expiry)))


def _targets(run: Run, original: Run | None, *, expiry: liveness.Expiry) -> targets.Targets:
    if original is not None:
        return repeat.targets_of(run, original, expiry=expiry)
    return (
        convergence.targets(run, expiry=expiry) if convergence.chooses_late(run) else targets.live(run, expiry=expiry)
    )


def _group_layers(run: Run, release: Release | None) -> list[variables.Layer]:
    """A release made before this run brings the variables with which it was made."""
    if release is None:
        return variables.of_group(run.stage, hosts.desired_release(run.stage))
    named = {"number": release.number, "revision": release.revision}
    return variables.of_group(run.stage, named, release=None if run.release_number is None else release)


def _check_space(settings: Settings) -> None:
    free = shutil.disk_usage(settings.data_dir).free // 2**20
    if free < settings.free_space_mb:
        raise CallboardError(
            f"Only {free} MB are free in {settings.data_dir}; a run needs {settings.free_space_mb} MB. Free some space."
        )


def _release(run: Run, source: Source, *, at: dt.datetime) -> Release | None:
    if run.kind == statuses.PLAYBOOK:
        return None
    number = run.stage.desired_release_number if run.kind == statuses.CONVERGE else run.release_number
    if number is not None:
        runs.name_release(run, number)
        return releases.get(run.stage, number)
    name = run.revision or run.stage.default_revision
    revision = source.resolve(name)
    variables = {**run.stage.project.variables, **run.stage.variables}
    release = releases.create(
        run.stage, revision=revision, revision_name=name, variables=variables, created_by=run.created_by, at=at
    )
    runs.name_release(run, release.number)
    return release


def _call(
    run: Run,
    *,
    settings: Settings,
    work: Path,
    control_dir: Path,
    inventory: Path,
    chosen: tuple[Host, ...],
    extra_vars: dict[str, Any],
    laid_out: LaidOut,
) -> runner.PlaybookCall:
    shipped = SHIPPED if run.kind in statuses.RELEASE_KINDS else ()
    return runner.PlaybookCall(
        private_dir=work,
        project_dir=work / "source",
        playbook=find_playbook(work / "source", run.playbook, shipped=shipped),
        inventory=inventory,
        known_hosts=_write(work / "known_hosts", known_hosts.render(list(chosen))),
        control_dir=control_dir,
        exclusion_socket=control_dir / "exclusion",
        identities=laid_out.identities,
        agent_socket=laid_out.agent_socket,
        vault_ids=laid_out.vault_ids,
        content_dir=content_dir(),
        extra_vars=extra_vars,
        limit=tuple(host.name for host in chosen),
        tags=tuple(run.tags),
        skip_tags=tuple(run.skip_tags),
        is_check=run.is_check,
        is_diff=run.is_diff,
        forks=settings.forks,
        has_mitogen=run.stage.strategy == MITOGEN,
        marker=(MARKER, f"{settings.data_dir}#{run.id}"),
    )


def _with_templates(listing: dict[str, Any], run: Run, secrets: RunSecrets) -> dict[str, Any]:
    """The inventory as it lies on disk for Ansible: no secret is in it, only templates that name them."""
    group = rendering.own_group(run.stage)
    return {**listing, group: {**listing[group], "vars": secrets.templated(listing[group]["vars"])}}


def _write_inventory(work: Path, listing: dict[str, Any]) -> Path:
    snapshot = _write(work / "inventory.json", json.dumps(listing))
    options = {"plugin": "registry", "snapshot": str(snapshot), "trusted_stage_variables": True}
    return _write(work / "registry.yml", json.dumps(options))


def _write(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _own_extra_vars(run: Run, source: Source, release: Release | None, revision: str, work: Path) -> dict[str, Any]:
    """The service's own extra vars; nobody's others override them."""
    own: dict[str, Any] = {
        "callboard_run": run.id,
        "callboard_kind": run.kind,
        "callboard_stage": stage_name(run.stage),
        "callboard_project": run.stage.project.name,
    }
    if release is None:
        return own
    archive = work / "release.tar.gz"
    source.archive(revision, archive)
    named = {"callboard_release": release.number, "callboard_revision": release.revision}
    return {**own, **named, "release_archive": str(archive)}


def _finish(run: Run, result: Result, counts: dict[str, outcome.HostCount], *, at: dt.datetime) -> str:
    """Record hosts, release and end in one transaction, which frees the stage; returns the run's status.

    An executor that lost its run to somebody else records nothing.
    """
    status = result.ending.status
    with database.atomic():
        if not runs.renew_lease(run, at=at).is_claimed:
            log.error("run %s was given up by others; nothing of it is recorded", run.id)
            return statuses.LOST
        record_hosts(run.id, counts, at=at, stale=result.stale, in_flight=result.in_flight)
        if result.prepared is not None and not run.is_check:
            _record_release(run, result, result.prepared, at=at)
        runs.end(run, status, rollout.conclude(run, result.ending, at=at), at=at)
    return status


def record_hosts(
    run_id: int,
    counts: dict[str, outcome.HostCount],
    *,
    at: dt.datetime,
    stale: Collection[str] = (),
    in_flight: Mapping[str, str] | None = None,
) -> None:
    """Write each host's counters and status; hosts that no task reached become `untouched`, missing ones stay so."""
    under_way = in_flight or {}
    query = RunHost.select(RunHost, Host).join(Host, pw.JOIN.LEFT_OUTER)
    rows = list(query.where((RunHost.run == run_id) & RunHost.status.not_in(results.MISSING)))
    by_host = outcome.host_statuses(counts, expected=[row.name for row in rows], stale=stale, in_flight=under_way)
    found = {row.name: counts.get(row.name, outcome.HostCount()) for row in rows}
    runs.record_results(
        (row, HostResult(by_host[row.name], found[row.name].columns(), _note(row, by_host, found, under_way)))
        for row in rows
    )
    for row in rows:
        if found[row.name].note is not None and row.host is not None:
            host_records.note_key_mismatch(row.host, because(KeyMismatch.RUN, run=run_id), at=at)


def _note(
    row: RunHost, by_host: Mapping[str, str], found: Mapping[str, outcome.HostCount], under_way: Mapping[str, str]
) -> Reason | None:
    if by_host[row.name] == results.LOST:
        return because(HostNote.UNDER_WAY, task=under_way[row.name])
    return found[row.name].note


def _record_release(run: Run, result: Result, prepared: Prepared, *, at: dt.datetime) -> None:
    release = prepared.release
    if release is None:
        return
    is_partial = run.kind != statuses.CONVERGE and bool(run.limit or run.exclude or run.tags or run.skip_tags)
    is_good = result.ending.status == statuses.SUCCESSFUL
    rows = RunHost.select().where((RunHost.run == run.id) & RunHost.status.in_((results.OK, results.CHANGED)))
    reached = [row.host_id for row in rows if row.host_id is not None]
    if is_good and not is_partial and run.kind != statuses.CONVERGE:
        releases.make_desired(run.stage, release, at=at)
    is_kept = is_partial and is_good and release.number != run.stage.desired_release_number
    is_stopped = rollout.stays_pinned(run, result.ending.status)
    if is_good or result.ending.status == statuses.FAILED:
        releases.record_on_hosts(release, reached, is_pinned=is_kept or is_stopped)
    if is_stopped:
        releases.record_on_hosts(release, rollout.got_release(run, release), is_pinned=True)
