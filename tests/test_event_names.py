"""What people choose among events is derived from the enumeration, so that a new one is found everywhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import inventory_service
from inventory_service.codes import statuses
from inventory_service.events import NOTIFIED, EventName, filters
from tests.support import Caller

PACKAGE = Path(inventory_service.__file__).parent


@pytest.mark.parametrize("name", EventName)
def test_the_audit_log_can_be_asked_for_each_event(name: EventName, admin: Caller) -> None:
    assert name in filters()
    answer = admin.get(f"/api/v1/audit?action={name}")
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", EventName)
def test_each_event_is_written_somewhere(name: EventName) -> None:
    by_run = {f"run.{word}" for word in (*statuses.KINDS, *statuses.ENDED)}
    files = [file for file in PACKAGE.rglob("*.py") if file.name != "events.py" and "migrations" not in file.parts]
    assert name in by_run or any(f"EventName.{name.name}" in file.read_text() for file in files)


def test_an_event_is_told_by_one_word_at_most() -> None:
    times = Counter(event for one in NOTIFIED for event in one.events)
    assert [event for event, count in times.items() if count > 1] == []
