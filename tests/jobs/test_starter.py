"""The worker as a process: how much it does at once, in which order, and over its own restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inventory_service.clock import SystemClock
from inventory_service.codes.run import Wait
from inventory_service.deployments import locks
from inventory_service.deployments.launching import requests, run_queue
from inventory_service.models import JobTick, Run, Stage, StageLock
from inventory_service.settings import Settings
from tests.support import ADA, Machine, launched, wait_for

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
    """Start a worker that does so many runs at once; `data_dir`: another one than the test's."""
    started: list[subprocess.Popen[bytes]] = []

    def start(run_workers: int, data_dir: Path = settings.data_dir) -> subprocess.Popen[bytes]:
        own = {"CALLBOARD_DATA_DIR": str(data_dir), "CALLBOARD_RUN_WORKERS": str(run_workers)}
        own |= {"CALLBOARD_DATABASE_URL": settings.database_url, "CALLBOARD_SECRET_KEY": settings.secret_key}
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
        return launched(stage, "playbook", playbook="wait.yml", at=now)

    return queue


def statuses(*runs: Run) -> list[str]:
    return [requests.get(run.id).status for run in runs]


def test_it_does_several_stages_at_once_and_no_more_than_it_may(
    worker: Callable[..., subprocess.Popen[bytes]], ask: Callable[..., Run], tmp_path: Path, settings: Settings
) -> None:
    runs = [ask(name) for name in ("a", "b", "c")]
    first = worker(2)
    wait_for(lambda: statuses(*runs) == ["running", "running", "queued"], 60)
    assert run_queue.waiting(requests.get(runs[2].id)).why.code == Wait.WORKER
    # The worker stops at once, and its runs go on.
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=20) is not None
    assert len(run_queue.running_here()) == 2
    # Another one counts them as its own, and takes the third when one of them has ended.
    worker(2)
    with pytest.raises(AssertionError):
        wait_for(lambda: "running" in statuses(runs[2]), 4)
    (tmp_path / "go").touch()
    wait_for(lambda: not {"queued", "running"} & set(statuses(*runs)), 90)
    assert statuses(*runs) == ["successful"] * 3
    third = requests.get(runs[2].id)
    assert third.started_at >= min(requests.get(run.id).ended_at for run in runs[:2])


def is_up() -> bool:
    """Whether a worker has done its first job, and therefore looks at the queue."""
    return JobTick.select().where(JobTick.last_finished_at.is_null(False)).exists()


@pytest.mark.each_database
def test_it_starts_a_run_as_soon_as_it_is_queued(
    worker: Callable[..., subprocess.Popen[bytes]], ask: Callable[..., Run]
) -> None:
    worker(1)
    wait_for(is_up, 60)
    time.sleep(5.6)  # its executor is loaded, and the second of its looks was just now
    run = ask("a")
    wait_for(lambda: statuses(run) == ["running"], 30)
    waited = (requests.get(run.id).started_at - run.created_at).total_seconds()
    assert waited < 2, "by itself a worker on PostgreSQL looks every 5 s"


@pytest.mark.postgresql
def test_it_finds_a_run_of_which_it_was_not_told(
    worker: Callable[..., subprocess.Popen[bytes]], ask: Callable[..., Run]
) -> None:
    run = ask("a")
    locks.lock(run.stage, reason="so that the run waits", actor=ADA, at=run.created_at)
    worker(1)
    wait_for(is_up, 60)
    StageLock.delete().execute()  # as `unlock` does, but nobody is told
    wait_for(lambda: statuses(run) == ["running"], 30)


@pytest.mark.each_database
def test_it_gives_each_run_to_one_of_the_workers_that_look_at_once(
    worker: Callable[..., subprocess.Popen[bytes]], ask: Callable[..., Run], tmp_path: Path, settings: Settings
) -> None:
    folders = [settings.data_dir, tmp_path / "second", tmp_path / "third"]
    for folder in folders:
        worker(4, folder)
    wait_for(is_up, 60)
    (tmp_path / "go").touch()
    runs = [ask(name) for name in "abcd"]
    wait_for(lambda: statuses(*runs) == ["successful"] * 4, 120)
    assert [requests.get(run.id).attempt for run in runs] == [1] * 4
    logs = [[folder for folder in folders if (folder / "runs" / str(run.id) / "log").exists()] for run in runs]
    assert [len(found) for found in logs] == [1] * 4, logs
