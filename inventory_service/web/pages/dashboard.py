"""The first page: every stage the person reaches, and what ran lately."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import groupby
from typing import Any

from flask import render_template

from inventory_service.deployments.launching import requests
from inventory_service.models import Host, Project, Stage
from inventory_service.registry import hosts, liveness, stages
from inventory_service.web import answers, auth, context
from inventory_service.web.pages import board
from inventory_service.web.pages.common import pages, running_of

_RECENT = 12


@dataclasses.dataclass(frozen=True, slots=True)
class StageCard:
    """One stage at a glance. `running` is the run that holds it, `failed` its last one where that came out badly."""

    stage: answers.Stage
    counts: Counter[str]
    total: int
    running: answers.Run | None
    failed: answers.Run | None
    is_expiry_paused: bool


@pages.get("/")
def dashboard() -> str:
    """The whole page."""
    return render_template("dashboard.html", **_facts())


@pages.get("/live")
def dashboard_live() -> str:
    """The parts that change, for the page to put in their places."""
    return render_template("dashboard_live.html", **_facts())


def _facts() -> dict[str, Any]:
    reached = [row for row in stages.list_projects() if auth.caller().reaches(row.name)]
    recent = requests.list_runs(projects=auth.caller().projects, limit=_RECENT)
    return {"board": _board(reached), "recent": [answers.Run.of(one) for one in recent]}


def _board(reached: list[Project]) -> list[tuple[Project, list[StageCard]]]:
    """Each project with its stages; all stages are read at once."""
    rows = stages.list_stages()
    by_project = {number: list(group) for number, group in groupby(rows, key=lambda row: row.project_id)}
    expiry, present = context.expiry(), _present_hosts()
    return [
        (project, [_card(stage, present.get(stage.id, []), expiry) for stage in by_project.get(project.id, [])])
        for project in reached
    ]


def _present_hosts() -> dict[int, list[Host]]:
    found: dict[int, list[Host]] = {}
    for row in Host.select().where(Host.gone_at.is_null()):
        found.setdefault(row.stage_id, []).append(row)
    return found


def _card(stage: Stage, present: list[Host], expiry: liveness.Expiry) -> StageCard:
    desired = hosts.desired_release(stage)
    rows = [board.row(answers.Host.of(host, stage, expiry, desired)) for host in present]
    shown = [one for one in rows if one.host.state != liveness.GONE]
    answer = answers.Stage.of(stage)
    failed = requests.last_failure(stage)
    return StageCard(
        answer,
        board.tally(shown),
        len(shown),
        running_of(answer),
        answers.Run.of(failed) if failed is not None else None,
        expiry.is_paused(stage),
    )
