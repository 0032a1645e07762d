"""What is said of an event: what happened, and why, by the code of its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from inventory_service.wording import automation, host, lock, run, scaling, stage


def what(name: str) -> str:
    """What happened, in a few words for a title; of runs, their own words tell it."""
    return _WHAT[name]


_WHAT = {
    "expiry.pause": "expiry paused, nobody leaves for silence",
    "expiry.resume": "expiry goes on",
    "host.conflict": "a host is in conflict",
    "host.key_mismatch": "a host has other SSH host keys",
    "host.quarantine": "a host is quarantined (excluded from convergence)",
    "stage.lock": "locked",
    "stage.unlock": "unlocked",
    "schedule.fail": "a schedule started nothing",
    "scaling.out": "more machines",
    "scaling.in": "fewer machines",
    "scaling.fail": "scaling failed",
    "scaling.abandon": "an instance was abandoned",
}


def reason(name: str, code: str | None, details: Mapping[str, Any]) -> str:
    """Why the event of this name happened; empty where nothing is said. Events of earlier versions hold a sentence."""
    if code is None:
        return str(details.get("reason") or "")
    noun = name.partition(".")[0]
    said = _REASONS.get(name) or _REASONS.get(noun)
    return (said(code, details) or "") if said else ""


def beside(code: str | None, details: Mapping[str, Any]) -> dict[str, Any]:
    """What belongs to an event beside its reason, whose sentence has the parameters in it. A `lock` that was passed is
    told by its reasons; events of earlier versions hold a sentence.
    """
    if code is not None:
        return {name: details[name] for name in ("name", "decision") if name in details}
    rest = {name: value for name, value in details.items() if name != "reason"}
    return {**rest, "lock": lock.why(rest["lock"])} if isinstance(rest.get("lock"), list) else rest


_REASONS: dict[str, Callable[[str, Mapping[str, Any]], str | None]] = {
    "stage.lock": lambda code, details: lock.why([{"code": code, **details}]),
    "expiry.pause": stage.expiry_pause,
    "run": lambda code, details: run.ended([{"code": code, **details}]),
    "schedule.fail": automation.schedule_failure,
    "scaling.out": scaling.plan,
    "scaling.in": scaling.plan,
    "scaling.fail": scaling.failure,
    "scaling.continue": scaling.answer,
    "scaling.abandon": scaling.answer,
    "host": host.cause,
    "host.conflict": host.conflict,
    "host.conflict_end": host.conflict,
    "host.key_mismatch": host.key_mismatch,
    "host.quarantine": host.quarantine,
}
