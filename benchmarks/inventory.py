"""Inventories of 10, 1,000 and 10,000 hosts: the plugin against the same hosts in static YAML, a script's JSON,
a plain plugin that calls set_variable in a loop, and an inventory of one host (the floor).

Two things are timed, in turns: `ansible-inventory --list`, much of which is Ansible's own dump, and the start of
`ansible-playbook --limit` one host, which is what people wait for. Every source holds exactly what the service sent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import support
import yaml
from support import Row

from inventory_service.database import database, open_database
from inventory_service.demo.service import RunningService, free_port
from inventory_service.models import Project, Stage

ROOT = Path(__file__).resolve().parents[1]
PLAIN_PLUGIN = '''
DOCUMENTATION = """
name: plain
short_description: What one would write first
description: Fetches the same JSON and calls set_variable for each variable.
options:
  url: {description: where, type: str}
  token: {description: token, type: str}
"""
import json, urllib.request
from ansible.plugins.inventory import BaseInventoryPlugin
class InventoryModule(BaseInventoryPlugin):
    NAME = "plain"
    def verify_file(self, path): return path.endswith("plain.yml")
    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        headers = {"Authorization": "Bearer " + self.get_option("token")}
        request = urllib.request.Request(self.get_option("url"), headers=headers)
        answer = json.load(urllib.request.urlopen(request))
        hostvars = answer.pop("_meta")["hostvars"]
        answer.pop("all")
        for group, content in answer.items():
            inventory.add_group(group)
            for host in content.get("hosts", ()):
                inventory.add_host(host, group=group)
            for key, value in content.get("vars", {}).items():
                inventory.set_variable(group, key, value)
        for host, values in hostvars.items():
            for key, value in values.items():
                inventory.set_variable(host, key, value)
'''
# Nobody beats here, and static YAML takes minutes: the hosts must not go stale meanwhile.
PATIENT = {"interval_seconds": 3600, "ttl_seconds": 86400}
CONFIGURATION = """
[defaults]
inventory_plugins = {plugins}:{folder}
[inventory]
enable_plugins = registry, plain, script, yaml
"""
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.meta: noop
"""


@dataclasses.dataclass(frozen=True)
class Source:
    """One inventory file, and how it is called in the table."""

    name: str
    file: Path


@contextlib.contextmanager
def service(folder: Path, sizes: list[int]) -> Iterator[RunningService]:
    """A service with a stage of each size: shop/s10, shop/s1000 …"""
    started = RunningService(folder, port=free_port())
    started.start()
    try:
        started.client.send("POST", "/api/v1/projects", {"name": "shop", "source": "/srv/shop/"})
        for size in sizes:
            started.client.send("POST", "/api/v1/projects/shop/stages", {"name": f"s{size}", **PATIENT})
        open_database(f"sqlite:///{started.data_dir / 'callboard.db'}")
        for size in sizes:
            support.seed(Stage.get((Stage.name == f"s{size}") & (Stage.project == Project.get())), size)
        database.close()
        yield started
    finally:
        started.stop()


def write_sources(folder: Path, running: RunningService, size: int) -> list[Source]:
    """The same hosts in five forms, and one host as the floor."""
    folder.mkdir()
    stage = f"shop/s{size}"
    listing = running.client.send("GET", f"/api/v1/stages/{stage}/inventory")
    del listing["_meta"]["callboard"]
    url = f"{running.url}/api/v1/stages/{stage}/inventory"
    ours = {"plugin": "registry", "url": running.url, "stages": [stage], "token": running.token}
    (folder / "registry.yml").write_text(json.dumps(ours))
    (folder / "plain.yml").write_text(json.dumps({"plugin": "plain", "url": url, "token": running.token}))
    (folder / "static.yml").write_text(yaml.dump(as_yaml(listing), Dumper=yaml.CSafeDumper, sort_keys=False))
    (folder / "listing.json").write_text(json.dumps(listing))
    script = folder / "script.sh"
    script.write_text(f'#!/bin/sh\nexec cat "{folder}/listing.json"\n')
    script.chmod(0o755)
    (folder / "one.yml").write_text("all: {hosts: {web-000000: {ansible_host: 10.0.0.0}}}\n")
    return [
        Source("Callboard's plugin", folder / "registry.yml"),
        Source("one host (the floor)", folder / "one.yml"),
        Source("plain set_variable plugin", folder / "plain.yml"),
        Source("script, JSON", script),
        Source("static YAML", folder / "static.yml"),
    ]


def as_yaml(listing: dict[str, Any]) -> dict[str, Any]:
    """The --list JSON as a static inventory."""
    hostvars = listing["_meta"]["hostvars"]
    groups = {name: content for name, content in listing.items() if name not in ("_meta", "all")}
    children = {
        name: {"hosts": dict.fromkeys(content["hosts"], None), "vars": content.get("vars", {})}
        for name, content in groups.items()
    }
    return {"all": {"hosts": hostvars, "children": children}}


def time_of(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall and processor seconds of a command that must succeed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, check=False, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/"
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr.decode()
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Clockwork:
    """Times commands in turns and keeps every time."""

    def __init__(self, folder: Path) -> None:
        (folder / "plain.py").write_text(PLAIN_PLUGIN)
        (folder / "noop.yml").write_text(PLAYBOOK)
        configuration = folder / "ansible.cfg"
        configuration.write_text(CONFIGURATION.format(plugins=ROOT / "plugins" / "inventory", folder=folder))
        kept = ("PATH", "HOME", "LANG", "TMPDIR")
        self._environment = {name: os.environ[name] for name in kept if name in os.environ}
        self._environment |= {"ANSIBLE_CONFIG": str(configuration), "XDG_CACHE_HOME": str(folder), "LC_ALL": "C.UTF-8"}
        self._noop = str(folder / "noop.yml")
        self.walls: dict[tuple[str, str], list[float]] = {}
        self.cpus: dict[tuple[str, str], list[float]] = {}

    def list(self, source: Source) -> None:
        """`ansible-inventory --list`."""
        self._time("list", source, [support.program("ansible-inventory"), "-i", str(source.file), "--list"])

    def play(self, source: Source) -> None:
        """`ansible-playbook --limit` one host, of a play that does nothing."""
        command = [support.program("ansible-playbook"), "-i", str(source.file), self._noop, "--limit", "web-000000"]
        self._time("play", source, command)

    def _time(self, what: str, source: Source, command: list[str]) -> None:
        wall, cpu = time_of(command, self._environment)
        self.walls.setdefault((what, source.name), []).append(wall)
        self.cpus.setdefault((what, source.name), []).append(cpu)

    def wall(self, what: str, name: str) -> float:
        """The shortest: whatever else the machine did only made it longer."""
        return min(self.walls[what, name])

    def extra(self, what: str, name: str) -> float:
        """What a source takes longer than the floor."""
        return self.wall(what, name) - self.wall(what, "one host (the floor)")

    def report(self, size: int) -> None:
        for (what, name), walls in self.walls.items():
            cpu = statistics.median(self.cpus[what, name])
            print(f"{size:>6} hosts, {what}: {name:<28} {min(walls):7.2f} s  ({cpu:6.2f} s of CPU)", flush=True)


def rows_of(clockwork: Clockwork, size: int, *, is_judged: bool) -> list[Row]:
    """Extra time over the floor, against each other source's."""
    most = {"static YAML": 1 / 25, "script, JSON": 0.2, "plain set_variable plugin": 0.35}
    rows = []
    for what, words in (("play", "start of ansible-playbook"), ("list", "ansible-inventory --list")):
        ours, total = clockwork.extra(what, "Callboard's plugin"), clockwork.wall(what, "Callboard's plugin")
        for name, bound in most.items():
            if (what, name) not in clockwork.walls:
                continue
            peer = clockwork.extra(what, name)
            told = f"{name}: {clockwork.wall(what, name):.2f} s"
            target = bound if what == "play" and is_judged else None
            row = support.ratio_row(
                f"{words}, {size:,} hosts: extra time over the floor",
                f"{total:.2f} s",
                told,
                max(ours, 0) / max(peer, 1e-3),
                most=target,
            )
            rows.append(row)
    return rows


def filtered(folder: Path, running: RunningService, clockwork: Clockwork, size: int, rounds: int) -> Row:
    """Ten hosts of all, chosen by the service, against the floor."""
    chosen = {
        "plugin": "registry",
        "url": running.url,
        "stages": [f"shop/s{size}"],
        "token": running.token,
        "only_groups": ["canary"],
    }
    (folder / "ten.registry.yml").write_text(json.dumps(chosen))
    ten = Source("ten, chosen by the service", folder / "ten.registry.yml")
    floor = Source("one host (the floor)", folder / "one.yml")
    for _ in range(rounds):
        for source in (ten, floor):
            clockwork.list(source)
    wall, least = clockwork.wall("list", ten.name), clockwork.wall("list", floor.name)
    return support.ratio_row(
        f"ansible-inventory --list of 10 hosts of {size:,}, chosen by the service",
        f"{wall:.2f} s",
        f"the floor: {least:.2f} s",
        wall / least,
        most=1.1,
    )


def main() -> None:
    options = support.arguments(
        __doc__,
        quick={"largest": 300, "rounds": 1, "slow": 1},
        full={"largest": 10_000, "rounds": 5, "slow": 1},
    )
    sizes = sorted({10, min(1000, options.largest), options.largest})
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name, service(Path(name) / "service", sizes) as running:
        folder = Path(name)
        for size in sizes:
            clockwork = Clockwork(folder)
            sources = write_sources(folder / f"s{size}", running, size)
            for turn in range(options.rounds):
                for source in sources:
                    if source.name == "static YAML" and turn >= options.slow and size > 1000:
                        continue  # it takes half a minute each time
                    clockwork.play(source)
                    if turn < max(options.rounds // 2, 1):
                        clockwork.list(source)
            clockwork.report(size)
            rows += rows_of(clockwork, size, is_judged=size == 10_000)
            if size == options.largest:
                rows.append(filtered(folder / f"s{size}", running, clockwork, size, options.rounds))
                clockwork.report(size)
    support.finish(rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
