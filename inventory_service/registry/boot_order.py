"""Which boot of its machine is a heartbeat of: the present one, an earlier one whose request was late, or a clone's?

Heartbeats of one boot are ordered by their sequence. Between boots there is no order but the one in which the service
first heard of them, so it remembers the last few: what it knows of an earlier boot is old, and what comes shortly after
the next boot was on its way meanwhile. An earlier boot that goes on beating is a second machine with one credential.
"""

from __future__ import annotations

import datetime as dt
import json

from inventory_service.database import to_microseconds

_REMEMBERED = 8
_LONGEST_WAY = 60 * 1_000_000  # microseconds that a request can be on its way; proxies give up after 60 s at most


def remember(earlier: str | None, boot_id: str, sequence: int | None, *, at: dt.datetime) -> str:
    """The earlier boots, the newest first, after another one has taken the place of `boot_id` at that moment."""
    known = [boot for boot in _parse(earlier) if boot[0] != boot_id]
    return json.dumps([[boot_id, sequence or 0, to_microseconds(at)], *known][:_REMEMBERED])


def is_earlier(earlier: str | None, boot_id: str) -> bool:
    """Whether another boot took this one's place before."""
    return earlier is not None and f'["{boot_id}", ' in earlier  # without parsing: each heartbeat asks


def is_clone(earlier: str | None, boot_id: str, sequence: int, *, at: dt.datetime) -> bool:
    """Whether a heartbeat of an earlier boot shows that its machine runs beside the present one.

    It doesn't when it was taken in before (a replay), or when it may have been on its way since the boot before.
    """
    last, replaced = next((boot[1], boot[2]) for boot in _parse(earlier) if boot[0] == boot_id)
    return sequence > last and to_microseconds(at) - replaced > _LONGEST_WAY


def _parse(earlier: str | None) -> list[tuple[str, int, int]]:
    """(boot id, its last sequence, when it was replaced in microseconds), the newest first."""
    return [] if earlier is None else [tuple(boot) for boot in json.loads(earlier)]
