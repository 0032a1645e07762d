from __future__ import annotations

import datetime as dt

import pytest
import time_machine

from inventory_service.clock import SystemClock, iso, parse_iso


@time_machine.travel("2026-11-23T15:03:00+01:00", tick=False)
def test_it_tells_the_time_in_utc() -> None:
    assert iso(SystemClock().now()) == "2026-11-23T14:03:00Z"


def test_it_writes_any_zone_as_utc() -> None:
    zone = dt.timezone(dt.timedelta(hours=-5))
    assert iso(dt.datetime(2026, 11, 23, 9, 3, 0, 120_000, tzinfo=zone)) == "2026-11-23T14:03:00.120Z"


def test_it_leaves_none_alone() -> None:
    assert iso(None) is None


def test_it_reads_back_what_it_wrote() -> None:
    moment = dt.datetime(2026, 11, 23, 14, 3, tzinfo=dt.UTC)
    assert parse_iso(iso(moment) or "") == moment


@pytest.mark.parametrize("text", ["", "soon", "2026-11-23T14:03:00", "2026-13-01T00:00:00Z", "23.11.2026"])
def test_it_rejects_a_time_without_a_zone_or_sense(text: str) -> None:
    with pytest.raises(ValueError, match=r"zone|isoformat|month"):
        parse_iso(text)
