"""Why a stage is as it is. Each member's comment lists its parameters."""

from __future__ import annotations

from inventory_service.reasons import Code


class ExpiryPause(Code):
    """Why nobody of a stage, or of all stages, expires."""

    MANY_SILENT = "many_silent"  # silent, of: counts of hosts
    SELF_CHECK_FAILED = "self_check_failed"  # seconds: since when the service has not heard its own heartbeat
    WRITES_FAIL = "writes_fail"  # never stored: heartbeats can't be written now
    OTHER = "other"  # text
