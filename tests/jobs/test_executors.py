from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from inventory_service.adapters import processes
from inventory_service.deployments.launching import requests
from inventory_service.jobs.executors import Executors
from inventory_service.models import Run, Stage
from inventory_service.settings import Settings
from tests.support import launched, wait_for


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


def test_it_has_one_in_advance_and_uses_it(executors: Executors, stage: Stage, settings: Settings) -> None:
    executors.warm()
    first = spare(executors)
    executors.warm()
    assert spare(executors) == first
    run = ask(stage)
    assert executors.start(run.id).wait(60) == 0
    assert (requests.get(run.id).executor["pid"], requests.get(run.id).status) == (first, "failed")
    assert f"run {run.id}: failed" in (settings.run_dir(run.id) / "executor.log").read_text()


def test_it_starts_one_where_none_waits(executors: Executors, stage: Stage) -> None:
    runs = [ask(stage) for _ in range(2)]
    for run in runs:
        assert executors.start(run.id).wait(60) == 0
    assert [requests.get(run.id).status for run in runs] == ["failed", "failed"]


def test_it_does_without_one_that_has_died(executors: Executors, stage: Stage) -> None:
    executors.warm()
    os.kill(spare(executors), signal.SIGKILL)
    os.waitid(os.P_PID, spare(executors), os.WEXITED | os.WNOWAIT)
    run = ask(stage)
    assert executors.start(run.id).wait(60) == 0
    assert requests.get(run.id).status == "failed"


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
