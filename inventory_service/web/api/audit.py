"""The audit log: who changed what, and which machines were refused why."""

from __future__ import annotations

from pydantic import Field

from inventory_service import events
from inventory_service.accounts.roles import ADMIN
from inventory_service.web import answers, auth
from inventory_service.web.api.common import Paging, blueprint

api = blueprint("audit", "Who changed what")

_LARGEST_ID = 2**63 - 1


class AuditQuery(Paging):
    action: str | None = Field(
        None,
        max_length=100,
        examples=list(events.filters()),
        description="`host.refuse`; `host` for all about hosts",
    )
    actor: str | None = Field(None, max_length=100, description="Exactly this one")
    target: str | None = Field(None, max_length=200, description="`shop/production`, and everything in it")
    cursor: int | None = Field(  # type: ignore[assignment]
        None, ge=0, le=_LARGEST_ID, description="The `next` of the page before"
    )


@api.get("/audit", summary="The audit log, newest first", responses={"200": answers.Page[answers.AuditEntry]})
@auth.access(ADMIN, is_everywhere=True)
def list_audit(query: AuditQuery) -> answers.Page[answers.AuditEntry]:
    """Every change by a person or a token, what the service decided itself, and refused enrolments with the reason."""
    rows = events.list_events(
        limit=query.limit + 1, before=query.cursor, name=query.action, actor=query.actor, about=query.target
    )
    return answers.page([answers.AuditEntry.of(row) for row in rows], limit=query.limit, cursor_of=lambda one: one.id)
