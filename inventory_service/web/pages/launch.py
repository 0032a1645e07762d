"""Launching a deploy or a rollback from a stage's page."""

from __future__ import annotations

from flask import Response, make_response, redirect, request, url_for

from inventory_service.deployments import requests
from inventory_service.errors import CallboardError
from inventory_service.models import Run, Stage
from inventory_service.registry import hosts
from inventory_service.web import auth, context, problems
from inventory_service.web.pages import stage as stage_page
from inventory_service.web.pages.common import pages, require_operator
from inventory_service.web.pages.launch_form import LaunchForm


@pages.post("/stages/<project>/<stage>/runs")
def launch(project: str, stage: str) -> Response:
    """Queue the run and go to its page; refused, the stage's page comes back with what was typed."""
    row = auth.reach_stage(project, stage)
    require_operator()
    form = LaunchForm.from_post(request.form)
    try:
        run = _queue(row, form)
    except CallboardError as error:
        page = stage_page.show(row, form.refused(error))
        return make_response(page, problems.status_of(error))
    return make_response(redirect(url_for("pages.run", run=run.id), 303))


def _queue(row: Stage, form: LaunchForm) -> Run:
    actor = auth.caller().actor
    live = [host.name for host in hosts.live_hosts(row, judge=context.judge())]
    wanted = form.request(live=live, by=actor.name)
    run, is_new = requests.request_run(row, wanted, actor=actor, at=context.now())
    if is_new:
        context.services().run_queue.send(run.id)
    return run
