"""Launching a run from a stage's page: a deploy, a rollback, any playbook, or convergence now."""

from __future__ import annotations

import time

from flask import Response, make_response, redirect, render_template, request, url_for

from inventory_service.codes import statuses
from inventory_service.deployments.launching import launch as launching
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.deployments.source import playbooks
from inventory_service.errors import CallboardError
from inventory_service.models import Run, Stage
from inventory_service.registry import hosts
from inventory_service.web import auth, context, problems
from inventory_service.web.pages import launch_fields
from inventory_service.web.pages import stage as stage_page
from inventory_service.web.pages.common import pages, require_operator
from inventory_service.web.pages.launch_form import LaunchForm


@pages.post("/stages/<project>/<stage>/runs")
def launch(project: str, stage: str) -> Response:
    """Queue the run and go to its page; refused, the stage's page comes back with what was typed."""
    row = auth.reach_stage(project, stage)
    require_operator()
    form, until = LaunchForm.from_post(request.form), time.monotonic() + launching.PATIENCE_SECONDS
    try:
        run = _queue(row, form)
    except CallboardError as error:
        page = stage_page.show(row, form.refused(error), patience_seconds=max(0.0, until - time.monotonic()))
        return make_response(page, problems.status_of(error))
    return make_response(redirect(url_for("pages.run", run=run.id), 303))


def _queue(row: Stage, form: LaunchForm) -> Run:
    actor, expiry = auth.caller().actor, context.expiry()
    live = [host.name for host in hosts.live_hosts(row, expiry=expiry)]
    wanted = form.request(live=live, by=actor.name)
    return launching.launch(row, wanted, actor=actor, expiry=expiry, settings=context.services().settings)


@pages.post("/stages/<project>/<stage>/prompts")
def prompts(project: str, stage: str) -> str:
    """The fields for what the form's run would ask, with what was typed into them but for secrets."""
    row = auth.reach_stage(project, stage)
    require_operator()
    form = LaunchForm.from_post(request.form)
    asked = launch_fields.asked(row, form, patience_seconds=launching.QUESTION_SECONDS)
    return render_template("_prompts_live.html", asked=asked, prefix=form.kind)


@pages.get("/stages/<project>/<stage>/playbooks")
def playbook_options(project: str, stage: str) -> str:
    """What the stage's source offers, for the form's list; nothing where it can't be read."""
    row = auth.reach_stage(project, stage)
    require_operator()
    try:
        found = playbooks.list_playbooks(row, context.services().settings)
    except CallboardError:
        found = []
    return render_template("_playbook_options.html", found=found)


@pages.post("/stages/<project>/<stage>/converge")
def converge_stage(project: str, stage: str) -> Response:
    """Bring who is out of date to the desired release now; refused, the stage's page comes back with the reason."""
    row = auth.reach_stage(project, stage)
    require_operator()
    try:
        run = _converge(row)
    except CallboardError as error:
        page = stage_page.show(row, LaunchForm(), converge_error=error.detail)
        return make_response(page, problems.status_of(error))
    return make_response(redirect(url_for("pages.run", run=run.id), 303))


def _converge(row: Stage) -> Run:
    wanted = RunRequest(
        kind=statuses.CONVERGE,
        comment=request.form.get("comment", "")[:2000],
        releases_quarantined=bool(request.form.get("release_quarantined")),
    )
    actor, settings = auth.caller().actor, context.services().settings
    return launching.launch(row, wanted, actor=actor, expiry=context.expiry(), settings=settings)
