"""The executor as the worker starts it: a process of its own, with a real ansible-playbook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inventory_service.clock import SystemClock
from inventory_service.deployments import locks
from inventory_service.deployments.launching import requests, run_queue
from inventory_service.models import Event, Project, Run, RunEvent, RunHost, Stage
from inventory_service.registry import hosts, stages
from inventory_service.settings import Settings
from tests.support import ADA, Machine, launched, why

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: "{{ callboard_stage }} {{ greeting }} {{ secret }} {{ callboard_reported.motd | default('') }}"
    - ansible.builtin.debug:
        msg: "environment {{ lookup('env', 'CALLBOARD_SECRET_KEY') or 'scrubbed' }}"
"""


def execute(run: Run, settings: Settings) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "CALLBOARD_DATA_DIR": str(settings.data_dir),
        "CALLBOARD_DATABASE_URL": settings.database_url,
        "CALLBOARD_SECRET_KEY": "hunter2",
    }
    command = [sys.executable, "-m", "inventory_service.jobs.execute", str(run.id)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def local(stage: Stage, source: Path) -> Stage:
    """A stage whose hosts are this machine, and whose deploy only talks."""
    (source / "deploy.yml").write_text(PLAYBOOK)
    Project.update(variables={"greeting": "hello"}).execute()
    Stage.update(variables={"ansible_connection": "local"}, has_convergence=False).execute()
    return stages.get_stage("shop", "production")


def ask(stage: Stage, **fields: object) -> Run:
    return launched(stage, at=stage.created_at, **fields)


def test_it_carries_a_deploy_to_its_end(local: Stage, web_1: Machine, settings: Settings) -> None:
    web_1.beat(SystemClock().now(), facts={"motd": "{{ lookup('pipe', 'id') }}"})
    run, following = ask(local, extra_vars={"secret": "{{ 6 * 7 }}"}), ask(local)
    done = execute(run, settings)
    ended = requests.get(run.id)
    log = (settings.run_dir(run.id) / "log").read_text()
    assert (done.returncode, ended.status, why(ended)) == (0, "successful", ""), (done.stderr, log)
    # extra vars and what hosts say are data, never templates; the service's own environment is not passed on
    assert "shop/production hello {{ 6 * 7 }} {{ lookup('pipe', 'id') }}" in log
    assert "environment scrubbed" in log
    assert "hunter2" not in log
    assert RunHost.get(RunHost.run == run).status == "ok"
    assert RunEvent.select().where(RunEvent.status == "ok").count() == 2
    assert (web_1.row.release_number, hosts.desired_release(requests.get(run.id).stage)["number"]) == (1, 1)
    assert ended.snapshot["hosts"] == ["web-1"]
    # the stage is free, the next run's turn has come, and nothing of the work is left
    assert locks.find(local, locks.BY_RUN) is None
    assert [run.id for run in run_queue.due_runs()] == [following.id]
    assert sorted(path.name for path in settings.run_dir(run.id).iterdir()) == ["log"]
    assert settings.run_dir(run.id).stat().st_mode & 0o077 == 0
    assert Event.select().where(Event.name == "run.successful").count() == 1


def test_it_leaves_a_run_alone_that_is_not_due(local: Stage, settings: Settings) -> None:
    locks.lock(local, reason="wait", actor=ADA, at=local.created_at)
    run = ask(local)
    assert (execute(run, settings).returncode, requests.get(run.id).status) == (0, "queued")
