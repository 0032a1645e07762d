"""Variables: each with where it comes from, and what changed between two sets of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field

from inventory_service.deployments import variables
from inventory_service.web.answers.base import Answer, one_of


class VariableValue(Answer):
    value: Any
    from_: str | None = Field(
        serialization_alias="from", description="project, stage, release, run or server; null: not there"
    )


class Variable(VariableValue):
    name: str
    overridden: list[VariableValue] = Field(description="What it beats, the nearest first")

    @classmethod
    def of(cls, found: variables.Variable) -> Variable:
        """One effective value."""
        return Variable(
            name=found.name,
            value=found.value,
            from_=found.source,
            overridden=[VariableValue(value=value, from_=source) for source, value in found.overridden],
        )


class VariableChange(Answer):
    name: str
    change: Annotated[str, one_of("added", "removed", "changed")]
    before: VariableValue
    after: VariableValue

    @classmethod
    def of(cls, found: variables.Change) -> VariableChange:
        """The side without such a variable has null for value and source."""
        return VariableChange(
            name=found.name,
            change=found.kind,
            before=VariableValue(value=found.before, from_=found.from_before),
            after=VariableValue(value=found.after, from_=found.from_after),
        )


class RunVariables(Answer):
    items: list[Variable]
    next: str | None
    run: int

    @classmethod
    def of(cls, run: int, found: Iterable[variables.Variable]) -> RunVariables:
        """What a run's playbook saw."""
        return RunVariables(items=[Variable.of(one) for one in found], next=None, run=run)


class StageVariables(Answer):
    items: list[Variable]
    next: str | None
    stage: str
    changed_since_release: list[VariableChange]

    @classmethod
    def of(cls, stage: str, found: Iterable[variables.Variable], changed: Iterable[variables.Change]) -> StageVariables:
        """What a run of now would see, and where convergence still sees the release's."""
        return StageVariables(
            items=[Variable.of(one) for one in found],
            next=None,
            stage=stage,
            changed_since_release=[VariableChange.of(one) for one in changed],
        )
