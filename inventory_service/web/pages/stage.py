"""A stage: its hosts, lock, releases and runs, and the forms that act on it."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import Response, make_response, redirect, render_template, request

from inventory_service.accounts.roles import ADMIN, OPERATOR
from inventory_service.deployments import locks, releases
from inventory_service.deployments.launching import checks, launch, requests
from inventory_service.errors import CallboardError, InvalidError
from inventory_service.models import Stage
from inventory_service.registry import hosts, join_tokens, liveness, sweep
from inventory_service.registry.stage_settings import check_playbook, check_revision_name
from inventory_service.registry.stages import stage_name
from inventory_service.text import natural
from inventory_service.web import answers, auth, context, problems
from inventory_service.web.pages import board, launch_fields, machines
from inventory_service.web.pages.common import pages, require_operator, running_of
from inventory_service.web.pages.launch_form import LaunchForm
from inventory_service.web.pages.template_filters import stage_link

_RECENT_RUNS, _RECENT_RELEASES = 8, 12
_LIFETIMES = {"1h": dt.timedelta(hours=1), "1d": dt.timedelta(days=1), "7d": dt.timedelta(days=7), "never": None}
# Seconds between two looks, by how many hosts the table holds at most.
_POLLS = ((50, 2), (200, 4))
_SLOWEST_POLL = 6


@pages.get("/stages/<project>/<stage>")
def stage(project: str, stage: str) -> str:
    """The whole page; ?revision=&comment=&limit=&prompt.NAME= fill the deploy form in, with ?playbook= the form for
    playbooks, with ?release= that for rollbacks.
    """
    return show(auth.reach_stage(project, stage), LaunchForm.from_query(request.args))


def show(row: Stage, form: LaunchForm, *, patience_seconds: float = launch.QUESTION_SECONDS, **more: Any) -> str:
    """The page with this state of the launch form. `patience_seconds`: how long the source's server may take."""
    facts = _facts(row)
    listed = [one.host.name for one in facts["all_rows"] if one.is_listed]
    findings = checks.check_surroundings(row, context.services().settings, expiry=context.expiry())
    facts |= {"form": form, "listed": listed, "goals": _goals(row), "findings": findings}
    shows_prompts = form.asks_at_once and auth.caller().may(OPERATOR)
    asked = (
        launch_fields.asked(row, form, patience_seconds=patience_seconds) if shows_prompts else launch_fields.Asked()
    )
    facts |= {"asked": asked}
    facts |= {"settings": context.services().settings, "may_manage": auth.caller().may(ADMIN)}
    return render_template("stage.html", **facts, **more)


@pages.get("/stages/<project>/<stage>/live")
def stage_live(project: str, stage: str) -> str:
    """The parts that change, for the page to put in their places."""
    return render_template("stage_live.html", **_facts(auth.reach_stage(project, stage)))


@pages.get("/stages/<project>/<stage>/check")
def check_stage(project: str, stage: str) -> str:
    """What stands in the way of a run, for its form to show; ?revision=&playbook= as they are typed there."""
    row = auth.reach_stage(project, stage)
    require_operator()
    wanted = request.args.get("revision", "").strip()
    settings, expiry = context.services().settings, context.expiry()
    try:
        revision = check_revision_name(wanted) if wanted else None
        playbook = check_playbook(named) if (named := request.args.get("playbook", "").strip()) else None
        found = checks.check_stage(row, settings, expiry=expiry, revision=revision, playbook=playbook)
    except InvalidError as error:
        found = [checks.Finding(checks.IMPOSSIBLE, "name", error.detail, "Name another one.")]
    return render_template("_check_live.html", found=found)


def _facts(row: Stage) -> dict[str, Any]:
    expiry, desired = context.expiry(), hosts.desired_release(row)
    found = [board.row(answers.Host.of(host, row, expiry, desired)) for host in hosts.list_hosts(row)]
    rows = [one for one in found if one.host.state != liveness.GONE]
    rows.sort(key=lambda one: natural(one.host.name))
    state = request.args.get("state", "")
    query = {"state": board.FORMER_FILTERS.get(state, state), "text": request.args.get("q", "")[:100]}
    shown = answers.Stage.of(row)
    return {
        "stage": shown,
        "terms": liveness.terms(row),
        "all_rows": rows,
        "rows": board.chosen(rows, **query),
        "query": query,
        "filters": board.FILTERS,
        "counts": board.tally(rows),
        "poll_seconds": next((seconds for most, seconds in _POLLS if len(rows) <= most), _SLOWEST_POLL),
        "desired": _desired(row),
        "running": running_of(shown),
        "releases": [answers.Release.of(one) for one in releases.list_releases(row, limit=_RECENT_RELEASES)],
        "runs": [answers.Run.of(one) for one in requests.list_runs(stage=row, limit=_RECENT_RUNS)],
        "running_on": board.releases_in_use(rows),
        "machines": machines.of_stage(row),
    }


def _desired(row: Stage) -> answers.Release | None:
    found = releases.numbered(row, row.desired_release_number)
    return None if found is None else answers.Release.of(found)


def _goals(row: Stage) -> list[answers.Release]:
    """Where a rollback can go."""
    known = [answers.Release.of(one) for one in releases.list_releases(row)]
    return [one for one in known if one.succeeded_at is not None and one.number != row.desired_release_number]


@pages.post("/stages/<project>/<stage>/lock")
def lock_stage(project: str, stage: str) -> Response:
    """Hold the stage; refused, the page comes back with what was typed."""
    row = auth.reach_stage(project, stage)
    require_operator()
    reason = request.form.get("reason", "")[:500]
    try:
        locks.lock(row, reason=reason, actor=auth.caller().actor, at=context.now())
    except CallboardError as error:
        page = show(row, LaunchForm(), lock_error=error.detail, lock_reason=reason)
        return make_response(page, problems.status_of(error))
    return make_response(redirect(stage_link(stage_name(row)), 303))


@pages.post("/stages/<project>/<stage>/unlock")
def unlock_stage(project: str, stage: str) -> Response:
    """Let the stage go."""
    row = auth.reach_stage(project, stage)
    require_operator()
    locks.unlock(row, actor=auth.caller().actor, at=context.now())
    return make_response(redirect(stage_link(stage_name(row)), 303))


@pages.post("/stages/<project>/<stage>/expire")
def expire_hosts(project: str, stage: str) -> Response:
    """Believe the silence: late hosts become stale now, and the pause of the stage's expiry ends."""
    row = auth.reach_stage(project, stage)
    require_operator()
    sweep.expire_late(row, actor=auth.caller().actor, expiry=context.expiry())
    return make_response(redirect(stage_link(stage_name(row)), 303))


@pages.post("/stages/<project>/<stage>/join-tokens")
def make_join_token(project: str, stage: str) -> Response:
    """Make a join token; the answer shows its secret this once."""
    row = auth.reach_stage(project, stage)
    require_operator()
    try:
        made, token = join_tokens.create(row, actor=auth.caller().actor, at=context.now(), **_token_fields())
    except CallboardError as error:
        page = show(row, LaunchForm(), token_error=error.detail, token_form=request.form)
        return make_response(page, problems.status_of(error))
    return make_response(render_template("join_token.html", stage=answers.Stage.of(row), made=made, token=token), 201)


def _token_fields() -> dict[str, Any]:
    lifetime = _LIFETIMES.get(request.form.get("expires", "1d"), _LIFETIMES["1d"])
    uses = request.form.get("maximum_uses", "").strip()
    if uses and (not uses.isdecimal() or not 0 < int(uses) <= 1_000_000):  # noqa: PLR2004 - as in the API
        raise InvalidError.at("maximum_uses", "How often it may be used is a number from 1 to 1000000.")
    return {
        "description": request.form.get("description", "").strip()[:200],
        "groups": request.form.get("groups", "").replace(",", " ").split()[:32],
        "networks": request.form.get("networks", "").replace(",", " ").split()[:64],
        "maximum_uses": int(uses) if uses else None,
        "expires_at": context.now() + lifetime if lifetime else None,
    }
