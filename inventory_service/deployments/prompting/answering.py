"""Asking at the launch of a run what its playbook prompts for, and filling in at its start what nobody was asked.

Answers are extra vars. Who launches a run hears at once what is missing; when the run starts, the prompts of the very
commit that it runs count, and nothing is left for Ansible to ask: nobody sits at its terminal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from inventory_service.codes import statuses
from inventory_service.deployments.prompting import prompt_files
from inventory_service.deployments.prompting.prompt_files import Reader
from inventory_service.deployments.prompting.prompts import TEXT, TEXTS, AnswerError, Prompt, is_empty, is_reference
from inventory_service.errors import CallboardError, InvalidError
from inventory_service.models import Release, Run, Stage
from inventory_service.records import runs
from inventory_service.registry import hosts
from inventory_service.registry import inventory as rendering
from inventory_service.vault import references, store
from inventory_service.wording import lists

PLAIN, SECRET = "extra_vars", "extra_vars_secret"
OF_A_RELEASE = (statuses.ROLLBACK, statuses.CONVERGE)  # kinds that bring one that was deployed before
# Extra vars of these names are refused in a request, yet plays may ask for them: the stage has to know them.
_RESERVED = ("ansible_", "callboard_")


@dataclasses.dataclass(frozen=True)
class Question:
    """A prompt, and what is known of its answer: None for nothing. What refers to a secret counts as known where it is
    one of `secrets`: a deploy's own were erased with it.
    """

    prompt: Prompt
    known: Any = None
    secrets: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def fallback(self) -> Any:
        """The value that stands in when nobody answers: what is known, in the prompt's type, else its default; where a
        play would ask, at least an empty text. None when there is none.
        """
        prompt = self.prompt
        if self.known is not None and references.names(self.known) <= references.names(list(self.secrets.values())):
            with contextlib.suppress(AnswerError):
                return dataclasses.replace(prompt, is_secret=False).settle(self.known)
        if prompt.default is not None:
            return prompt.default
        return "" if prompt.is_asked and not prompt.is_required else None

    @property
    def is_open(self) -> bool:
        """Whether somebody has to answer."""
        return self.fallback is None and (self.prompt.is_required or self.prompt.is_asked)


def asked_by(stage: Stage, read: Reader, playbook: str) -> list[Question]:
    """What a playbook of the stage asks, whatever kind of run it is for. Raises SourceError."""
    return _ask_now(stage, prompt_files.find(read, playbook), None)


def _ask_now(stage: Stage, prompts: Iterable[Prompt], answered: Release | None) -> list[Question]:
    own = rendering.server_variables(stage, hosts.desired_release(stage))
    return ask(prompts, stage, own=own, secrets=store.as_variables(store.list_for_stage(stage)), answered=answered)


def ask(
    prompts: Iterable[Prompt],
    stage: Stage,
    *,
    own: Mapping[str, Any],
    secrets: Mapping[str, Any],
    answered: Release | None,
) -> list[Question]:
    """The prompts with what is known of their answers, by name: from variables of project and stage, its `secrets`, the
    service's `own`; and for a run that brings the earlier release `answered`, what it was deployed with.
    """
    written = {**stage.project.variables, **stage.variables}
    plain = {name: value for name, value in written.items() if not _is_template(value)}
    known = {**plain, **secrets, **own, **(_deployed_with(answered) if answered is not None else {})}
    return [Question(one, known.get(one.name), secrets) for one in prompts]


def _is_template(value: Any) -> bool:
    text = json.dumps(value)
    return "{{" in text or "{%" in text


def _deployed_with(release: Release) -> dict[str, Any]:
    """The extra vars of the deploy that made a release, its secret ones by name."""
    made = (Run.stage == release.stage_id) & (Run.release_number == release.number) & (Run.kind == statuses.DEPLOY)
    run = Run.select(Run.extra_vars).where(made & Run.repeat_of.is_null()).order_by(Run.id).first()
    return dict(run.extra_vars) if run is not None else {}


# at the launch


def settle(
    asked: Iterable[Question], plain: Mapping[str, Any], secret: Mapping[str, Any], *, playbook: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(extra vars, secret extra vars) of a launch with each answer in its prompt's type.

    Raises InvalidError that names every answer that is missing or wrong.
    """
    settled, hidden, errors = dict(plain), dict(secret), []
    for question in asked:
        name = question.prompt.name
        given = hidden if name in hidden else settled
        value = given.pop(name, None)
        if is_empty(value) and not (value == "" and _may_be_empty(question)):
            errors += [_missing(question)] if question.is_open else []
            continue
        try:
            given[name] = _settled(question.prompt, value, is_hidden=given is hidden)
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
        quoted = "" if is_hidden or prompt.is_secret else f"{_short(value)} does not fit. "
        raise AnswerError(f"{quoted}{error}") from None


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


# when the run starts


def fill_in(run: Run, read: Reader, release: Release | None) -> None:
    """Give the run, which is about to start, an answer to each prompt of its playbook, and keep them in its row.

    Raises CallboardError for an answer that is missing or does not fit the commit that is run.
    """
    found = prompt_files.find(read, run.playbook)
    if not found:
        return
    asked = _ask_now(run.stage, found, release if run.kind in OF_A_RELEASE else None)
    checked = [_unless_given_in_secret(one, run.extra_vars) for one in asked]
    try:
        settled, _ = settle(checked, run.extra_vars, {}, playbook=run.playbook)
    except InvalidError as error:
        missing = " ".join(f"{item['loc'][1]}: {item['msg']}" for item in error.errors)  # type: ignore[index]
        raise CallboardError(f"{error.detail} {missing}") from error
    run.extra_vars = {**{one.prompt.name: one.fallback for one in asked if one.fallback is not None}, **settled}
    runs.keep_answers(run, run.extra_vars)


def _unless_given_in_secret(question: Question, extra_vars: Mapping[str, Any]) -> Question:
    """What was given in secret was checked at the launch; here a reference of any type's name stands for it."""
    if references.names(extra_vars.get(question.prompt.name)) != {question.prompt.name}:
        return question
    return dataclasses.replace(question, prompt=dataclasses.replace(question.prompt, type=TEXT))
