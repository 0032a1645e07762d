"""From the launch of a run to its first task, against plain ansible-playbook's own start of the same playbook.

One host, connection local, a git repository as source; the two take turns. It also says where the time goes: until a
worker's executor has claimed the run, until everything is frozen, until Ansible begins, until its first task.
`python benchmarks/launch.py [--quick]`
"""

from __future__ import annotations

import datetime as dt
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import support
from runs import ANSIBLE, HEAD, TASK
from support import Row

from inventory_service.client import Client
from inventory_service.clock import SystemClock, parse_iso
from inventory_service.content import content_dir
from inventory_service.demo import sample
from inventory_service.demo.service import RunningService, free_port

STAGE = "shop/production"


def plain(source: Path, inventory: Path, home: Path) -> float:
    """Seconds from the command to the first line of its first task."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        "ANSIBLE_INVENTORY_PLUGINS": str(content_dir() / "plugins" / "inventory"),
        "ANSIBLE_INVENTORY_ENABLED": "registry",
    }
    command = [str(ANSIBLE), "-i", str(inventory), str(source / "play.yml")]
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = next(time.perf_counter() - began for line in process.stdout if line.startswith("TASK ["))
    process.communicate()
    assert process.returncode == 0
    return first


def launch(client: Client, clock: SystemClock) -> dict[str, float]:
    """Seconds from the request to each step of the run."""
    began = clock.now()
    run_id = client.send("POST", "/api/v1/runs", {"stage": STAGE, "kind": "playbook", "playbook": "play.yml"})["id"]
    while (run := client.get(f"/api/v1/runs/{run_id}"))["status"] in ("queued", "running"):
        time.sleep(0.05)
    assert run["status"] == "successful", run["error"]
    events = client.get(f"/api/v1/runs/{run_id}/events")["items"]
    task = next(event for event in events if event["event"] == "playbook_on_task_start")
    steps = {
        "claimed": run["started_at"],
        "frozen": run["snapshot"]["at"],
        "ansible": events[0]["at"],
        "task": task["at"],
    }
    return {name: (parse_iso(at) - began) / dt.timedelta(seconds=1) for name, at in steps.items()}


def measure(folder: Path, options: Any) -> list[Row]:
    source, clock = folder / "source", SystemClock()
    sample.make_repository(source)
    (source / "play.yml").write_text(HEAD + TASK.format(number=1, changed="false"))
    sample.commit(source, "Add a playbook")
    service = RunningService(folder / "service", port=free_port())
    service.start()
    try:
        client = service.client
        client.send("POST", "/api/v1/projects", {"name": "shop", "source": str(source)})
        patient = {"name": "production", "ttl_seconds": 86_400, "interval_seconds": 3600, "default_revision": "main"}
        client.send("POST", "/api/v1/projects/shop/stages", patient)
        client.send("PUT", f"/api/v1/stages/{STAGE}/hosts/127.0.66.1")
        (folder / "inventory.json").write_text(client.text(f"/api/v1/stages/{STAGE}/inventory"))
        (folder / "registry.yml").write_text(f"plugin: registry\nsnapshot: {folder}/inventory.json\n")
        plain(source, folder / "registry.yml", folder)
        launch(client, clock)
        own, ours = [], []
        for _ in range(options.rounds):
            own.append(plain(source, folder / "registry.yml", folder))
            ours.append(launch(client, clock))
            print(f"plain {own[-1]:.2f} s; run", {name: round(at, 2) for name, at in ours[-1].items()}, flush=True)
    finally:
        service.stop()
    steps = {name: statistics.median(one[name] for one in ours) for name in ours[0]}
    more = statistics.median(one["task"] - alone for one, alone in zip(ours, own, strict=True))
    told = f"plain: {statistics.median(own):.2f} s; " + ", ".join(f"{name} {at:.2f}" for name, at in steps.items())
    print(told)
    peer = f"{steps['task']:.2f} s, plain {statistics.median(own):.2f} s"
    return [
        support.limit_row("launch to first task, beyond plain ansible-playbook's own start", more, 0.5, "s", peer=peer)
    ]


def main() -> None:
    options = support.arguments(__doc__, quick={"rounds": 2}, full={"rounds": 11})
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options)
    support.finish(found, options.json)


if __name__ == "__main__":
    main()
