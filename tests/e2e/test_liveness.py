"""The service's own bad days, with its real processes: nobody is expired for what the service could not hear."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import itertools
import json
import os
import resource
import signal
import sqlite3
import struct
import subprocess
import sysconfig
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inventory_service.adapters import processes
from inventory_service.client import Client, ClientError
from inventory_service.demo.service import RunningService, free_port
from tests.e2e.conftest import ROOT, SETTINGS, wait_for

TTL = 6
TOO_LONG = 9  # seconds: more than a ttl
NAMES = ("web-1", "web-2", "web-3")  # so few that no freeze keeps them


@dataclasses.dataclass
class Fleet:
    """Hosts of one stage that are nothing but their heartbeats."""

    service: RunningService
    stage: str
    join_token: str
    tokens: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"/api/v1/stages/{self.stage}"

    def enrol(self, name: str, number: int) -> None:
        blob = b"".join(struct.pack(">I", len(word)) + word for word in (b"ssh-ed25519", os.urandom(32)))
        body = {
            "name": name,
            "address": f"127.7.{number // 250}.{number % 250 + 1}",
            "boot_id": f"boot-{name}",
            "host_keys": [f"ssh-ed25519 {base64.b64encode(blob).decode()}"],
            "nonce": os.urandom(16).hex(),
        }
        client = Client(self.service.url, self.join_token)
        self.tokens[name] = persist(lambda: client.send("POST", "/api/v1/enrol", body))["token"]

    def beat(self, name: str) -> dict[str, Any]:
        """One heartbeat. Raises ClientError."""
        body = {"boot_id": f"boot-{name}", "seq": time.monotonic_ns() // 1_000_000}
        answer: dict[str, Any] = Client(self.service.url, self.tokens[name]).send("POST", "/api/v1/heartbeat", body)
        return answer

    @contextlib.contextmanager
    def beating(self) -> Iterator[list[int]]:
        """Each host beats every second or so; gives the statuses of those that were refused."""
        stop, refused = threading.Event(), []

        def beat(name: str) -> None:
            while not stop.wait(1):
                try:
                    self.beat(name)
                except ClientError as error:
                    refused.append(error.status)

        threads = [threading.Thread(target=beat, args=(name,)) for name in self.tokens]
        for thread in threads:
            thread.start()
        try:
            yield refused
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def inventory(self) -> dict[str, Any]:
        found: dict[str, Any] = self.service.client.get(f"{self.path}/inventory")["_meta"]
        return found

    def listed(self) -> set[str]:
        return set(self.inventory()["hostvars"])

    def expired(self) -> list[str]:
        """The hosts that were ever stale."""
        rows = self.service.client.get_all(f"{self.path}/hosts", state="live,late,stale,gone")
        return [row["name"] for row in rows if self._was_stale(row["id"])]

    def _was_stale(self, host_id: str) -> bool:
        changes = self.service.client.get(f"/api/v1/hosts/{host_id}")["transitions"]
        return any(change["to"] == "stale" for change in changes)


def persist(call: Callable[[], Any]) -> Any:
    """Try again while the service is busy, as an agent does."""
    while True:
        try:
            return call()
        except ClientError as error:
            if error.status not in (0, 503):
                raise
        time.sleep(0.5)


@pytest.fixture(scope="module")
def own_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    running = RunningService(tmp_path_factory.mktemp("liveness"), port=free_port(), environment=SETTINGS)
    running.start()
    yield running
    running.stop()


_numbers = itertools.count(1)


@pytest.fixture
def fleet(own_service: RunningService) -> Iterator[Fleet]:
    """Three live hosts of a stage of their own, which is archived afterwards."""
    client = own_service.client
    project = f"fleet{next(_numbers)}"
    client.send("POST", "/api/v1/projects", {"name": project, "source": "/srv/nothing/"})
    client.send(
        "POST", f"/api/v1/projects/{project}/stages", {"name": "test", "interval_seconds": 1, "ttl_seconds": TTL}
    )
    token = client.send("POST", f"/api/v1/stages/{project}/test/join-tokens", {"networks": ["127.0.0.0/8"]})["token"]
    made = Fleet(own_service, f"{project}/test", token)
    for number, name in enumerate(NAMES):
        made.enrol(name, number)
    yield made
    client.send("DELETE", made.path)


def parts(service: RunningService) -> list[int]:
    assert service.pid is not None
    return [service.pid, *processes.descendants(service.pid)]


def test_it_expires_nobody_for_a_crash(fleet: Fleet) -> None:
    for pid in reversed(parts(fleet.service)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    fleet.service.kill()
    time.sleep(TOO_LONG)
    with fleet.beating():  # as agents do, whether or not anybody listens
        fleet.service.start()
        assert (fleet.listed(), fleet.expired()) == (set(NAMES), [])
    wait_for("the dead to leave", lambda: not fleet.listed())
    wait_for("the sweep to say so", lambda: sorted(fleet.expired()) == list(NAMES))


def test_it_expires_nobody_for_a_stop(fleet: Fleet) -> None:
    stopped = parts(fleet.service)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(TOO_LONG)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    with fleet.beating():
        wait_for("the sweep", lambda: "was stalled" in fleet.service.log.read_text())
        wait_for("all to be back", lambda: fleet.listed() == set(NAMES))
        time.sleep(2)
        assert (fleet.listed(), fleet.expired()) == (set(NAMES), [])


def sees_all_along(fleet: Fleet, seconds: float) -> list[int]:
    """Beat and look for so long: everybody is listed at each look; gives what refused heartbeats were answered."""
    deadline = time.monotonic() + seconds
    with fleet.beating() as refused:
        while time.monotonic() < deadline:
            assert fleet.listed() == set(NAMES)
            time.sleep(0.5)
        assert fleet.inventory()["callboard"]["expiry_paused"] is True
    return refused


def is_well_again(fleet: Fleet) -> bool:
    with fleet.beating():
        wait_for("the end of the pause", lambda: not fleet.inventory()["callboard"]["expiry_paused"])
        time.sleep(2)
        return (fleet.listed(), fleet.expired()) == (set(NAMES), [])


def test_it_keeps_hosts_listed_while_its_database_is_locked(fleet: Fleet) -> None:
    file = fleet.service.data_dir / "callboard.db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None, timeout=15)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        refused = sees_all_along(fleet, TOO_LONG)
        locker.execute("ROLLBACK")
    assert refused
    assert set(refused) == {503}
    assert is_well_again(fleet)


def test_it_keeps_hosts_listed_while_its_disk_is_full(fleet: Fleet) -> None:
    """No file may grow: what a full disk does to SQLite, without a disk to fill."""
    pids = parts(fleet.service)[1:]
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
    try:
        refused = sees_all_along(fleet, TOO_LONG)
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    assert set(refused) == {503}
    assert is_well_again(fleet)


def test_it_hears_hosts_while_everybody_looks(tmp_path: Path) -> None:
    """Three of four threads follow logs: a fourth reader is turned away at once, and hosts go on beating."""
    service = RunningService(tmp_path, port=free_port(), environment=SETTINGS | {"CALLBOARD_WEB_THREADS": "4"})
    service.start()
    client = service.client
    try:
        client.send("POST", "/api/v1/projects", {"name": "shop", "source": "/srv/nothing/"})
        client.send("POST", "/api/v1/projects/shop/stages", {"name": "test"})
        token = client.send("POST", "/api/v1/stages/shop/test/join-tokens", {"networks": ["127.0.0.0/8"]})["token"]
        fleet = Fleet(service, "shop/test", token)
        fleet.enrol("web-1", 1)
        client.send("PUT", "/api/v1/stages/shop/test/lock", {"reason": "so that the run waits"})
        run = client.send("POST", "/api/v1/runs", {"stage": "shop/test", "kind": "deploy"})["id"]
        with contextlib.ExitStack() as readers:
            for _ in range(3):
                request = urllib.request.Request(f"{service.url}/api/v1/runs/{run}/log?follow=1")
                request.add_header("Authorization", f"Bearer {service.token}")
                request.add_header("Accept", "text/event-stream")
                readers.enter_context(urllib.request.urlopen(request, timeout=30))
            with pytest.raises(ClientError) as shed:
                client.get("/api/v1/projects")
            assert shed.value.status == 503
            assert [fleet.beat("web-1")["state"] for _ in range(5)] == ["live"] * 5
            client.send("POST", f"/api/v1/runs/{run}/cancel")  # which ends its log
        wait_for("the readers' places", lambda: persist(lambda: client.get("/api/v1/projects")))
    finally:
        service.stop()


def test_it_tells_ansible_who_was_there(fleet: Fleet, tmp_path: Path) -> None:
    fleet.service.client.send("PATCH", fleet.path, {"interval_seconds": 60, "ttl_seconds": 300})
    time.sleep(1.1)  # times of the past are told by the second
    before = fleet.inventory()["callboard"]["as_of"]
    Client(fleet.service.url, fleet.tokens["web-1"]).send("POST", "/api/v1/goodbye", {})
    for at, names in ((before, set(NAMES)), (None, {"web-2", "web-3"})):
        source = {"plugin": "registry", "url": fleet.service.url, "stages": [fleet.stage], "at": at}
        (tmp_path / "registry.yml").write_text(json.dumps(source))
        done = subprocess.run(
            [Path(sysconfig.get_path("scripts")) / "ansible-inventory", "-i", str(tmp_path / "registry.yml"), "--list"],
            env={**os.environ, "CALLBOARD_TOKEN": fleet.service.token},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert set(json.loads(done.stdout)["_meta"]["hostvars"]) == names, done.stderr


def test_it_takes_a_thousand_machines_that_enrol_within_five_seconds(fleet: Fleet) -> None:
    fleet.service.client.send("PATCH", fleet.path, {"interval_seconds": 60, "ttl_seconds": 300})
    begin = time.monotonic()

    def boot(number: int) -> None:
        time.sleep(max(0.0, begin + number / 200 - time.monotonic()))
        name = f"new-{number}"
        fleet.enrol(name, 500 + number)
        persist(lambda: fleet.beat(name))

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(boot, range(1000))) == [None] * 1000
    seconds = time.monotonic() - begin
    assert len(fleet.listed() - set(NAMES)) == 1000
    assert seconds < 120, "two intervals"
