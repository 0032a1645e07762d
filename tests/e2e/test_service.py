"""The service as a process tree, and the calls that machines make to it with curl."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from inventory_service.adapters import processes
from inventory_service.demo.service import RunningService, free_port
from tests.e2e.conftest import ROOT, SETTINGS, Site, wait_for
from tests.support import OWN_NETWORK


def test_it_stops_within_five_seconds_and_starts_again(tmp_path: Path) -> None:
    service = RunningService(tmp_path, port=free_port(), environment=SETTINGS)
    service.start()
    token, children = service.token, processes.descendants(service.pid or 0)
    started = time.monotonic()
    service.stop()
    assert time.monotonic() - started < 5
    assert not any(processes.identity_of(pid) for pid in children)
    service.start()
    assert (service.log.read_text().count("admin token"), service.token) == (1, token)
    service.stop()


def test_it_leaves_no_part_behind_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    service = RunningService(tmp_path, port=free_port(), environment=SETTINGS)
    service.start()
    children = processes.descendants(service.pid or 0)
    service.kill()
    assert children
    wait_for("the parts to end", lambda: not any(processes.identity_of(pid) for pid in children), seconds=10)


def test_it_starts_a_part_again_that_died(tmp_path: Path) -> None:
    service = RunningService(tmp_path, port=free_port(), environment=SETTINGS)
    service.start()
    for pid in processes.descendants(service.pid or 0):
        if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    wait_for("the worker to be back", lambda: "worker part ended" in service.log.read_text(), seconds=10)
    service.stop()


def test_it_gives_hosts_a_fresh_lease_after_an_outage(tmp_path: Path, site: Site) -> None:
    site.client.send("PATCH", site.path, {"ttl_seconds": 8})
    site.boot("web-1")
    path = f"{site.path}/hosts"
    site.service.stop()
    time.sleep(9)
    site.service.start()
    assert [row["state"] for row in site.client.get_all(path)] in (["live"], ["late"])


def test_it_takes_agentless_heartbeats(site: Site) -> None:
    site.client.send("PATCH", site.path, {"agentless": True})
    url = f"{site.service.url}{site.path}/hosts/{OWN_NETWORK}.250"
    curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--interface", f"{OWN_NETWORK}.250"]
    token = ["-H", f"Authorization: Bearer {site.join_token}"]

    def call(method: str, target: str = url) -> str:
        return subprocess.run([*curl, "-X", method, *token, target], capture_output=True, text=True, check=True).stdout

    assert [call("PUT"), call("PUT")] == ["201", "200"]
    assert site.listed() == {f"{OWN_NETWORK}.250"}
    assert call("PUT", url.replace("250", "251")) == "403"
    assert [call("DELETE"), call("DELETE")] == ["204", "204"]
    assert site.listed() == set()


def test_it_plays_the_demo_once_and_leaves_nothing_behind() -> None:
    before = {path.name for path in Path(tempfile.gettempdir()).glob("callboard-demo-*")}
    done = subprocess.run(
        [sys.executable, "-m", "inventory_service.cli", "demo", "--once"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in Path(tempfile.gettempdir()).glob("callboard-demo-*")} == before
    assert not any("callboard-demo-" in processes_environment(pid) for pid in _pids())


def _pids() -> list[int]:
    return [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()
    ]


def processes_environment(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return ""
