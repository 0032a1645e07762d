"""What is said of a stage's lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inventory_service.codes.lock import Lock
from inventory_service.wording import run


def why(reasons: Sequence[Mapping[str, Any]]) -> str:
    """Why a stage is locked, as people write it: without a full stop at the end, since sentences go on after it."""
    return " ".join(_REASONS[Lock(one["code"])](one) for one in reasons).removesuffix(".")


def _rollback_failed(p: Mapping[str, Any]) -> str:
    so = run.ended(p["reasons"]) or p["status"]
    return f"The automatic rollback of run {p['run']}, run {p['rollback']}, did not succeed: {so}"


_REASONS: dict[Lock, Callable[[Mapping[str, Any]], str]] = {
    Lock.RUN: lambda p: f"run {p['run']}",
    Lock.PERSON: lambda p: str(p["text"]),
    Lock.ROLLOUT_STOPPED: lambda p: (
        f"The rollout of release {p['release']} stopped (run {p['run']}): {run.ended(p['reasons']) or ''}"
    ),
    Lock.ROLLBACK_FAILED: _rollback_failed,
    Lock.OTHER: lambda p: str(p["text"]),
}
