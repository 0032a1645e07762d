"""A plain ansible-playbook with this repository's ansible.cfg, and what the service knows of it afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inventory_service.demo.service import RunningService, free_port
from tests.e2e.conftest import ROOT, SETTINGS, Site, wait_for
from tests.support import Repository

ANSIBLE = Path(sysconfig.get_path("scripts")) / "ansible-playbook"
CANARY = "tweet-tweet-1f2e"
PLAYBOOK = f"""
- name: Work
  hosts: all
  connection: local
  gather_facts: false
  vars: {{ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"}}
  tasks:
    - name: Say
      ansible.builtin.debug: {{msg: "grüß from {{{{ inventory_hostname }}}}"}}
    - name: Change
      ansible.builtin.command: "true"
    - name: Secret
      ansible.builtin.command: "echo {CANARY}"
      no_log: true
    - name: Secret failure
      ansible.builtin.fail: {{msg: "{CANARY}"}}
      no_log: true
      ignore_errors: true
    - name: Skip
      ansible.builtin.debug: {{msg: never}}
      when: false
    - name: Wait
      ansible.builtin.command: "sleep {{{{ seconds | default(0) }}}}"
      changed_when: false
    - name: Fail here
      ansible.builtin.fail: {{msg: "no route"}}
      when: fails is defined and inventory_hostname == "127.0.77.2"
"""


class Laptop:
    """A checkout with a playbook, an inventory file and a home of its own."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.repository = site, Repository(folder / "checkout")
        self.commit = self.repository.commit(site__yml=PLAYBOOK)
        self.state = folder / "state"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CALLBOARD_"))},
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "CALLBOARD_TOKEN": site.service.token,
            "XDG_STATE_HOME": str(self.state),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        self.inventory = folder / "registry.yml"
        self.ask(site.service.url)

    def ask(self, url: str, **options: str) -> None:
        """Write the inventory file."""
        told = {"plugin": "registry", "url": url, "stages": [self.site.stage], "trusted_stage_variables": True}
        self.inventory.write_text(json.dumps({**told, **options}))

    def freeze(self, url: str) -> None:
        """List the hosts from a file, so that the service at this address is only needed for the record."""
        frozen = self.inventory.with_name("inventory.json")
        frozen.write_text(json.dumps(self.site.client.get(f"{self.site.path}/inventory")))
        self.ask(url, snapshot=str(frozen))

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [str(ANSIBLE), "-i", str(self.inventory), str(self.repository.folder / "site.yml"), *words]
        return subprocess.Popen(
            command,
            cwd=self.repository.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def play(self, *words: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)"""
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, " ".join(err.split())

    def spooled(self) -> list[Path]:
        return sorted((self.state / "callboard" / "spool").glob("*"))

    def runs(self) -> list[dict[str, Any]]:
        return self.site.client.get("/api/v1/runs", stage=self.site.stage)["items"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One that may be stopped and started again."""
    running = RunningService(tmp_path_factory.mktemp("laptops"), port=free_port(), environment=SETTINGS)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def laptop(site: Site, tmp_path: Path) -> Laptop:
    for address in ("127.0.77.1", "127.0.77.2"):
        site.client.send("PUT", f"{site.path}/hosts/{address}")
    site.client.send("PATCH", site.path, {"ttl_seconds": 3600, "interval_seconds": 600})
    return Laptop(site, tmp_path)


def test_it_records_a_plain_ansible_playbook(laptop: Laptop) -> None:
    code, said, told = laptop.play("-e", f"password={CANARY}", "--tags", "all")
    (run,) = laptop.runs()
    assert code == 0, said + told
    assert f"callboard: recorded as run {run['id']}: " in told, said + told
    shown = laptop.site.run(run["id"])
    assert (shown["status"], shown["kind"], shown["origin"], shown["commit"]) == (
        "successful",
        "playbook",
        "external",
        laptop.commit,
    )
    assert (shown["playbook"], shown["extra_vars"]) == ("site.yml", {"password": "(not recorded)"})
    assert (shown["snapshot"]["laptop"]["dirty"], shown["snapshot"]["laptop"]["branch"]) == (False, "main")
    counts = {host["host"]: (host["ok"], host["changed"], host["ignored"], host["skipped"]) for host in shown["hosts"]}
    assert counts == dict.fromkeys(("127.0.77.1", "127.0.77.2"), (5, 2, 1, 2))
    events = laptop.site.client.get(f"/api/v1/runs/{run['id']}/events", host="127.0.77.1")["items"]
    statuses = [(event["task"], event["status"]) for event in events]
    assert statuses[:5] == [
        ("Say", "ok"),
        ("Change", "changed"),
        ("Secret", "changed"),
        ("Secret failure", "ignored"),
        ("Skip", "skipped"),
    ]
    log = laptop.site.log(run["id"])
    assert "ok: [127.0.77.1] => grüß from 127.0.77.1" in log
    first = events[0]
    assert log.encode()[first["log_start"] : first["log_end"]].decode() == "ok: [127.0.77.1] => grüß from 127.0.77.1\n"
    everything = json.dumps([shown, events]) + log
    assert CANARY not in everything
    assert laptop.spooled() == []


def test_it_records_a_failure_and_a_dirty_checkout(laptop: Laptop) -> None:
    (laptop.repository.folder / "site.yml").write_text(PLAYBOOK + "\n# changed\n")
    code, _, _ = laptop.play("-e", "fails=1", "-C", "--limit", "127.0.77.2")
    shown = laptop.site.run(laptop.runs()[0]["id"])
    assert (code, shown["status"], shown["check"], shown["limit"]) == (2, "failed", True, "127.0.77.2")
    assert shown["snapshot"]["laptop"]["dirty"] is True
    failed = laptop.site.client.get(f"/api/v1/runs/{shown['id']}/events", failed=1)["items"]
    assert [(event["host"], event["message"]) for event in failed] == [("127.0.77.2", "no route")]


def test_it_records_an_interrupted_run(laptop: Laptop) -> None:
    process = laptop.start("-e", "seconds=30")
    run = wait_for("the record to begin", laptop.runs)[0]
    wait_for("the long task", lambda: "TASK [Wait]" in laptop.site.log(run["id"]))
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert laptop.site.run(run["id"])["status"] == "canceled"


def test_it_keeps_a_run_while_the_service_is_away(laptop: Laptop) -> None:
    service = laptop.site.service
    laptop.freeze(service.url)
    service.stop()
    try:
        outcomes = [laptop.play() for _ in range(2)]
    finally:
        service.start()
    assert [(code, told.count("is away")) for code, _, told in outcomes] == [(0, 1), (0, 1)]
    assert [file.stat().st_mode & 0o777 for file in laptop.spooled()] == [0o600, 0o600]
    assert CANARY not in "".join(file.read_text() for file in laptop.spooled())
    assert service.token not in "".join(file.read_text() for file in laptop.spooled())
    laptop.site.callboard("spool", "list")
    laptop.play("-e", "seconds=3")
    assert ([run["status"] for run in laptop.runs()], laptop.spooled()) == (["successful"] * 3, [])
    assert len({run["started_at"] for run in laptop.runs()}) == 3


def test_it_sends_the_spool_by_command(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(laptop.state))
    service = laptop.site.service
    laptop.freeze(service.url)
    service.stop()
    try:
        laptop.play()
        assert "could not be reached" in laptop.site.callboard("spool", "send").stderr
    finally:
        service.start()
    assert json.loads(laptop.site.callboard("spool", "list", "--json").stdout)[0]["stage"] == laptop.site.stage
    assert laptop.site.callboard("spool", "send").stdout == "1 run sent.\n"
    assert laptop.site.callboard("spool", "send").stdout == "0 runs sent.\n"
    assert ([run["status"] for run in laptop.runs()], laptop.spooled()) == (["successful"], [])


def test_it_never_waits_long_for_a_service_that_does_not_answer(laptop: Laptop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        laptop.freeze(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        started = time.monotonic()
        code, _, told = laptop.play()
        is_told = "is away" in told or "no answer came in time" in told
        assert (code, is_told, len(laptop.spooled())) == (0, True, 1), told
        assert time.monotonic() - started < 60


@pytest.mark.parametrize(("token", "words"), [("", "there is no token"), ("cbu_" + "x" * 12 + "." + "y" * 43, "401")])
def test_it_says_why_it_does_not_record(laptop: Laptop, token: str, words: str) -> None:
    laptop.freeze(laptop.site.service.url)
    laptop.environment["CALLBOARD_TOKEN"] = token
    code, _, told = laptop.play()
    assert code == 0, told
    assert "is not recorded" in told, told
    assert words in told, told
    assert (laptop.runs(), laptop.spooled()) == ([], [])


def test_it_leaves_runs_of_other_hosts_alone(laptop: Laptop) -> None:
    laptop.inventory = laptop.inventory.with_name("hosts.ini")
    laptop.inventory.write_text("localhost ansible_connection=local\n")
    code, _, told = laptop.play()
    assert code == 0
    assert "callboard" not in told
    assert laptop.runs() == []
