"""Secrets of projects and stages: set, listed without values, removed, and opened for a run."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
from collections.abc import Collection
from typing import Any

from inventory_service import events
from inventory_service.database import database
from inventory_service.errors import ConflictError, InvalidError, NotFoundError
from inventory_service.events import Actor, EventName, Target
from inventory_service.models import Project, Secret, Stage
from inventory_service.settings import Settings
from inventory_service.text import MASKED
from inventory_service.vault import keyring, kinds, references
from inventory_service.vault.keyring import Keyring

_NAMED = (kinds.VARIABLE, kinds.FILE)
IN_VARIABLES = (*_NAMED, kinds.BECOME_PASSWORD)
_BECOME = "ansible_become_password"


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """Whose secrets: a project's own (`stage` None), or a stage's."""

    project: Project
    stage: Stage | None = None

    @property
    def name(self) -> str:
        """`shop`, or `shop/production`."""
        return self.project.name if self.stage is None else f"{self.project.name}/{self.stage.name}"

    @property
    def target(self) -> Target:
        """What an event about one of its secrets is about."""
        return events.target(self.stage or self.project)


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """A decrypted secret. Its value stays out of `repr`, and so out of messages."""

    name: str
    kind: str
    value: bytes = dataclasses.field(repr=False)

    @property
    def text(self) -> str:
        """The value of every kind but `file`."""
        return self.value.decode()


def put(
    scope: Scope, name: str, *, kind: str, value: bytes, settings: Settings, actor: Actor, at: dt.datetime
) -> tuple[Secret, bool]:
    """Set a secret; returns its row and whether it is new. Raises InvalidError, ConflictError."""
    _check(scope, name, kind, value)
    keys = keyring.load(settings)
    sealed = keys.seal(base64.b64encode(value).decode(), context=_context(scope, name))
    fields = {"kind": kind, "sealed": sealed, "updated_by": actor.name, "updated_at": at}
    with database.atomic():
        _refuse_second(scope, name, kind)
        known = _find(scope, name)
        if known is not None:
            Secret.update(**fields).where(Secret.id == known.id).execute()
        else:
            Secret.create(
                project=scope.project, stage=scope.stage, name=name, created_by=actor.name, created_at=at, **fields
            )
        masked = events.changed({"kind": known.kind if known else None}, {"kind": kind})
        masked["value"] = (MASKED if known else None, MASKED)
        details = {"name": name, "kind": kind}
        events.record(EventName.SECRET_SET, scope.target, actor=actor, at=at, changes=masked, details=details)
        row = get(scope, name)
    _follow_rotation(row, keys, settings)
    return row, known is None


def _follow_rotation(row: Secret, used: Keyring, settings: Settings) -> None:
    """A rotation that began after the keys were read may have missed the row, and drops the old key."""
    now = keyring.load(settings)
    if now.texts[0] != used.texts[0]:
        sealed = Keyring((*now.texts, *used.texts)).reseal(row.sealed)
        Secret.update(sealed=sealed).where((Secret.id == row.id) & (Secret.sealed == row.sealed)).execute()


def _check(scope: Scope, name: str, kind: str, value: bytes) -> None:
    if kind not in kinds.KINDS:
        raise InvalidError.at("kind", f"{kind[:40]!r} is no kind of secret: {', '.join(kinds.KINDS)}.")
    if scope.stage is not None and kind in kinds.OF_PROJECTS:
        raise InvalidError.at("kind", f"A {kind} belongs to the project, as its source does.")
    kinds.check_name(name, kind)
    kinds.check_value(value, kind)


def _refuse_second(scope: Scope, name: str, kind: str) -> None:
    rivals = kinds.SINGLE.get(kind, ())
    other = next((row for row in list_own(scope) if row.kind in rivals and row.name != name), None)
    if other is not None:
        raise ConflictError(f"{scope.name} has the {other.kind} {other.name!r}; set that one, or remove it first.")


def _context(scope: Scope, name: str) -> str:
    """Numbers, since those stay when something is renamed."""
    return f"secret {name!r} of project {scope.project.id} stage {scope.stage.id if scope.stage else '-'}"


def list_own(scope: Scope) -> list[Secret]:
    """The scope's own secrets by name."""
    return list(Secret.select().where(_belongs_to(scope)).order_by(Secret.name))


def list_for_stage(stage: Stage) -> list[Secret]:
    """What a run of the stage gets, by name: the stage's own, and those of the project that it does not override."""
    own = {row.name: row for row in list_own(Scope(stage.project, stage))}
    rows = {row.name: row for row in list_own(Scope(stage.project))} | own
    return [rows[name] for name in sorted(rows)]


def as_variables(rows: Collection[Secret]) -> dict[str, Any]:
    """References to those of a stage's secrets that become variables of its runs by themselves, by the variable's
    name.
    """
    found = {row.name: references.to(row.name) for row in rows if row.kind in _NAMED}
    become = [row for row in rows if row.kind == kinds.BECOME_PASSWORD]
    own = [row for row in become if row.stage_id is not None] or become
    return {**found, **({_BECOME: references.to(own[0].name)} if own else {})}


def missing(names: set[str], rows: Collection[Secret]) -> list[str]:
    """Those of these names that are none of a stage's secrets which a variable of its runs could hold."""
    return sorted(names - {row.name for row in rows if row.kind in IN_VARIABLES})


def get(scope: Scope, name: str) -> Secret:
    """The row. Raises NotFoundError."""
    row = _find(scope, name)
    if row is None:
        raise NotFoundError(f"{scope.name} has no secret {name[:60]!r}.")
    return row


def remove(scope: Scope, name: str, *, actor: Actor, at: dt.datetime) -> None:
    """Forget a secret. Raises NotFoundError."""
    with database.atomic():
        row = get(scope, name)
        Secret.delete().where(Secret.id == row.id).execute()
        details = {"name": name, "kind": row.kind}
        events.record(EventName.SECRET_REMOVE, scope.target, actor=actor, at=at, details=details)


def open_for_stage(stage: Stage, keys: Keyring) -> dict[str, Opened]:
    """Every secret that a run of the stage gets, by name. Raises SealError."""
    return {row.name: _opened(row, stage.project, stage, keys) for row in list_for_stage(stage)}


def open_for_source(project: Project, keys: Keyring) -> Opened | None:
    """The credential for the project's source; None when it has none. Raises SealError."""
    row = next((row for row in list_own(Scope(project)) if row.kind in kinds.OF_PROJECTS), None)
    return None if row is None else _opened(row, project, None, keys)


def _opened(row: Secret, project: Project, stage: Stage | None, keys: Keyring) -> Opened:
    scope = Scope(project, stage if row.stage_id is not None else None)
    value = keys.open(row.sealed, context=_context(scope, row.name))
    return Opened(row.name, row.kind, base64.b64decode(value))


def _find(scope: Scope, name: str) -> Secret | None:
    row: Secret | None = Secret.select().where(_belongs_to(scope) & (Secret.name == name)).first()
    return row


def _belongs_to(scope: Scope) -> object:
    is_stage = Secret.stage.is_null() if scope.stage is None else Secret.stage == scope.stage
    return (Secret.project == scope.project) & is_stage
