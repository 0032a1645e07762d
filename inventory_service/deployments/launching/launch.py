"""The way from a request to a queued run: looked up once, checked once, queued in one transaction.

Whoever asks (page, API, command line, schedule, webhook, scaling, rollout, convergence, a repeat) comes through here;
the ways in differ only in how they read what they were given.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection
from typing import Any

from inventory_service.codes import statuses
from inventory_service.database import database
from inventory_service.deployments import locks, releases
from inventory_service.deployments.launching import repeat
from inventory_service.deployments.launching.requests import REFUSE, RunRequest
from inventory_service.deployments.prompting import answering, prompt_files
from inventory_service.deployments.prompting.answering import Question
from inventory_service.deployments.source.sources import Source
from inventory_service.errors import ConflictError, InvalidError, SourceError
from inventory_service.events import Actor
from inventory_service.models import Release, Run, Stage
from inventory_service.records import hosts as host_records
from inventory_service.records import runs
from inventory_service.records.runs import SettledRun
from inventory_service.registry import hosts, liveness, stage_settings
from inventory_service.registry import inventory as rendering
from inventory_service.registry.stages import stage_name
from inventory_service.settings import Settings
from inventory_service.vault import keyring, references, sealed_vars, store
from inventory_service.wording import run as wording

PATIENCE_SECONDS = 2.0
QUESTION_SECONDS = 15.0  # for who only wants to know what would be asked


def launch(
    stage: Stage, request: RunRequest, *, actor: Actor, expiry: liveness.Expiry, settings: Settings | None = None
) -> Run:
    """Queue a run; a repeated idempotency key gets the run that it has made. `settings` are for somebody who waits for
    the answer, and hears at once what the playbook's prompts lack; without them nobody does, and the run says so.

    Raises InvalidError, ConflictError, NotFoundError, and LockedError where it was asked not to wait. Waits two seconds
    at most for the source's server.
    """
    key, fingerprint = request.idempotency_key, None
    if key is not None and settings is not None:
        fingerprint = keyring.fingerprint(request.to_fingerprint(), settings)
    run = Run.get_or_none(Run.idempotency_key == key) if key is not None else None
    if run is None:  # otherwise: what was right at the first time need not be so now
        settled = settle(stage, request, settings, fingerprint=fingerprint)
        with database.atomic():
            if request.if_locked == REFUSE:
                locks.refuse_busy(stage, is_overriding=settled.override_lock is not None)
            released = hosts.list_quarantined(stage) if request.releases_quarantined else []
            if settled.is_for_who_is_out_of_date and settings is not None:
                hosts.refuse_up_to_date(stage, released=released, expiry=expiry)
            if not settled.allows_paused_expiry and expiry.is_paused(stage):
                raise ConflictError(wording.PAUSED.format(stage=stage_name(stage)))
            host_records.release_from_quarantine(released, actor=actor, at=expiry.at, converge_after=expiry.at)
            run = runs.queue(settled, actor=actor, at=expiry.at)
    if (run.stage_id, run.idempotency_hash) != (stage.id, fingerprint):
        raise ConflictError(wording.key_taken(key, run.id))
    return run


def settle(
    stage: Stage, request: RunRequest, settings: Settings | None, *, fingerprint: str | None = None
) -> SettledRun:
    """The request with everything about it checked and settled, its prompts' answers and secrets too; changes nothing.

    Where the source can't be read within two seconds, its prompts are not looked at: the run will say so itself.
    Without `settings` they are not, either, and there are no secrets. Raises as `launch`.
    """
    if request.repeats is not None:
        return repeat.settle(request.repeats, request, settings, fingerprint=fingerprint)
    checked, plain, secret = check(stage, request), request.extra_vars, request.secret_vars
    read = None
    with contextlib.suppress(SourceError):  # it can't be read now
        if settings is not None:
            source = Source(stage.project, settings, patience_seconds=PATIENCE_SECONDS)
            read = source.reader(checked.source_revision)
    if read is not None:
        prompts = prompt_files.find(read, checked.playbook)
        asked = answering.ask(prompts, stage, own=checked.own, secrets=checked.secrets, answered=checked.answered)
        plain, secret = answering.settle(asked, plain, secret, playbook=checked.playbook)
    return SettledRun(
        stage=stage,
        kind=checked.kind,
        playbook=checked.playbook,
        revision=checked.revision,
        release_number=checked.release.number if checked.release else None,
        limit=request.limit,
        exclude=sorted(set(request.exclude)),
        tags=request.tags,
        skip_tags=request.skip_tags,
        is_check=request.is_check,
        is_diff=request.is_diff,
        extra_vars={**plain, **{name: references.to(name) for name in secret}},
        sealed_vars=sealed_vars.seal(stage, secret, settings) if settings is not None else None,
        comment=request.comment.strip(),
        idempotency_key=request.idempotency_key,
        idempotency_hash=fingerprint,
        override_lock=request.override_lock and request.override_lock.strip(),
        allows_paused_expiry=request.allows_paused_expiry,
        rolls_back=request.rolls_back,
    )


def questions(stage: Stage, checked: Checked, settings: Settings, *, patience_seconds: float) -> list[Question]:
    """What the run would ask, in order, of the source as it is now. Raises SourceError, also when the source's server
    takes longer.
    """
    source = Source(stage.project, settings, patience_seconds=patience_seconds)
    prompts = prompt_files.find(source.reader(checked.source_revision), checked.playbook)
    return answering.ask(prompts, stage, own=checked.own, secrets=checked.secrets, answered=checked.answered)


# checked and settled


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """What a request comes down to on its stage: the playbook, the revision at which it is taken, and the one that was
    asked for, or the release. `secrets`: those that become variables; `own`: the variables that the service gives.
    """

    kind: str
    playbook: str
    source_revision: str
    revision: str | None
    release: Release | None
    secrets: dict[str, Any]
    own: dict[str, Any]

    @property
    def answered(self) -> Release | None:
        """The release with whose answers the run goes."""
        return self.release if self.kind in answering.OF_A_RELEASE else None


def check(stage: Stage, request: RunRequest) -> Checked:
    """Raise InvalidError, ConflictError or NotFoundError for a request that would not be accepted."""
    request.check()
    playbook, revision = _playbook(stage, request), _revision(request)
    _check_excluded(stage, request.exclude)
    desired = releases.numbered(stage, stage.desired_release_number)
    release = _release(stage, request, desired)
    secrets = store.list_for_stage(stage)
    unknown = set(store.missing(request.references(), secrets)) - set(request.secret_vars)
    if unknown:
        name = stage_name(stage)
        raise InvalidError.at("extra_vars", f"{name} has no secret {min(unknown)!r} that a variable could hold.")
    named = {"number": desired.number, "revision": desired.revision} if desired is not None else None
    return Checked(
        kind=request.kind,
        playbook=playbook,
        source_revision=release.revision if release is not None else revision or stage.default_revision,
        revision=revision,
        release=release,
        secrets=store.as_variables(secrets),
        own=rendering.server_variables(stage, named),
    )


def _playbook(stage: Stage, request: RunRequest) -> str:
    if request.kind == statuses.PLAYBOOK:
        if request.playbook is None:
            raise InvalidError.at("playbook", "A run of the kind playbook needs the playbook's path.")
        return stage_settings.check_playbook(request.playbook)
    if request.playbook is not None:
        raise InvalidError.at("playbook", f"A {request.kind} uses the stage's own playbook; leave this out.")
    return stage.rollback_playbook if request.kind == statuses.ROLLBACK else stage.deploy_playbook


def _revision(request: RunRequest) -> str | None:
    if request.revision is None:
        return None
    if request.kind in (statuses.ROLLBACK, statuses.CONVERGE):
        raise InvalidError.at("revision", f"A {request.kind} goes to a release; leave the revision out.")
    return stage_settings.check_revision_name(request.revision)


def _release(stage: Stage, request: RunRequest, desired: Release | None) -> Release | None:
    """Rollback: the named release or the one before; converge: the desired one; None for what makes or needs none."""
    if request.kind == statuses.ROLLBACK:
        return releases.to_roll_back_to(stage, request.release)
    if request.release is not None:
        raise InvalidError.at("release", "Only a rollback names a release.")
    if request.kind == statuses.CONVERGE and desired is None:
        raise ConflictError(f"{stage_name(stage)} has no release yet; deploy first.")
    return desired if request.kind == statuses.CONVERGE else None


def _check_excluded(stage: Stage, names: Collection[str]) -> None:
    """A typing error in a name would deploy to the very host that was to be left out."""
    present = {host.name for host in hosts.list_hosts(stage)} if names else set()
    for name in names:
        if name not in present:
            raise InvalidError.at("exclude", f"The stage {stage_name(stage)} has no host {name[:60]!r}.")
