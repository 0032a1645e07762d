"""Errors as reasons that a stage or a decision keeps."""

from __future__ import annotations

from inventory_service.adapters.ec2 import CloudError
from inventory_service.codes.scaling import Failure
from inventory_service.errors import CallboardError
from inventory_service.reasons import Reason, because

_LONGEST_TEXT = 500


def reason_of(error: Exception) -> Reason:
    """A code of Failure for what was raised."""
    if isinstance(error, CloudError):
        return error.reason
    if isinstance(error, CallboardError):
        return because(Failure.REFUSED, text=error.detail[:_LONGEST_TEXT])
    return because(Failure.UNEXPECTED, error=type(error).__name__, text=str(error)[:_LONGEST_TEXT])
