"""What tracking costs: the same playbook by plain ansible-playbook, by a run's executor, with ARA, with the callback.

50 hosts x 10 tasks, forks 10, ansible_connection=local on all sides, the same frozen inventory; the peers take turns.
Once with tasks that run a command, which is what takes the time, and once with tasks that do nothing on the hosts, so
that what tracking adds shows most; ARA takes part in those.
CPU of the tracking side is that of the executor's own process (ansible-runner's reader included) while the playbook
runs. ARA is of the group `bench`, which `make bench` installs; without it its row is left out.
`python benchmarks/runs.py [--quick]`
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import support
from support import Row

from inventory_service import settings as settings_module
from inventory_service.clock import SystemClock
from inventory_service.content import content_dir
from inventory_service.database import database, migrate, open_database
from inventory_service.demo.service import RunningService, free_port
from inventory_service.deployments.launching import launch
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.events import Actor, ActorKind
from inventory_service.first_start import make_ssh_key
from inventory_service.models import Host
from inventory_service.registry import inventory, liveness, stages
from inventory_service.registry.stage_settings import StageChange

ANSIBLE = Path(sysconfig.get_path("scripts")) / "ansible-playbook"
ME = Actor("benchmark", kind=ActorKind.PERSON)
ROOT = Path(__file__).parents[1]
TASK = """
    - name: Task {number}
      ansible.builtin.command: echo {number}
      changed_when: {changed}
"""
LIGHT_TASK = """
    - name: Task {number}
      ansible.builtin.debug: {{msg: "{number}"}}
      changed_when: {changed}
"""
HEAD = """
- name: Work
  hosts: all
  connection: local
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
"""
# The executor, measured from inside: its own CPU while the playbook runs, and the time that its handler takes.
EXECUTOR = """
import json, resource, statistics, sys, time
from inventory_service import settings as settings_module
from inventory_service.adapters import processes, runner
from inventory_service.clock import SystemClock
from inventory_service.database import open_database
from inventory_service.deployments.executor import execution
from inventory_service.jobs.execute import _scrub_environment
settings, clock = settings_module.load(), SystemClock()
_scrub_environment()
processes.adopt_orphans()
processes.spare_the_collector()
open_database(settings.database_url)
seen, taken = {"cpu": 0.0}, []
play = execution.runner.run_playbook
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
def measured(call, on_event, *more, **words):
    def handle(event):
        began = time.perf_counter()
        told = on_event(event)
        taken.append(time.perf_counter() - began)
        return told
    began = cpu()
    result = play(call, handle, *more, **words)
    seen["cpu"] = cpu() - began
    return result
execution.runner.run_playbook = measured
run = execution.claim(int(sys.argv[1]), at=clock.now())
status = execution.execute(run, settings=settings, clock=clock)
print(json.dumps({**seen, "events": len(taken), "handler": statistics.median(taken), "status": status}))
"""


class Site:
    """A data folder with a stage of hosts that are live, and the playbook."""

    def __init__(self, folder: Path, *, hosts: int, tasks: int, task: str = TASK) -> None:
        self.folder, self.source = folder, folder / "source"
        self.source.mkdir(parents=True)
        lines = [task.format(number=number, changed=str(number % 2 == 0).lower()) for number in range(tasks)]
        (self.source / "play.yml").write_text(HEAD + "".join(lines))
        self.environment = {**os.environ, "CALLBOARD_DATA_DIR": str(folder / "data"), "CALLBOARD_FORKS": "10"}
        self.settings = settings_module.load(self.environment)
        self.clock = SystemClock()
        migrate(open_database(self.settings.database_url))
        make_ssh_key(self.settings)
        now = self.clock.now()
        project = stages.create_project(
            name="shop", source=f"{self.source}/", description="", variables={}, actor=ME, at=now
        )
        patient = StageChange(ttl_seconds=86_400, interval_seconds=3600)
        self.stage = stages.create_stage(project, name="production", change=patient, actor=ME, at=now)
        for number in range(hosts):
            add_host(self.stage, f"h{number}", f"127.1.{number // 250}.{number % 250 + 1}", self.clock)
        self._freeze()

    def _freeze(self) -> None:
        expiry = liveness.expiry(at=self.clock.now(), gone_after_seconds=self.settings.gone_after_seconds)
        (self.folder / "inventory.json").write_text(json.dumps(inventory.render(self.stage, expiry=expiry)))
        told = {"plugin": "registry", "snapshot": str(self.folder / "inventory.json")}
        (self.folder / "registry.yml").write_text(json.dumps(told))

    def plain(self, **environment: str) -> float:
        """Seconds of a plain ansible-playbook."""
        own = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CALLBOARD_"))},
            "ANSIBLE_INVENTORY_PLUGINS": str(content_dir() / "plugins" / "inventory"),
            "ANSIBLE_INVENTORY_ENABLED": "registry",
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            **environment,
        }
        command = [
            str(ANSIBLE),
            "-i",
            str(self.folder / "registry.yml"),
            "--forks",
            "10",
            str(self.source / "play.yml"),
        ]
        began = time.perf_counter()
        done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return time.perf_counter() - began

    def tracked(self) -> tuple[float, dict[str, Any]]:
        """Seconds of a run's executor from its start to its end, and what it measured."""
        request = RunRequest(kind="playbook", playbook="play.yml")
        expiry = liveness.expiry(at=self.clock.now(), gone_after_seconds=86400)
        run = launch.launch(self.stage, request, actor=ME, expiry=expiry)
        database.close()
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", EXECUTOR, str(run.id)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - began
        seen = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
        assert seen.get("status") == "successful", done.stdout + done.stderr + self.log(run.id)
        return seconds, seen

    def log(self, run_id: int) -> str:
        file = self.settings.run_dir(run_id) / "log"
        return file.read_text()[-2000:] if file.exists() else ""


def add_host(stage: Any, name: str, address: str, clock: SystemClock) -> None:
    """A host that was heard just now."""
    now = clock.now()
    Host.create(
        id=f"id-{name}", stage=stage, name=name, address=address, groups=[], host_keys=[support.KEY], enrolled_at=now,
        last_seen_at=now, recorded_state=liveness.LIVE, facts={}, metrics={},
    )  # fmt: skip


def ara(folder: Path) -> dict[str, str] | None:
    """ARA's callback, offline, with SQLite; None where ARA is not installed."""
    found = importlib.util.find_spec("ara")
    if found is None or not found.submodule_search_locations or importlib.util.find_spec("django") is None:
        return None
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(Path(found.submodule_search_locations[0]) / "plugins" / "callback"),
        "ARA_BASE_DIR": str(folder / "ara"),
        "ARA_API_CLIENT": "offline",
    }


def laptop(service: RunningService) -> dict[str, str]:
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "plugins" / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "callboard",
        "CALLBOARD_URL": service.url,
        "CALLBOARD_TOKEN": service.token,
    }


def measure(folder: Path, options: Any, *, is_light: bool) -> list[Row]:
    task, rounds = (LIGHT_TASK, 2 * options.rounds) if is_light else (TASK, options.rounds)
    site = Site(folder / "site", hosts=options.hosts, tasks=options.tasks, task=task)
    service = RunningService(folder / "service", port=free_port())
    service.start()
    service.client.send("POST", "/api/v1/projects", {"name": "shop", "source": f"{site.source}/"})
    service.client.send("POST", "/api/v1/projects/shop/stages", {"name": "production"})
    with_ara = ara(folder) if is_light else None
    seconds, seen = {"plain": [], "tracked": [], "laptop": [], "ara": []}, []
    try:
        site.plain()  # the first one reads everything from the disk
        for _ in range(rounds):
            seconds["plain"].append(site.plain())
            took, told = site.tracked()
            seconds["tracked"].append(took)
            seen.append(told)
            seconds["laptop"].append(site.plain(**laptop(service)))
            if with_ara:
                seconds["ara"].append(site.plain(**with_ara))
            print({name: [round(one, 2) for one in some] for name, some in seconds.items()}, flush=True)
        recorded = service.client.get("/api/v1/runs", limit=100)["items"]
        assert [run["status"] for run in recorded] == ["successful"] * rounds, recorded
    finally:
        service.stop()
    return rows(seconds, seen, options, work="that do nothing" if is_light else "with a command")


def rows(seconds: dict[str, list[float]], seen: list[dict[str, Any]], options: Any, *, work: str) -> list[Row]:
    size = f"{options.hosts} hosts x {options.tasks} tasks {work}"
    best = {name: statistics.median(some) for name, some in seconds.items() if some}
    ratio = {
        name: statistics.median(one / plain for one, plain in zip(some, seconds["plain"], strict=True))
        for name, some in seconds.items()
        if some
    }
    plain = f"plain ansible-playbook: {best['plain']:.1f} s"
    events = sum(one["events"] for one in seen)
    per_event = f"{events // len(seen):,} events a run, tasks {work}"
    found = [
        support.ratio_row(f"a tracked run, {size}", f"{best['tracked']:.1f} s", plain, ratio["tracked"], most=1.05)
    ]
    if "ara" in best:
        told = f"ARA, offline, SQLite: {best['ara']:.1f} s"
        found.append(
            support.ratio_row(
                "the same against ARA", f"{best['tracked']:.1f} s", told, best["tracked"] / best["ara"], most=0.5
            )
        )
    cpu = sum(one["cpu"] for one in seen) / events * 1000
    handler = statistics.median(one["handler"] for one in seen) * 1000
    return [
        *found,
        support.limit_row("CPU of the tracking side per event", cpu, 0.7, "ms", peer=per_event),
        support.limit_row("time in the handler per event", handler, 0.1, "ms", peer=per_event),
        support.ratio_row(f"laptop's callback, {size}", f"{best['laptop']:.1f} s", plain, ratio["laptop"], most=1.03),
    ]


def main() -> None:
    options = support.arguments(
        __doc__, quick={"hosts": 10, "tasks": 4, "rounds": 1}, full={"hosts": 50, "tasks": 10, "rounds": 2}
    )
    with tempfile.TemporaryDirectory() as folder:
        found = [row for light in (False, True) for row in measure(Path(folder) / str(light), options, is_light=light)]
    support.finish(found, options.json)


if __name__ == "__main__":
    main()
