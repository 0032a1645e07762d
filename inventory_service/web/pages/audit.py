"""The audit log as a page, newest first, with filters."""

from __future__ import annotations

from collections.abc import Collection

from flask import render_template, request

from inventory_service import events
from inventory_service.accounts.roles import ADMIN
from inventory_service.registry import stages
from inventory_service.registry.stages import stage_name
from inventory_service.web import auth
from inventory_service.web.answers import AuditEntry
from inventory_service.web.pages.common import pages, usable_id

_PAGE = 100
_FILTERS = ("action", "actor", "target")


@pages.get("/audit")
def audit_log() -> str:
    """?action= ?actor= ?target= ?before= (an entry's number). For admins of all projects, as in the API."""
    auth.caller().require(ADMIN, is_everywhere=True)
    query = {name: request.args.get(name, "").strip()[:200] for name in _FILTERS}
    before = request.args.get("before", type=int)
    rows = events.list_events(
        limit=_PAGE + 1,
        before=usable_id(before),
        name=query["action"] or None,
        actor=query["actor"] or None,
        about=query["target"] or None,
    )
    names = dict.fromkeys(stage_name(row) for row in stages.list_stages())
    return render_template(
        "audit.html",
        entries=[(AuditEntry.of(row), _stage_of(row.target_path, names)) for row in rows[:_PAGE]],
        stages=names,
        older=rows[_PAGE - 1].id if len(rows) > _PAGE else None,
        query=query,
        before=before,
        kinds=events.filters(),
    )


def _stage_of(target: str, names: Collection[str]) -> str | None:
    """The stage that an entry is about, such as `shop/production/web-1`, where there is one."""
    name = "/".join(target.split("/")[:2])
    return name if name in names else None
