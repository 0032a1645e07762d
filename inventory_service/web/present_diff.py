"""The comparison of two runs as the JSON that the API answers."""

from __future__ import annotations

import dataclasses
from typing import Any

from inventory_service.deployments.comparing.run_diff import Commits, HostPair, Pair, RunDiff
from inventory_service.deployments.comparing.task_diff import HostResults, TaskDiff
from inventory_service.web import present


def run_diff(found: RunDiff) -> dict[str, Any]:
    """Everything that differs, and every task."""
    return {
        "before": present.run(found.before),
        "after": present.run(found.after),
        "notes": list(found.notes),
        "commits": _commits(found.commits),
        "variables": [one.to_json() for one in found.variables],
        "hosts": _hosts(found.hosts),
        "options": _pairs(found.options),
        "versions": _pairs(found.versions),
        "secrets": _pairs(found.secrets),
        "tasks": [_task(one) for one in found.tasks.items],
        "tasks_cut": found.tasks.is_cut,
    }


def _commits(found: Commits) -> dict[str, Any]:
    log = [
        {
            "commit": one.sha,
            "author": one.author,
            "at": one.at,
            "subject": one.subject,
            "in": _side(is_newer=one.is_newer),
        }
        for one in found.log
    ]
    return {
        "before": found.before,
        "after": found.after,
        "relation": found.relation,
        "reason": found.reason,
        "log": log,
        "log_cut": found.is_log_cut,
        "files": [dataclasses.asdict(file) for file in found.files],
        "files_in_all": found.files_in_all,
        "added": found.added,
        "removed": found.removed,
    }


def _side(*, is_newer: bool) -> str:
    return "after" if is_newer else "before"


def _hosts(found: tuple[HostPair, ...]) -> dict[str, Any]:
    """Names by what became of them; the changed ones with what changed."""
    named: dict[str, Any] = {
        kind: [one.name for one in found if one.kind == kind] for kind in ("added", "removed", "same")
    }
    changed = [{"host": one.name, "changes": list(one.changes)} for one in found if one.kind == "changed"]
    return {**named, "changed": changed}


def _pairs(found: tuple[Pair, ...]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(one) for one in found]


def _task(found: TaskDiff) -> dict[str, Any]:
    return {
        "play": found.play,
        "task": found.task,
        "number": found.number,
        "different": found.is_other,
        "before": found.before and dataclasses.asdict(found.before),
        "after": found.after and dataclasses.asdict(found.after),
        "hosts": [_results(one) for one in found.hosts],
    }


def _results(found: HostResults) -> dict[str, Any]:
    before, after = (side and dataclasses.asdict(side) for side in (found.before, found.after))
    return {"host": found.host, "different": found.is_other, "before": before, "after": after}
