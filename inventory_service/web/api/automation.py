"""What starts by itself and who hears of it: schedules, webhooks, notifications."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Response, request
from pydantic import BaseModel, Field

from inventory_service.accounts.roles import ADMIN, OPERATOR, VIEWER
from inventory_service.automation import notifications, schedules, webhooks
from inventory_service.automation.schedules import Plan
from inventory_service.errors import ConflictError
from inventory_service.events import NOTIFIED
from inventory_service.web import answers, auth, context
from inventory_service.web.api.common import StagePath, Strict, blueprint, said

api = blueprint("automation", "Schedules, webhooks and notifications of a stage")

_LARGEST_DELIVERY = 5 * 1024 * 1024
Word = Annotated[str, Field(max_length=253)]


class SchedulePath(StagePath):
    schedule: str = Field(description="The schedule's name")


class StageWebhookPath(StagePath):
    webhook: str = Field(description="The webhook's id")


class WebhookPath(BaseModel):
    webhook: str = Field(description="The webhook's id")


class NotificationPath(StagePath):
    notification: str = Field(description="The notification's id")


class ScheduleBody(Strict):
    name: str = Field(max_length=60)
    cron: str = Field(max_length=200, description="Five fields as in crontab: minute hour day month weekday")
    timezone: str = Field("UTC", max_length=60, description="An IANA name such as Europe/Berlin")
    kind: Literal["playbook", "deploy", "converge"] = "playbook"
    playbook: str | None = Field(None, max_length=255)
    revision: str | None = Field(None, max_length=200)
    limit: str | None = Field(None, max_length=20_000)
    tags: list[Word] = Field(default=[], max_length=50)
    skip_tags: list[Word] = Field(default=[], max_length=50)
    check: bool = False
    extra_vars: dict[str, Any] = Field({}, description="Answers to the playbook's prompts, too")

    def plan(self) -> Plan:
        """In the domain's words."""
        given = self.model_dump(exclude={"name", "cron", "timezone", "check"}, exclude_none=True, exclude_defaults=True)
        return Plan(self.cron, self.timezone, {**given, "kind": self.kind, "is_check": self.check})


class ScheduleChange(Strict):
    enabled: bool


class WebhookBody(Strict):
    provider: Literal["github", "gitlab"]
    refs: list[Word] = Field(min_length=1, max_length=20, description="Patterns: branch:main, tag:v*")
    description: str = Field("", max_length=200)
    extra_vars: dict[str, Any] = Field({}, description="Of its deploys: answers to the deploy playbook's prompts, too")


class NotificationBody(Strict):
    url: str = Field(min_length=3, max_length=2000, description="An Apprise URL; never shown again")
    events: list[Annotated[Word, said(enum=[one.word for one in NOTIFIED])]] = Field(
        default=[], max_length=20, description="Left out: what calls for a person"
    )
    description: str = Field("", max_length=200)


@api.get(
    "/stages/<project>/<stage>/schedules",
    summary="A stage's schedules",
    responses={"200": answers.Page[answers.Schedule]},
)
@auth.access(VIEWER)
def list_schedules(path: StagePath) -> answers.Page[answers.Schedule]:
    """By name, each with when it runs next and what came of the last time."""
    rows = schedules.list_of(auth.reach_stage(path.project, path.stage))
    return answers.whole([answers.Schedule.of(row) for row in rows])


@api.post(
    "/stages/<project>/<stage>/schedules",
    summary="Add a schedule",
    responses={"201": answers.Schedule},
)
@auth.access(OPERATOR)
def create_schedule(path: StagePath, body: ScheduleBody) -> tuple[answers.Schedule, int]:
    """201. Its runs wait for their turn like every other; one that is still at work keeps the next one away.

    A required prompt of the playbook without a default has to be answered in `extra_vars`, a secret one by a stored
    secret; else it is refused with 422.
    """
    stage = auth.reach_stage(path.project, path.stage)
    settings, actor = context.services().settings, auth.caller().actor
    row = schedules.create(stage, body.name, body.plan(), settings=settings, actor=actor, at=context.now())
    return answers.Schedule.of(row), 201


@api.patch(
    "/stages/<project>/<stage>/schedules/<schedule>",
    summary="Pause a schedule, or let it go on",
    responses={"200": answers.Schedule},
)
@auth.access(OPERATOR)
def patch_schedule(path: SchedulePath, body: ScheduleChange) -> answers.Schedule:
    """What fell into the pause is not made up for."""
    row = schedules.find(auth.reach_stage(path.project, path.stage), path.schedule)
    return answers.Schedule.of(
        schedules.switch(row, is_enabled=body.enabled, actor=auth.caller().actor, at=context.now())
    )


@api.delete(
    "/stages/<project>/<stage>/schedules/<schedule>",
    summary="Remove a schedule",
    responses={"204": None},
)
@auth.access(OPERATOR)
def delete_schedule(path: SchedulePath) -> Response:
    """The runs that it started stay."""
    row = schedules.find(auth.reach_stage(path.project, path.stage), path.schedule)
    schedules.remove(row, actor=auth.caller().actor, at=context.now())
    return Response(status=204)


@api.get(
    "/stages/<project>/<stage>/webhooks", summary="A stage's webhooks", responses={"200": answers.Page[answers.Webhook]}
)
@auth.access(OPERATOR)
def list_webhooks(path: StagePath) -> answers.Page[answers.Webhook]:
    """Without their secrets."""
    rows = webhooks.list_of(auth.reach_stage(path.project, path.stage))
    return answers.whole([answers.Webhook.of(row) for row in rows])


@api.post(
    "/stages/<project>/<stage>/webhooks", summary="Add a webhook: pushes deploy", responses={"201": answers.NewWebhook}
)
@auth.access(ADMIN)
def create_webhook(path: StagePath, body: WebhookBody) -> tuple[answers.NewWebhook, int]:
    """201; the answer's `secret` is shown this once. Enter `url` and `secret` at GitHub or GitLab.

    A required prompt of the stage's deploy playbook without a default has to be answered in `extra_vars`, a secret one
    by a stored secret; else it is refused with 422.
    """
    settings = context.services().settings
    row, secret = webhooks.create(
        auth.reach_stage(path.project, path.stage),
        provider=body.provider,
        refs=body.refs,
        description=body.description,
        extra_vars=body.extra_vars,
        settings=settings,
        actor=auth.caller().actor,
        at=context.now(),
    )
    return answers.NewWebhook.with_secret(row, secret), 201


@api.get(
    "/stages/<project>/<stage>/webhooks/<webhook>",
    summary="A webhook with its deliveries",
    responses={"200": answers.WebhookWithDeliveries},
)
@auth.access(OPERATOR)
def get_webhook(path: StageWebhookPath) -> answers.WebhookWithDeliveries:
    """The newest fifty deliveries, each with what came of it."""
    row = webhooks.find(auth.reach_stage(path.project, path.stage), path.webhook)
    return answers.WebhookWithDeliveries.with_deliveries(row, webhooks.deliveries(row))


@api.delete(
    "/stages/<project>/<stage>/webhooks/<webhook>",
    summary="Remove a webhook",
    responses={"204": None},
)
@auth.access(ADMIN)
def delete_webhook(path: StageWebhookPath) -> Response:
    """The runs that it started stay."""
    row = webhooks.find(auth.reach_stage(path.project, path.stage), path.webhook)
    webhooks.remove(row, actor=auth.caller().actor, at=context.now())
    return Response(status=204)


@api.post(
    "/webhooks/<webhook>", summary="What GitHub and GitLab call after a push", responses={"202": answers.Received}
)
@auth.access(auth.SIGNED)
@auth.body_limit(_LARGEST_DELIVERY)
def receive_webhook(path: WebhookPath) -> tuple[answers.Received, int]:
    """The signature over the body is the credential. 202 with what came of it; the same body again deploys nothing."""
    answer = webhooks.receive(
        path.webhook,
        {name.lower(): value for name, value in request.headers.items()},
        request.get_data(),
        settings=context.services().settings,
        peer=context.peer(),
        at=context.now(),
    )
    return answers.Received.of(answer), 202


@api.get(
    "/stages/<project>/<stage>/notifications",
    summary="Who hears of a stage's events",
    responses={"200": answers.Page[answers.Notification]},
)
@auth.access(OPERATOR)
def list_notifications(path: StagePath) -> answers.Page[answers.Notification]:
    """Without their addresses, which hold tokens."""
    rows = notifications.list_of(auth.reach_stage(path.project, path.stage))
    return answers.whole([answers.Notification.of(row) for row in rows])


@api.post(
    "/stages/<project>/<stage>/notifications",
    summary="Tell somebody of a stage's events",
    responses={"201": answers.Notification},
)
@auth.access(ADMIN)
def create_notification(path: StagePath, body: NotificationBody) -> tuple[answers.Notification, int]:
    """201. The address is kept encrypted and not shown again."""
    row = notifications.create(
        auth.reach_stage(path.project, path.stage),
        url=body.url,
        events=body.events,
        description=body.description,
        settings=context.services().settings,
        actor=auth.caller().actor,
        at=context.now(),
    )
    return answers.Notification.of(row), 201


@api.post(
    "/stages/<project>/<stage>/notifications/<notification>/test",
    summary="Send a test message now",
    responses={"200": answers.Sent},
)
@auth.access(ADMIN)
def test_notification(path: NotificationPath) -> answers.Sent:
    """409 with what the other side said, when it was not taken."""
    row = notifications.find(auth.reach_stage(path.project, path.stage), path.notification)
    error = notifications.test(row, settings=context.services().settings)
    if error is not None:
        raise ConflictError(f"The test message was not taken: {error}")
    return answers.Sent(sent=True)


@api.delete(
    "/stages/<project>/<stage>/notifications/<notification>", summary="Tell somebody no more", responses={"204": None}
)
@auth.access(ADMIN)
def delete_notification(path: NotificationPath) -> Response:
    """What was not sent yet is not sent."""
    row = notifications.find(auth.reach_stage(path.project, path.stage), path.notification)
    notifications.remove(row, actor=auth.caller().actor, at=context.now())
    return Response(status=204)
