"""Scaling as the API and the pages show it."""

from __future__ import annotations

import dataclasses
from typing import Any

from inventory_service.clock import iso
from inventory_service.models import LifecycleAction, ScalingDecision, StageScaling
from inventory_service.reasons import split
from inventory_service.scaling import preview
from inventory_service.scaling.policies import Limits
from inventory_service.scaling.preview import Preview
from inventory_service.wording import scaling as wording


def scaling(row: StageScaling) -> dict[str, Any]:
    """As the answer `Scaling`."""
    return {
        "limits": {**dataclasses.asdict(Limits()), **row.limits},
        "policies": row.policies,
        "actuator": row.actuator,
        "enabled": row.is_enabled,
        "dry_run": row.is_dry_run,
        "drain_playbook": row.drain_playbook,
        "findings": [finding(kept) for kept in row.findings],
        "last_out_at": iso(row.last_out_at),
        "last_in_at": iso(row.last_in_at),
        "problem": problem(row.problem_code, row.problem_params),
        "problem_code": row.problem_code,
        "hook_problem": problem(row.hook_problem_code, row.hook_problem_params),
        "hook_problem_code": row.hook_problem_code,
        "problem_at": iso(row.problem_at),
        "updated_by": row.updated_by,
        "updated_at": iso(row.updated_at),
    }


def problem(code: str | None, params: dict[str, Any] | None) -> str | None:
    """What stands in the way, in a sentence; None for nothing."""
    return None if code is None else wording.failure(code, params or {})


def finding(kept: dict[str, Any]) -> dict[str, Any]:
    """As the answer `ScalingFinding`."""
    code, params = split(kept)
    return {
        "code": code,
        "kind": wording.finding_kind(code),
        "instance": params["instance"],
        "host": params["host"],
        "since": params["since"],
        "detail": wording.finding(code, params),
    }


def decision(row: ScalingDecision) -> dict[str, Any]:
    """As the answer `ScalingDecision`."""
    return {
        "id": row.id,
        "at": iso(row.at),
        "action": row.action,
        "from_capacity": row.from_capacity,
        "to_capacity": row.to_capacity,
        "serving": row.serving,
        "reasons": [wording.plan(*split(kept)) for kept in row.reasons],
        "reason_codes": row.reasons,
        "readings": dict(_reading(kept) for kept in row.readings),
        "status": row.status,
        "instances": row.instances,
        "run": row.run_id,
        "error": problem(row.error_code, row.error_params),
        "error_code": row.error_code,
        "ended_at": iso(row.ended_at),
    }


def _reading(kept: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    told = wording.reading(*split(kept["problem"])) if kept["problem"] else None
    name = wording.signal(kept["statistic"], kept["metric"], kept["window_seconds"])
    return name, {**kept, "problem": told, "problem_code": kept["problem"] and kept["problem"]["code"]}


def action(row: LifecycleAction) -> dict[str, Any]:
    """As the answer `LifecycleAction`."""
    return {
        "instance": row.instance,
        "transition": row.transition,
        "hook": row.hook,
        "status": row.status,
        "reason": wording.lifecycle(row.reason_code, row.reason_params or {}) if row.reason_code else None,
        "reason_code": row.reason_code,
        "run": row.run_id,
        "at": iso(row.at),
        "heartbeat_at": iso(row.heartbeat_at),
        "ended_at": iso(row.ended_at),
    }


def backtest(found: Preview) -> dict[str, Any]:
    """As the answer `Backtest`."""
    since, seconds, drawn = preview.draw(found)
    results = {
        name: {
            "violation_minutes": outcome.violation_minutes,
            "host_hours": round(outcome.host_hours, 1),
            "cost": round(outcome.cost, 2),
            "peak": outcome.peak,
            "changes": outcome.changes,
            **dataclasses.asdict(drawn[name]),
        }
        for name, outcome in found.outcomes.items()
    }
    return {
        "source": found.source,
        "note": " ".join(wording.preview(note.code, note.params) for note in found.notes),
        "metric": found.model.metric,
        "objective": round(found.model.objective, 6),
        "since": iso(since),
        "seconds": seconds,
        "results": results,
    }
