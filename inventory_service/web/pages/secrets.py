"""A stage's secrets: names, who set them when, and a form that writes and never reads."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, render_template, request

from inventory_service.accounts.roles import ADMIN
from inventory_service.errors import CallboardError
from inventory_service.models import Stage
from inventory_service.vault import kinds, store
from inventory_service.vault.store import Scope
from inventory_service.web import answers, auth, context, problems
from inventory_service.web.pages.common import back, pages

_WHOLE = (kinds.FILE, kinds.SSH_KEY, kinds.GIT_KEY)  # their line ends belong to them


@pages.get("/stages/<project>/<stage>/secrets")
def secrets(project: str, stage: str) -> str:
    """The whole page."""
    return _show(auth.reach_stage(project, stage))


def _show(row: Stage, **more: Any) -> str:
    typed = {name: request.form.get(name, "") for name in ("name", "kind", "of")}  # never the value
    return render_template(
        "secrets.html",
        stage=answers.Stage.of(row),
        secrets=[answers.Secret.of(one) for one in store.list_for_stage(row)],
        kinds=kinds.KINDS,
        may_manage=auth.caller().may(ADMIN),
        typed=typed,
        **more,
    )


@pages.post("/stages/<project>/<stage>/secrets")
def set_secret(project: str, stage: str) -> Response:
    """Set a secret of the stage or its project; refused, the form comes back without the value."""
    row = auth.reach_stage(project, stage)
    auth.caller().require(ADMIN)
    kind, name = request.form.get("kind", ""), request.form.get("name", "").strip()
    try:
        store.put(
            _scope(row),
            name,
            kind=kind,
            value=_value(kind),
            settings=context.services().settings,
            actor=auth.caller().actor,
            at=context.now(),
        )
    except CallboardError as error:
        return make_response(_show(row, error=error.detail), problems.status_of(error))
    return back("pages.secrets", row, f"The secret {name} is set; runs that start from now on get it.")


@pages.post("/stages/<project>/<stage>/secrets/<name>/remove")
def remove_secret(project: str, stage: str, name: str) -> Response:
    """Remove a secret of the stage or its project."""
    row = auth.reach_stage(project, stage)
    auth.caller().require(ADMIN)
    store.remove(_scope(row), name, actor=auth.caller().actor, at=context.now())
    return back("pages.secrets", row, f"The secret {name} was removed.")


def _scope(row: Stage) -> Scope:
    return Scope(row.project, None if request.form.get("of") == "project" else row)


def _value(kind: str) -> bytes:
    """Browsers send every line end of a form as CRLF."""
    text = request.form.get("value", "").replace("\r\n", "\n")
    text = text if kind in _WHOLE else text.removesuffix("\n")
    return text.encode("utf-8", "replace")
