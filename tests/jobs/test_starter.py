"""The worker as a process: how much it does at once, in which order, and over its own restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inventory_service.clock import SystemClock
from inventory_service.deployments.launching import requests, run_queue
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.models import Run, Stage
from inventory_service.settings import Settings
from tests.support import ADA, Machine, wait_for

WORKER = """
from inventory_service import settings
from inventory_service.database import open_database
from inventory_service.jobs import worker
loaded = settings.load()
open_database(loaded.database_url)
worker.work(loaded)
"""
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Wait
      ansible.builtin.wait_for: {{path: "{folder}/go", timeout: 60}}
"""


@pytest.fixture
def worker(settings: Settings) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a worker that does so many runs at once."""
    started: list[subprocess.Popen[bytes]] = []

    def start(run_workers: int) -> subprocess.Popen[bytes]:
        own = {"CALLBOARD_DATA_DIR": str(settings.data_dir), "CALLBOARD_RUN_WORKERS": str(run_workers)}
        started.append(subprocess.Popen([sys.executable, "-c", WORKER], env={**os.environ, **own}))
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.wait()


@pytest.fixture
def ask(make_stage: Callable[..., Stage], source: Path, tmp_path: Path) -> Callable[..., Run]:
    """Queue a run that waits for the file `go`, on a stage of its own with one host."""
    (source / "wait.yml").write_text(PLAYBOOK.format(folder=tmp_path))
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}

    def queue(name: str) -> Run:
        now = SystemClock().now()
        stage = make_stage(name, variables=variables, ttl_seconds=3600)
        Machine(stage, name=name).enrol(now)
        wanted = RunRequest(kind="playbook", playbook="wait.yml")
        return requests.request_run(stage, wanted, actor=ADA, at=now)[0]

    return queue


def statuses(*runs: Run) -> list[str]:
    return [requests.get(run.id).status for run in runs]


def test_it_does_several_stages_at_once_and_no_more_than_it_may(
    worker: Callable[..., subprocess.Popen[bytes]], ask: Callable[..., Run], tmp_path: Path, settings: Settings
) -> None:
    runs = [ask(name) for name in ("a", "b", "c")]
    first = worker(2)
    wait_for(lambda: statuses(*runs) == ["running", "running", "queued"], 60)
    assert run_queue.waiting(requests.get(runs[2].id)).words == "a free worker"
    # The worker stops at once, and its runs go on.
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=20) is not None
    assert len(run_queue.running_here()) == 2
    # Another one counts them as its own, and takes the third when one of them has ended.
    worker(2)
    with pytest.raises(AssertionError):
        wait_for(lambda: "running" in statuses(runs[2]), 4)
    (tmp_path / "go").touch()
    wait_for(lambda: statuses(*runs) == ["successful"] * 3, 90)
    third = requests.get(runs[2].id)
    assert third.started_at >= min(requests.get(run.id).ended_at for run in runs[:2])
