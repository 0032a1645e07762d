"""The tools of fill.py: the service's real parts around a clock that is turned by hand, and real executors.

Runs against commit aec9e55 only, as fill.py does.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inventory_service import settings as settings_module
from inventory_service.adapters import processes
from inventory_service.adapters.queue import RunQueue
from inventory_service.audit import Actor
from inventory_service.clock import iso, parse_iso
from inventory_service.database import database, migrate, open_database
from inventory_service.deployments import convergence, events, execution, requests
from inventory_service.first_start import make_first_admin, make_ssh_key
from inventory_service.jobs import periodic
from inventory_service.models import Run, Stage
from inventory_service.registry import liveness, stages
from inventory_service.registry.stages import StageChange
from inventory_service.settings import Settings
from inventory_service.web.app import create_app
from tests.support import FakeClock, key_line

DATA = Path("/tmp/callboard-upgrade")
# Of this fixture alone: they open its sealed values and nothing else.
KEYS = {
    "secret_key": "fixture-secret-key-0123456789abcdef0123456789",
    "keyring": ("fixture-keyring-newest-0123456789abcdef01234", "fixture-keyring-before-0123456789abcdef01234"),
}
ADA, GRACE, CALLBOARD = Actor("ada", "192.0.2.7"), Actor("grace", "192.0.2.8"), Actor("callboard", "192.0.2.9")
STEP_SECONDS = 10
# Converge, scale and hooks are called by hand, the canary through the test client.
_BY_ITSELF = ("sweep", "metrics", "schedule", "notify", "prune", "laptops", "prune runs")


def load_settings(**more: Any) -> Settings:
    """The same in every process of the fill."""
    own = {
        "gone_after_seconds": 7200.0,
        "log_copy": "always",
        "forks": 5,
        "public_url": "https://callboard.example.org",
    }
    own |= {"run_timeout_seconds": 600.0, "idle_timeout_seconds": 300.0, "freeze_limit_seconds": 1800.0}
    return settings_module.load({}, data_dir=DATA / "data", **own, **KEYS, **more)


class TurnedClock(FakeClock):
    """Stands still until it is turned. `is_ticking`: goes on from there, as an executor's has to."""

    def __init__(self, now: dt.datetime, *, is_ticking: bool = False) -> None:
        super().__init__()
        self._now, self._is_ticking, self._began = now, is_ticking, time.monotonic()

    def now(self) -> dt.datetime:
        return self._now + dt.timedelta(seconds=self._ticked())

    def monotonic(self) -> float:
        return self._monotonic + self._ticked()

    def _ticked(self) -> float:
        return time.monotonic() - self._began if self._is_ticking else 0.0


class Service:
    """Web and worker in one process, over a fresh database."""

    def __init__(self) -> None:
        shutil.rmtree(DATA, ignore_errors=True)
        (DATA / "data").mkdir(parents=True)
        self.settings = load_settings()
        self.clock = TurnedClock(dt.datetime.now(dt.UTC).replace(second=0, microsecond=0) + dt.timedelta(minutes=5))
        migrate(open_database(self.settings.database_url))
        make_ssh_key(self.settings)
        self.app = create_app(self.settings, self.clock)
        self.client = self.app.test_client()
        first = make_first_admin(at=self.now)
        assert first is not None
        self.token, self.password = first.token, first.password
        self.boxes: list[Box] = []
        self.machines: dict[str, Any] = {}  # those of EC2, by instance
        self.load = 0.4
        self.canary = ""
        self._jobs = [job for job in periodic.jobs(self.settings, RunQueue(self.settings)) if job.name in _BY_ITSELF]

    @property
    def now(self) -> dt.datetime:
        return self.clock.now()

    def judge(self) -> liveness.Judge:
        return liveness.judge(at=self.now, gone_after_seconds=self.settings.gone_after_seconds)

    # the API

    def call(
        self, method: str, path: str, body: Any = None, *, token: str = "", peer: str = "192.0.2.20", **more: Any
    ) -> Any:
        """The JSON of an answer below 400."""
        status, told = self.ask(method, path, body, token=token, peer=peer, **more)
        assert status < 400, f"{method} {path}: {status} {told}"
        return told

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str = "", peer: str = "192.0.2.20", **more: Any
    ) -> tuple[int, Any]:
        """(status, JSON)."""
        headers = {"Authorization": f"Bearer {token or self.token}", **more.pop("headers", {})}
        answer = self.client.open(
            f"/api/v1{path}", method=method, json=body, headers=headers, environ_base={"REMOTE_ADDR": peer}, **more
        )
        return answer.status_code, answer.get_json(silent=True)

    def stage(self, name: str) -> Stage:
        return stages.get_stage(*name.split("/"))

    def make_stage(self, name: str, **fields: Any) -> Stage:
        project, _, own = name.partition("/")
        change = StageChange(**{"interval_seconds": 30, "ttl_seconds": 120, **fields})
        return stages.create_stage(stages.get_project(project), name=own, change=change, actor=ADA, at=self.now)

    # time

    def pass_time(self, seconds: float) -> None:
        """Machines beat and the worker ticks while the time passes."""
        end = self.now + dt.timedelta(seconds=seconds)
        while self.now < end:
            self.clock.advance(min(STEP_SECONDS, (end - self.now).total_seconds()))
            self.beat_all()
            self.tick()

    def beat_all(self) -> None:
        if self.canary:
            self.ask("POST", "/heartbeat", {"boot_id": "canary", "seq": int(self.now.timestamp())}, token=self.canary)
        for box in self.boxes:
            if box.is_up and (box.beaten_at is None or (self.now - box.beaten_at).total_seconds() >= 30):
                box.beat()
        for machine in self.machines.values():
            row = machine.row
            is_up = row.gone_at is None and not getattr(machine, "is_silent", False)
            if is_up and (self.now - row.last_seen_at).total_seconds() >= 30:
                machine.beat(self.now, metrics={"load1_per_cpu": self.load}, **getattr(machine, "says", {}))

    def tick(self) -> None:
        for job in self._jobs:
            if periodic.claim(job, at=self.now):
                job.work(self.now)

    # runs

    def launch(self, stage: str, kind: str = "deploy", *, token: str = "", headers: Any = None, **fields: Any) -> int:
        body = {"stage": stage, "kind": kind, **fields}
        return int(self.call("POST", "/runs", body, token=token, headers=headers or {})["id"])

    def run(self, number: int) -> Run:
        return requests.get(number)

    def execute(
        self, number: int, meanwhile: Callable[[subprocess.Popen[bytes]], None] | None = None, *, is_early: bool = False
    ) -> Run:
        """Let a process of its own execute the run, as the worker does, and wait for its end. `meanwhile`: what happens
        when a host has a task under way; `is_early`: when the first events are known.
        """
        began = self.now
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.upgrade.filler", str(number), iso(began) or ""],
            env={"PATH": os.environ["PATH"], "HOME": str(DATA), "PYTHONPATH": str(Path.cwd())},
        )
        if meanwhile is not None:
            self.wait(lambda: self.run(number).in_flight is not None if is_early else self.run(number).in_flight)
            meanwhile(child)
        code = child.wait()
        run = self.run(number)
        end = max(run.ended_at or began, self.now)
        seconds = (end - self.now).total_seconds()
        self.pass_time(seconds // 1 + 1)
        print(f"run {number} {run.kind}: {run.status} ({code}) {run.error or ''}")
        return self.run(number)

    def do(self, stage: str, kind: str = "deploy", **fields: Any) -> Run:
        return self.execute(self.launch(stage, kind, **fields))

    def wait(self, is_so: Callable[[], Any], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.05)


class Box:
    """A machine with an agent: it speaks to the service by HTTP as the agent does."""

    def __init__(self, service: Service, name: str, address: str, *, seed: int, port: int = 22) -> None:
        self.service, self.name, self.address, self.port = service, name, address, port
        self.keys, self.boot_id, self.sequence = [key_line(seed=seed)], f"b007-{seed}", 0
        self.token, self.id, self.is_up = "", "", False
        self.beaten_at: dt.datetime | None = None
        self.says: dict[str, Any] = {}
        service.boxes.append(self)

    def enrol(self, join_token: str, **more: Any) -> tuple[int, Any]:
        body = {"name": self.name, "ssh_port": self.port, "boot_id": self.boot_id, "host_keys": self.keys}
        body |= {"agent_version": "1.2.3", "facts": {"cpus": 2, "name": self.name}, **more}
        status, told = self.service.ask("POST", "/enrol", body, token=join_token, peer=self.address)
        if status < 300:
            self.token, self.id, self.is_up, self.beaten_at = told["token"], told["host"], True, self.service.now
        return status, told

    def beat(self, **more: Any) -> tuple[int, Any]:
        self.sequence += 30_000
        self.beaten_at = self.service.now
        body = {"boot_id": self.boot_id, "seq": self.sequence, "agent_version": "1.2.3"}
        body |= {"metrics": {"load1_per_cpu": 0.25 + len(self.name) / 100, "requests_total": self.sequence / 10}}
        body |= {**self.says, **more}
        return self.service.ask("POST", "/heartbeat", body, token=self.token, peer=self.address)

    def goodbye(self) -> None:
        self.is_up = False
        self.service.call("POST", "/goodbye", token=self.token, peer=self.address)


def execute(number: int, began: str) -> int:
    """The executor's process: jobs/execute.py with the fill's clock. Ansible's own clock can't be turned, so its events
    are told the time by ours.
    """
    settings, clock = load_settings(), TurnedClock(parse_iso(began), is_ticking=True)
    taken = events.EventWriter.handle
    events.EventWriter.handle = lambda self, event: taken(self, {**event, "created": iso(clock.now())})
    processes.adopt_orphans()
    open_database(settings.database_url)
    run = execution.claim(number, at=clock.now())
    if run is None:
        print(f"run {number} is not due")
        return 3
    execution.execute(run, settings=settings, clock=clock)
    convergence.conclude(requests.get(run.id))
    database.close()
    return 0


if __name__ == "__main__":
    sys.exit(execute(int(sys.argv[1]), sys.argv[2]))
