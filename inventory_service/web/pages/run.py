"""One run: what it is, how it goes, what it did on each host, its log."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Response, make_response, redirect, render_template, request, url_for

from inventory_service.codes import statuses
from inventory_service.deployments.launching import launch, requests, run_queue
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.deployments.runs import snapshot
from inventory_service.errors import CallboardError
from inventory_service.models import Run
from inventory_service.records.runs import EXTERNAL
from inventory_service.text import shown_value
from inventory_service.vault import references, store
from inventory_service.web import answers, auth, context, problems
from inventory_service.web.pages import compare, run_view
from inventory_service.web.pages.common import pages, require_operator
from inventory_service.web.pages.launch_form import PROMPT

_LOG_TAIL_BYTES = 2 * 1024 * 1024
_LONGEST_QUERY = 2000
_PLAIN = (str, int, float)


@pages.get("/runs/<int:run>")
def run(run: int) -> str:
    """The whole page. A very long log is shown from its last two megabytes on."""
    return _show(auth.reach_run(requests.get(run)))


def _show(row: Run, **more: Any) -> str:
    start = max(0, row.log_bytes - _LOG_TAIL_BYTES)
    return render_template("run.html", **_facts(row), log_start=start, **more)


@pages.get("/runs/<int:run>/live")
def run_live(run: int) -> str:
    """The parts that change, for the page to put in their places."""
    return render_template("run_live.html", **_facts(auth.reach_run(requests.get(run))))


@pages.post("/runs/<int:run>/cancel")
def cancel_run(run: int) -> Response:
    """Ask the run to end."""
    row = auth.reach_run(requests.get(run))
    require_operator()
    requests.cancel(row, actor=auth.caller().actor, at=context.now())
    return make_response(redirect(url_for("pages.run", run=row.id), 303))


@pages.post("/runs/<int:run>/repeat")
def repeat_run(run: int) -> Response:
    """Queue the repeat and go to its page; refused, this page comes back with the reason."""
    row = auth.reach_run(requests.get(run))
    require_operator()
    try:
        again = _repeat(row)
    except CallboardError as error:
        return make_response(_show(row, repeat_error=error.detail), problems.status_of(error))
    return make_response(redirect(url_for("pages.run", run=again.id), 303))


def _repeat(row: Run) -> Run:
    form, actor = request.form, auth.caller().actor
    wanted = RunRequest(
        kind=row.kind,
        repeats=row,
        repeat_mode=form.get("mode", ""),
        secret_vars={name: form[f"secret.{name}"] for name in _lost_secrets(row) if form.get(f"secret.{name}")},
        comment=form.get("comment", "")[:2000],
        allows_paused_expiry=bool(form.get("allow_paused_expiry") or form.get("allow_frozen")),
        idempotency_key=f"{actor.name}:page:{form['key'][:40]}" if form.get("key") else None,
    )
    settings = context.services().settings
    return launch.launch(row.stage, wanted, actor=actor, expiry=context.expiry(), settings=settings)


def _again(row: Run) -> dict[str, Any]:
    """The query of a link that fills the form in as this run was asked for; answers that are secret are not in it."""
    asked = {"revision": row.revision or "", "comment": row.comment, "limit": row.limit or ""}
    given = {name: value if isinstance(value, list) else [value] for name, value in row.extra_vars.items()}
    plain = {name: value for name, value in given.items() if all(isinstance(one, _PLAIN) for one in value)}
    answers = {PROMPT + name: [shown_value(one) for one in value] for name, value in plain.items()}
    return asked | (answers if len(str(answers)) < _LONGEST_QUERY else {})


def _lost_secrets(row: Run) -> list[str]:
    """The names of its secret extra vars, which were erased when it ended: a repeat has to be given them again."""
    return (
        []
        if row.origin == EXTERNAL
        else store.missing(references.names(row.extra_vars), store.list_for_stage(row.stage))
    )


def _facts(row: Run) -> dict[str, Any]:
    is_active = row.status in statuses.ACTIVE
    results = run_view.results(row, is_active=is_active)
    return {
        "run": answers.RunWithHosts.with_hosts(row, ()),
        "stage": answers.Stage.of(row.stage),
        "is_archived": row.stage.archived_at is not None,
        "is_active": is_active,
        "is_repeatable": snapshot.is_full(row),
        "comparable": [answers.Run.of(one) for one in compare.comparable(row)],
        "repeat_key": secrets.token_urlsafe(12),
        "lost_secrets": _lost_secrets(row),
        "again": _again(row),
        "results": results,
        "progress": run_view.progress(results),
        "failures": run_view.failures(row),
        "now_at": run_view.current_task(row) if row.status == statuses.RUNNING else None,
        "waits_for": run_queue.waiting(row) if row.status == statuses.QUEUED else None,
    }
