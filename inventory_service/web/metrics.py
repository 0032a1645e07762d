"""/healthz, /readyz and Prometheus' /metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response
from peewee import fn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from inventory_service.accounts.roles import Principal
from inventory_service.clock import iso
from inventory_service.codes import statuses
from inventory_service.models import JobTick, Project, Run, Stage
from inventory_service.registry import hosts, liveness, stages
from inventory_service.web import auth, context, scaling_metrics
from inventory_service.web.problems import problem

_SILENT_JOBS_SECONDS = 60


def register(app: Flask) -> None:
    """Add the three routes."""
    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/readyz", view_func=readyz)
    app.add_url_rule("/metrics", view_func=metrics)


def healthz() -> dict[str, Any]:
    """The process answers."""
    return {"status": "ok"}


def readyz() -> Response | dict[str, Any]:
    """The database answers and the background jobs ran lately; otherwise 503."""
    last = {row.name: row.last_finished_at for row in JobTick.select()}
    sweep = last.get("sweep")
    if sweep is None or (context.now() - sweep).total_seconds() > _SILENT_JOBS_SECONDS:
        return problem(503, "Not ready", f"The sweep last ran at {iso(sweep) or 'no time yet'}; is the worker running?")
    return {"status": "ready", "jobs": {name: iso(moment) for name, moment in last.items()}}


def metrics() -> Response:
    """Needs a token like the API, and counts what it reaches; gauges are computed when they are asked for."""
    auth.require_viewer()
    registry = CollectorRegistry()
    registry.register(_Collector(context.expiry(), auth.caller()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Collector:
    def __init__(self, expiry: liveness.Expiry, caller: Principal) -> None:
        self._expiry = expiry
        self._caller = caller

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Hosts by state, paused expiry, conflicts, who is out of date; runs by status, what hosts report, scaling.

        Metrics whose name changed come under both names.
        """
        by_state = GaugeMetricFamily("callboard_hosts", "Hosts by stage and state", labels=["stage", "state"])
        out_of_date = [
            GaugeMetricFamily(name, "Live hosts not on their release", labels=["stage"])
            for name in ("callboard_hosts_out_of_date", "callboard_hosts_behind")
        ]
        paused = [
            GaugeMetricFamily(name, "1 while nobody of the stage expires", labels=["stage"])
            for name in ("callboard_stage_expiry_paused", "callboard_stage_frozen")
        ]
        apart = GaugeMetricFamily("callboard_hosts_in_conflict", "Hosts in conflict, in no inventory", labels=["stage"])
        reached = list(filter(self._reaches, stages.list_stages()))
        for stage in reached:
            rows, name = hosts.list_hosts(stage), stages.stage_name(stage)
            counts = Counter(self._expiry.state(row, stage) for row in rows)
            for state in liveness.STATES[:-1]:
                by_state.add_metric([name, state], counts[state])
            for metric in paused:
                metric.add_metric([name], self._expiry.is_paused(stage))
            apart.add_metric([name], sum(row.conflict_code is not None for row in rows))
            desired = hosts.desired_release(stage)
            live = [row for row in rows if self._expiry.is_listed(row, stage)]
            for metric in out_of_date:
                metric.add_metric([name], sum(not hosts.is_up_to_date(row, desired) for row in live))
        yield by_state
        yield from paused
        yield apart
        yield from out_of_date
        runs = GaugeMetricFamily("callboard_runs", "Runs by status", labels=["status"])
        by_status = self._runs_by_status()
        for status in statuses.STATUSES:
            runs.add_metric([status], by_status.get(status, 0))
        yield runs
        yield from scaling_metrics.collect(reached, at=self._expiry.at)

    def _reaches(self, stage: Stage) -> bool:
        return self._caller.reaches(stage.project.name)

    def _runs_by_status(self) -> dict[str, int]:
        query = Run.select(Run.status, fn.COUNT(Run.id)).join(Stage).join(Project)
        if self._caller.projects is not None:
            query = query.where(Project.name.in_(self._caller.projects))
        rows: Any = query.group_by(Run.status).tuples()
        return dict(rows)
