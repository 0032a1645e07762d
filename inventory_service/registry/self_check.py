"""The service's heartbeat to itself, over the way that hosts take.

When it stays away, the silence of hosts says nothing about them.
"""

from __future__ import annotations

import datetime as dt

from inventory_service import credentials
from inventory_service.codes.stage import ExpiryPause
from inventory_service.errors import UnauthorizedError
from inventory_service.models import ServiceState
from inventory_service.reasons import Reason, because
from inventory_service.registry import liveness

_ID = "selfcheckself"  # in the place of a host's
_HEARD_AT = "self_check_heard_at"
_SHA256 = "self_check_sha256"
_PATIENCE = dt.timedelta(seconds=30)


def forget() -> None:
    """The service starts: that it was not heard while it was down means nothing."""
    ServiceState.delete().where(ServiceState.key == _HEARD_AT).execute()


def make_token() -> str:
    """A host token for this heartbeat; the one before it ends."""
    minted = credentials.mint("cbh_", for_id=_ID)
    liveness.remember(_SHA256, minted.secret_sha256)
    return minted.token


def receive(token: str, *, at: dt.datetime) -> bool:
    """Take a heartbeat in if it is the service's own; False when it is a host's. Raises UnauthorizedError."""
    parts = credentials.split(token)
    if parts is None or parts[1] != _ID:
        return False
    row = ServiceState.get_or_none(ServiceState.key == _SHA256)
    if row is None or not credentials.matches(parts[2], row.value):
        raise UnauthorizedError("This is not the service's own heartbeat.")
    liveness.remember(_HEARD_AT, at.timestamp())
    return True


def failure(*, expiry: liveness.Expiry) -> Reason | None:
    """The reason to pause expiry when the service once heard its own heartbeat, and now does not.

    Silence before the last grace does not count: a worker that was stalled has sent none either.
    """
    row = ServiceState.get_or_none(ServiceState.key == _HEARD_AT)
    if row is None:
        return None
    silence = expiry.at - max(dt.datetime.fromtimestamp(row.value, dt.UTC), expiry.grace_from)
    if silence <= _PATIENCE:
        return None
    return because(ExpiryPause.SELF_CHECK_FAILED, seconds=round(silence.total_seconds()))
