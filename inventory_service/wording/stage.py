"""What people read about a stage: parts of sentences without a final full stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inventory_service.codes.stage import ExpiryPause
from inventory_service.wording.templates import fill

_EXPIRY_PAUSE = {
    ExpiryPause.MANY_SILENT: "{silent} of {of} hosts fell silent within one ttl",
    ExpiryPause.SELF_CHECK_FAILED: "the service has not heard its own heartbeat for {seconds} s",
    ExpiryPause.WRITES_FAIL: "heartbeats can't be written: the database is locked or full",
    ExpiryPause.OTHER: "{text}",
}


def expiry_pause(code: str | None, params: Mapping[str, Any] | None) -> str | None:
    """Why nobody expires."""
    return None if code is None else fill(_EXPIRY_PAUSE, code, params)
