"""Executing one run, in a process of its own: claim, prepare, run the playbook, record what came of it.

The process survives a restart of web and worker. The runs table tells everybody how far it is.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import logging
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

from inventory_service import audit
from inventory_service.adapters import processes, runner
from inventory_service.clock import Clock
from inventory_service.content import content_dir
from inventory_service.database import database
from inventory_service.deployments import (
    locks,
    outcome,
    releases,
    repeat,
    requests,
    rollout,
    snapshot,
    statuses,
    targets,
    variables,
)
from inventory_service.deployments.events import EventWriter
from inventory_service.deployments.gate import Gate
from inventory_service.deployments.sources import Source, find_playbook
from inventory_service.errors import CallboardError
from inventory_service.models import Host, Release, Run, RunHost
from inventory_service.registry import hosts, known_hosts, liveness
from inventory_service.registry import inventory as rendering
from inventory_service.registry.stages import stage_name
from inventory_service.settings import Settings

log = logging.getLogger(__name__)

MARKER = "CALLBOARD_RUN"
_LEASE_SECONDS = 1.0
_END_PATIENCE_SECONDS = 3.0
_GATE = "gate"
_SHIPPED = ("deploy.yml", "rollback.yml")


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that was frozen for one run."""

    call: runner.PlaybookCall
    hosts: tuple[Host, ...]
    release: Release | None


def claim(run_id: int, *, at: dt.datetime) -> Run | None:
    """Make this process the run's executor and hold its stage. None: not due, or somebody else has it.

    A run is due when no older run of its stage is queued or running and no person has locked the stage.
    """
    identity = processes.identity_of(os.getpid())
    with database.atomic():
        run = requests.get(run_id)
        if run.status != statuses.QUEUED or not is_due(run) or not locks.take_for_run(run, at=at):
            return None
        Run.update(status=statuses.RUNNING, started_at=at, lease_at=at, executor=identity).where(
            Run.id == run_id
        ).execute()
    return requests.get(run_id)


def is_due(run: Run) -> bool:
    """Whether nothing stands before this queued run."""
    older = Run.select().where((Run.stage == run.stage_id) & Run.status.in_(statuses.ACTIVE) & (Run.id < run.id))
    return not older.exists() and locks.find(run.stage, locks.BY_PERSON) is None


def execute(run: Run, *, settings: Settings, clock: Clock) -> str:
    """Carry a claimed run to its end and return its status. Never raises: what goes wrong is recorded."""
    folder = settings.run_dir(run.id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    writer = EventWriter(run.id, folder / "log", clock, has_copy=settings.has_log_copies)
    try:
        ending, prepared = _work(run, writer, folder / "work", settings=settings, clock=clock)
    except CallboardError as error:
        writer.say(error.detail)
        ending, prepared = outcome.Ending(statuses.FAILED, error.detail), None
    except Exception as error:
        log.exception("run %s failed inside the service", run.id)
        ending, prepared = outcome.Ending(statuses.FAILED, f"Callboard itself failed: {error!r}."), None
    finally:
        writer.close()
    _finish(run, ending, prepared, writer.counts, at=clock.now())
    shutil.rmtree(folder / "work", ignore_errors=True)
    return ending.status


def _work(
    run: Run, writer: EventWriter, work: Path, *, settings: Settings, clock: Clock
) -> tuple[outcome.Ending, Prepared]:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    with tempfile.TemporaryDirectory(prefix="cb-") as control:  # a socket's path must be short
        prepared = _prepare(run, work, Path(control), settings=settings, clock=clock)
        watch = _Watch(run.id, settings.run_timeout_seconds, clock)
        with watch, _open_gate(run, prepared, Path(control), settings=settings, clock=clock):
            result = runner.run_playbook(prepared.call, writer.handle)
            processes.end(processes.descendants(os.getpid()), patience_seconds=_END_PATIENCE_SECONDS)
        writer.close()
    ending = outcome.judge_run(
        return_code=result.return_code,
        is_canceled=watch.is_canceled,
        is_timeout=watch.is_timeout or result.status == statuses.TIMEOUT,
        counts=writer.counts,
        expected=[host.name for host in prepared.hosts],
    )
    return ending, prepared


def _open_gate(run: Run, prepared: Prepared, control: Path, *, settings: Settings, clock: Clock) -> Gate:
    names = [host.name for host in prepared.hosts]
    after = settings.gone_after_seconds
    return Gate(control / _GATE, run.stage, names, clock=clock, gone_after_seconds=after)


class _Watch:
    """Beside the playbook: renews the run's lease, and ends the playbook when the run is canceled or out of time.

    TERM goes to ansible-playbook itself, which then clears its forks and connections within about two seconds;
    what is left after that is killed.
    """

    def __init__(self, run_id: int, timeout_seconds: float, clock: Clock) -> None:
        self.is_canceled = False
        self.is_timeout = False
        self._run_id = run_id
        self._clock = clock
        self._deadline = clock.monotonic() + timeout_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"watch-{run_id}", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_LEASE_SECONDS):
            Run.update(lease_at=self._clock.now()).where(Run.id == self._run_id).execute()
            wish = Run.select(Run.cancel_requested_at).where(Run.id == self._run_id).scalar()
            self.is_canceled = self.is_canceled or wish is not None
            self.is_timeout = self._clock.monotonic() > self._deadline
            if self.is_canceled or self.is_timeout:
                self._end_playbook()
        database.close()

    def _end_playbook(self) -> None:
        processes.end(processes.descendants(os.getpid())[:1], patience_seconds=_END_PATIENCE_SECONDS)
        processes.end(processes.descendants(os.getpid()), patience_seconds=0)


def _prepare(run: Run, work: Path, control: Path, *, settings: Settings, clock: Clock) -> Prepared:
    _check_space(settings)
    stage, source = run.stage, Source(run.stage.project, settings)
    judge = liveness.judge(at=clock.now(), gone_after_seconds=settings.gone_after_seconds)
    original = repeat.exactly_repeated(run)
    chosen = repeat.targets_of(run, original, judge=judge) if original else targets.live(run, judge=judge)
    release = _release(run, source, at=clock.now())
    revision = (
        release.revision if release else source.resolve(run.source_commit or run.revision or stage.default_revision)
    )
    source.checkout(revision, work / "source")
    own = _own_extra_vars(run, source, release, revision, work) | rollout.variables(run)
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
        inventory=_write_inventory(work, chosen.listing),
        chosen=chosen.chosen,
        extra_vars={**run.extra_vars, **own, "callboard_gate": str(control / _GATE)},
    )
    return Prepared(call, chosen.chosen, release)


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
    if run.release_number is not None:
        return releases.get(run.stage, run.release_number)
    name = run.revision or run.stage.default_revision
    revision = source.resolve(name)
    variables = {**run.stage.project.variables, **run.stage.variables}
    release = releases.create(
        run.stage, revision=revision, revision_name=name, variables=variables, created_by=run.created_by, at=at
    )
    Run.update(release_number=release.number).where(Run.id == run.id).execute()
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
) -> runner.PlaybookCall:
    shipped = _SHIPPED if run.kind in statuses.RELEASE_KINDS else ()
    return runner.PlaybookCall(
        private_dir=work,
        project_dir=work / "source",
        playbook=find_playbook(work / "source", run.playbook, shipped=shipped),
        inventory=inventory,
        known_hosts=_write(work / "known_hosts", known_hosts.render(list(chosen))),
        control_dir=control_dir,
        ssh_key=settings.ssh_key_path,
        content_dir=content_dir(),
        extra_vars=extra_vars,
        limit=tuple(host.name for host in chosen),
        tags=tuple(run.tags),
        skip_tags=tuple(run.skip_tags),
        is_check=run.is_check,
        is_diff=run.is_diff,
        forks=settings.forks,
        timeout_seconds=settings.run_timeout_seconds,
        marker=(MARKER, f"{settings.data_dir}#{run.id}"),
    )


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


def _finish(
    run: Run,
    ending: outcome.Ending,
    prepared: Prepared | None,
    counts: dict[str, outcome.HostCount],
    *,
    at: dt.datetime,
) -> None:
    """Record hosts, release and status in one transaction, and free the stage with it."""
    with database.atomic():
        if prepared is not None:
            record_hosts(run.id, counts)
            if prepared.release is not None and not run.is_check:
                _record_release(run, ending, prepared, counts, at=at)
        Run.update(status=ending.status, error=ending.error, ended_at=at).where(
            (Run.id == run.id) & (Run.status == statuses.RUNNING)
        ).execute()
        locks.free_from_run(run.id)
        audit.record(audit.SERVICE, f"run.{ending.status}", f"run {run.id}", at=at)


def record_hosts(run_id: int, counts: dict[str, outcome.HostCount]) -> None:
    """Write each host's counters and status; hosts that no task reached become `untouched`, missing ones stay so."""
    for row in RunHost.select().where((RunHost.run == run_id) & RunHost.status.not_in(outcome.MISSING)):
        count = counts.get(row.name, outcome.HostCount())
        fields = {**dataclasses.asdict(count), "status": count.status}
        RunHost.update(**fields).where(RunHost.id == row.id).execute()
        if count.message is not None and row.host_id is not None:
            hosts.note_host_key(row.host_id, f"run {run_id} met a machine without a host key of record")


def _record_release(
    run: Run, ending: outcome.Ending, prepared: Prepared, counts: dict[str, outcome.HostCount], *, at: dt.datetime
) -> None:
    release = prepared.release
    if release is None:
        return
    is_partial = run.kind != statuses.CONVERGE and bool(run.limit or run.exclude or run.tags or run.skip_tags)
    is_good = ending.status == statuses.SUCCESSFUL
    reached = [
        host.id
        for host in prepared.hosts
        if counts.get(host.name, outcome.HostCount()).status in (outcome.OK, outcome.CHANGED)
    ]
    if is_good and not is_partial and run.kind != statuses.CONVERGE:
        releases.make_desired(run.stage, release, at=at)
    if is_good or ending.status == statuses.FAILED:
        releases.record_on_hosts(release, reached, is_held=is_partial and is_good)
