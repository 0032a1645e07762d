from __future__ import annotations

import dataclasses

import pytest
from flask import Flask

from inventory_service.settings import Settings
from inventory_service.web import context
from inventory_service.web.app import create_app


def peer(app: Flask, remote: str, forwarded: str | None = None) -> str:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    with app.test_request_context("/", headers=headers, environ_base={"REMOTE_ADDR": remote}):
        return context.peer()


@pytest.fixture
def behind(settings: Settings) -> Flask:
    """An application behind proxies in 10.0.0.0/8."""
    return create_app(dataclasses.replace(settings, trusted_proxies=("10.0.0.0/8", "2001:db8:1::/48")))


def test_it_believes_no_header_without_a_trusted_proxy(app: Flask) -> None:
    assert peer(app, "192.0.2.1", "203.0.113.9") == "192.0.2.1"


@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "127.0.0.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9:4711", "10.0.0.1"),
        ("10.0.0.1", "-oProxyCommand=id", "10.0.0.1"),
        ("2001:db8:1::1", "2001:DB8:0:2::1", "2001:db8:0:2::1"),
        ("::ffff:192.0.2.1", None, "192.0.2.1"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
    ],
)
def test_it_believes_as_far_as_trusted_proxies_wrote(
    behind: Flask, remote: str, forwarded: str | None, expected: str
) -> None:
    assert peer(behind, remote, forwarded) == expected
