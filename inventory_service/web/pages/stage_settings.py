"""How a stage hears of machines and how runs go there: heartbeats, batches, playbooks. Fields as in the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Response, make_response, render_template, request

from inventory_service.accounts.roles import ADMIN
from inventory_service.errors import CallboardError, InvalidError
from inventory_service.models import Stage
from inventory_service.registry import stages
from inventory_service.registry.stage_settings import (
    FLAG,
    LIST,
    NUMBER,
    SECTIONS,
    TABLE,
    Described,
    StageChange,
    in_section,
)
from inventory_service.web import answers, auth, context, problems
from inventory_service.web.pages.common import back, pages
from inventory_service.web.pages.form_values import number_in


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
    settings = context.services().settings
    return render_template(
        "stage_settings.html",
        stage=answers.Stage.of(row),
        typed=typed,
        sections={section: in_section(section) for section in SECTIONS},
        service={name: getattr(settings, name) for name in TABLE if hasattr(settings, name)},
        may_manage=auth.caller().may(ADMIN),
        **more,
    )


def _present(row: Stage) -> dict[str, Any]:
    """The settings as the form holds them: an unticked box is not there, and 0 s is empty."""
    shown = answers.Stage.of(row).fields()
    return {one.name: _as_typed(one, shown[one.name]) for one in _in_form() if one.kind != FLAG or shown[one.name]}


def _as_typed(one: Described, value: Any) -> str:
    if one.kind == FLAG:
        return "1"
    return ", ".join(str(part) for part in value or []) if one.kind == LIST else str(value or "")


def _change() -> StageChange:
    return StageChange.of({one.name: _value(one, request.form.get(one.name, "").strip()) for one in _in_form()})


def _value(one: Described, text: str) -> Any:
    if one.kind == LIST:
        parts = text.replace(",", " ").split()
        return [int(part) if part.isascii() and part.isdecimal() else part for part in parts]
    if one.kind == NUMBER:
        number = number_in(text, one.name) if text else 0
        if one.most is not None and number > one.most:
            raise InvalidError.at(one.name, f"{number} s is too long: the most is {one.most} s.")
        return number
    return bool(text) if one.kind == FLAG else text


def _in_form() -> Iterator[Described]:
    return (one for section in SECTIONS for one in in_section(section))
