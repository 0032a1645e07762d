"""Repeating a run: exactly as it was, or the same release and options on the hosts that are live now."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from inventory_service.codes import results, statuses
from inventory_service.codes.run import HostNote, SnapshotNote
from inventory_service.deployments import variables
from inventory_service.deployments.executor.targets import Missing, Targets
from inventory_service.deployments.launching import limits, requests
from inventory_service.deployments.launching.requests import EXACT, LIVE, MODES, RunRequest
from inventory_service.deployments.runs import snapshot
from inventory_service.errors import ConflictError, InvalidError
from inventory_service.models import Host, Run, RunHost, Stage
from inventory_service.reasons import Reason, because
from inventory_service.records.runs import EXTERNAL, SettledRun
from inventory_service.registry import hosts, liveness
from inventory_service.registry.stages import stage_name
from inventory_service.settings import Settings
from inventory_service.vault import references, sealed_vars, store

_BATCHES = ("callboard_batches", "callboard_max_fail_percentage")  # of rollout.variables


def settle(run: Run, request: RunRequest, settings: Settings | None, *, fingerprint: str | None) -> SettledRun:
    """The repeat of a run, checked and settled: the run's own options, its secret extra vars given again.

    Raises ConflictError for a run that has not frozen what the mode needs, InvalidError.
    """
    request.check()
    _check(run, request.repeat_mode or "")
    _check_secrets(run, tuple(request.secret_vars))
    return SettledRun(
        stage=run.stage,
        kind=run.kind,
        playbook=run.playbook,
        revision=run.revision,
        source_commit=run.source_commit,
        release_number=run.release_number,
        limit=run.limit,
        exclude=_still_there(run),
        tags=run.tags,
        skip_tags=run.skip_tags,
        is_check=run.is_check,
        is_diff=run.is_diff,
        extra_vars=run.extra_vars,
        sealed_vars=sealed_vars.seal(run.stage, request.secret_vars, settings) if settings is not None else None,
        comment=request.comment.strip(),
        idempotency_key=request.idempotency_key,
        idempotency_hash=fingerprint,
        override_lock=request.override_lock and request.override_lock.strip(),
        allows_paused_expiry=request.allows_paused_expiry,
        repeat_of=run.id,
        repeat_mode=request.repeat_mode,
    )


def _check(run: Run, mode: str) -> None:
    if mode not in MODES:
        raise InvalidError.at("mode", f"{mode[:40]!r} is no way to repeat a run; say {EXACT} or {LIVE}.")
    name = stage_name(run.stage)
    if run.origin == EXTERNAL:
        raise ConflictError(f"Run {run.id} is only recorded here: nothing was frozen. Repeat it where it was executed.")
    if run.stage.archived_at is not None or run.stage.project.archived_at is not None:
        raise ConflictError(f"The stage {name} is archived; nothing runs there any more.")
    if run.source_commit is None or run.kind not in statuses.KINDS:
        raise ConflictError(
            f"Run {run.id} has frozen nothing that could be repeated: it is {run.status}. Launch a new run instead."
        )
    if mode == EXACT and not snapshot.is_full(run):
        raise ConflictError(
            f"Run {run.id} was recorded before runs kept all that an exact repeat needs. "
            f"Repeat it with the mode {LIVE}: the same release on the hosts that are live now."
        )
    if run.kind == statuses.CONVERGE and run.release_number != run.stage.desired_release_number:
        raise ConflictError(
            f"Run {run.id} brought hosts to release {run.release_number}, which is not what {name} should run now: "
            "convergence would take them back at once. Roll back to that release instead."
        )


def _check_secrets(run: Run, given: tuple[str, ...]) -> None:
    """Secret extra vars were erased when the run ended: they have to be given again, no more and no less."""
    named = references.names(run.extra_vars)
    wanted, unasked = set(store.missing(named, store.list_for_stage(run.stage))), set(given) - named
    if unasked:
        raise InvalidError.at("extra_vars_secret", f"Run {run.id} had no secret extra var {min(unasked)!r}.")
    if wanted - set(given):
        raise InvalidError.at(
            "extra_vars_secret",
            f"Run {run.id} had secret extra vars that are not kept: {', '.join(sorted(wanted - set(given)))}. "
            "Give them again.",
        )


def _still_there(run: Run) -> list[str]:
    """Who was left out stays out; those who have gone need no naming."""
    present = {host.name for host in hosts.list_hosts(run.stage)} if run.exclude else set()
    return [name for name in run.exclude if name in present]


def exactly_repeated(run: Run) -> Run | None:
    """The run whose snapshot this one takes; None when it takes one of its own. Raises NotFoundError."""
    return requests.get(run.repeat_of) if run.repeat_mode == EXACT and run.repeat_of is not None else None


def targets_of(run: Run, original: Run, *, expiry: liveness.Expiry) -> Targets:
    """The frozen inventory of the repeated run and its hosts, as far as they are still there; the others by name.

    Hosts are told by their id. What is not frozen is how to reach them: an address or SSH key of today takes the
    place of the one of then, and a note says so. Hosts that have left stay in the inventory, where templates may name
    them; they are not among the chosen.
    """
    listing = snapshot.inventory(original)
    rows = list(RunHost.select().where(RunHost.run == original).order_by(RunHost.name))
    known = _known_hosts(run.stage)
    notes = _readdress(listing, known)
    named = limits.names(run.limit)
    chosen, missing = [], []
    for row in rows:
        host = known.get(row.host_id or "")
        note = _why_missing(host, run.stage, expiry, named=named)
        if host is None or note is not None:
            result, why = note or (results.GONE, because(HostNote.UNKNOWN))
            missing.append(Missing(row.name, row.host_id, row.address, row.port, result, why))
            continue
        chosen.append(host)
        if row.keys_sha256 not in (None, snapshot.keys_digest(host)):
            notes.append(because(SnapshotNote.OTHER_HOST_KEYS, host=row.name, run=original.id))
    return Targets(listing, tuple(chosen), tuple(missing), tuple(notes))


def _known_hosts(stage: Stage) -> dict[str, Host]:
    return {host.id: host for host in Host.select().where(Host.stage == stage)}


def _readdress(listing: dict[str, Any], known: dict[str, Host]) -> list[Reason]:
    """Put today's addresses into the frozen inventory; returns a note for each that differs."""
    notes = []
    for name, values in listing["_meta"]["hostvars"].items():
        host = known.get(values["callboard_host_id"])
        then = (values["ansible_host"], values["ansible_port"])
        if host is not None and host.gone_at is None and (host.address, host.port) != then:
            values |= {"ansible_host": host.address, "ansible_port": host.port}
            now = [host.address, host.port]
            notes.append(because(SnapshotNote.OTHER_ADDRESS, host=name, before=list(then), now=now))
    return notes


def _why_missing(
    host: Host | None, stage: Stage, expiry: liveness.Expiry, *, named: Collection[str]
) -> tuple[str, Reason] | None:
    """(result, why) of a host that can't be worked on now. `named`: those that the run's limit names."""
    state = expiry.state(host, stage) if host is not None else liveness.GONE
    if host is None:
        return results.GONE, because(HostNote.UNKNOWN)
    if state == liveness.GONE:
        why = {"code": host.gone_code, **(host.gone_params or {})} if host.gone_code else None
        return results.GONE, because(HostNote.GONE, why=why)
    if host.conflict_code is not None:
        why = {"code": host.conflict_code, **(host.conflict_params or {})}
        return results.CONFLICT, because(HostNote.IN_CONFLICT, why=why)
    if host.leaving_at is not None and host.name not in named:
        return results.GONE, because(HostNote.TO_BE_ENDED)
    return None if expiry.is_listed(host, stage) else (results.STALE, because(HostNote.STALE))


def group_layers(original: Run) -> list[variables.Layer]:
    """The layers of the stage's group as the run froze them: all that come before its extra vars."""
    layers: list[variables.Layer] = original.snapshot["variables"]
    end = next(number for number, layer in enumerate(layers) if layer["from"] == variables.RUN)
    return layers[:end]


def batches_of(original: Run) -> dict[str, Any]:
    """The extra vars about batches, as the run froze them; its other ones of the service's own are made anew."""
    own: dict[str, Any] = original.snapshot["variables"][-1]["values"]
    return {name: own[name] for name in _BATCHES if name in own}
