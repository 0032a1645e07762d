"""The deploy and rollback forms: from a query or a POST to a run request, keeping what was typed."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable
from typing import Any

from werkzeug.datastructures import MultiDict

from inventory_service.deployments import requests, statuses
from inventory_service.deployments.requests import RunRequest
from inventory_service.errors import CallboardError, InvalidError

_LONGEST = {"comment": 2000, "revision": 200, "limit": 20_000}


def _new_key() -> str:
    return secrets.token_urlsafe(12)


@dataclasses.dataclass(frozen=True, slots=True)
class LaunchForm:
    """What stands in the form. `key` makes a second click the same run; `error_at` names the field at fault."""

    kind: str = statuses.DEPLOY
    revision: str = ""
    release: str = ""
    comment: str = ""
    limit: str = ""
    excluded: frozenset[str] = frozenset()
    is_check: bool = False
    is_diff: bool = False
    if_locked: str = requests.WAIT
    allow_frozen: bool = False
    override_lock: str = ""
    key: str = dataclasses.field(default_factory=_new_key)
    error: str = ""
    error_at: str = ""

    @classmethod
    def from_query(cls, args: MultiDict[str, str]) -> LaunchForm:
        """Filled in by a link; ?release= means a rollback."""
        kind = statuses.ROLLBACK if "release" in args else statuses.DEPLOY
        return cls(kind=kind, **_typed(args))

    @classmethod
    def from_post(cls, form: MultiDict[str, str]) -> LaunchForm:
        """As it was sent. Hosts that were listed and not ticked are excluded."""
        listed = {name for name in form.get("listed", "").split(",") if name}
        return cls(
            kind=form.get("kind", ""),
            excluded=frozenset(listed - set(form.getlist("include"))),
            key=form.get("key", "")[:40] or _new_key(),
            **_typed(form),
        )

    def request(self, *, live: Iterable[str], by: str) -> RunRequest:
        """The run request. Excluded hosts that have left meanwhile are no longer named. Raises InvalidError."""
        self._check()
        live = set(live)
        if live and live <= self.excluded:
            raise InvalidError.at("exclude", "Every host is left out; tick at least one.")
        is_rollback = self.kind == statuses.ROLLBACK
        return RunRequest(
            kind=self.kind,
            revision=None if is_rollback else self.revision or None,
            release=int(self.release) if is_rollback and self.release else None,
            limit=self.limit or None,
            exclude=tuple(self.excluded & live),
            is_check=self.is_check,
            is_diff=self.is_diff,
            comment=self.comment,
            if_locked=self.if_locked,
            allow_frozen=self.allow_frozen,
            idempotency_key=f"{by}:page:{self.key}",
            override_lock=self.override_lock or None,
        )

    def _check(self) -> None:
        if self.kind not in (statuses.DEPLOY, statuses.ROLLBACK):
            raise InvalidError.at("kind", "Only deploys and rollbacks start from this page.")
        if self.release and not (self.release.isascii() and self.release.isdecimal() and len(self.release) < 10):  # noqa: PLR2004
            raise InvalidError.at("release", "A release is named by its number.")
        for name, most in _LONGEST.items():
            if len(getattr(self, name)) > most:
                raise InvalidError.at(name, f"The {name} is longer than {most} characters.")

    def refused(self, error: CallboardError) -> LaunchForm:
        """The same form with the reason beside it. Nothing came of it, so its key is a new one."""
        locations: Any = error.errors[0].get("loc") if error.errors else None
        at = str(locations[0]) if locations else ""
        return dataclasses.replace(self, error=error.detail, error_at=at, key=_new_key())


def _typed(values: MultiDict[str, str]) -> dict[str, Any]:
    texts = {
        name: values.get(name, "").strip() for name in ("revision", "release", "comment", "limit", "override_lock")
    }
    is_refusing = values.get("if_locked") == requests.REFUSE
    return {
        **texts,
        "is_check": bool(values.get("check")),
        "is_diff": bool(values.get("diff")),
        "allow_frozen": bool(values.get("allow_frozen")),
        "if_locked": requests.REFUSE if is_refusing else requests.WAIT,
    }
