"""What people choose among events is derived from the enumeration, so that a new one is found everywhere."""

from __future__ import annotations

from collections import Counter

import pytest

from inventory_service.events import NOTIFIED, EventName, filters
from tests.support import Caller


@pytest.mark.parametrize("name", EventName)
def test_the_audit_log_can_be_asked_for_each_event(name: EventName, admin: Caller) -> None:
    assert name in filters()
    answer = admin.get(f"/api/v1/audit?action={name}")
    assert answer.status_code == 200, answer.text


def test_an_event_is_told_by_one_word_at_most() -> None:
    times = Counter(event for one in NOTIFIED for event in one.events)
    assert [event for event, count in times.items() if count > 1] == []
