"""Executors in trouble: killed, canceled while they prepare, on a disk that fills up, flooded with output."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inventory_service import settings as settings_module
from inventory_service.adapters import processes
from inventory_service.clock import SystemClock
from inventory_service.database import open_database
from inventory_service.deployments import recovery, requests
from inventory_service.models import Project, Run, RunHost, Stage
from inventory_service.settings import Settings
from tests.support import ADA, Machine, wait_for

Ask = Callable[..., Run]
Join = Callable[..., list[Machine]]
Begin = Callable[..., subprocess.Popen[str]]
Execute = Callable[..., Run]

SLEEP = """
- hosts: all
  gather_facts: false
  serial: 1
  tasks:
    - name: Sleep well
      ansible.builtin.command: sleep 60
"""


def test_it_names_the_host_and_task_of_an_executor_that_was_killed(
    join: Join, ask: Ask, begin: Begin, settings: Settings
) -> None:
    join("web-1", "web-2")
    run = ask(SLEEP)
    child = begin(run)
    wait_for(lambda: requests.get(run.id).in_flight == {"web-1": "Sleep well"} or child.poll() is not None, 60)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    at = SystemClock().now() + recovery._LEASE_HERE * 2
    wait_for(lambda: recovery.recover_lost(settings, at=at) == [run.id], 20)
    assert processes.marked("CALLBOARD_RUN", f"{settings.data_dir}#{run.id}") == []
    assert "died with a task under way on web-1 (Sleep well)." in requests.get(run.id).error
    assert {row.name: row.status for row in RunHost.select()} == {"web-1": "lost", "web-2": "untouched"}


def test_it_ends_a_run_that_is_silent_for_too_long(join: Join, ask: Ask, execute: Execute) -> None:
    join("web-1")
    Stage.update(idle_timeout_seconds=2).execute()
    run = execute(ask(SLEEP))
    assert (RunHost.get().status, "'Sleep well' was under way" in RunHost.get().message) == ("lost", True)
    assert (run.status, "idle for 2 s" in run.error) == ("timeout", True), run.error


def test_it_hears_of_a_cancel_while_it_prepares(
    join: Join, ask: Ask, begin: Begin, tmp_path: Path, settings: Settings
) -> None:
    """git hangs: a program of that name comes first in PATH."""
    Project.update(source=str(tmp_path), source_kind="git").execute()
    join("web-1")
    (tmp_path / "bin").mkdir()
    git = tmp_path / "bin" / "git"
    git.write_text(f"#!/bin/sh\ntouch {tmp_path}/cloning\nexec sleep 60\n")
    git.chmod(0o755)
    run = ask(SLEEP)
    child = begin(run, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    wait_for(lambda: (tmp_path / "cloning").exists() or child.poll() is not None, 60)
    requests.cancel(requests.get(run.id), actor=ADA, at=SystemClock().now())
    child.communicate(timeout=30)
    assert requests.get(run.id).status == "canceled"


FILL = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Fill the disk
      ansible.builtin.shell: dd if=/dev/zero of={data}/filling bs=64k || true
    - name: Talk
      ansible.builtin.debug:
        msg: "{{{{ 'x' * 3000 }}}}"
      loop: "{{{{ range(30) }}}}"
"""
# In a mount namespace of its own: a small disk at the data folder, and what lies there when the executor has ended.
ON_A_SMALL_DISK = """
cp -a {data} {copy} && mount -t tmpfs -o size=32m tmpfs {data} && cp -a {copy}/. {data} && rm -r {copy}
{python} -m inventory_service.jobs.execute {run}
rm -f {data}/filling && cp -a {data} {copy}
"""


def test_it_records_the_outcome_on_a_disk_that_filled_up(
    join: Join, ask: Ask, settings: Settings, tmp_path: Path
) -> None:
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no mount namespaces here")
    join("web-1")
    run = ask(FILL.format(data=settings.data_dir))
    copy = tmp_path / "copy"
    words = {"data": settings.data_dir, "copy": copy, "python": sys.executable, "run": run.id}
    own = {"CALLBOARD_DATA_DIR": str(settings.data_dir), "CALLBOARD_FREE_SPACE_MB": "1"}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-e", "-c", ON_A_SMALL_DISK.format(**words)],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    open_database(settings_module.load({}, data_dir=copy).database_url)
    ended = requests.get(run.id)
    assert (ended.status, "No space left on device" in ended.error) == ("failed", True), (ended.error, done.stderr)
    assert RunHost.get().status in ("lost", "changed", "failed"), "it was worked on"
    shutil.rmtree(copy)
