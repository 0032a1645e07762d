"""Runs under way: cancel, waiting, death of the executor, restart of the service."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from inventory_service.adapters import processes
from inventory_service.client import ClientError
from inventory_service.demo.service import RunningService, free_port
from tests.e2e.conftest import SETTINGS, Site, all_pids, is_executor, make_site, wait_for


def _begun(site: Site, run_id: int) -> None:
    wait_for(f"run {run_id} to begin its work", lambda: "TASK [Sleep]" in site.log(run_id))


def _processes_of(site: Site, run_id: int) -> list[int]:
    return processes.marked("CALLBOARD_RUN", f"{site.service.data_dir}#{run_id}")


def test_it_streams_the_log_while_the_run_works(site: Site) -> None:
    site.boot("web-1")
    run_id = site.launch(playbook="slow.yml", extra_vars={"seconds": 3})
    pieces = site.client.stream(f"/api/v1/runs/{run_id}/log?follow=1")
    seen = [(time.monotonic(), piece) for piece in pieces]
    text = "".join(piece for _, piece in seen)
    begun = next(moment for moment, piece in seen if "TASK [Begin]" in piece)
    assert "PLAY RECAP" in text
    assert seen[-1][0] - begun > 2, "the beginning arrived before the end was written"
    assert text == site.log(run_id)


def test_it_cancels_a_run_with_everything_it_started(site: Site) -> None:
    site.boot("web-1")
    run_id = site.launch(playbook="slow.yml")
    _begun(site, run_id)
    asked = time.monotonic()
    assert site.callboard("cancel", str(run_id)).returncode == 0
    run = site.ended(run_id, seconds=10)
    assert (run["status"], time.monotonic() - asked < 8) == ("canceled", True)
    assert _processes_of(site, run_id) == []
    assert site.callboard("logs", "-f", str(run_id)).returncode == 3
    assert site.client.get(site.path)["locked_by_run"] is None


def test_it_waits_or_refuses_as_asked(site: Site) -> None:
    site.boot("web-1")
    first = site.launch(playbook="slow.yml", extra_vars={"seconds": 3})
    _begun(site, first)
    with pytest.raises(ClientError, match="busy") as refused:
        site.launch(playbook="slow.yml", if_locked="refuse")
    assert refused.value.status == 409
    second = site.launch(playbook="slow.yml", extra_vars={"seconds": 0})
    assert site.run(second)["status"] == "queued"
    assert [site.ended(run)["status"] for run in (first, second)] == ["successful", "successful"]
    assert site.run(second)["started_at"] >= site.run(first)["ended_at"]


def test_it_waits_for_a_persons_lock(site: Site) -> None:
    site.boot("web-1")
    site.client.send("PUT", f"{site.path}/lock", {"reason": "the auditors are here"})
    run_id = site.launch(playbook="slow.yml", extra_vars={"seconds": 0})
    with pytest.raises(ClientError, match="the auditors are here"):
        site.launch(playbook="slow.yml", if_locked="refuse")
    time.sleep(2)
    assert site.run(run_id)["status"] == "queued"
    site.client.send("DELETE", f"{site.path}/lock")
    assert site.ended(run_id)["status"] == "successful"


def test_it_marks_a_run_lost_when_its_executor_is_killed(site: Site) -> None:
    site.boot("web-1")
    run_id = site.launch(playbook="slow.yml")
    _begun(site, run_id)
    executors = [pid for pid in all_pids() if is_executor(pid, run_id)]
    for pid in executors:
        os.kill(pid, signal.SIGKILL)
    run = site.ended(run_id, seconds=40)
    assert executors
    assert (run["status"], run["hosts"][0]["status"]) == ("lost", "lost")
    assert _processes_of(site, run_id) == []
    following = site.ended(site.launch(playbook="slow.yml", extra_vars={"seconds": 0}))
    assert following["status"] == "successful"


def test_it_lets_a_run_outlive_a_restart_of_the_service(
    repository: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    service = RunningService(tmp_path / "service", port=free_port(), environment=SETTINGS)
    service.start()
    site = make_site(service, repository, tmp_path)
    try:
        site.boot("web-1")
        run_id = site.launch(playbook="slow.yml", extra_vars={"seconds": 20})
        _begun(site, run_id)
        service.stop()
        service.start()
        assert site.run(run_id)["status"] == "running"
        assert site.ended(run_id)["status"] == "successful"
    finally:
        service.stop()
        for machine in site.machines.values():
            machine.kill()


def test_it_answers_the_same_run_to_a_repeated_idempotency_key(site: Site) -> None:
    site.boot("web-1")
    body = {"stage": site.stage, "kind": "playbook", "playbook": "slow.yml", "extra_vars": {"seconds": 0}}
    answers: list[int] = []

    def post() -> None:
        answers.append(site.client.send("POST", "/api/v1/runs", body, Idempotency_Key="build-17")["id"])

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(answers), len(set(answers))) == (4, 1)
    site.ended(answers[0])


def test_it_reaches_hosts_by_mitogen_where_the_stage_says_so(site: Site) -> None:
    for name in ("web-1", "web-2"):
        site.boot(name)
    site.client.send("PATCH", site.path, {"strategy": "mitogen"})
    run = site.ended(site.launch(playbook="mitogen.yml"))
    assert (run["status"], [host["ok"] for host in run["hosts"]]) == ("successful", [1, 1]), site.log(run["id"])
