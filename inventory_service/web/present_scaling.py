"""Scaling as the API and the pages show it."""

from __future__ import annotations

import dataclasses
from typing import Any

from inventory_service.clock import iso
from inventory_service.scaling import preview
from inventory_service.scaling.preview import Preview


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
        "note": found.note,
        "metric": found.model.metric,
        "objective": round(found.model.objective, 6),
        "since": iso(since),
        "seconds": seconds,
        "results": results,
    }
