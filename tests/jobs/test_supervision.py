"""Executors in trouble: killed, canceled while they prepare, on a disk that fills up, flooded with output."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from inventory_service import settings as settings_module
from inventory_service.adapters import processes
from inventory_service.clock import SystemClock
from inventory_service.database import open_database
from inventory_service.deployments.executor import recovery
from inventory_service.deployments.launching import requests
from inventory_service.models import Project, Run, RunEvent, RunHost, Stage
from inventory_service.settings import Settings
from tests.support import ADA, Machine, wait_for, why

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
    folder = settings.run_dir(run.id)
    sockets = (folder / "work" / "control").readlink()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    at = SystemClock().now() + recovery._LEASE_HERE * 2
    wait_for(lambda: recovery.recover_lost(settings, at=at) == [run.id], 20)
    assert processes.marked("CALLBOARD_RUN", f"{settings.data_dir}#{run.id}") == []
    assert "died with a task under way on web-1 (Sleep well)." in why(requests.get(run.id))
    assert {row.name: row.status for row in RunHost.select()} == {"web-1": "lost", "web-2": "untouched"}
    assert (sockets.exists(), [file for file in ("work", "reserve") if (folder / file).exists()]) == (False, [])


def test_it_ends_a_run_that_is_silent_for_too_long(join: Join, ask: Ask, execute: Execute) -> None:
    join("web-1")
    Stage.update(idle_timeout_seconds=2).execute()
    run = execute(ask(SLEEP))
    assert (RunHost.get().status, RunHost.get().message_params) == ("lost", {"task": "Sleep well"})
    assert run.status == "timeout", why(run)
    assert "idle for 2 s" in why(run), why(run)


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
      loop: "{{{{ range(30) | list }}}}"
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
    assert ended.status == "failed", (why(ended), done.stderr)
    assert "No space left on device" in why(ended), (why(ended), done.stderr)
    assert RunHost.get().status in ("lost", "changed", "failed"), "it was worked on"
    shutil.rmtree(copy)


def highest_memory(child: subprocess.Popen[str]) -> int:
    """Wait for the executor's end; returns the most memory that it had, in kilobytes."""
    highest = 0
    while child.poll() is None:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{child.pid}/status").read_text())
        highest = max(highest, int(found[1])) if found else highest
        time.sleep(0.05)
    return highest


FLOOD = """
- hosts: all
  gather_facts: false
  tasks:
    - name: One huge result
      ansible.builtin.set_fact:
        text: "{{ 'x' * 100_000_000 }}"
    - name: Show it
      ansible.builtin.debug:
        var: text
    - name: It is whole for the playbook
      ansible.builtin.assert:
        that: text | length == 100_000_000
"""


def test_it_cuts_a_huge_result_for_the_log_and_not_for_the_playbook(
    join: Join, ask: Ask, begin: Begin, settings: Settings
) -> None:
    join("web-1")
    run = ask(FLOOD)
    child = begin(run)
    memory = highest_memory(child)
    log = (settings.run_dir(run.id) / "log").read_text()
    assert requests.get(run.id).status == "successful", log[-2000:]
    assert "[cut, " in log
    assert len(log) < 600_000
    assert memory < 250_000


ODD = r"""
- hosts: all
  gather_facts: false
  tasks:
    - name: Bytes that are no UTF-8, colours, and a link that runs a script
      ansible.builtin.command:
        argv:
          - printf
          - 'caf\351 \377\376 \033[31mred\033[0m \033]8;;javascript:alert(1)\033\\click\033]8;;\033\\ \342\202\254'
      register: said
      ignore_errors: true
    - name: Say it
      ansible.builtin.debug:
        msg: "{{ said.stdout | default(said.msg) }} äöü €"
"""


def test_it_survives_odd_bytes_and_an_odd_locale(join: Join, ask: Ask, execute: Execute, settings: Settings) -> None:
    join("web-1")
    run = execute(ask(ODD), LC_ALL="C", LANG="C")
    log = (settings.run_dir(run.id) / "log").read_bytes()
    assert run.status == "successful", log.decode()
    assert "äöü €" in log.decode(), log.decode()
    assert RunEvent.select().where(RunEvent.host == "web-1").exists()


ENDLESS = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Talk for ever
      ansible.builtin.debug:
        msg: "{{ 'x' * 10_000 }}"
      loop: "{{ range(100_000) | list }}"
"""


def test_it_bounds_the_log_of_a_run_without_an_end(join: Join, ask: Ask, begin: Begin, settings: Settings) -> None:
    join("web-1")
    run = ask(ENDLESS)
    child = begin(run, CALLBOARD_RUN_LOG_MB="1")
    wait_for(lambda: requests.get(run.id).is_log_cut or child.poll() is not None, 90)
    assert child.poll() is None, (settings.run_dir(run.id) / "log").read_text()[-3000:]
    requests.cancel(requests.get(run.id), actor=ADA, at=SystemClock().now())
    memory = highest_memory(child)
    log = settings.run_dir(run.id) / "log"
    assert requests.get(run.id).status == "canceled"
    assert (log.stat().st_size < 2**20 + 200) is True
    assert b"has reached its largest size" in log.read_bytes()
    assert memory < 250_000
