"""A run's log from other machines' web processes, and while the service stops."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory_service.client import Client, ClientError
from inventory_service.demo.service import RunningService, free_port
from tests.e2e.conftest import SETTINGS, Site, make_site, wait_for

SLOW = {"playbook": "slow.yml"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that copies its logs, as it does by itself where the database is not SQLite."""
    copying = {**SETTINGS, "CALLBOARD_LOG_COPY": "always", "CALLBOARD_LOG_STREAMS": "2"}
    running = RunningService(tmp_path_factory.mktemp("copying"), port=free_port(), environment=copying)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def elsewhere(service: RunningService, tmp_path: Path) -> Iterator[Client]:
    """A web process that shares the database with the service, and no folder."""
    environment = {
        **os.environ,
        "CALLBOARD_DATA_DIR": str(tmp_path / "elsewhere"),
        "CALLBOARD_DATABASE_URL": f"sqlite:///{service.data_dir / 'callboard.db'}",
        "CALLBOARD_PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "inventory_service.cli", "web", "--unprepared"]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    client = Client(f"http://127.0.0.1:{environment['CALLBOARD_PORT']}", service.token)
    wait_for("the other web process", lambda: _answers(client))
    yield client
    process.terminate()
    process.wait(10)


def _answers(client: Client) -> bool:
    try:
        return bool(client.get("/api/v1/projects"))
    except ClientError:
        return False


def test_it_shows_a_log_that_another_machine_writes(site: Site, elsewhere: Client) -> None:
    site.boot("web-1")
    run = site.launch(**SLOW, extra_vars={"seconds": 2})
    followed = "".join(elsewhere.stream(f"/api/v1/runs/{run}/log?follow=1"))
    assert "PLAY RECAP" in followed
    assert followed == elsewhere.text(f"/api/v1/runs/{run}/log") == site.log(run)
    found = elsewhere.get(f"/api/v1/runs/{run}/events", q="ok: [web-1]")["items"]
    assert [row["task"] for row in found] == ["Begin", "Sleep"]


def test_it_frees_a_followers_place_when_the_browser_has_gone(site: Site) -> None:
    site.boot("web-1")
    run = site.launch(**SLOW, extra_vars={"seconds": 60})
    address = f"{site.service.url}/api/v1/runs/{run}/log?follow=1"
    headers = {"Authorization": f"Bearer {site.service.token}", "Accept": "text/event-stream"}

    def follow() -> bool:
        try:
            with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
                return bool(answer.readline())
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            return False

    for _ in range(4):
        wait_for("a place", follow)
    site.client.send("POST", f"/api/v1/runs/{run}/cancel")
    site.ended(run)


def test_it_ends_live_logs_when_it_stops(repository: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    service = RunningService(tmp_path / "service", port=free_port(), environment=SETTINGS)
    service.start()
    site = make_site(service, repository, tmp_path)
    try:
        site.boot("web-1")
        run = site.launch(**SLOW, extra_vars={"seconds": 5})
        seen: list[str] = []
        is_whole = threading.Event()

        def read() -> None:
            seen.extend(site.client.stream(f"/api/v1/runs/{run}/log?follow=1"))
            is_whole.set()

        reader = threading.Thread(target=read)
        reader.start()
        wait_for("the first lines", lambda: "TASK [Sleep]" in "".join(seen))
        service.stop()
        reader.join(10)
        assert is_whole.is_set(), "the answer broke off, instead of coming to an end"
        service.start()
        site.ended(run)
        rest = "".join(site.client.stream(f"/api/v1/runs/{run}/log?follow=1&start={len(''.join(seen).encode())}"))
        assert "".join(seen) + rest == site.log(run)
    finally:
        service.stop()
        for machine in site.machines.values():
            machine.kill()
