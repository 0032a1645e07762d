"""How hosts are reached: plain modules over ssh, pipelining (what runs use), mitogen (what a stage may ask for).

Real sshd on loopback addresses, the environment that runs give to Ansible, shared connections on all sides.
mitogen needs the group `dev` or the extra `mitogen`. `python benchmarks/reach.py [--quick]`
"""

from __future__ import annotations

import getpass
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import support
from runs import ANSIBLE
from support import Row

from inventory_service.adapters import runner
from inventory_service.content import content_dir
from inventory_service.demo.hosts import LoopbackHost

PORT = 2293
VARIANTS = {"ssh": {"ANSIBLE_PIPELINING": "False"}, "pipelining": {}, "mitogen": {}}


def playbook(tasks: int) -> str:
    head = "- name: Work\n  hosts: all\n  gather_facts: false\n  tasks:\n"
    task = "    - name: Task {}\n      ansible.builtin.command: echo {}\n      changed_when: false\n"
    return head + "".join(task.format(number, number) for number in range(tasks))


class Site:
    """Hosts with real sshd, and what Ansible needs to reach them."""

    def __init__(self, folder: Path, *, hosts: int, tasks: int) -> None:
        self.folder = folder
        (folder / "play.yml").write_text(playbook(tasks))
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        key = (folder / "key.pub").read_text()
        self.hosts = [LoopbackHost(f"h{n}", f"127.0.67.{n + 1}", PORT, folder / f"h{n}", key) for n in range(hosts)]
        for host in self.hosts:
            host.start()
        known = [f"[{host.address}]:{PORT} {line}" for host in self.hosts for line in host.host_keys]
        (folder / "known_hosts").write_text("\n".join(known) + "\n")
        python = {"ansible_python_interpreter": sys.executable, "ansible_user": getpass.getuser()}
        listed = {host.name: {"ansible_host": host.address, "ansible_port": PORT, **python} for host in self.hosts}
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": listed}}))

    def run(self, name: str, own: dict[str, str]) -> float:
        """Seconds of one play; each begins without a shared connection left from the one before."""
        with tempfile.TemporaryDirectory(prefix="cb-") as control:
            call = runner.PlaybookCall(
                private_dir=self.folder, project_dir=self.folder, playbook=self.folder / "play.yml",
                inventory=self.folder / "hosts.json", known_hosts=self.folder / "known_hosts",
                control_dir=Path(control),
                exclusion_socket=Path(control) / "none", identities=(self.folder / "key",),
                agent_socket=Path(control) / "agent", vault_ids=(), content_dir=content_dir(), extra_vars={},
                limit=(), tags=(), skip_tags=(), is_check=False, is_diff=False, forks=10,
                has_mitogen=name == "mitogen", marker=("CALLBOARD_BENCHMARK", "1"),
            )  # fmt: skip
            environment = {**os.environ, **runner.environment(call), "ANSIBLE_INVENTORY_ENABLED": "yaml", **own}
            environment.pop("CALLBOARD_LIMITS")
            command = [str(ANSIBLE), "-i", str(call.inventory), "--forks", "10", str(call.playbook)]
            began = time.perf_counter()
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - began
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
            return seconds


def measure(folder: Path, options: Any) -> list[Row]:
    site = Site(folder, hosts=options.hosts, tasks=options.tasks)
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    try:
        for _ in range(options.rounds):
            for name, own in VARIANTS.items():
                seconds[name].append(site.run(name, own))
            print({name: [round(one, 1) for one in some] for name, some in seconds.items()}, flush=True)
    finally:
        for host in site.hosts:
            host.kill()
    size, best = (
        f"{options.hosts} hosts x {options.tasks} tasks over ssh",
        {n: statistics.median(s) for n, s in seconds.items()},
    )
    told = f"pipelining: {best['pipelining']:.1f} s"
    return [
        support.ratio_row(
            f"pipelining, {size}",
            f"{best['pipelining']:.1f} s",
            f"without: {best['ssh']:.1f} s",
            best["pipelining"] / best["ssh"],
        ),
        support.ratio_row(f"mitogen, {size}", f"{best['mitogen']:.1f} s", told, best["mitogen"] / best["pipelining"]),
    ]


def main() -> None:
    options = support.arguments(
        __doc__, quick={"hosts": 2, "tasks": 4, "rounds": 1}, full={"hosts": 10, "tasks": 10, "rounds": 5}
    )
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options)
    support.finish(found, options.json)


if __name__ == "__main__":
    main()
