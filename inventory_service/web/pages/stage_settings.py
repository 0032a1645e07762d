"""How runs go on a stage: batches, budgets, timeouts, playbooks. The fields have the API's names."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, render_template, request

from inventory_service.accounts.roles import ADMIN
from inventory_service.errors import CallboardError
from inventory_service.models import Stage
from inventory_service.registry import stages
from inventory_service.registry.stages import StageChange
from inventory_service.web import auth, context, present, problems
from inventory_service.web.pages.common import back, pages
from inventory_service.web.pages.form_values import number_in

_TEXTS = ("minimum_healthy", "maximum_unreachable", "default_revision", "deploy_playbook", "rollback_playbook")
_SECONDS = ("run_timeout_seconds", "idle_timeout_seconds")
_LONGEST_SECONDS = 2**31 - 1


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
    return back("pages.stage", row, "The settings were saved. They hold for every run that starts from now on.")


def _show(row: Stage, typed: dict[str, Any], **more: Any) -> str:
    facts = {"stage": row, "typed": typed, "strategies": stages.STRATEGIES, "may_manage": auth.caller().may(ADMIN)}
    return render_template("stage_settings.html", settings=context.services().settings, **facts, **more)


def _present(row: Stage) -> dict[str, Any]:
    """The fields as a form holds them: an unticked box is not there, and 0 s is empty."""
    shown = present.stage(row)
    texts = {name: str(shown[name]) for name in (*_TEXTS, "strategy")}
    times = {name: str(shown[name] or "") for name in _SECONDS}
    flags = {name: "1" for name in ("auto_rollback", "converge") if shown[name]}
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
        has_auto_rollback=bool(form.get("auto_rollback")),
        has_convergence=bool(form.get("converge")),
    )


def _seconds(text: str, field: str) -> int:
    return min(number_in(text, field), _LONGEST_SECONDS) if text else 0
