from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from inventory_service.adapters import processes
from tests.support import wait_for

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def sleeper(**environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], env={**os.environ, **environment})


def test_it_knows_a_process_for_good() -> None:
    own = processes.identity_of(os.getpid())
    assert own is not None
    assert processes.is_alive(own)
    assert processes.is_on_this_machine(own)


def test_it_tells_a_process_from_another_of_the_same_pid() -> None:
    own = processes.identity_of(os.getpid())
    assert own is not None
    assert not processes.is_alive({**own, "started": own["started"] - 1})
    assert not processes.is_alive({**own, "boot_id": "another boot"})


def test_it_takes_a_zombie_for_dead() -> None:
    child = subprocess.Popen(["true"])
    wait_for(lambda: processes.identity_of(child.pid) is None)
    child.wait()


def test_it_knows_no_process_of_a_pid_that_none_has() -> None:
    assert processes.identity_of(2**22 + 1) is None


def test_it_finds_descendants_children_first() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True) as shell:
        wait_for(lambda: len(processes.descendants(shell.pid)) == 1)
        below = processes.descendants(os.getpid())
        assert below.index(shell.pid) < below.index(processes.descendants(shell.pid)[0])
        processes.end([*processes.descendants(shell.pid), shell.pid], patience_seconds=2)


def test_it_finds_marked_processes_by_the_whole_value() -> None:
    with sleeper(CALLBOARD_RUN="/data#1") as marked, sleeper(CALLBOARD_RUN="/data#12") as other:
        wait_for(lambda: processes.marked("CALLBOARD_RUN", "/data#1") == [marked.pid])
        marked.kill()
        other.kill()


def test_it_ends_what_listens_to_term_at_once() -> None:
    child, started = sleeper(), time.monotonic()
    processes.end([child.pid], patience_seconds=10)
    assert processes.identity_of(child.pid) is None
    assert time.monotonic() - started < 3


def test_it_kills_what_does_not() -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        processes.end([child.pid], patience_seconds=0.2)
        wait_for(lambda: processes.identity_of(child.pid) is None)


def test_it_leaves_the_exit_codes_of_others_alone() -> None:
    other, child = subprocess.Popen(["false"]), sleeper()
    wait_for(lambda: processes.identity_of(other.pid) is None)
    processes.end([child.pid], patience_seconds=2)
    assert other.wait() == 1


def test_it_does_not_mind_a_process_that_is_gone() -> None:
    child = sleeper()
    child.kill()
    child.wait()
    processes.end([child.pid], patience_seconds=0)


# the guard in front of ansible-playbook

GUARD = processes.__file__.replace("processes.py", "playbook_guard.py")


def test_it_ends_with_its_parent() -> None:
    """A SIGKILL of the executor must not leave ansible-playbook at work."""
    start = f"subprocess.Popen([sys.executable, '-I', {GUARD!r}, str(os.getpid()), '/bin/sleep', '60'])"
    parent = subprocess.Popen([sys.executable, "-c", f"import os, subprocess, sys; {start}.wait()"])
    wait_for(lambda: "sleep" in [name_of(pid) for pid in processes.descendants(parent.pid)])
    (child,) = processes.descendants(parent.pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: processes.identity_of(child) is None)


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_it_does_not_begin_when_its_parent_died_before() -> None:
    done = subprocess.run([sys.executable, "-I", GUARD, "1", "/bin/echo"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "the parent died before the program began\n")
