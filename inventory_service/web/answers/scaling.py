"""How many machines a stage has, and why."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from pydantic import Field

from inventory_service import models
from inventory_service.reasons import split
from inventory_service.scaling import preview
from inventory_service.scaling.backtest import Outcome
from inventory_service.scaling.policies import Limits
from inventory_service.web.answers.base import Answer, Moment, one_of
from inventory_service.wording import scaling as wording


class ScalingFinding(Answer):
    code: str
    kind: str = Field(description="The code in a word or two")
    instance: str
    host: str | None
    since: Moment | None
    detail: str

    @classmethod
    def of(cls, kept: dict[str, Any]) -> ScalingFinding:
        """As the row keeps it: a code with parameters."""
        code, params = split(kept)
        return ScalingFinding(
            code=code,
            kind=wording.finding_kind(code),
            instance=params["instance"],
            host=params["host"],
            since=params["since"],
            detail=wording.finding(code, params),
        )


class Scaling(Answer):
    limits: dict[str, Any]
    policies: list[dict[str, Any]]
    actuator: dict[str, Any] | None = Field(description="Null: decisions are only recorded")
    enabled: bool
    dry_run: bool
    drain_playbook: str | None
    findings: list[ScalingFinding] = Field(description="Where EC2 and the registry differ")
    last_out_at: Moment | None
    last_in_at: Moment | None
    problem: str | None = Field(description="Why the last look failed")
    problem_code: str | None
    hook_problem: str | None = Field(description="Why lifecycle hooks could not be answered at the last look")
    hook_problem_code: str | None
    problem_at: Moment | None
    updated_by: str
    updated_at: Moment

    @classmethod
    def of(cls, row: models.StageScaling) -> Scaling:
        """The limits with the usual ones where none are set."""
        return Scaling(
            limits={**dataclasses.asdict(Limits()), **row.limits},
            policies=row.policies,
            actuator=row.actuator,
            enabled=row.is_enabled,
            dry_run=row.is_dry_run,
            drain_playbook=row.drain_playbook,
            findings=[ScalingFinding.of(kept) for kept in row.findings],
            last_out_at=row.last_out_at,
            last_in_at=row.last_in_at,
            problem=problem_of(row.problem_code, row.problem_params),
            problem_code=row.problem_code,
            hook_problem=problem_of(row.hook_problem_code, row.hook_problem_params),
            hook_problem_code=row.hook_problem_code,
            problem_at=row.problem_at,
            updated_by=row.updated_by,
            updated_at=row.updated_at,
        )


def problem_of(code: str | None, params: dict[str, Any] | None) -> str | None:
    """What stands in the way, in a sentence; None for nothing."""
    return None if code is None else wording.failure(code, params or {})


class LifecycleAction(Answer):
    instance: str
    transition: Annotated[str, one_of("launching", "terminating")]
    hook: str
    status: Annotated[str, one_of("waiting", "continued", "abandoned", "over")] = Field(
        description="over: AWS stopped waiting"
    )
    reason: str | None = Field(description="What it waits for, or why it was answered so")
    reason_code: str | None
    run: int | None = Field(description="The drain playbook's run")
    at: Moment
    heartbeat_at: Moment | None = Field(description="When the group was last asked to wait longer")
    ended_at: Moment | None

    @classmethod
    def of(cls, row: models.LifecycleAction) -> LifecycleAction:
        """What a lifecycle hook asked, and what was answered."""
        return LifecycleAction(
            instance=row.instance,
            transition=row.transition,
            hook=row.hook,
            status=row.status,
            reason=wording.lifecycle(row.reason_code, row.reason_params or {}) if row.reason_code else None,
            reason_code=row.reason_code,
            run=row.run_id,
            at=row.at,
            heartbeat_at=row.heartbeat_at,
            ended_at=row.ended_at,
        )


class ScalingDecision(Answer):
    id: int
    at: Moment
    action: Annotated[str, one_of("out", "in", "hold")]
    from_capacity: int
    to_capacity: int
    serving: int
    reasons: list[str] = Field(description="A line for each policy, the bounds, and the rule that forbade a change")
    reason_codes: list[dict[str, Any]] = Field(description="The same as codes with their parameters")
    readings: dict[str, Any] = Field(description="What each signal was, by `avg load1_per_cpu over 300 s`")
    status: Annotated[str, one_of("unchanged", "planned", "acting", "done", "failed", "dry_run")]
    instances: list[str]
    run: int | None = Field(description="The drain playbook's run")
    error: str | None
    error_code: str | None
    ended_at: Moment | None

    @classmethod
    def of(cls, row: models.ScalingDecision) -> ScalingDecision:
        """With the numbers it saw, its reasons, and what came of it."""
        return ScalingDecision(
            id=row.id,
            at=row.at,
            action=row.action,
            from_capacity=row.from_capacity,
            to_capacity=row.to_capacity,
            serving=row.serving,
            reasons=[wording.plan(*split(kept)) for kept in row.reasons],
            reason_codes=row.reasons,
            readings=dict(_reading(kept) for kept in row.readings),
            status=row.status,
            instances=row.instances,
            run=row.run_id,
            error=problem_of(row.error_code, row.error_params),
            error_code=row.error_code,
            ended_at=row.ended_at,
        )


def _reading(kept: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    problem = wording.reading(*split(kept["problem"])) if kept["problem"] else None
    name = wording.signal(kept["statistic"], kept["metric"], kept["window_seconds"])
    return name, {**kept, "problem": problem, "problem_code": kept["problem"] and kept["problem"]["code"]}


class BacktestResult(Answer):
    violation_minutes: int = Field(description="Minutes in which a machine bore more than the objective")
    host_hours: float
    cost: float
    peak: int = Field(description="The most machines at once")
    changes: int
    capacity: list[int | None] = Field(description="The most machines in each step; null: the trace has a gap")
    value: list[float | None] = Field(description="The highest value per machine in each step")

    @classmethod
    def of(cls, outcome: Outcome, drawn: preview.Drawn) -> BacktestResult:
        """What a set of policies would have come to."""
        return BacktestResult(
            violation_minutes=outcome.violation_minutes,
            host_hours=round(outcome.host_hours, 1),
            cost=round(outcome.cost, 2),
            peak=outcome.peak,
            changes=outcome.changes,
            capacity=[None if hosts is None else int(hosts) for hosts in drawn.capacity],
            value=drawn.value,
        )


class Backtest(Answer):
    source: Annotated[str, one_of("recorded", "shipped", "given")]
    note: str = Field(description="What was played, and what could not be")
    metric: str
    objective: float
    since: Moment
    seconds: int = Field(description="What one value stands for")
    results: dict[str, BacktestResult] = Field(description="`new` and, where it could be played, `present`")

    @classmethod
    def of(cls, found: preview.Preview) -> Backtest:
        """As a chart of equal steps beside the sums."""
        since, seconds, drawn = preview.draw(found)
        return Backtest(
            source=found.source,
            note=" ".join(wording.preview(note.code, note.params) for note in found.notes),
            metric=found.model.metric,
            objective=round(found.model.objective, 6),
            since=since,
            seconds=seconds,
            results={name: BacktestResult.of(outcome, drawn[name]) for name, outcome in found.outcomes.items()},
        )
