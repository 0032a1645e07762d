from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_service.deployments.launching import limits
from inventory_service.errors import InvalidError

HOSTS = ("db-1", "web-1", "web-2", "web-3", "10.0.0.1", "2001:db8::1")
INVENTORY: dict[str, Any] = {
    "_meta": {"hostvars": {name: {} for name in HOSTS}},
    "all": {"children": ["web", "out_of_date", "empty"]},
    "web": {"hosts": ["web-1", "web-2", "web-3"]},
    "out_of_date": {"hosts": ["web-3", "db-1"]},
    "empty": {"hosts": []},
}


def resolve(limit: str | None, *exclude: str) -> list[str]:
    return limits.resolve(INVENTORY, limit=limit, exclude=list(exclude))


@pytest.mark.parametrize(
    ("limit", "chosen"),
    [
        ("web-1", ["web-1"]),
        ("web", ["web-1", "web-2", "web-3"]),
        ("web,db-1", ["db-1", "web-1", "web-2", "web-3"]),
        (" web-1 , db-1 ", ["db-1", "web-1"]),
        ("web:db-1", ["db-1", "web-1", "web-2", "web-3"]),
        ("web,!web-3", ["web-1", "web-2"]),
        ("!web-3,web", ["web-1", "web-2"]),
        ("web:&out_of_date", ["web-3"]),
        ("web,&out_of_date,!web-3", []),
        ("!web", ["10.0.0.1", "2001:db8::1", "db-1"]),
        ("&out_of_date", ["db-1", "web-3"]),
        ("web-*", ["web-1", "web-2", "web-3"]),
        ("web-?,!*-2", ["web-1", "web-3"]),
        ("we*", ["web-1", "web-2", "web-3"]),
        ("10.0.0.1", ["10.0.0.1"]),
        ("2001:db8::1", ["2001:db8::1"]),
        ("web-1,2001:db8::1", ["2001:db8::1", "web-1"]),
        ("all,!2001:db8::1,!10.0.0.1", ["db-1", "web-1", "web-2", "web-3"]),
        ("all", sorted(HOSTS)),
        ("*", sorted(HOSTS)),
        (None, sorted(HOSTS)),
    ],
)
def test_it_chooses_as_ansible_does(limit: str | None, chosen: list[str]) -> None:
    assert resolve(limit) == chosen


@pytest.mark.parametrize(
    "limit",
    [
        "",
        "   ",
        ",",
        "web,,db-1",
        "web,",
        "@hosts",
        "~web.*",
        "@/etc/passwd",
        "web,@/etc/passwd",
        "~(a+)+$",
        "-x",
        "--list-hosts",
        "web[0:1]",
        "web[0]",
        "!",
        "&",
        "!&web",
        "!!web",
        "web\nall",
        "web\x00",
        "../x",
        "/etc/passwd",
        "{{ lookup('pipe', 'id') }}",
        "wéb",
        "a" * 300,
        "web db",
        "fe80::1%eth0",
        ",".join(["web"] * 1001),
    ],
)
def test_it_rejects_a_limit_that_ansible_would_read_otherwise(limit: str) -> None:
    with pytest.raises(InvalidError):
        limits.parse(limit)


@pytest.mark.parametrize("limit", ["web-9", "web-1,web-9", "wbe", "web:&nothing", "!web-9", "x*", "empty", "_meta"])
def test_it_rejects_a_term_that_matches_nothing(limit: str) -> None:
    with pytest.raises(InvalidError):
        resolve(limit)


def test_it_leaves_out_who_is_excluded() -> None:
    assert resolve("web", "web-1", "db-1") == ["web-2", "web-3"]


@pytest.mark.parametrize("name", ["web-9", "web", "", "*"])
def test_it_needs_nobody_that_is_left_out_to_be_there_still(name: str) -> None:
    assert resolve("web", name) == resolve("web")


def test_it_is_not_slowed_down_by_many_stars() -> None:
    started = time.monotonic()
    with pytest.raises(InvalidError):
        limits.resolve({"_meta": {"hostvars": {"a" * 253: {}}}, "all": {}}, limit="*a" * 120 + "*b", exclude=[])
    assert time.monotonic() - started < 1


@given(st.text(max_size=60))
def test_it_chooses_known_hosts_or_refuses(limit: str) -> None:
    try:
        chosen = limits.resolve(INVENTORY, limit=limit or " ", exclude=[])
    except InvalidError:
        return
    assert set(chosen) <= set(HOSTS)
