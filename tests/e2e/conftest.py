"""A real service, real SSH hosts with real agents, a real git repository; one of each for the folder's tests."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inventory_service.client import Client
from inventory_service.demo import sample
from inventory_service.demo.machine import Machine
from inventory_service.demo.service import RunningService, free_port
from tests.support import OWN_NETWORK

ROOT = Path(__file__).parents[2]
PLAYBOOKS = Path(__file__).parent / "playbooks"
USER = pwd.getpwuid(os.getuid()).pw_name
APP_PORT = 8591
SSH_PORT = 2291
SETTINGS = {
    "CALLBOARD_SWEEP_SECONDS": "0.5",
    "CALLBOARD_CONVERGE_SECONDS": "1",
    "CALLBOARD_CONVERGE_WINDOW_SECONDS": "1",
}
_addresses = itertools.count(11)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


def wait_for(what: str, is_true: Callable[[], Any], seconds: float = 40) -> Any:
    """The first true value that the callable gives; fails the test when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := is_true()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}, in vain"
        time.sleep(0.1)
    return value


@dataclasses.dataclass
class Site:
    """A stage of its own for one test."""

    service: RunningService
    stage: str
    folder: Path
    shas: dict[str, str]
    machines: dict[str, Machine] = dataclasses.field(default_factory=dict)
    join_token: str = ""

    @property
    def client(self) -> Client:
        return self.service.client

    @property
    def path(self) -> str:
        return f"/api/v1/stages/{self.stage}"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CALLBOARD_URL": self.service.url, "CALLBOARD_TOKEN": self.service.token}

    def boot(self, name: str, *, has_agent: bool = True) -> Machine:
        machine = Machine(
            name,
            f"{OWN_NETWORK}.{next(_addresses)}",
            self.folder / name,
            service_url=self.service.url,
            authorized_key=self.client.text("/api/v1/ssh_key"),
            ssh_port=SSH_PORT,
            app_port=APP_PORT,
        )
        self.machines[name] = machine
        machine.host.start()
        machine.enrol(self.join_token)
        if has_agent:
            machine.start_agent()
        return machine

    def callboard(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "inventory_service.cli", *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=120, check=False, cwd=self.folder
        )

    def launch(self, kind: str = "playbook", **fields: Any) -> int:
        body = {"stage": self.stage, "kind": kind, **fields}
        return int(self.client.send("POST", "/api/v1/runs", body)["id"])

    def run(self, run_id: int) -> dict[str, Any]:
        row: dict[str, Any] = self.client.get(f"/api/v1/runs/{run_id}")
        return row

    def ended(self, run_id: int, seconds: float = 60) -> dict[str, Any]:
        def over() -> dict[str, Any] | None:
            row = self.run(run_id)
            return None if row["status"] in ("queued", "running") else row

        return wait_for(f"the end of run {run_id}", over, seconds)

    def log(self, run_id: int) -> str:
        return self.client.text(f"/api/v1/runs/{run_id}/log")

    def listed(self) -> set[str]:
        return set(self.client.get(f"{self.path}/inventory")["_meta"]["hostvars"])

    def hosts(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.client.get_all(f"{self.path}/hosts")}


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    running = RunningService(tmp_path_factory.mktemp("service"), port=free_port(), environment=SETTINGS)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("source") / "shop"
    shas = sample.make_repository(folder)
    for playbook in PLAYBOOKS.glob("*.yml"):
        (folder / playbook.name).write_text(playbook.read_text())
    shas["p1"] = sample.commit(folder, "Add playbooks", tag="p1")
    (folder / "NOTES").write_text("Opens at nine.\n")
    shas["main"] = sample.commit(folder, "Tell when the shop opens")
    return folder, shas


_numbers = itertools.count(1)


@pytest.fixture
def site(service: RunningService, repository: tuple[Path, dict[str, str]], tmp_path: Path) -> Iterator[Site]:
    """A project and a stage with short timings, no hosts yet; everything on its machines ends with the test.

    The stage is archived before they die, since hosts that die one test after the other would look like mass silence.
    """
    made = make_site(service, repository, tmp_path)
    yield made
    service.client.send("DELETE", made.path)
    for machine in made.machines.values():
        machine.kill()


def make_site(service: RunningService, repository: tuple[Path, dict[str, str]], folder: Path) -> Site:
    project, (source, shas) = f"shop{next(_numbers)}", repository
    site = Site(service, f"{project}/test", folder, shas)
    variables = {
        "release_path": "~/shop",
        "release_shared_dirs": ["data"],
        "release_restart_command": f"bin/restart {{{{ ansible_host }}}} {APP_PORT}",
        "release_health_url": f"http://{{{{ ansible_host }}}}:{APP_PORT}/healthz",
        "release_health_contains": "{{ release_revision }}",
        "release_health_delay_seconds": 1,
        "release_heartbeat_timeout_seconds": 60,
    }
    service.client.send("POST", "/api/v1/projects", {"name": project, "source": str(source)})
    stage = {"name": "test", "interval_seconds": 1, "ttl_seconds": 3, "ansible_user": USER, "variables": variables}
    stage |= {"batches": ["100%"]}
    service.client.send("POST", f"/api/v1/projects/{project}/stages", {**stage, "default_revision": "main"})
    wanted = {"groups": ["web"], "networks": ["127.0.0.0/8"]}
    site.join_token = service.client.send("POST", f"{site.path}/join-tokens", wanted)["token"]
    return site


def problem_of(call: Callable[[], Any]) -> tuple[int, str]:
    """The status and the detail with which the service refuses."""
    with pytest.raises(Exception) as refused:
        call()
    return refused.value.status, str(refused.value.detail)


def all_pids() -> list[int]:
    """Every process of this machine."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def is_executor(pid: int, run_id: int) -> bool:
    """Whether the process executes that run."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        output = str(Path(f"/proc/{pid}/fd/1").readlink())
    except OSError:
        return False
    return b"inventory_service.jobs.execute" in words and output.endswith(f"/runs/{run_id}/executor.log")
