"""The executor as the worker starts it: a process of its own, with a real ansible-playbook."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inventory_service.clock import SystemClock
from inventory_service.deployments.launching import requests
from inventory_service.models import Run, Stage
from inventory_service.registry import stages
from inventory_service.settings import Settings
from tests.support import Machine, launched

# Hosts are this machine, but for those called dead-…: nobody answers at their address.
CONNECTION = "{{ 'ssh' if inventory_hostname.startswith('dead') else 'local' }}"


@pytest.fixture
def local(stage: Stage, source: Path) -> Stage:
    """A stage whose hosts are this machine."""
    variables = {
        "ansible_connection": CONNECTION,
        "ansible_ssh_common_args": "-o ConnectTimeout=2",
        "ansible_python_interpreter": sys.executable,
    }
    Stage.update(variables=variables, has_convergence=False).execute()
    return stages.get_stage("shop", "production")


@pytest.fixture
def join(local: Stage) -> Callable[..., list[Machine]]:
    """Live hosts of these names: join("web-1", "dead-1")."""

    def enrol(*names: str) -> list[Machine]:
        now = SystemClock().now()
        return [
            Machine(local, name=name, address=f"127.0.0.{number}").enrol(now) for number, name in enumerate(names, 2)
        ]

    return enrol


@pytest.fixture
def ask(local: Stage, source: Path) -> Callable[..., Run]:
    """Queue a run of a playbook's text: ask(text, **fields of RunRequest)."""

    def queue(playbook: str, **fields: Any) -> Run:
        (source / "play.yml").write_text(playbook)
        stage = stages.get_stage("shop", "production")
        return launched(stage, "playbook", playbook="play.yml", at=SystemClock().now(), **fields)

    return queue


@pytest.fixture
def begin(settings: Settings) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the executor of a run: begin(run, **environment)."""
    started: list[subprocess.Popen[str]] = []

    def start(run: Run, **environment: str) -> subprocess.Popen[str]:
        own = {**os.environ, "CALLBOARD_DATA_DIR": str(settings.data_dir), **environment}
        command = [sys.executable, "-m", "inventory_service.jobs.execute", str(run.id)]
        child = subprocess.Popen(
            command, env=own, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def execute(begin: Callable[..., subprocess.Popen[str]]) -> Callable[..., Run]:
    """Carry a run to its end and return it: execute(run, **environment)."""

    def carry(run: Run, **environment: str) -> Run:
        output, _ = begin(run, **environment).communicate(timeout=120)
        ended = requests.get(run.id)
        assert ended.status not in ("queued", "running"), output
        return ended

    return carry
