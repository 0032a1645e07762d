"""Asking for a run: checked, recorded with who and why, then queued."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any

from inventory_service.codes import statuses
from inventory_service.database import database
from inventory_service.deployments import locks, releases
from inventory_service.deployments.launching import limits
from inventory_service.deployments.runs import run_secrets
from inventory_service.errors import ConflictError, InvalidError, LockedError, NotFoundError
from inventory_service.events import Actor
from inventory_service.models import Project, Run, Stage
from inventory_service.records import runs
from inventory_service.records.runs import SettledRun
from inventory_service.registry import hosts, liveness, stages
from inventory_service.registry.stages import stage_name
from inventory_service.settings import Settings
from inventory_service.vault import keyring, references
from inventory_service.wording import lock as wording

WAIT, REFUSE = "wait", "refuse"
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}")
_LARGEST_EXTRA_VARS = 65536
_LONGEST_REASON = 500
_WITHOUT_SNAPSHOT = tuple(field for field in Run._meta.sorted_fields if field is not Run.snapshot)  # noqa: SLF001
_OWN_VARIABLES = re.compile(r"ansible_|callboard_")


@dataclasses.dataclass(frozen=True, slots=True)
class RunRequest:
    """What was asked for. `release` is for rollbacks, `playbook` for kind playbook, `revision` for both others.

    `override_lock` is the reason to go past the lock that a person holds now. A request with an `idempotency_key` is
    `signed`.
    """

    kind: str
    playbook: str | None = None
    revision: str | None = None
    release: int | None = None
    limit: str | None = None
    exclude: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    is_check: bool = False
    is_diff: bool = False
    extra_vars: dict[str, Any] = dataclasses.field(default_factory=dict)
    comment: str = ""
    if_locked: str = WAIT
    allows_paused_expiry: bool = False
    idempotency_key: str | None = None
    idempotency_hash: str | None = None
    repeat_of: int | None = None
    rolls_back: int | None = None
    override_lock: str | None = None
    secret_names: tuple[str, ...] = ()
    sealed_vars: str | None = dataclasses.field(default=None, repr=False)


def request_run(stage: Stage, request: RunRequest, *, actor: Actor, at: dt.datetime) -> tuple[Run, bool]:
    """Queue a run; returns it and whether it is new (False: the idempotency key was used before).

    Raises InvalidError, LockedError (asked not to wait), ConflictError.
    """
    known = _known(request)  # what was right at the first time need not be so now
    if known is not None:
        return known, False
    return enqueue(stage, request, _checked(stage, request), actor=actor, at=at)


def enqueue(
    stage: Stage, request: RunRequest, fields: dict[str, Any], *, actor: Actor, at: dt.datetime
) -> tuple[Run, bool]:
    """Queue a run whose `fields` are checked already, or answer the one that its idempotency key made before."""
    override = _check_override(request.override_lock)
    if (request.idempotency_key is None) != (request.idempotency_hash is None):
        raise ValueError("a request with an idempotency key has to be signed")
    own: dict[str, Any] = {
        "override_lock": override,
        "allows_paused_expiry": request.allows_paused_expiry,
        "idempotency_hash": request.idempotency_hash,
        "rolls_back": request.rolls_back,
    }
    with database.atomic():
        known = _known(request)
        if known is not None:
            return known, False
        if request.if_locked == REFUSE:
            _refuse_if_held(stage, is_overriding=override is not None)
        if not request.allows_paused_expiry:
            refuse_paused(stage, expiry=liveness.expiry(at=at, gone_after_seconds=0))
        made = runs.queue(SettledRun(stage=stage, **own, **fields), actor=actor, at=at)
    if made is not None:
        return made, True
    known = _known(request)  # the same key, at the same moment
    assert known is not None
    return known, False


def _check_override(reason: str | None) -> str | None:
    if reason is None:
        return None
    if not reason.strip() or len(reason) > _LONGEST_REASON:
        raise InvalidError.at("override_lock", f"Say in 1 to {_LONGEST_REASON} characters why the lock does not count.")
    return reason.strip()


def check(stage: Stage, request: RunRequest) -> None:
    """Raise InvalidError or ConflictError for a request that would not be accepted."""
    _checked(stage, request)


def signed(
    stage: Stage, request: RunRequest, settings: Settings, *, secret: Mapping[str, Any], mode: str | None = None
) -> RunRequest:
    """The request with the fingerprint of all that was asked for, which tells a repeated idempotency key from one that
    is used anew. `secret`: the secret extra vars; `mode`: that of a repeat.
    """
    if request.idempotency_key is None:
        return request
    asked = dataclasses.asdict(request)
    asked |= {"sealed_vars": None, "secret": dict(secret), "stage": stage.id, "repeat_mode": mode}
    return dataclasses.replace(request, idempotency_hash=keyring.fingerprint(asked, settings))


def is_known(idempotency_key: str | None) -> bool:
    """Whether the key made a run before."""
    return idempotency_key is not None and Run.select().where(Run.idempotency_key == idempotency_key).exists()


def _known(request: RunRequest) -> Run | None:
    key = request.idempotency_key
    run = Run.get_or_none(Run.idempotency_key == key) if key else None
    if run is not None and run.idempotency_hash != request.idempotency_hash:
        raise ConflictError(f"The idempotency key {key!r} belongs to run {run.id}, which asked for something else.")
    return run


def _refuse_if_held(stage: Stage, *, is_overriding: bool) -> None:
    held = locks.find(stage, locks.BY_PERSON)
    if held is not None and not is_overriding:
        raise LockedError(f"{stage_name(stage)} is locked by {held.locked_by}: {wording.why(held.reasons)}.")
    active = locks.active_runs(stage.id).order_by(Run.started_at.is_null(), Run.id).first()
    if active is not None:
        raise LockedError(f"{stage_name(stage)} is busy: run {active.id} ({active.kind}) is {active.status}.")


def refuse_paused(stage: Stage, *, expiry: liveness.Expiry) -> None:
    """Raise ConflictError while it is unclear who of the stage is live."""
    if expiry.is_frozen(stage):
        raise ConflictError(
            f"The expiry of {stage_name(stage)}'s hosts is paused: too many are silent to tell who is live. "
            "Say allow_paused_expiry to run on what is listed, or expire the silent ones first."
        )


def _checked(stage: Stage, request: RunRequest) -> dict[str, Any]:
    if request.limit is not None:
        limits.parse(request.limit)
    _check_excluded(stage, request.exclude)
    for tag in (*request.tags, *request.skip_tags):
        if not _TAG.fullmatch(tag):
            raise InvalidError.at("tags", f"{tag[:60]!r} is no tag.")
    return {
        "kind": request.kind,
        "playbook": playbook_of(stage, request),
        "revision": _revision(request),
        "release_number": release_of(stage, request),
        "limit": request.limit,
        "exclude": sorted(set(request.exclude)),
        "tags": list(request.tags),
        "skip_tags": list(request.skip_tags),
        "is_check": request.is_check,
        "is_diff": request.is_diff,
        "extra_vars": with_secrets(stage, request),
        "sealed_vars": request.sealed_vars,
        "comment": request.comment.strip(),
        "idempotency_key": request.idempotency_key,
        "repeat_of": request.repeat_of,
    }


def _check_excluded(stage: Stage, names: tuple[str, ...]) -> None:
    """A typing error in a name would deploy to the very host that was to be left out."""
    present = {host.name for host in hosts.list_hosts(stage)} if names else set()
    for name in names:
        if name not in present:
            raise InvalidError.at("exclude", f"The stage {stage_name(stage)} has no host {name[:60]!r}.")


def playbook_of(stage: Stage, request: RunRequest) -> str:
    """The path of the playbook that the request is for. Raises InvalidError."""
    if request.kind == statuses.PLAYBOOK:
        if request.playbook is None:
            raise InvalidError.at("playbook", "A run of the kind playbook needs the playbook's path.")
        return stages.check_playbook(request.playbook)
    if request.playbook is not None:
        raise InvalidError.at("playbook", f"A {request.kind} uses the stage's own playbook; leave this out.")
    return stage.rollback_playbook if request.kind == statuses.ROLLBACK else stage.deploy_playbook


def _revision(request: RunRequest) -> str | None:
    if request.revision is None:
        return None
    if request.kind in (statuses.ROLLBACK, statuses.CONVERGE):
        raise InvalidError.at("revision", f"A {request.kind} goes to a release; leave the revision out.")
    return stages.check_revision_name(request.revision)


def release_of(stage: Stage, request: RunRequest) -> int | None:
    """Rollback: the named release or the one before; converge: the desired one; None for what makes or needs none.

    Raises InvalidError, ConflictError, NotFoundError.
    """
    if request.kind == statuses.ROLLBACK:
        return _rollback_target(stage, request.release)
    if request.release is not None:
        raise InvalidError.at("release", "Only a rollback names a release.")
    if request.kind == statuses.CONVERGE and stage.desired_release_number is None:
        raise ConflictError(f"{stage_name(stage)} has no release yet; deploy first.")
    return stage.desired_release_number if request.kind == statuses.CONVERGE else None


def _rollback_target(stage: Stage, number: int | None) -> int:
    if number is None:
        return releases.before(stage, stage.desired_release_number).number
    release = releases.get(stage, number)
    if release.succeeded_at is None:
        raise ConflictError(f"Release {number} of {stage_name(stage)} was never deployed successfully.")
    return release.number


def with_secrets(stage: Stage, request: RunRequest) -> dict[str, Any]:
    """The extra vars as a run's row keeps them: a secret one by reference, `{"$secret": NAME}`."""
    twice = sorted(set(request.secret_names) & set(request.extra_vars))
    if twice:
        raise InvalidError.at("extra_vars_secret", f"{twice[0]!r} is among the extra vars twice.")
    unknown = set(run_secrets.missing(stage, request.extra_vars)) - set(request.secret_names)
    if unknown:
        name = stage_name(stage)
        raise InvalidError.at("extra_vars", f"{name} has no secret {min(unknown)!r} that a variable could hold.")
    return check_extra_vars({**request.extra_vars, **{name: references.to(name) for name in request.secret_names}})


def check_extra_vars(variables: dict[str, Any]) -> dict[str, Any]:
    """Extra vars beat everything, so those that steer the connection or the service itself are not accepted."""
    stages.check_variables(variables)
    for name in variables:
        if _OWN_VARIABLES.match(name):
            raise InvalidError.at("extra_vars", f"{name!r} can't be set per run: set it on the stage, or leave it out.")
    if len(json.dumps(variables)) > _LARGEST_EXTRA_VARS:
        raise InvalidError.at("extra_vars", f"The extra vars are larger than {_LARGEST_EXTRA_VARS} bytes.")
    return variables


def cancel(run: Run, *, actor: Actor, at: dt.datetime) -> Run:
    """Ask a run to end. A queued one ends at once; a running one is stopped by its executor within seconds."""
    if run.status in statuses.ENDED:
        raise ConflictError(f"Run {run.id} has ended already: it was {run.status}.")
    if run.origin != "service":
        raise ConflictError(f"Run {run.id} is only recorded here: it is executed elsewhere; stop it there.")
    if not runs.cancel_queued(run, actor=actor, at=at):
        runs.request_cancel(run, actor=actor, at=at)
    return get(run.id)


def get(run_id: int) -> Run:
    """The run of that number, with its stage and project. Raises NotFoundError."""
    query = Run.select(Run, Stage, Project).join(Stage).join(Project)
    run: Run | None = query.where(Run.id == run_id).first() if 0 < run_id < 2**62 else None
    if run is None:
        raise NotFoundError(f"There is no run {run_id}.")
    return run


def last_failure(stage: Stage) -> Run | None:
    """The stage's last run that ended, check mode aside, if it failed, ran out of time or was lost; else None."""
    ended = (Run.stage == stage) & Run.status.in_(statuses.ENDED) & ~Run.is_check
    last: Run | None = Run.select(*_WITHOUT_SNAPSHOT).where(ended).order_by(Run.id.desc()).first()
    return last if last and last.status in (statuses.FAILED, statuses.TIMEOUT, statuses.LOST) else None


def list_runs(
    *,
    stage: Stage | None = None,
    status: str | None = None,
    kind: str | None = None,
    user: str | None = None,
    text: str | None = None,
    projects: tuple[str, ...] | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Run]:
    """Runs, newest first, without their snapshots, which may be large.

    `before` is a run's number: only older ones, for paging. `projects` None means all.
    """
    query = Run.select(*_WITHOUT_SNAPSHOT, Stage, Project).join(Stage).join(Project)
    tests: list[Any] = []
    tests += [Run.stage == stage] if stage is not None else []
    tests += [Run.status == status] if status else []
    tests += [Run.kind == kind] if kind else []
    tests += [Run.created_by == user] if user else []
    tests += [Run.comment.contains(text) | Run.revision.contains(text) | Run.playbook.contains(text)] if text else []
    tests += [Project.name.in_(projects)] if projects is not None else []
    tests += [Run.id < before] if before is not None else []
    query = query.where(*tests) if tests else query
    return list(query.order_by(Run.id.desc()).limit(limit))
