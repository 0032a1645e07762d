"""What a launch can choose from, what it asks, and what stands in its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from inventory_service.deployments.launching import checks
from inventory_service.deployments.prompting import answering, prompts
from inventory_service.web.answers.base import Answer, Number, one_of


class Playbook(Answer):
    playbook: str
    description: str

    @classmethod
    def of(cls, found: dict[str, str]) -> Playbook:
        """With its first comment line."""
        return Playbook(playbook=found["playbook"], description=found["description"])


class Prompt(Answer):
    name: str = Field(description="The extra var that holds the answer")
    question: str
    type: Annotated[str, one_of(*prompts.TYPES)]
    help: str
    required: bool
    default: str | int | float | bool | list[str] | None
    secret: bool = Field(description="To be answered in extra_vars_secret")
    choices: list[str]
    min: Number | None = Field(description="Of a number, of a text's length, or of how many are chosen")
    max: Number | None
    pattern: str | None = Field(description="A regular expression (Python's) that fits the whole text")
    vars_prompt: bool = Field(description="Whether a play asks for it by itself")
    fallback: Any = Field(
        description="What is taken where nobody answers: of the stage, of the release's deploy, or the default"
    )
    open: bool = Field(description="Whether it has to be answered")

    @classmethod
    def of(cls, question: answering.Question) -> Prompt:
        """A prompt with what stands in where nobody answers it."""
        prompt = question.prompt
        return Prompt(
            name=prompt.name,
            question=prompt.question,
            type=prompt.type,
            help=prompt.help,
            required=prompt.is_required,
            default=prompt.default,
            secret=prompt.is_secret,
            choices=list(prompt.choices),
            min=prompt.minimum,
            max=prompt.maximum,
            pattern=prompt.pattern,
            vars_prompt=prompt.is_asked,
            fallback=question.fallback,
            open=question.is_open,
        )


class Prompts(Answer):
    playbook: str
    items: list[Prompt]
    next: str | None


class Finding(Answer):
    level: Annotated[str, one_of("impossible", "unwise")]
    code: str
    detail: str
    advice: str = Field(description="What to do next")

    @classmethod
    def of(cls, found: checks.Finding) -> Finding:
        """One reason against a launch."""
        return Finding(level=found.level, code=found.code, detail=found.detail, advice=found.advice)


class Check(Answer):
    is_possible: bool
    items: list[Finding]

    @classmethod
    def of(cls, found: Sequence[checks.Finding]) -> Check:
        """Possible where nothing makes it impossible."""
        return Check(
            is_possible=all(finding.level != checks.IMPOSSIBLE for finding in found),
            items=[Finding.of(finding) for finding in found],
        )
