from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from inventory_service.adapters import processes
from inventory_service.deployments.executor import execution, recovery
from inventory_service.deployments.launching import requests, run_queue
from inventory_service.jobs.executors import Executors
from inventory_service.models import Run, Stage
from inventory_service.settings import Settings
from tests.support import START, launched, wait_for


@pytest.fixture
def executors(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Executors]:
    monkeypatch.setenv("CALLBOARD_DATA_DIR", str(settings.data_dir))
    made = Executors()
    yield made
    made.close()


def spare(executors: Executors) -> int:
    assert executors._spare is not None
    return executors._spare.pid


def ask(stage: Stage) -> Run:
    return launched(stage, at=stage.created_at)


def start(executors: Executors, run: Run) -> subprocess.Popen[bytes]:
    """Claim the run for an executor, as the starter does."""

    def claim(executor: processes.Identity) -> bool:
        return execution.claim(run.id, at=run.created_at, executor=executor) is not None

    child = executors.start(run.id, claim)
    assert child is not None
    return child


def test_it_has_one_in_advance_and_uses_it(executors: Executors, stage: Stage, settings: Settings) -> None:
    executors.warm()
    first = spare(executors)
    executors.warm()
    assert spare(executors) == first
    run = ask(stage)
    assert start(executors, run).wait(60) == 0
    assert (requests.get(run.id).executor["pid"], requests.get(run.id).status) == (first, "failed")
    assert f"run {run.id}: failed" in (settings.run_dir(run.id) / "executor.log").read_text()


def test_it_starts_one_where_none_waits(executors: Executors, stage: Stage) -> None:
    runs = [ask(stage) for _ in range(2)]
    for run in runs:
        assert start(executors, run).wait(60) == 0
    assert [requests.get(run.id).status for run in runs] == ["failed", "failed"]


def test_it_does_without_one_that_has_died(executors: Executors, stage: Stage) -> None:
    executors.warm()
    os.kill(spare(executors), signal.SIGKILL)
    os.waitid(os.P_PID, spare(executors), os.WEXITED | os.WNOWAIT)
    run = ask(stage)
    assert start(executors, run).wait(60) == 0
    assert requests.get(run.id).status == "failed"


def test_it_keeps_the_one_in_advance_while_others_get_the_runs(executors: Executors, stage: Stage) -> None:
    executors.warm()
    first = spare(executors)
    taken = ask(stage)
    assert execution.claim(taken.id, at=taken.created_at) is not None
    assert executors.start(taken.id, lambda own: execution.claim(taken.id, at=START, executor=own) is not None) is None
    assert (spare(executors), requests.get(taken.id).executor["pid"]) == (first, os.getpid())


KILLED_AT_THE_CLAIM = """
import datetime as dt, os, signal, sys
from inventory_service import settings
from inventory_service.database import open_database
from inventory_service.deployments.executor import execution
from inventory_service.jobs.executors import Executors
open_database(settings.load().database_url)
def claim(executor):
    assert execution.claim(int(sys.argv[1]), at=dt.datetime.fromisoformat(sys.argv[2]), executor=executor) is not None
    os.kill(os.getpid(), signal.SIGKILL)
Executors().start(int(sys.argv[1]), claim)
"""


def test_a_run_whose_worker_was_killed_right_after_the_claim_is_lost_and_the_next_one_goes(
    stage: Stage, settings: Settings
) -> None:
    run, following = ask(stage), ask(stage)
    own = {"CALLBOARD_DATA_DIR": str(settings.data_dir), "CALLBOARD_DATABASE_URL": settings.database_url}
    command = [sys.executable, "-c", KILLED_AT_THE_CLAIM, str(run.id), run.created_at.isoformat()]
    assert subprocess.run(command, env={**os.environ, **own}, check=False).returncode == -signal.SIGKILL
    executor = requests.get(run.id).executor
    assert requests.get(run.id).status == "running"
    wait_for(lambda: not processes.is_alive(executor))  # it has nobody to wait for
    assert recovery.recover_lost(settings, at=run.created_at + dt.timedelta(seconds=16)) == [run.id]
    assert requests.get(run.id).status == "lost"
    assert [one.id for one in run_queue.due_runs()] == [following.id]


def test_it_ends_the_one_in_advance(executors: Executors) -> None:
    executors.warm()
    pid = spare(executors)
    child = executors._spare
    executors.close()
    assert child is not None
    assert child.wait(20) == 0
    executors.warm()
    assert executors._spare is None
    wait_for(lambda: processes.identity_of(pid) is None)
