"""How many machines: a stage's metrics, its scaling and the decisions."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from flask import Response
from pydantic import BaseModel, Field

from inventory_service.accounts.roles import ADMIN, OPERATOR, VIEWER
from inventory_service.errors import InvalidError
from inventory_service.registry.hosts import get_host
from inventory_service.scaling import charts, preview, settings, windows
from inventory_service.scaling.lifecycle import actions
from inventory_service.scaling.policies import STATISTICS
from inventory_service.web import answers, auth, context
from inventory_service.web.api.common import HostPath, Moment, StagePath, Strict, blueprint

api = blueprint("scaling", "Metrics of a stage, and how many machines it has")

_USUAL_SPAN = dt.timedelta(hours=3)
_LONGEST_SPAN = dt.timedelta(days=92)


class MetricPath(StagePath):
    metric: str = Field(description="The metric's name")


class HostMetricPath(HostPath):
    metric: str = Field(description="The metric's name")


class SpanQuery(BaseModel):
    since: Moment | None = Field(None, description="Three hours before `until` when left out")
    until: Moment | None = Field(None, description="Now when left out")
    statistic: Literal[STATISTICS] = "avg"  # type: ignore[valid-type]

    def span(self) -> tuple[dt.datetime, dt.datetime]:
        """(since, until). Raises InvalidError."""
        until = self.until or context.now()
        since = self.since or until - _USUAL_SPAN
        if not dt.timedelta(0) < until - since <= _LONGEST_SPAN:
            raise InvalidError.at("since", "The span ends after it begins, and within 92 days.")
        return since, until


class RangeQuery(BaseModel):
    range: Literal[tuple(charts.RANGES)] = Field(  # type: ignore[valid-type]
        "24h", description="How much of the past: steps of a minute, of 5 minutes for 24h, of an hour beyond"
    )


class ScalingBody(Strict):
    limits: dict[str, Any] = {}
    policies: list[dict[str, Any]] = Field(default=[], max_length=20)
    actuator: dict[str, Any] | None = None
    enabled: bool = False
    dry_run: bool = False
    drain_playbook: str | None = Field(None, max_length=255, description="Run on a host before its machine is ended")


class LifecycleQuery(BaseModel):
    limit: int = Field(100, ge=1, le=1000)


class SimulateBody(Strict):
    limits: dict[str, Any] = {}
    policies: list[dict[str, Any]] = Field(default=[], max_length=20)
    source: Literal[preview.SOURCES] = Field(  # type: ignore[valid-type]
        "auto", description="auto: what was recorded in 7 days, or the shipped trace where there is less"
    )
    boot_seconds: int = Field(180, ge=0, le=86400, description="From asking for a machine to serving")
    objective: float | None = Field(
        None, gt=0, description="The value per machine above which users suffer; null: by the policy"
    )
    price: float = Field(0.0, ge=0, le=1e6, description="Money per machine and hour")


class DecisionQuery(BaseModel):
    limit: int = Field(100, ge=1, le=1000)
    changes: bool = Field(default=False, description="Without the decisions that change nothing")


@api.get(
    "/stages/<project>/<stage>/metrics",
    summary="The metrics that a stage's hosts report",
    responses={"200": answers.MetricNames},
)
@auth.access(VIEWER)
def list_metrics(path: StagePath) -> answers.MetricNames:
    """Of the last day."""
    return answers.MetricNames(items=windows.names(auth.reach_stage(path.project, path.stage), at=context.now()))


@api.get(
    "/stages/<project>/<stage>/metrics/<metric>",
    summary="One metric of a stage over time",
    responses={"200": answers.Series},
)
@auth.access(VIEWER)
def get_metric(path: MetricPath, query: SpanQuery) -> answers.Series:
    """A point a minute for the last 24 hours, one in five minutes for 14 days, one an hour for 90 days."""
    since, until = query.span()
    stage = auth.reach_stage(path.project, path.stage)
    now = context.now()
    points = windows.series(stage, path.metric, since=since, until=until, at=now, statistic=query.statistic)
    return answers.Series.of(points, windows.resolution(since, until, at=now))


@api.get("/hosts/<host>/metrics/<metric>", summary="One metric of a host over time", responses={"200": answers.Series})
@auth.access(VIEWER)
def get_host_metric(path: HostMetricPath, query: SpanQuery) -> answers.Series:
    """The same for one host's own values."""
    since, until = query.span()
    host = auth.reach_host(get_host(path.host))
    now = context.now()
    points = windows.series_of_host(host, path.metric, since=since, until=until, at=now)
    return answers.Series.of(points, windows.resolution(since, until, at=now))


@api.get(
    "/stages/<project>/<stage>/metrics/<metric>/chart",
    summary="A chart of one metric of a stage",
    responses={"200": answers.Chart},
)
@auth.access(VIEWER)
def chart_metric(path: MetricPath, query: RangeQuery) -> answers.Chart:
    """Equal steps with null where nobody reported: avg, p50, p95, max, min and sum over the hosts, how many of them
    reported, and how many should have.
    """
    stage = auth.reach_stage(path.project, path.stage)
    return answers.Chart.of(charts.of_stage(stage, path.metric, query.range, at=context.now()))


@api.get(
    "/hosts/<host>/metrics/<metric>/chart",
    summary="A chart of one metric of a host",
    responses={"200": answers.Chart},
)
@auth.access(VIEWER)
def chart_host_metric(path: HostMetricPath, query: RangeQuery) -> answers.Chart:
    """The host's own values, and the avg of its stage."""
    host = auth.reach_host(get_host(path.host))
    return answers.Chart.of(charts.of_host(host, path.metric, query.range, at=context.now()))


@api.get(
    "/stages/<project>/<stage>/scaling/chart",
    summary="A chart of how many machines a stage had",
    responses={"200": answers.Chart},
)
@auth.access(VIEWER)
def chart_capacity(path: StagePath, query: RangeQuery) -> answers.Chart:
    """Desired by scaling, live, and live on the desired release; null where nothing is known."""
    stage = auth.reach_stage(path.project, path.stage)
    return answers.Chart.of(charts.of_capacity(stage, query.range, at=context.now()))


@api.get("/stages/<project>/<stage>/scaling", summary="How a stage scales", responses={"200": answers.Scaling})
@auth.access(VIEWER)
def get_scaling(path: StagePath) -> answers.Scaling:
    """404 where nobody has set it."""
    return answers.Scaling.of(settings.get(auth.reach_stage(path.project, path.stage)))


@api.put("/stages/<project>/<stage>/scaling", summary="Set how a stage scales", responses={"200": answers.Scaling})
@auth.access(ADMIN)
def put_scaling(path: StagePath, body: ScalingBody) -> answers.Scaling:
    """As a whole: limits, policies and what carries decisions out."""
    stage = auth.reach_stage(path.project, path.stage)
    row = settings.configure(
        stage,
        limits=body.limits,
        policy_texts=list(body.policies),
        actuator=body.actuator,
        is_enabled=body.enabled,
        is_dry_run=body.dry_run,
        drain_playbook=body.drain_playbook,
        actor=auth.caller().actor,
        at=context.now(),
    )
    return answers.Scaling.of(row)


@api.post(
    "/stages/<project>/<stage>/scaling/simulate",
    summary="Play policies against the present ones",
    responses={"200": answers.Backtest},
)
@auth.access(OPERATOR)
def simulate(path: StagePath, body: SimulateBody) -> answers.Backtest:
    """Minute by minute, through the plan that decides in earnest. Nothing is changed."""
    stage = auth.reach_stage(path.project, path.stage)
    how = preview.Request(body.source, body.boot_seconds, body.objective, body.price)
    found = preview.of_texts(stage, body.limits, list(body.policies), how, at=context.now())
    return answers.Backtest.of(found)


@api.delete("/stages/<project>/<stage>/scaling", summary="Scale a stage no more", responses={"204": None})
@auth.access(ADMIN)
def delete_scaling(path: StagePath) -> Response:
    """Machines stay as they are, and decisions in the history."""
    settings.remove(auth.reach_stage(path.project, path.stage), actor=auth.caller().actor, at=context.now())
    return Response(status=204)


@api.get(
    "/stages/<project>/<stage>/scaling/decisions",
    summary="A stage's decisions, newest first",
    responses={"200": answers.Page[answers.ScalingDecision]},
)
@auth.access(VIEWER)
def list_decisions(path: StagePath, query: DecisionQuery) -> answers.Page[answers.ScalingDecision]:
    """Each with the numbers it saw, its reasons, and what came of it."""
    stage = auth.reach_stage(path.project, path.stage)
    rows = settings.decisions(stage, limit=query.limit, is_change=query.changes)
    return answers.whole([answers.ScalingDecision.of(row) for row in rows])


@api.get(
    "/stages/<project>/<stage>/scaling/lifecycle",
    summary="Instances for which the stage's Auto Scaling group waited, newest first",
    responses={"200": answers.Page[answers.LifecycleAction]},
)
@auth.access(VIEWER)
def list_lifecycle(path: StagePath, query: LifecycleQuery) -> answers.Page[answers.LifecycleAction]:
    """What lifecycle hooks asked, what was answered, and why; for those that wait, what they wait for."""
    stage = auth.reach_stage(path.project, path.stage)
    return answers.whole([answers.LifecycleAction.of(row) for row in actions.recent(stage, limit=query.limit)])
