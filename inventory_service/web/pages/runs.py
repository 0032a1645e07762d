"""All runs, newest first, with filters."""

from __future__ import annotations

from typing import Any

from flask import render_template, request

from inventory_service.codes import statuses
from inventory_service.deployments.launching import requests
from inventory_service.registry import stages
from inventory_service.registry.stages import stage_name
from inventory_service.web import answers, auth
from inventory_service.web.pages.common import pages, usable_id

_PAGE = 50
_FILTERS = ("stage", "status", "kind", "user", "q")


@pages.get("/runs")
def runs() -> str:
    """?stage= ?status= ?kind= ?user= ?q= ?before= (a run's number)."""
    query = {name: request.args.get(name, "").strip()[:130] for name in _FILTERS}
    before = request.args.get("before", type=int)
    rows = _find(query, before)
    return render_template(
        "runs.html",
        rows=[answers.Run.of(row) for row in rows[:_PAGE]],
        older=rows[_PAGE - 1].id if len(rows) > _PAGE else None,
        query=query,
        before=before,
        kinds=statuses.KINDS,
        statuses=statuses.STATUSES,
        stages=[stage_name(row) for row in stages.list_stages() if auth.caller().reaches(row.project.name)],
    )


def _find(query: dict[str, str], before: int | None) -> list[Any]:
    project, _, name = query["stage"].partition("/")
    return requests.list_runs(
        stage=auth.reach_stage(project, name) if project else None,
        status=query["status"] or None,
        kind=query["kind"] or None,
        user=query["user"] or None,
        text=query["q"] or None,
        projects=auth.caller().projects,
        before=usable_id(before),
        limit=_PAGE + 1,
    )
