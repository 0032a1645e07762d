"""How many machines a stage has: capacity and metric over time with each decision, and its policies with a preview."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import Response, make_response, redirect, render_template, request, url_for

from inventory_service.accounts.roles import ADMIN
from inventory_service.errors import CallboardError, InvalidError
from inventory_service.models import Stage, StageScaling
from inventory_service.registry import hosts
from inventory_service.scaling import backtest, charts, decisions, preview, settings, windows
from inventory_service.scaling.plan import bounds
from inventory_service.scaling.policies import SUM, Scheduled, StepScaling, TargetTracking
from inventory_service.web import answers, auth, context, problems
from inventory_service.web.pages import machines, scaling_form
from inventory_service.web.pages.common import pages, require_operator
from inventory_service.web.pages.metrics import SPAN_LABELS, Plot, chosen_span, plot_of_stage, title

_MOST_GROUPS = 200
_MOST_CHARTS = 4
_SOURCES = {
    preview.AUTO: "the last 7 days, the shipped trace where there is less",
    preview.RECORDED: "what is on record of the last 7 days",
    preview.SHIPPED: "the shipped trace",
}


@pages.get("/stages/<project>/<stage>/scaling")
def scaling(project: str, stage: str) -> str:
    """?range= 1h, 24h, 14d or 90d."""
    return _show(auth.reach_stage(project, stage))


@pages.post("/stages/<project>/<stage>/scaling")
def change_scaling(project: str, stage: str) -> Response:
    """What the form's buttons do: preview, save, off, add-…, remove-…; refused, it comes back with what was typed."""
    row = auth.reach_stage(project, stage)
    require_operator()
    body, action = scaling_form.from_fields(request.form), request.form.get("action", "")
    try:
        if action == "save":
            return _save(row, body)
        if action == "off":
            return _remove(row)
        found = _preview(row, body) if action == "preview" else None
    except CallboardError as error:
        page = _show(row, body=body, error=error, errors=_by_field(error))
        return make_response(page, problems.status_of(error))
    verb, _, what = action.partition("-")
    if verb == "add":
        scaling_form.add(body, what)
    if verb == "remove" and what.isdecimal() and int(what) < len(body["policies"]):
        del body["policies"][int(what)]
    return make_response(_show(row, body=body, found=found))


def _save(row: Stage, body: dict[str, Any]) -> Response:
    auth.caller().require(ADMIN)
    settings.configure(
        row,
        limits=body["limits"],
        policy_texts=body["policies"],
        actuator=body["actuator"],
        is_enabled=body["enabled"],
        is_dry_run=body["dry_run"],
        drain_playbook=body["drain_playbook"],
        actor=auth.caller().actor,
        at=context.now(),
    )
    return _back(row, saved=1)


def _remove(row: Stage) -> Response:
    auth.caller().require(ADMIN)
    settings.remove(row, actor=auth.caller().actor, at=context.now())
    return _back(row)


def _back(row: Stage, **query: Any) -> Response:
    return make_response(
        redirect(url_for("pages.scaling", project=row.project.name, stage=row.name, **query, _anchor="policies"), 303)
    )


def _preview(row: Stage, body: dict[str, Any]) -> answers.Backtest:
    file = request.files.get("trace")
    text = file.read().decode(errors="replace") if file else ""
    how = preview.Request(
        source=request.form.get("source", preview.AUTO),
        boot_seconds=int(_number("boot_seconds", 180, most=86400)),
        objective=_number("objective", 0, most=1e12) or None,
        price=_number("price", 0, most=1e6),
        trace=backtest.read_trace(text.splitlines(keepends=True)) if text else None,
    )
    settings.check({}, [], body["actuator"], body["drain_playbook"])
    found = preview.of_texts(row, body["limits"], body["policies"], how, at=context.now())
    return answers.Backtest.of(found)


def _number(name: str, otherwise: float, *, most: float) -> float:
    text = request.form.get(name, "").strip()
    try:
        value = float(text) if text else otherwise
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise InvalidError.at(name, f"This is a number from 0 to {most:g}.")
    return value


def _by_field(error: CallboardError) -> dict[str, str]:
    """The messages by the names of the form's fields."""
    named = {}
    for one in error.errors:
        loc = one["loc"]
        named[".".join(str(part) for part in loc) if isinstance(loc, list) else str(loc)] = str(one["msg"])
    return named


def _show(row: Stage, *, body: dict[str, Any] | None = None, **more: Any) -> str:
    set_now = settings.find(row)
    span, now = chosen_span(), context.now()
    since = now - charts.RANGES[span][0]
    found, is_more = decisions.between(row, since, now, most=_MOST_GROUPS)
    facts = {
        "stage": answers.Stage.of(row),
        "set_now": set_now,
        "body": body if body is not None else scaling_form.from_row(set_now),
        "form": scaling_form,
        "sources": _SOURCES,
        "span": span,
        "spans": SPAN_LABELS,
        "groups": [(group, answers.ScalingDecision.of(group.newest)) for group in found],
        "is_more": is_more,
        "may_manage": auth.caller().may(ADMIN),
        "machines": machines.of_stage(row),
        "typed": request.form,
        "errors": {},
        "found": None,
        **_machines(row, set_now, now),
    }
    return render_template("scaling.html", **facts | _charts(row, set_now, span) | more)


def _machines(row: Stage, set_now: StageScaling | None, now: dt.datetime) -> dict[str, Any]:
    """How many there are now, and between which numbers they are to be."""
    live, desired = hosts.live_hosts(row, expiry=context.expiry()), hosts.desired_release(row)
    facts: dict[str, Any] = {
        "live": len(live),
        "on_release": sum(hosts.is_up_to_date(host, desired) and not host.is_draining for host in live),
        "wanted": windows.wanted(row, at=now),
        "bounds": None,
        "no_scale_in": [],
        "broken": None,
    }
    try:
        parsed = settings.parse(set_now) if set_now else None
    except InvalidError as error:
        return {**facts, "broken": error.detail}
    if parsed is not None:
        facts["bounds"] = bounds(parsed.policies, parsed.limits, at=now)
        facts["no_scale_in"] = [
            one.name for one in parsed.policies if isinstance(one, TargetTracking) and one.is_scale_in_disabled
        ]
    return facts


def _charts(row: Stage, set_now: StageScaling | None, span: str) -> dict[str, Any]:
    """The metrics that policies read, each with the statistic and the target to draw."""
    found: list[tuple[Plot, str, float | None]] = []
    try:
        parsed = settings.parse(set_now) if set_now else None
    except InvalidError:
        parsed = None
    for policy in parsed.policies if parsed else ():
        if isinstance(policy, Scheduled) or policy.signal.metric in {one.metric for one, _, _ in found}:
            continue
        aim = policy.threshold if isinstance(policy, StepScaling) else policy.target
        is_per_host = policy.signal.statistic == SUM and isinstance(policy, TargetTracking)
        plot = plot_of_stage(row, policy.signal.metric, span)
        found.append((plot, policy.signal.statistic, None if is_per_host else aim))
    address = url_for("scaling.chart_capacity", project=row.project.name, stage=row.name, range=span)
    return {"plots": found[:_MOST_CHARTS], "capacity_address": address, "title": title}
