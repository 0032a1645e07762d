"""What people read about a host: parts of sentences without a final full stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inventory_service.codes.host import Cause, Conflict, Gone, KeyMismatch, Quarantine
from inventory_service.wording.templates import fill

Params = Mapping[str, Any] | None

_GONE: Mapping[Any, str] = {
    Gone.GOODBYE: "said goodbye",
    Gone.SILENT: "silent",
    Gone.REPLACED: "replaced by a new machine of that name",
    Gone.REMOVED: "removed by {by}",
    Gone.EC2_ENDED: "EC2 says that {instance} is {state}",
    Gone.SCALED_IN: "scaled in (decision {decision})",
    Gone.GROUP_ENDS: "{group} ends {instance}",
    Gone.OTHER: "{text}",
}
_CONFLICT = {
    Conflict.SAME_ADDRESS: "the same address as the live host {other!r}: {address} port {port}",
    Conflict.CLONED: "two machines beat with this host's token (a cloned image?); enrol each of them anew",
    Conflict.ENDED_BUT_BEATS: "EC2 says that {instance} is {state}, but it beats",
    Conflict.OTHER: "{text}",
}
_KEY_MISMATCH = {
    KeyMismatch.RUN: "run {run} met a machine without a host key of record",
    KeyMismatch.ENROLMENT: "a machine at {peer} asked to enrol under its name with other keys",
    KeyMismatch.OTHER: "{text}",
}
_CAUSE: Mapping[Any, str] = {
    Cause.ENROLLED: "enrolled",
    Cause.ENROLLED_EXPECTED: "enrolled, as the instance that was expected",
    Cause.ENROLLED_AGAIN: "enrolled again",
    Cause.HEARTBEAT: "heartbeat",
    Cause.RENEWED: "renewed",
    Cause.ADDED: "added by {by}",
    Cause.APPROVED: "approved by {by}",
    Cause.SILENT: "silent",
    Cause.EXPIRED: "expired by {by}",
    Cause.OTHER: "{text}",
}
_CAUSES: Mapping[Any, str] = {**_GONE, **_CAUSE}


def gone(code: str | None, params: Params) -> str | None:
    """Why it has left; None for one that is there, or went with its stage."""
    return None if code is None else fill(_GONE, code, params)


def conflict(code: str | None, params: Params) -> str | None:
    """Why it is in no inventory; None for most."""
    return None if code is None else fill(_CONFLICT, code, params)


def key_mismatch(code: str | None, params: Params) -> str | None:
    """Where other SSH host keys than those of record were met; None for most."""
    return None if code is None else fill(_KEY_MISMATCH, code, params)


def quarantine(code: str | None, params: Params) -> str | None:
    """Why it is excluded from convergence; None when it is not, and where nothing is known of it."""
    known = params or {}
    if code == Quarantine.CONVERGENCE and "attempts" in known:  # a row of an earlier version may have its text only
        template = "Convergence gave up: {attempts} attempts to bring it to release {release} failed; see run {run}"
        sentence = fill({Quarantine.CONVERGENCE: template}, code, known)
        return f"{sentence}: {known['words']}" if known.get("words") else sentence
    return known.get("text") or (f"by {known['by']}" if known.get("by") else None)


def cause(code: str, params: Params) -> str:
    """Why its state changed: a code of Cause, or of Gone."""
    return fill(_CAUSES, code, params)
