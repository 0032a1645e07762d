"""What somebody asks for, as they ask for it; and the runs that came of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any

from inventory_service.codes import statuses
from inventory_service.deployments.launching import limits
from inventory_service.errors import ConflictError, InvalidError, NotFoundError
from inventory_service.events import Actor
from inventory_service.models import Project, Run, Stage
from inventory_service.records import runs
from inventory_service.registry import stage_settings
from inventory_service.vault import references

WAIT, REFUSE = "wait", "refuse"
EXACT, LIVE = "exact", "live"
MODES = (EXACT, LIVE)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}")
_LONGEST_REASON = 500
_LARGEST_EXTRA_VARS = 65536
_OWN_VARIABLES = re.compile(r"ansible_|callboard_")
_WITHOUT_SNAPSHOT = tuple(field for field in Run._meta.sorted_fields if field is not Run.snapshot)  # noqa: SLF001


@dataclasses.dataclass(frozen=True, slots=True)
class RunRequest:
    """What was asked for. `release` is for rollbacks, `playbook` for kind playbook, `revision` for both others.

    `secret_vars`: the extra vars that are to be encrypted. `override_lock` is the reason to go past the lock that a
    person holds now. `repeats`: the run whose options this one takes, in the mode `repeat_mode`; `rolls_back`: the
    stopped run that is undone by it. `releases_quarantined`: every quarantined host of the stage may be converged
    again, first of all.
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
    extra_vars: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    secret_vars: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    comment: str = ""
    if_locked: str = WAIT
    allows_paused_expiry: bool = False
    idempotency_key: str | None = None
    override_lock: str | None = None
    repeats: Run | None = None
    repeat_mode: str | None = None
    rolls_back: int | None = None
    releases_quarantined: bool = False

    def check(self) -> None:
        """Raise InvalidError for what is wrong whatever the stage."""
        if self.limit is not None:
            limits.parse(self.limit)
        for tag in (*self.tags, *self.skip_tags):
            if not _TAG.fullmatch(tag):
                raise InvalidError.at("tags", f"{tag[:60]!r} is no tag.")
        if self.override_lock is not None and not 0 < len(self.override_lock.strip()) <= _LONGEST_REASON:
            message = f"Say in 1 to {_LONGEST_REASON} characters why the lock does not count."
            raise InvalidError.at("override_lock", message)
        self._check_extra_vars()
        if self.releases_quarantined and self.kind != statuses.CONVERGE:
            message = f"A {self.kind} takes quarantined hosts along; leave this out."
            raise InvalidError.at("release_quarantined", message)

    def _check_extra_vars(self) -> None:
        """Extra vars beat everything, so those that steer the connection or the service itself are not accepted."""
        twice = sorted(set(self.secret_vars) & set(self.extra_vars))
        if twice:
            raise InvalidError.at("extra_vars_secret", f"{twice[0]!r} is among the extra vars twice.")
        given = stage_settings.check_variables(
            {**self.extra_vars, **{name: references.to(name) for name in self.secret_vars}}
        )
        for name in given:
            if _OWN_VARIABLES.match(name):
                message = f"{name!r} can't be set per run: set it on the stage, or leave it out."
                raise InvalidError.at("extra_vars", message)
        if len(json.dumps(given)) > _LARGEST_EXTRA_VARS:
            raise InvalidError.at("extra_vars", f"The extra vars are larger than {_LARGEST_EXTRA_VARS} bytes.")

    def references(self) -> set[str]:
        """The secrets that its extra vars refer to."""
        return references.names(self.extra_vars)

    def to_fingerprint(self) -> dict[str, Any]:
        """Everything that tells it from another request, as plain values."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**fields, "repeats": self.repeats and self.repeats.id}


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
