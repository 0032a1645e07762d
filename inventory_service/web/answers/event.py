"""What happened: in a run, and to the service's things."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from inventory_service import events, models
from inventory_service.text import shown_change, shown_detail
from inventory_service.web.answers.base import Answer, Moment
from inventory_service.wording import event as wording


class Event(Answer):
    counter: int
    at: Moment
    event: str
    host: str | None
    play: str | None
    task: str | None
    action: str | None
    status: str | None
    changed: bool
    duration_seconds: float | None
    message: str | None
    log_start: int
    log_end: int

    @classmethod
    def of(cls, row: models.RunEvent) -> Event:
        """One event of a run."""
        return Event(
            counter=row.counter,
            at=row.at,
            event=row.event,
            host=row.host,
            play=row.play,
            task=row.task,
            action=row.action,
            status=row.status,
            changed=row.is_changed,
            duration_seconds=row.duration_seconds,
            message=row.message,
            log_start=row.log_start,
            log_end=row.log_end,
        )


class AuditEntry(Answer):
    id: int
    at: Moment
    action: str = Field(examples=list(events.EventName), description="`stage.lock`, `host.refuse`, …")
    actor: str = Field(description="Its name: of a person, `token:<name>`, `enrolment`, or `callboard` itself")
    actor_kind: events.ActorKind = Field(description="Who has that name")
    actor_id: str | None = Field(description="Which one of its kind; null where there is but one, or it is forgotten")
    peer: str | None = Field(description="The address that the caller had")
    target: str = Field(description="Its name at that moment: `shop`, `shop/production`, `shop/production/web-1`")
    target_kind: events.TargetKind
    target_id: str | None
    changes: dict[str, tuple[Any, Any]] = Field(description="What changed, field by field: before and after")
    details: dict[str, Any]
    said: list[str] = Field(description="The same for people: what changed, why, and what else belongs to it")

    @classmethod
    def of(cls, row: models.Event) -> AuditEntry:
        """One event of the audit log."""
        why = wording.reason(row.name, row.reason_code, row.details)
        code = {} if row.reason_code is None else {"reason": why, "reason_code": row.reason_code}
        return AuditEntry(
            id=row.id,
            at=row.at,
            action=row.name,
            actor=row.actor_name,
            actor_kind=events.ActorKind(row.actor_kind),
            actor_id=row.actor_id,
            peer=row.peer,
            target=row.target_path,
            target_kind=events.TargetKind(row.target_kind),
            target_id=row.target_id,
            changes=row.changes,
            details={**code, **row.details},
            said=_said(row, why),
        )


def _said(row: models.Event, why: str) -> list[str]:
    changed = [line for field, (old, new) in row.changes.items() for line in shown_change(field, old, new)]
    rest = wording.beside(row.reason_code, row.details)
    new = {name: value for name, value in rest.items() if value not in (None, "", [], {}) and name not in row.changes}
    details = [f"{name}: {shown_detail(value)}" for name, value in new.items()]
    return [*changed, *([why] if why else []), *details]
