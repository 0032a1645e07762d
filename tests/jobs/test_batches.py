"""Hosts that die after the launch: who is left out, what that does to the run, and when it stops."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from inventory_service.clock import SystemClock
from inventory_service.deployments.launching import requests
from inventory_service.models import Host, Run, RunHost, Stage
from inventory_service.settings import Settings
from tests.support import Machine, wait_for, why

Ask = Callable[..., Run]
Join = Callable[..., list[Machine]]
Begin = Callable[..., subprocess.Popen[str]]

# The first host of the first batch says that it has begun, and waits until it may go on.
PLAYBOOK = """
- hosts: all
  gather_facts: false
  serial: {serial}
  strategy: {strategy}
  {more}
  tasks:
    - when: inventory_hostname == "web-1"
      ansible.builtin.shell: touch {folder}/begun; until [ -e {folder}/go ]; do sleep 0.1; done
    - wait_for: {{path: "{folder}/go", timeout: 60}}
      delegate_to: localhost
      connection: local
    - ansible.builtin.ping:
    - ansible.builtin.fail:
      when: "'bad' in inventory_hostname"
"""


def write(folder: Path, serial: str = "1", strategy: str = "linear", more: str = "") -> str:
    return PLAYBOOK.format(folder=folder, serial=serial, strategy=strategy, more=more)


@pytest.fixture
def play(ask: Ask, begin: Begin, tmp_path: Path) -> Callable[..., Run]:
    """Run the playbook; while its first task works the named hosts fall silent: play("web-2", serial="1", …)."""

    def carry(*silent: str, **words: str) -> Run:
        run = ask(write(tmp_path, **words))
        child = begin(run)
        wait_for(lambda: (tmp_path / "begun").exists() or child.poll() is not None, 60)
        Host.update(last_seen_at=SystemClock().now() - dt.timedelta(seconds=400)).where(Host.name << silent).execute()
        (tmp_path / "go").touch()
        output, _ = child.communicate(timeout=120)
        ended = requests.get(run.id)
        assert ended.status not in ("queued", "running"), output
        return ended

    return carry


def statuses(run: Run) -> dict[str, str]:
    return {row.name: row.status for row in RunHost.select().where(RunHost.run == run)}


def test_it_leaves_out_a_host_that_fell_silent_before_its_batch(
    join: Join, play: Callable[..., Run], settings: Settings
) -> None:
    join("web-1", "web-2", "web-3")
    run = play("web-2")
    assert (run.status, why(run)) == ("successful", "")
    assert statuses(run) == {"web-1": "changed", "web-2": "left_out", "web-3": "ok"}
    assert RunHost.get(RunHost.name == "web-2").message_code == "silent"
    assert "callboard: web-2 is left out" in (settings.run_dir(run.id) / "log").read_text()


@pytest.mark.parametrize("strategy", ["linear", "ansible.builtin.free"])
def test_it_excuses_a_host_that_is_unreachable_because_it_died(
    join: Join, play: Callable[..., Run], strategy: str
) -> None:
    join("dead-1", "web-1", "web-2")
    run = play("dead-1", serial="[2, 1]", strategy=strategy, more="max_fail_percentage: 0")
    words = {"dead-1": "left_out", "web-1": "changed", "web-2": "ok"}
    assert (run.status, statuses(run)) == ("successful", words), why(run)


def test_it_fails_where_a_live_host_is_unreachable(join: Join, play: Callable[..., Run]) -> None:
    join("dead-1", "web-1")
    run = play(serial="2")
    assert run.status == "failed"
    assert why(run).startswith("1 of 2 hosts was unreachable: dead-1. dead-1: ")


def test_it_ends_a_play_whose_batch_failed_but_for_those_left_out(join: Join, play: Callable[..., Run]) -> None:
    join("web-1", "x-bad", "y-silent", "z")
    run = play("y-silent", serial="[1, 2, 1]")
    assert (run.status, why(run)) == ("failed", "1 of 4 hosts failed: x-bad. x-bad: Failed as requested from task")
    assert statuses(run) == {"web-1": "changed", "x-bad": "failed", "y-silent": "left_out", "z": "untouched"}


def test_it_bears_unreachable_hosts_within_the_budget(join: Join, play: Callable[..., Run]) -> None:
    Stage.update(maximum_unreachable="1").execute()
    join("dead-1", "web-1", "web-2")
    run = play(serial="[2, 1]")
    assert (run.status, why(run)) == ("successful", "")
    assert statuses(run) == {"dead-1": "unreachable", "web-1": "changed", "web-2": "ok"}


def test_it_stops_beyond_the_budget_of_unreachable_hosts(join: Join, play: Callable[..., Run]) -> None:
    Stage.update(maximum_unreachable="40%").execute()
    join("web-1", "dead-1", "dead-2", "web-2")
    run = play(serial="3")
    assert (run.status, statuses(run)["web-2"]) == ("failed", "untouched")
    assert why(run).startswith("Stopped: 2 of the run's 4 hosts are unreachable")


def test_it_stops_where_too_few_hosts_are_left_healthy(join: Join, play: Callable[..., Run]) -> None:
    Stage.update(minimum_healthy="75%").execute()
    join("web-1", "web-2", "web-3", "web-4")
    run = play("web-3", "web-4")
    assert (run.status, statuses(run)["web-2"]) == ("failed", "untouched")
    assert why(run).startswith("Stopped: 2 of the 4 hosts that were live at the start are left healthy")
