"""The audit log: who changed what, and which machines were refused why."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from inventory_service import audit
from inventory_service.accounts.roles import ADMIN
from inventory_service.clock import iso
from inventory_service.web import auth
from inventory_service.web.api import answers
from inventory_service.web.api.common import Paging, blueprint, page

api = blueprint("audit", "Who changed what")

_LARGEST_ID = 2**63 - 1


class AuditQuery(Paging):
    action: str | None = Field(None, max_length=100, description="`host.refuse`; `host` for all about hosts")
    actor: str | None = Field(None, max_length=100, description="Exactly this one")
    target: str | None = Field(None, max_length=200, description="`shop/production`, and everything in it")
    cursor: int | None = Field(None, ge=0, le=_LARGEST_ID, description="The `next` of the page before")  # type: ignore[assignment]


@api.get("/audit", summary="The audit log, newest first", responses={"200": answers.Page[answers.AuditEntry]})
@auth.access(ADMIN, is_everywhere=True)
def list_audit(query: AuditQuery) -> dict[str, Any]:
    """Every change by a person or a token, what the service decided itself, and refused enrolments with the reason."""
    rows = audit.list_entries(
        limit=query.limit + 1, before=query.cursor, action=query.action, actor=query.actor, target=query.target
    )
    fields = ("id", "actor", "peer", "action", "target", "details")
    shown = [{"at": iso(row.at), **{field: getattr(row, field) for field in fields}} for row in rows]
    return page(shown, limit=query.limit, cursor_of="id")
