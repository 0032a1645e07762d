from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator

import pytest
from flask import Flask
from werkzeug.serving import BaseWSGIServer, make_server

from inventory_service.jobs.self_check import SelfCheck
from inventory_service.models import ServiceState
from tests.support import FakeClock


@pytest.fixture
def server(app: Flask) -> Iterator[BaseWSGIServer]:
    made = make_server("127.0.0.1", 0, app)
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def heard_at() -> dt.datetime:
    return dt.datetime.fromtimestamp(ServiceState.get(ServiceState.key == "self_check_heard_at").value, dt.UTC)


def test_it_is_heard_as_hosts_are(server: BaseWSGIServer, clock: FakeClock) -> None:
    one = SelfCheck(f"http://127.0.0.1:{server.server_port}")
    for _ in range(2):
        one.beat(clock.advance(10))
        assert heard_at() == clock.now()


def test_it_goes_on_when_another_worker_has_made_a_newer_one(server: BaseWSGIServer, clock: FakeClock) -> None:
    first, second = (SelfCheck(f"http://127.0.0.1:{server.server_port}") for _ in range(2))
    for one in (first, second, first):
        one.beat(clock.advance(10))
        assert heard_at() == clock.now()


def test_it_takes_a_url_where_nobody_listens_for_silence(database: object, clock: FakeClock) -> None:
    SelfCheck("http://127.0.0.1:9").beat(clock.now())
    assert ServiceState.get_or_none(ServiceState.key == "self_check_heard_at") is None
