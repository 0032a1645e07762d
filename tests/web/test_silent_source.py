"""Whatever a request launches, it waits no longer than two seconds for a git server that does not answer."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from inventory_service.accounts import users
from inventory_service.automation import schedules
from inventory_service.models import Project, Run, Schedule, Stage
from tests.automation.test_pushes import GITHUB_PUSH
from tests.automation.test_webhooks import by_github
from tests.support import ADA, START, Caller, FakeClock

MOST_SECONDS = 2.0
OWN_SECONDS = 1.0  # for all that is not the server's, on a busy machine
STAGE = "/api/v1/stages/shop/production"
NIGHTLY = {"name": "nightly", "cron": "0 3 * * *", "timezone": "UTC", "kind": "deploy"}


@pytest.fixture(autouse=True)
def _hangs(silent: str, stage: Stage) -> None:
    """The stage's source is at that server."""
    Project.update(source=f"http://{silent}/shop.git", source_kind="git").execute()


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """What is done meanwhile waits no longer than it may."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < MOST_SECONDS + OWN_SECONDS, f"{took:.1f} s"


def queued() -> list[str]:
    return [run.kind for run in Run.select() if run.status == "queued"]


def test_the_api_queues(operator: Caller) -> None:
    with in_time():
        answer = operator.post("/api/v1/runs", {"stage": "shop/production", "kind": "deploy", "extra_vars": {"a": 1}})
    assert (answer.status_code, queued()) == (202, ["deploy"]), answer.text


def test_the_api_adds_a_schedule_that_queues(operator: Caller) -> None:
    with in_time():
        answer = operator.post(f"{STAGE}/schedules", NIGHTLY)
    assert answer.status_code == 201, answer.text
    with in_time():
        schedules.run_due(at=Schedule.get().next_at)
    assert queued() == ["deploy"]


def test_the_api_adds_a_webhook_whose_pushes_queue(admin: Caller, client: FlaskClient) -> None:
    with in_time():
        made = admin.post(f"{STAGE}/webhooks", {"provider": "github", "refs": ["branch:main"]})
    assert made.status_code == 201, made.text
    body = json.dumps(GITHUB_PUSH).encode()
    path, headers = made.json["url"].partition("8500")[2], by_github(made.json, body)
    with in_time():
        answer = client.post(path, data=body, headers={"Content-Type": "application/json", **headers})
    assert (answer.status_code, answer.json["outcome"], queued()) == (202, "deployed", ["deploy"])


@pytest.fixture
def page(client: FlaskClient, clock: FakeClock) -> Callable[..., Any]:
    """Send the launch form as a person: page(**fields) → the response."""
    users.create("ann", "correct horse battery", role="operator", projects=None, actor=ADA, at=clock.now())

    def token(path: str) -> str:
        found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)
        assert found
        return found[1]

    form = {"csrf_token": token("/sign-in"), "name": "ann", "password": "correct horse battery"}
    assert client.post("/sign-in", data=form).status_code in (302, 303)

    def send(**fields: str) -> Any:
        data = {"csrf_token": token("/"), "kind": "deploy", **fields}
        with in_time():
            return client.post("/stages/shop/production/runs", data=data)

    return send


def test_the_page_queues(page: Callable[..., Any]) -> None:
    answer = page()
    assert (answer.status_code, queued()) == (303, ["deploy"]), answer.text


def test_the_page_refuses_and_shows_the_form_again(page: Callable[..., Any]) -> None:
    """The launch has waited for the server already: what it asks is not waited for as well."""
    Stage.update(expiry_paused_at=START, expiry_pause_code="many_silent").execute()
    answer = page(comment="so that it goes out")
    assert (answer.status_code, queued()) == (409, [])
    assert "so that it goes out" in answer.text
