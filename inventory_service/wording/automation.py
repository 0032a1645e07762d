"""What is said of schedules and of deliveries of webhooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from inventory_service.codes.automation import Delivery, ScheduleFailure


def schedule_failure(code: str | None, params: Mapping[str, Any] | None) -> str | None:
    """Why a schedule started nothing the last time; None where it did."""
    return None if code is None else _FAILURES[ScheduleFailure(code)](params or {})


def delivery(code: str, params: Mapping[str, Any]) -> str:
    """What came of a delivery, in a sentence; empty where that was pruned."""
    return _DELIVERIES[Delivery(code)](params)


_FAILURES: dict[ScheduleFailure, Callable[[Mapping[str, Any]], str]] = {
    ScheduleFailure.NO_WORKER: lambda p: f"No worker was there at {p['moment']} UTC; that run was left out.",
    ScheduleFailure.STILL_ACTIVE: lambda p: (
        f"Run {p['run']} of the time before is still {p['status']}; this one was left out."
    ),
    ScheduleFailure.REFUSED: lambda p: str(p["text"]),
    ScheduleFailure.OTHER: lambda p: str(p["text"]),
}
_DELIVERIES: dict[Delivery, Callable[[Mapping[str, Any]], str]] = {
    Delivery.NO_PUSH: lambda _: "Only pushes of branches and tags deploy.",
    Delivery.REF_DELETED: lambda p: f"{p['ref']} was deleted.",
    Delivery.OTHER_REF: lambda p: f"{p['ref']} is none of {', '.join(p['refs'])}.",
    Delivery.DEPLOYS: lambda p: f"Run {p['run']} deploys {p['revision'][:12]}.",
    Delivery.REFUSED: lambda p: str(p["text"]),
    Delivery.UNFINISHED: lambda _: "Not carried out.",
    Delivery.FORGOTTEN: lambda _: "",
    Delivery.OTHER: lambda p: str(p["text"]),
}
