"""Schedules, webhooks, notifications."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import Field

from inventory_service import models
from inventory_service.automation import notifications, webhooks
from inventory_service.web import context
from inventory_service.web.answers.base import Answer, Kind, Moment, one_of
from inventory_service.wording import automation as wording


class Schedule(Answer):
    name: str
    cron: str
    timezone: str
    enabled: bool
    kind: Kind
    playbook: str | None
    request: dict[str, Any] = Field(description="The run request's fields")
    next_at: Moment | None
    last_at: Moment | None
    last_run: int | None
    last_error: str | None
    last_failure: str | None = Field(description="The code of `last_error`")
    created_by: str

    @classmethod
    def of(cls, row: models.Schedule) -> Schedule:
        """With when it runs next and what came of the last time."""
        return Schedule(
            name=row.name,
            cron=row.cron,
            timezone=row.timezone,
            enabled=row.is_enabled,
            kind=row.request["kind"],
            playbook=row.request.get("playbook"),
            request=row.request,
            next_at=row.next_at,
            last_at=row.last_at,
            last_run=row.last_run_id,
            last_error=wording.schedule_failure(row.last_failure_code, row.last_failure_params),
            last_failure=row.last_failure_code,
            created_by=row.created_by,
        )


class Webhook(Answer):
    id: str
    provider: str
    description: str
    refs: list[str]
    extra_vars: dict[str, Any] = Field(description="Of its deploys")
    url: str = Field(description="What GitHub or GitLab is to call")
    created_by: str

    @classmethod
    def of(cls, row: models.Webhook) -> Webhook:
        """Without its secret."""
        return Webhook(
            id=row.id,
            provider=row.provider,
            description=row.description,
            refs=row.refs,
            extra_vars=row.extra_vars or {},
            url=f"{context.services().settings.url}/api/v1/webhooks/{row.id}",
            created_by=row.created_by,
        )


class NewWebhook(Webhook):
    secret: str = Field(description="Shown this once")

    @classmethod
    def with_secret(cls, row: models.Webhook, secret: str) -> Self:
        """Right after it was made."""
        return cls(**Webhook.of(row).fields(), secret=secret)


class Delivery(Answer):
    at: Moment
    event: str
    ref: str | None
    revision: str | None
    outcome: Annotated[str, one_of("deployed", "ignored", "refused")]
    code: str
    detail: str
    run: int | None

    @classmethod
    def of(cls, row: models.WebhookDelivery) -> Delivery:
        """One call of GitHub or GitLab, and what came of it."""
        return Delivery(
            at=row.at,
            event=row.event,
            ref=row.ref,
            revision=row.revision,
            outcome=row.outcome,
            code=row.detail_code,
            detail=wording.delivery(row.detail_code, row.detail_params),
            run=row.run_id,
        )


class WebhookWithDeliveries(Webhook):
    deliveries: list[Delivery]

    @classmethod
    def with_deliveries(cls, row: models.Webhook, deliveries: Iterable[models.WebhookDelivery]) -> Self:
        """The newest first."""
        return cls(**Webhook.of(row).fields(), deliveries=[Delivery.of(one) for one in deliveries])


class Received(Answer):
    outcome: Annotated[str, one_of("deployed", "ignored", "refused", "repeated")]
    detail: str
    run: int | None

    @classmethod
    def of(cls, answer: webhooks.Received) -> Received:
        """What came of a delivery."""
        return Received(outcome=answer.outcome, detail=answer.detail, run=answer.run_id)


class Notification(Answer):
    id: str
    description: str
    events: list[str]
    created_by: str
    last_event: str | None
    last_sent_at: Moment | None
    last_error: str | None

    @classmethod
    def of(cls, row: models.Notification) -> Notification:
        """Without its address, which holds a token."""
        last = notifications.last_notice(row)
        return Notification(
            id=row.id,
            description=row.description,
            events=row.events,
            created_by=row.created_by,
            last_event=last.event if last else None,
            last_sent_at=last.sent_at if last else None,
            last_error=last.error if last else None,
        )


class Sent(Answer):
    sent: bool
