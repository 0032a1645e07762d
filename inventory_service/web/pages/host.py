"""One host: its state, what it reports, its history, and what people do to it."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, redirect, render_template, request, url_for

from inventory_service.deployments.runs import history
from inventory_service.errors import InvalidError
from inventory_service.registry import hosts, liveness
from inventory_service.web import answers, auth, context
from inventory_service.web.pages import board
from inventory_service.web.pages.common import pages, require_operator

_ACTIONS: dict[str, dict[str, Any]] = {
    "drain": {"is_draining": True},
    "undrain": {"is_draining": False},
    "quarantine": {"is_quarantined": True},
    "release": {"is_quarantined": False},
}


@pages.get("/hosts/<host>")
def host(host: str) -> str:
    """Also for hosts that have gone."""
    row = auth.reach_host(hosts.get_host(host))
    now = answers.Host.of(row, row.stage, context.expiry(), hosts.desired_release(row.stage))
    transitions, runs = hosts.list_transitions(row), history.runs_of_host(row, limit=15)
    shown = answers.HostWithHistory.with_history(now, transitions, runs)
    return render_template(
        "host.html",
        host=shown,
        stage=answers.Stage.of(row.stage),
        terms=liveness.terms(row.stage),
        row=board.row(shown),
    )


@pages.post("/hosts/<host>")
def change_host(host: str) -> Response:
    """Drain, undrain, quarantine, release from quarantine, let a pending host in, stay with its host keys."""
    row = auth.reach_host(hosts.get_host(host))
    require_operator()
    action = request.form.get("action", "")
    if action == "approve":
        hosts.approve(row, actor=auth.caller().actor, at=context.now())
        return make_response(redirect(url_for("pages.host", host=row.id), 303))
    if action == "keep-keys":
        hosts.change(row, actor=auth.caller().actor, at=context.now(), host_keys=row.host_keys)
        return make_response(redirect(url_for("pages.host", host=row.id), 303))
    if action not in _ACTIONS:
        raise InvalidError.at("action", f"{action[:40]!r} can't be done to a host.")
    reason = request.form.get("reason", "").strip()[:500] or f"by {auth.caller().actor.name}"
    hosts.change(row, actor=auth.caller().actor, at=context.now(), reason=reason, **_ACTIONS[action])
    return make_response(redirect(url_for("pages.host", host=row.id), 303))
