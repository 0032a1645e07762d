"""A launch waits for no git server that does not answer."""

from __future__ import annotations

import subprocess
import time

import pytest

from inventory_service.models import Project, Stage
from inventory_service.settings import Settings
from tests.support import FakeClock, at_once, launched

MOST_SECONDS = 2.0
OWN_SECONDS = 1.0  # for all that is not the server's, on a busy machine


@pytest.mark.parametrize("address", ["http://{}/shop.git", "git://{}/shop.git", "ssh://git@{}/shop.git"])
def test_it_queues_within_two_seconds_though_the_server_never_answers(
    silent: str, address: str, stage: Stage, settings: Settings, clock: FakeClock
) -> None:
    Project.update(source=address.format(silent), source_kind="git").execute()
    began = time.monotonic()
    run = launched(Stage.get(), at=clock.now(), settings=settings, extra_vars={"a": 1})
    took = time.monotonic() - began
    assert (run.status, run.extra_vars) == ("queued", {"a": 1})
    assert took < MOST_SECONDS + OWN_SECONDS, f"{took:.1f} s"
    left = subprocess.run(["pgrep", "-f", silent], capture_output=True, text=True, check=False).stdout.split()
    assert not left, "a process still waits for the server"


def test_it_waits_no_longer_where_others_wait_for_the_same_source(
    silent: str, stage: Stage, settings: Settings, clock: FakeClock
) -> None:
    Project.update(source=f"http://{silent}/shop.git", source_kind="git").execute()
    began = time.monotonic()
    runs = at_once(lambda _: launched(Stage.get(), at=clock.now(), settings=settings), 3)
    took = time.monotonic() - began
    assert {run.status for run in runs} == {"queued"}, runs
    assert took < MOST_SECONDS + OWN_SECONDS, f"{took:.1f} s"
