"""What is said of why something happened: the reason of an event, by its code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from inventory_service.wording import automation, lock, run, scaling


def reason(name: str, code: str | None, details: Mapping[str, Any]) -> str:
    """Why the event of this name happened; empty where nothing is said. Events of earlier versions hold a sentence."""
    if code is None:
        return str(details.get("reason") or "")
    noun = name.partition(".")[0]
    said = _REASONS.get(name) or _REASONS.get(noun)
    return said(code, details) if said else ""


_REASONS: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    "stage.lock": lambda code, details: lock.why([{"code": code, **details}]),
    "run": lambda code, details: run.ended([{"code": code, **details}]) or "",
    "schedule.fail": lambda code, details: automation.schedule_failure(code, details) or "",
    "scaling.out": scaling.plan,
    "scaling.in": scaling.plan,
    "scaling.fail": scaling.failure,
    "scaling.continue": scaling.answer,
    "scaling.abandon": scaling.answer,
}
