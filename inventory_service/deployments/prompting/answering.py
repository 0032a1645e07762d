"""Asking at the launch of a run what its playbook prompts for, and filling in at its start what nobody was asked.

Answers are extra vars. Who launches a run hears at once what is missing; when the run starts, the prompts of the very
commit that it runs count, and nothing is left for Ansible to ask: nobody sits at its terminal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from inventory_service.codes import statuses
from inventory_service.deployments import releases, variables
from inventory_service.deployments.launching import requests
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.deployments.prompting import prompt_files
from inventory_service.deployments.prompting.prompt_files import Reader
from inventory_service.deployments.prompting.prompts import TEXT, TEXTS, AnswerError, Prompt, is_empty, is_reference
from inventory_service.deployments.runs import run_secrets
from inventory_service.deployments.source.sources import Source
from inventory_service.errors import CallboardError, InvalidError, SourceError
from inventory_service.models import Run, Stage
from inventory_service.records import runs
from inventory_service.settings import Settings
from inventory_service.vault import references
from inventory_service.wording import lists

PLAIN, SECRET = "extra_vars", "extra_vars_secret"
_PATIENCE_SECONDS = 15.0
_OF_A_RELEASE = (statuses.ROLLBACK, statuses.CONVERGE)
# Extra vars of these names are refused in a request, yet plays may ask for them: the stage has to know them.
_RESERVED = ("ansible_", "callboard_")


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A prompt, and the value that stands in when nobody answers: None when there is none."""

    prompt: Prompt
    fallback: Any = None

    @property
    def is_open(self) -> bool:
        """Whether somebody has to answer."""
        return self.fallback is None and (self.prompt.is_required or self.prompt.is_asked)


def questions(stage: Stage, request: RunRequest, settings: Settings) -> list[Question]:
    """What this run would ask, in order, of the source as it is now. Raises SourceError, and what `check` raises."""
    requests.check(stage, request)
    return _questions(stage, request, _reader(stage, request, settings))


def asked_by(stage: Stage, read: Reader, playbook: str) -> list[Question]:
    """What a playbook of the stage asks, whatever kind of run it is for. Raises SourceError."""
    return _with_fallbacks(prompt_files.find(read, playbook), _known(stage, statuses.PLAYBOOK, None))


def _reader(stage: Stage, request: RunRequest, settings: Settings) -> Reader:
    number = requests.release_of(stage, request)
    revision = releases.get(stage, number).revision if number is not None else request.revision
    source = Source(stage.project, settings, patience_seconds=_PATIENCE_SECONDS)
    return source.reader(revision or stage.default_revision)


def _questions(stage: Stage, request: RunRequest, read: Reader) -> list[Question]:
    known = _known(stage, request.kind, requests.release_of(stage, request))
    return _with_fallbacks(prompt_files.find(read, requests.playbook_of(stage, request)), known)


def _known(stage: Stage, kind: str, number: int | None) -> dict[str, Any]:
    """Values by name that answer where nobody does: of project, stage and its secrets; and for a run that brings an
    earlier release, the answers with which that one was deployed.
    """
    present = variables.merged(variables.of_stage(stage))
    known = {name: value for name, value in present.items() if not _is_template(value)}
    return {**known, **(_deployed_with(stage, number) if kind in _OF_A_RELEASE and number is not None else {})}


def _is_template(value: Any) -> bool:
    text = json.dumps(value)
    return "{{" in text or "{%" in text


def _deployed_with(stage: Stage, number: int) -> dict[str, Any]:
    """The extra vars of the deploy that made a release, but for secret ones, which were erased."""
    made = (Run.stage == stage) & (Run.release_number == number) & (Run.kind == statuses.DEPLOY)
    run = Run.select(Run.extra_vars).where(made & Run.repeat_of.is_null()).order_by(Run.id).first()
    given: dict[str, Any] = run.extra_vars if run is not None else {}
    return {name: value for name, value in given.items() if not run_secrets.missing(stage, value)}


def _with_fallbacks(prompts: Iterable[Prompt], known: Mapping[str, Any]) -> list[Question]:
    return [Question(one, _fallback(one, known.get(one.name))) for one in prompts]


def _fallback(prompt: Prompt, known: Any) -> Any:
    """What is known in the prompt's type, else its default; where a play would ask for it, at least an empty text."""
    if known is not None:
        with contextlib.suppress(AnswerError):
            return dataclasses.replace(prompt, is_secret=False).settle(known)
    if prompt.default is not None:
        return prompt.default
    return "" if prompt.is_asked and not prompt.is_required else None


# at the launch


def settle(
    stage: Stage, request: RunRequest, secret: Mapping[str, Any], settings: Settings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(extra vars, secret extra vars) of a request with each answer in its prompt's type.

    Raises InvalidError that names every answer that is missing or wrong. Where the source can't be read now, nothing
    is checked: the run will say so itself.
    """
    requests.check(stage, request)
    try:
        read = _reader(stage, request, settings)
    except SourceError:
        return dict(request.extra_vars), dict(secret)
    asked = _questions(stage, request, read)
    return settle_answers(asked, request.extra_vars, secret, playbook=requests.playbook_of(stage, request))


def settle_answers(
    asked: Iterable[Question], plain: Mapping[str, Any], secret: Mapping[str, Any], *, playbook: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """As `settle`, of these questions."""
    settled, hidden, errors = dict(plain), dict(secret), []
    for question in asked:
        name = question.prompt.name
        given = hidden if name in hidden else settled
        if is_empty(given.get(name)) and not (given.get(name) == "" and _may_be_empty(question)):
            given.pop(name, None)
            errors += [_missing(question)] if question.is_open else []
            continue
        try:
            given[name] = _settled(question.prompt, given[name], is_hidden=given is hidden)
        except AnswerError as error:
            errors.append({"loc": [SECRET if given is hidden else PLAIN, name], "msg": str(error)})
    if errors:
        raise InvalidError(_refusal(playbook, errors), errors=errors)
    return settled, hidden


def _may_be_empty(question: Question) -> bool:
    prompt = question.prompt
    return prompt.type in TEXTS and not prompt.is_required and not prompt.is_secret


def _settled(prompt: Prompt, value: Any, *, is_hidden: bool) -> Any:
    if prompt.is_secret and not is_hidden and not is_reference(value):
        raise AnswerError(
            'It is secret: give it with the secret extra vars, or refer to a stored secret, {"$secret": "NAME"}.'
        )
    try:
        return prompt.settle(value)
    except AnswerError as error:
        told = "" if is_hidden or prompt.is_secret else f"{_short(value)} does not fit. "
        raise AnswerError(f"{told}{error}") from None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"  # noqa: PLR2004


def _missing(question: Question) -> dict[str, Any]:
    prompt = question.prompt
    if prompt.name.startswith(_RESERVED):
        msg = "It can't be given per run; set a variable or secret of the stage that it can be taken from."
        return {"loc": [PLAIN, prompt.name], "msg": msg}
    return {"loc": [SECRET if prompt.is_secret else PLAIN, prompt.name], "msg": f"Required: {prompt.rules}."}


def _refusal(playbook: str, errors: list[dict[str, Any]]) -> str:
    named = lists.first([str(error["loc"][1]) for error in errors], most=10)
    return f"{playbook} asks for what was not answered, or not rightly: {named}."


# for schedules and webhooks, which nobody sits at


def settle_unattended(stage: Stage, request: RunRequest, settings: Settings) -> dict[str, Any]:
    """The extra vars of a request that is to be kept, each answer in its prompt's type.

    Raises InvalidError where a required prompt has neither answer nor default. A secret one is answered by a stored
    secret: of the prompt's name, or by a reference.
    """
    return settle(stage, request, {}, settings)[0]


# when the run starts


def fill_in(run: Run, read: Reader, *, release_number: int | None) -> None:
    """Give the run, which is about to start, an answer to each prompt of its playbook, and keep them in its row.

    Raises CallboardError for an answer that is missing or does not fit the commit that is run.
    """
    found = prompt_files.find(read, run.playbook)
    if not found:
        return
    asked = _with_fallbacks(found, _known(run.stage, run.kind, release_number))
    checked = [_unless_given_in_secret(one, run.extra_vars) for one in asked]
    try:
        settled, _ = settle_answers(checked, run.extra_vars, {}, playbook=run.playbook)
    except InvalidError as error:
        words = " ".join(f"{item['loc'][1]}: {item['msg']}" for item in error.errors)  # type: ignore[index]
        raise CallboardError(f"{error.detail} {words}") from error
    run.extra_vars = {**{one.prompt.name: one.fallback for one in asked if one.fallback is not None}, **settled}
    runs.keep_answers(run, run.extra_vars)


def _unless_given_in_secret(question: Question, extra_vars: Mapping[str, Any]) -> Question:
    """What was given in secret was checked at the launch; here a reference of any type's name stands for it."""
    if references.names(extra_vars.get(question.prompt.name)) != {question.prompt.name}:
        return question
    return dataclasses.replace(question, prompt=dataclasses.replace(question.prompt, type=TEXT))
