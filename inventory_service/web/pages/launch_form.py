"""The forms that launch a run: from a query or a POST to a run request, keeping what was typed."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from werkzeug.datastructures import MultiDict

from inventory_service.codes import statuses
from inventory_service.deployments.launching import requests
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.errors import CallboardError, InvalidError
from inventory_service.web.pages.form_values import number_in, variables_in

PROMPT, SECRET = "prompt.", "secret."  # in front of a prompt's name; nothing fills a secret one in
_TEXTS = ("playbook", "revision", "release", "comment", "limit", "tags", "skip_tags", "override_lock")
_LONGEST = {"comment": 2000, "revision": 200, "limit": 20_000, "playbook": 255, "tags": 4000, "skip_tags": 4000}
_KINDS = (statuses.DEPLOY, statuses.ROLLBACK, statuses.PLAYBOOK)
_MOST_ANSWERS = 200

Answers = Mapping[str, tuple[str, ...]]


def _new_key() -> str:
    return secrets.token_urlsafe(12)


@dataclasses.dataclass(frozen=True, slots=True)
class LaunchForm:
    """What stands in the form. `key` makes a second click the same run; `error_at` names the field at fault, and
    `problems` the prompts with what is wrong. What is secret is never shown again.
    """

    kind: str = statuses.DEPLOY
    playbook: str = ""
    revision: str = ""
    release: str = ""
    comment: str = ""
    limit: str = ""
    tags: str = ""
    skip_tags: str = ""
    excluded: frozenset[str] = frozenset()
    is_check: bool = False
    is_diff: bool = False
    if_locked: str = requests.WAIT
    allows_paused_expiry: bool = False
    override_lock: str = ""
    answers: Answers = dataclasses.field(default_factory=dict)
    extra_vars: str = ""
    secret_answers: Answers = dataclasses.field(default_factory=dict, repr=False)
    extra_vars_secret: str = dataclasses.field(default="", repr=False)
    key: str = dataclasses.field(default_factory=_new_key)
    error: str = ""
    error_at: str = ""
    problems: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_query(cls, args: MultiDict[str, str]) -> LaunchForm:
        """Filled in by a link: ?playbook= means a run of that one, ?release= a rollback; ?prompt.NAME= are answers."""
        otherwise = statuses.ROLLBACK if "release" in args else statuses.DEPLOY
        return cls(kind=statuses.PLAYBOOK if "playbook" in args else otherwise, **_typed(args))

    @classmethod
    def from_post(cls, form: MultiDict[str, str]) -> LaunchForm:
        """As it was sent. Hosts that were listed and not ticked are excluded."""
        listed = {name for name in form.get("listed", "").split(",") if name}
        return cls(
            kind=form.get("kind", ""),
            excluded=frozenset(listed - set(form.getlist("include"))),
            key=form.get("key", "")[:40] or _new_key(),
            secret_answers=_answers(form, SECRET),
            extra_vars_secret=form.get("extra_vars_secret", ""),
            **_typed(form),
        )

    @property
    def asks_at_once(self) -> bool:
        """Whether the prompts have to be there when the page is."""
        return bool(self.answers or self.error or self.playbook)

    def question(self) -> RunRequest:
        """A request for this form's prompts, as far as they depend on what was typed. Raises InvalidError."""
        self._check()
        is_rollback = self.kind == statuses.ROLLBACK
        return RunRequest(
            kind=self.kind,
            playbook=self.playbook if self.kind == statuses.PLAYBOOK else None,
            revision=None if is_rollback else self.revision or None,
            release=int(self.release) if is_rollback and self.release else None,
        )

    def request(self, *, live: Iterable[str], by: str) -> RunRequest:
        """The run request. Excluded hosts that have left meanwhile are no longer named. Raises InvalidError."""
        live = set(live)
        if live and live <= self.excluded:
            raise InvalidError.at("exclude", "Every host is left out; tick at least one.")
        return dataclasses.replace(
            self.question(),
            limit=self.limit or None,
            exclude=tuple(self.excluded & live),
            tags=_split_list(self.tags),
            skip_tags=_split_list(self.skip_tags),
            is_check=self.is_check,
            is_diff=self.is_diff,
            extra_vars={**variables_in(self.extra_vars, "extra_vars"), **_given(self.answers)},
            secret_vars=self._secret_vars(),
            comment=self.comment,
            if_locked=self.if_locked,
            allows_paused_expiry=self.allows_paused_expiry,
            idempotency_key=f"{by}:page:{self.key}",
            override_lock=self.override_lock or None,
        )

    def _secret_vars(self) -> dict[str, Any]:
        return {**variables_in(self.extra_vars_secret, "extra_vars_secret"), **_given(self.secret_answers)}

    def _check(self) -> None:
        if self.kind not in _KINDS:
            raise InvalidError.at("kind", "Only deploys, rollbacks and runs of a playbook start from this page.")
        if self.kind == statuses.PLAYBOOK and not self.playbook:
            raise InvalidError.at("playbook", "Name the playbook.")
        if self.release:
            number_in(self.release, "release")
        for name, most in _LONGEST.items():
            if len(getattr(self, name)) > most:
                raise InvalidError.at(name, f"The {name} is longer than {most} characters.")

    def refused(self, error: CallboardError) -> LaunchForm:
        """The same form with the reason beside it. Nothing came of it, so its key is a new one."""
        found: list[Any] = [(*item["loc"], item["msg"]) for item in error.errors]  # type: ignore[misc]
        problems = {loc[1]: loc[2] for loc in found if len(loc) == 3}  # noqa: PLR2004 - field, prompt, words
        at = str(found[0][0]) if found and not problems else ""
        return dataclasses.replace(self, error=error.detail, error_at=at, problems=problems, key=_new_key())


def _typed(values: MultiDict[str, str]) -> dict[str, Any]:
    is_refusing = values.get("if_locked") == requests.REFUSE
    return {
        **{name: values.get(name, "").strip() for name in _TEXTS},
        "extra_vars": values.get("extra_vars", ""),
        "answers": _answers(values, PROMPT),
        "is_check": bool(values.get("check")),
        "is_diff": bool(values.get("diff")),
        "allows_paused_expiry": bool(values.get("allow_paused_expiry") or values.get("allow_frozen")),
        "if_locked": requests.REFUSE if is_refusing else requests.WAIT,
    }


def _answers(values: MultiDict[str, str], prefix: str) -> Answers:
    """Answers by the prompt's name; browsers send every line end as CRLF. What was left empty answers nothing."""
    names = [name for name in values if name.startswith(prefix)][:_MOST_ANSWERS]
    found = {name: [text.replace("\r\n", "\n") for text in values.getlist(name) if text] for name in names}
    return {name.removeprefix(prefix): tuple(texts) for name, texts in found.items() if texts}


def _given(answers: Answers) -> dict[str, Any]:
    return {name: texts[0] if len(texts) == 1 else list(texts) for name, texts in answers.items()}


def _split_list(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())
