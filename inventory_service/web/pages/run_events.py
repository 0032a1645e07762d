"""What a run did, task by task and host by host: a search over its events."""

from __future__ import annotations

from typing import Any

from flask import render_template, request

from inventory_service.deployments.launching import requests
from inventory_service.deployments.runs import history, logs
from inventory_service.models import Run, RunEvent
from inventory_service.text import harmless
from inventory_service.web import answers, auth, context
from inventory_service.web.pages.common import pages, usable_id

_PAGE = 100
_LONGEST_EXCERPT = 8192
_FILTERS = {"q": 200, "host": 253, "task": 1000, "status": 20}
_STATUSES = ("ok", "changed", "failed", "unreachable", "skipped", "ignored")


@pages.get("/runs/<int:run>/events")
def run_events(run: int) -> str:
    """?q= ?host= ?task= ?status= ?after= (an event's number)."""
    row = auth.reach_run(requests.get(run))
    query = {name: request.args.get(name, "").strip()[:most] for name, most in _FILTERS.items()}
    after = request.args.get("after", 0, type=int)
    rows = _find(row, query, usable_id(after) or 0)
    return render_template(
        "run_events.html",
        run=answers.Run.of(row),
        stage=answers.Stage.of(row.stage),
        rows=rows[:_PAGE],
        further=rows[_PAGE - 1]["event"].counter if len(rows) > _PAGE else None,
        query=query,
        after=after,
        statuses=_STATUSES,
        hosts=[one.name for one in history.hosts_of_run(row)],
    )


def _find(run: Run, query: dict[str, str], after: int) -> list[dict[str, Any]]:
    log = logs.open_log(run, context.services().settings)
    wanted = history.EventFilter(query["host"], query["task"], query["status"], query["q"], has_result=True)
    found = history.list_events(run, log=log, after=after, limit=_PAGE + 1, wanted=wanted)
    return [{"event": answers.Event.of(event), "text": _excerpt(log, event)} for event in found]


def _excerpt(log: logs.RunLog, event: RunEvent) -> str:
    """What Ansible printed for the event, without colours; a very long text only in part."""
    end = min(event.log_end, event.log_start + _LONGEST_EXCERPT)
    more = "\n… the rest is in the log" if end < event.log_end else ""
    return harmless(log.text(event.log_start, end), colours=False).strip() + more
