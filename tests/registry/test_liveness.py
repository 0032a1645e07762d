from __future__ import annotations

import datetime as dt
from typing import Any

import peewee
import pytest

from inventory_service.models import Host, Stage
from inventory_service.registry import liveness
from tests.support import START

LONG_AGO = START - dt.timedelta(days=365)
DAY = dt.timedelta(days=1)
stage = Stage(interval_seconds=60, ttl_seconds=300)


def host(**fields: object) -> Host:
    return Host(**{"last_seen_at": START, "recorded_state": "live", "gone_at": None, **fields})


def state(seconds: float, *, grace: float | None = None, **fields: object) -> str:
    """The state so many seconds after the last heartbeat; `grace`: when silence began to count."""
    grace_from = LONG_AGO if grace is None else START + dt.timedelta(seconds=grace)
    expiry = liveness.Expiry(at=START + dt.timedelta(seconds=seconds), grace_from=grace_from, gone_after=DAY)
    return expiry.state(host(**fields), stage)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-3600, "live"),
        (0, "live"),
        (90, "live"),
        (90.000001, "late"),
        (299.999999, "late"),
        (300, "stale"),
        (86399.999999, "stale"),
        (86400, "gone"),
        (10**8, "gone"),
    ],
)
def test_it_tells_the_state_by_the_age_of_the_lease(seconds: float, expected: str) -> None:
    assert state(seconds) == expected


@pytest.mark.parametrize(
    ("grace", "seconds", "expected"),
    [
        (3600, 3600, "live"),
        (3600, 3690, "live"),
        (3600, 3691, "late"),
        (3600, 3899, "late"),
        (3600, 3900, "stale"),
        (3600, 3600 + 86400, "gone"),
        (-3600, 300, "stale"),
        (10**7, 10**7, "live"),
    ],
)
def test_it_does_not_count_silence_before_the_grace(grace: float, seconds: float, expected: str) -> None:
    assert state(seconds, grace=grace) == expected


def judged(seconds: float, **fields: Any) -> liveness.Expiry:
    """A expiry so many seconds after the last heartbeat; moments are given in seconds, too."""
    moments = {name: START + dt.timedelta(seconds=value) for name, value in fields.items()}
    limit = dt.timedelta(seconds=3600)
    known = {"grace_from": LONG_AGO, "gone_after": DAY, "pause_limit": limit, **moments}
    return liveness.Expiry(at=START + dt.timedelta(seconds=seconds), **known)


@pytest.mark.parametrize(
    ("resumed", "seconds", "expected"),
    [(200, 499, "late"), (200, 500, "stale"), (3600, 3899, "late"), (3700, 3899, "late"), (3700, 3900, "stale")],
)
def test_it_gives_a_fresh_lease_after_a_pause_but_not_beyond_its_bound(
    resumed: float, seconds: float, expected: str
) -> None:
    assert judged(seconds, resumed_at=resumed).state(host(), stage) == expected


@pytest.mark.parametrize("reason", ["paused_at", "failing_since"])
@pytest.mark.parametrize(
    ("began", "seconds", "expected"),
    [(301, 400, "stale"), (200, 400, "late"), (200, 3799, "late"), (200, 3800, "stale"), (0, 3600, "stale")],
)
def test_it_keeps_hosts_through_a_pause_without_a_sweep_that_ends_it(
    reason: str, began: float, seconds: float, expected: str
) -> None:
    expiry = judged(seconds, **{reason: began})
    assert expiry.state(host(), stage) == expected
    assert expiry.is_suspect(host(), stage) is (expected == "late")
    assert expiry.is_paused(stage) is (seconds < began + 3600)


@pytest.mark.parametrize(("grace", "expected"), [(0, "gone"), (86_000, "gone"), (86_200, "stale")])
def test_it_counts_the_time_of_a_stale_host_through_graces(grace: float, expected: str) -> None:
    stale = host(recorded_state="stale", stale_since=START + dt.timedelta(seconds=300))
    assert judged(86_400, grace_from=grace).state(stale, stage) == expected
    assert judged(86_399, grace_from=grace).state(stale, stage) == "stale"


def test_it_keeps_a_stale_host_stale_through_a_grace() -> None:
    assert state(3600, grace=3600, recorded_state="stale") == "stale"


def test_it_gives_up_a_stale_host_after_its_time() -> None:
    assert state(86400, recorded_state="stale") == "gone"


def test_it_calls_a_host_gone_that_has_left_whatever_it_did_last() -> None:
    assert state(0, gone_at=START) == "gone"


def test_it_waits_for_a_pending_host() -> None:
    assert state(86399, recorded_state="pending") == "pending"
    assert state(86400, recorded_state="pending") == "gone"


@pytest.mark.parametrize(("seconds", "is_listed"), [(0, True), (299, True), (300, False), (86400, False)])
def test_it_lists_live_and_late_hosts_only(seconds: float, is_listed: bool) -> None:
    expiry = liveness.Expiry(at=START + dt.timedelta(seconds=seconds), grace_from=LONG_AGO, gone_after=DAY)
    assert expiry.is_listed(host(), stage) is is_listed


def test_it_never_had_a_grace_at_first(database: peewee.Database) -> None:
    assert liveness.expiry(at=START, gone_after_seconds=1).grace_from < START - dt.timedelta(days=365)


def test_it_remembers_the_last_grace(database: peewee.Database) -> None:
    liveness.begin_grace(at=START)
    liveness.begin_grace(at=START + dt.timedelta(microseconds=125))
    assert liveness.expiry(at=START, gone_after_seconds=1).grace_from == START + dt.timedelta(microseconds=125)
