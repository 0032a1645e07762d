"""Several machines: two web processes and two workers, each with a host name and a data folder of its own, that share
a PostgreSQL server and nothing else. A machine here is a UTS namespace: the kernel gives the process another host name.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory_service.client import Client, ClientError
from inventory_service.database import open_database
from inventory_service.demo.service import RunningService, free_port
from inventory_service.models import Run
from tests.e2e.conftest import SETTINGS, make_site, wait_for
from tests.postgresql import PostgreSQL

KEYS = ("secret_key", "keyring", "ssh")


@dataclasses.dataclass
class Computer:
    """One machine with one part of the service on it."""

    name: str
    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> list[str]:
        alone = ["--map-root-user"] if os.geteuid() != 0 else []
        set_name = 'hostname "$0" && exec "$@"'
        callboard = [sys.executable, "-m", "inventory_service.cli", *words]
        return ["unshare", "--uts", *alone, "sh", "-c", set_name, self.name, *callboard]

    @property
    def settings(self) -> dict[str, str]:
        return {**os.environ, **self.environment, "CALLBOARD_DATA_DIR": str(self.folder)}

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), env=self.settings, capture_output=True, text=True, check=False, timeout=60
        )

    def start(self, part: str) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder.parent / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(self.command(part), env=self.settings, stdout=log, stderr=log)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def take_keys(self, other: Computer) -> None:
        self.folder.mkdir(exist_ok=True)
        for name in KEYS:
            source, target = other.folder / name, self.folder / name
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            elif source.exists():
                shutil.copy2(source, target)


def is_ready(client: Client) -> bool:
    try:
        return bool(client.get("/readyz"))
    except ClientError:
        return False


@pytest.fixture
def environment(postgresql: PostgreSQL) -> Iterator[dict[str, str]]:
    url = postgresql.empty()
    yield {
        **SETTINGS,
        "CALLBOARD_DATABASE_URL": url,
        "CALLBOARD_QUEUE_URL": "redis://127.0.0.1:1/0",  # what an old unit may still say
        "CALLBOARD_PUBLIC_URL": f"http://127.0.0.1:{free_port()}",
    }
    postgresql.drop(url)


@pytest.fixture
def computers(environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, Computer]]:
    """web-a, web-b, worker-a, worker-b, none of them started; all heartbeats, the workers' own too, go to web-a."""
    front = environment["CALLBOARD_PUBLIC_URL"].rpartition(":")[2]
    ports = {"web-a": front, "web-b": str(free_port())}
    made = {
        name: Computer(name, tmp_path / name, {**environment, "CALLBOARD_PORT": ports.get(name, "1")})
        for name in ("web-a", "web-b", "worker-a", "worker-b")
    }
    yield made
    for computer in made.values():
        computer.stop()


def test_it_runs_on_several_machines(
    computers: dict[str, Computer], environment: dict[str, str], repository: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    first = computers["web-a"]
    token = first.call("init").stdout.split("admin token")[1].split()[0]
    refused = computers["worker-a"].call("worker")
    assert refused.returncode == 1, refused.stderr
    assert "This machine's secret_key is not the one" in refused.stderr, refused.stderr
    for name, computer in computers.items():
        if computer is not first:
            computer.take_keys(first)
        computer.start(name.partition("-")[0])

    near, far = (
        Client(f"http://127.0.0.1:{computers[name].environment['CALLBOARD_PORT']}", token)
        for name in ("web-a", "web-b")
    )
    for client in (near, far):
        wait_for("the service", lambda client=client: is_ready(client))
    service = RunningService(tmp_path / "none", port=int(near.url.rpartition(":")[2]))
    service.token = token
    sites = [make_site(service, repository, tmp_path / f"site-{number}") for number in range(2)]
    try:
        for number, site in enumerate(sites):
            site.boot(f"web-{number}")
        runs = [site.launch("deploy") for site in sites]
        for site, run in zip(sites, runs, strict=True):
            assert site.ended(run, seconds=150)["status"] == "successful", site.log(run)
        # each by one worker, once, and its log can be read at the other web process, which has no such file
        for run in runs:
            folders = [
                computer for computer in computers.values() if (computer.folder / "runs" / str(run) / "log").exists()
            ]
            assert [computer.name[:6] for computer in folders] == ["worker"], run
            assert far.text(f"/api/v1/runs/{run}/log").count("PLAY RECAP") == 1
        opened = open_database(environment["CALLBOARD_DATABASE_URL"])
        assert {row.executor["machine"] for row in Run.select()} <= {"worker-a", "worker-b"}
        opened.close_all()
        assert near.get("/readyz")["jobs"]["self-check"] is not None
        assert sites[0].client.get(sites[0].path)["expiry_paused"] is None
    finally:
        for site in sites:
            for machine in site.machines.values():
                machine.kill()
