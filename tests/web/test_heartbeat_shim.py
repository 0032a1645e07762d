"""The short way for heartbeats answers as Flask does, or leaves the answer to it."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import Client, TestResponse

from inventory_service.models import Host, Transition
from inventory_service.registry import hosts
from inventory_service.web.heartbeat_shim import HeartbeatShim
from tests.support import FakeClock, Machine

pytestmark = pytest.mark.each_database

BEAT = b'{"boot_id": "b007", "seq": 1000, "facts": {"zone": "a"}}'


@pytest.fixture
def flask(app: Flask) -> Client:
    return Client(app)


@pytest.fixture
def shim(app: Flask) -> Client:
    return Client(HeartbeatShim(app, app.extensions["callboard"]))


def beat(client: Client, machine: Machine, body: bytes = BEAT, **headers: Any) -> TestResponse:
    given = {"Authorization": f"Bearer {machine.token}", "Content-Type": "application/json", **headers}
    return client.post("/api/v1/heartbeat", data=body, headers=given)


def test_it_renews_a_lease(shim: Client, web_1: Machine, clock: FakeClock) -> None:
    clock.advance(100)
    answer = beat(shim, web_1)
    assert (answer.status_code, answer.content_type, answer.json["state"]) == (200, "application/json", "live")
    assert (web_1.row.last_seen_at, web_1.row.facts) == (clock.now(), {"zone": "a"})


def test_it_answers_what_flask_answers(shim: Client, flask: Client, web_1: Machine) -> None:
    told = [
        beat(client, web_1, b'{"boot_id": "b007", "seq": %d}' % seq).json for seq, client in enumerate((shim, flask))
    ]
    for answer in told:
        assert 54 <= answer.pop("next_in_seconds") <= 60
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b'{"boot_id": "b007", "seq": 1, "metrics": {"a": NaN}}', {}, 400),
        (b'{"boot_id": "b007", "seq": 1, "facts": {"a": "\\u0000"}}', {}, 400),
        (b'{"boot_id": "b007", "seq": 1, "facts": {"a": "\\ud800"}}', {}, 400),
        (b'{"boot_id": "b007", "seq": 1, "facts": {"a": "\\u202e"}}', {}, 422),
        (b'{"boot_id": "b007"}', {}, 422),
        (BEAT, {"Content-Type": "text/plain"}, 415),
        (b"[" * 16_000, {}, 400),
        (BEAT + b" " * 16_384, {}, 413),
        (BEAT, {"Authorization": ""}, 401),
        (BEAT, {"Authorization": "Bearer cbh_x"}, 401),
        (BEAT, {"Authorization": "Bearer cbu_x"}, 403),
    ],
)
def test_it_leaves_everything_odd_to_flask(
    *, shim: Client, web_1: Machine, clock: FakeClock, body: bytes, headers: dict[str, str], status: int
) -> None:
    clock.advance(100)
    answer = beat(shim, web_1, body, **headers)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json"), answer.text
    assert web_1.row.last_seen_at == clock.jump(-100)


def test_it_tells_a_host_that_has_left(shim: Client, web_1: Machine, clock: FakeClock) -> None:
    hosts.goodbye(web_1.row, at=clock.now())
    assert beat(shim, web_1).status_code == 410


@pytest.mark.sqlite
def test_it_answers_503_when_the_database_does_not(shim: Client, web_1: Machine) -> None:
    Transition.drop_table()
    Host.drop_table()
    answer = beat(shim, web_1)
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/heartbeat"), ("POST", "/api/v1/heartbeats"), ("GET", "/healthz")]
)
def test_it_lets_everything_else_through(shim: Client, flask: Client, method: str, path: str) -> None:
    assert shim.open(path, method=method).status_code == flask.open(path, method=method).status_code
