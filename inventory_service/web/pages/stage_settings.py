"""How a stage hears of machines and how runs go there: heartbeats, batches, playbooks. Fields as in the API."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, render_template, request

from inventory_service.accounts.roles import ADMIN
from inventory_service.errors import CallboardError, InvalidError
from inventory_service.models import Stage
from inventory_service.registry import stages
from inventory_service.registry.stages import StageChange
from inventory_service.web import answers, auth, context, problems
from inventory_service.web.pages.common import back, pages
from inventory_service.web.pages.form_values import number_in

_TEXTS = (
    "ansible_user",
    "minimum_healthy",
    "maximum_unreachable",
    "default_revision",
    "deploy_playbook",
    "rollback_playbook",
)
# The most of each: as many seconds as the API takes.
_SECONDS = {
    "interval_seconds": 3600,
    "ttl_seconds": 86400,
    "run_timeout_seconds": 2**31 - 1,
    "idle_timeout_seconds": 2**31 - 1,
}
_FLAGS = ("approval", "simple_join", "auto_rollback", "converge")


@pages.get("/stages/<project>/<stage>/settings")
def stage_settings(project: str, stage: str) -> str:
    """The whole page; who may not change them sees them."""
    row = auth.reach_stage(project, stage)
    return _show(row, _present(row))


@pages.post("/stages/<project>/<stage>/settings")
def change_stage_settings(project: str, stage: str) -> Response:
    """Change them and go back to the stage; refused, the page comes back with what was typed."""
    row = auth.reach_stage(project, stage)
    auth.caller().require(ADMIN)
    try:
        stages.update_stage(row, change=_change(), actor=auth.caller().actor, at=context.now())
    except CallboardError as error:
        at = str(error.errors[0]["loc"][0]) if error.errors else ""  # type: ignore[index]
        page = _show(row, {**_present(row), **request.form.to_dict()}, error=error.detail, error_at=at)
        return make_response(page, problems.status_of(error))
    return back("pages.stage", row, "The settings were saved. Runs that start from now on go by them.")


def _show(row: Stage, typed: dict[str, Any], **more: Any) -> str:
    facts = {"stage": row, "typed": typed, "strategies": stages.STRATEGIES, "may_manage": auth.caller().may(ADMIN)}
    return render_template("stage_settings.html", settings=context.services().settings, **facts, **more)


def _present(row: Stage) -> dict[str, Any]:
    """The fields as a form holds them: an unticked box is not there, and 0 s is empty."""
    shown = answers.Stage.of(row).fields()
    texts = {name: str(shown[name] or "") for name in (*_TEXTS, "strategy")}
    times = {name: str(shown[name] or "") for name in _SECONDS}
    flags = {name: "1" for name in _FLAGS if shown[name]}
    return {**texts, **times, **flags, "batches": ", ".join(str(one) for one in row.batches or [])}


def _change() -> StageChange:
    form = request.form
    given: dict[str, Any] = {name: form.get(name, "").strip() for name in _TEXTS}
    given |= {name: _seconds(form.get(name, "").strip(), name) for name in _SECONDS}
    parts = form.get("batches", "").replace(",", " ").split()
    return StageChange(
        **given,
        strategy=form.get("strategy", stages.LINEAR),
        batches=[int(part) if part.isascii() and part.isdecimal() else part for part in parts],
        has_approval=bool(form.get("approval")),
        has_simple_join=bool(form.get("simple_join")),
        has_auto_rollback=bool(form.get("auto_rollback")),
        has_convergence=bool(form.get("converge")),
    )


def _seconds(text: str, field: str) -> int:
    seconds = number_in(text, field) if text else 0
    if seconds > _SECONDS[field]:
        raise InvalidError.at(field, f"{seconds} s is too long: the most is {_SECONDS[field]} s.")
    return seconds
