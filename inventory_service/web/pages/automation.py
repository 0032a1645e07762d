"""What starts by itself on a stage and who hears of it: schedules, webhooks, notifications, each with its form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, make_response, render_template, request

from inventory_service.accounts.roles import ADMIN
from inventory_service.automation import notifications, pushes, schedules, webhooks
from inventory_service.automation.schedules import Plan
from inventory_service.codes import statuses
from inventory_service.errors import CallboardError, ConflictError
from inventory_service.events import NOTIFIED
from inventory_service.models import Stage
from inventory_service.web import answers, auth, context, problems
from inventory_service.web.pages.common import back, pages, require_operator
from inventory_service.web.pages.form_values import variables_in

_KINDS = (statuses.PLAYBOOK, statuses.DEPLOY, statuses.CONVERGE)
_RECENT = 5
_DONE = {"remove": "was removed", "resume": "goes on"}


@pages.get("/stages/<project>/<stage>/automation")
def automation(project: str, stage: str) -> str:
    """The whole page."""
    return _show(auth.reach_stage(project, stage))


def _show(row: Stage, **more: Any) -> str:
    found = ((hook, webhooks.deliveries(hook, limit=_RECENT)) for hook in webhooks.list_of(row))
    hooks = [answers.WebhookWithDeliveries.with_deliveries(hook, recent) for hook, recent in found]
    places = [
        (answers.Notification.of(place), notifications.last_notice(place)) for place in notifications.list_of(row)
    ]
    return render_template(
        "automation.html",
        stage=answers.Stage.of(row),
        schedules=[answers.Schedule.of(one) for one in schedules.list_of(row)],
        hooks=hooks,
        places=places,
        kinds=_KINDS,
        providers=(pushes.GITHUB, pushes.GITLAB),
        events=NOTIFIED,
        may_manage=auth.caller().may(ADMIN),
        typed=request.form,
        **more,
    )


def _act(row: Stage, form: str, work: Callable[[], object], said: str = "") -> Response:
    """Do it and show the page anew, with what was done; refused, the page comes back with what was typed and why."""
    try:
        made = work()
    except CallboardError as error:
        found = [item for item in error.errors if len(item["loc"]) > 1]  # type: ignore[arg-type]
        lines = [f"{item['loc'][1]}: {item['msg']}" for item in found]  # type: ignore[index]
        page = _show(row, error=" ".join([error.detail, *lines]), error_in=form)
        return make_response(page, problems.status_of(error))
    if isinstance(made, Response):
        return made
    return back("pages.automation", row, said)


def _text(name: str, most: int = 200) -> str:
    return request.form.get(name, "").strip()[:most]


@pages.post("/stages/<project>/<stage>/schedules")
def add_schedule(project: str, stage: str) -> Response:
    """Add a schedule."""
    row = auth.reach_stage(project, stage)
    require_operator()
    kind = _text("kind")
    given = {"playbook": _text("playbook", 255) if kind == statuses.PLAYBOOK else "", "limit": _text("limit", 20_000)}
    wanted = {
        "kind": kind if kind in _KINDS else statuses.PLAYBOOK,
        **{key: text for key, text in given.items() if text},
    }
    actor = auth.caller().actor
    settings, at = context.services().settings, context.now()

    def work() -> None:
        variables = variables_in(request.form.get("extra_vars", ""), "extra_vars")
        plan = Plan(
            _text("cron"), _text("timezone") or "UTC", wanted | ({"extra_vars": variables} if variables else {})
        )
        schedules.create(row, _text("name"), plan, settings=settings, actor=actor, at=at)

    return _act(row, "schedule", work, f"The schedule {_text('name')} was added.")


@pages.post("/stages/<project>/<stage>/schedules/<schedule>/<action>")
def change_schedule(project: str, stage: str, schedule: str, action: str) -> Response:
    """Pause, resume or remove a schedule."""
    row = auth.reach_stage(project, stage)
    require_operator()
    actor, at = auth.caller().actor, context.now()

    def work() -> None:
        found = schedules.find(row, schedule)
        if action == "remove":
            schedules.remove(found, actor=actor, at=at)
        else:
            schedules.switch(found, is_enabled=action == "resume", actor=actor, at=at)

    return _act(row, "schedule", work, f"The schedule {schedule} {_DONE.get(action, 'was paused')}.")


@pages.post("/stages/<project>/<stage>/webhooks")
def add_webhook(project: str, stage: str) -> Response:
    """Add a webhook; the answer shows its secret this once."""
    row = auth.reach_stage(project, stage)
    auth.caller().require(ADMIN)
    settings = context.services().settings

    def work() -> Response:
        hook, secret = webhooks.create(
            row,
            provider=_text("provider"),
            refs=_text("refs", 4000).replace(",", " ").split(),
            description=_text("description"),
            extra_vars=variables_in(request.form.get("extra_vars", ""), "extra_vars"),
            settings=settings,
            actor=auth.caller().actor,
            at=context.now(),
        )
        shown, stage = answers.NewWebhook.with_secret(hook, secret), answers.Stage.of(row)
        return make_response(render_template("webhook.html", stage=stage, hook=shown), 201)

    return _act(row, "webhook", work)


@pages.post("/stages/<project>/<stage>/webhooks/<webhook>/remove")
def remove_webhook(project: str, stage: str, webhook: str) -> Response:
    """End a webhook."""
    row = auth.reach_stage(project, stage)
    auth.caller().require(ADMIN)
    actor, at = auth.caller().actor, context.now()
    return _act(
        row,
        "webhook",
        lambda: webhooks.remove(webhooks.find(row, webhook), actor=actor, at=at),
        "The webhook was removed.",
    )


@pages.post("/stages/<project>/<stage>/notifications")
def add_notification(project: str, stage: str) -> Response:
    """Tell an Apprise URL of events."""
    row = auth.reach_stage(project, stage)
    auth.caller().require(ADMIN)
    return _act(
        row,
        "notification",
        lambda: notifications.create(
            row,
            url=_text("url", 2000),
            events=request.form.getlist("events"),
            description=_text("description"),
            settings=context.services().settings,
            actor=auth.caller().actor,
            at=context.now(),
        ),
        "The notification was added. Send a test to see that it arrives.",
    )


@pages.post("/stages/<project>/<stage>/notifications/<notification>/<action>")
def change_notification(project: str, stage: str, notification: str, action: str) -> Response:
    """Remove a notification, or send a test."""
    row = auth.reach_stage(project, stage)
    auth.caller().require(ADMIN)

    def work() -> Response | None:
        found = notifications.find(row, notification)
        if action == "remove":
            notifications.remove(found, actor=auth.caller().actor, at=context.now())
            return None
        error = notifications.test(found, settings=context.services().settings)
        if error is not None:
            raise ConflictError(f"The test message to {found.description} was not taken: {error}")
        return make_response(_show(row, tested=found.id))

    return _act(row, "notification", work, "The notification was removed.")
