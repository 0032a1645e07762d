"""A form's fields for what a run asks at its launch."""

from __future__ import annotations

import dataclasses
from typing import Any

from inventory_service.deployments.launching import launch
from inventory_service.deployments.prompting.answering import Question
from inventory_service.deployments.prompting.prompts import Prompt, is_reference
from inventory_service.errors import CallboardError
from inventory_service.models import Stage
from inventory_service.text import shown_value
from inventory_service.web import context
from inventory_service.web.pages.launch_form import PROMPT, SECRET, LaunchForm


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One prompt. `values` stand in it; `otherwise` is what holds where it is left empty."""

    prompt: Prompt
    name: str
    values: tuple[str, ...]
    otherwise: str
    problem: str
    is_open: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What a playbook asks, or why that can't be told."""

    playbook: str = ""
    fields: tuple[Field, ...] = ()
    problem: str = ""


def asked(stage: Stage, form: LaunchForm, *, patience_seconds: float) -> Asked:
    """The fields for this form's run. `patience_seconds`: how long the source's server may take."""
    try:
        checked = launch.check(stage, form.question())
        settings = context.services().settings
        found = launch.questions(stage, checked, settings, patience_seconds=patience_seconds)
        return Asked(checked.playbook, tuple(_field(one, form) for one in found))
    except CallboardError as error:
        return Asked(problem=error.detail)


def _field(question: Question, form: LaunchForm) -> Field:
    prompt, fallback = question.prompt, question.fallback
    is_shown = not prompt.is_secret and not is_reference(fallback)
    values = form.answers.get(prompt.name, ()) if not prompt.is_secret else ()
    return Field(
        prompt,
        (SECRET if prompt.is_secret else PROMPT) + prompt.name,
        values or (_texts(fallback) if is_shown and prompt.name not in form.problems else ()),
        "" if fallback is None or (prompt.is_secret and not is_reference(fallback)) else shown_value(fallback),
        form.problems.get(prompt.name, ""),
        question.is_open,
    )


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (shown_value(value),)
