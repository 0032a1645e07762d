"""Runs the scenario of the role heartbeat, and watches the process list meanwhile."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


class Watch(threading.Thread):
    """Looks again and again for a secret on any command line of this machine, once its file is there."""

    def __init__(self, secret: Path) -> None:
        super().__init__(daemon=True)
        self.secret, self.over = secret, threading.Event()
        self.looks, self.found = 0, set()

    def run(self) -> None:
        while not self.over.wait(0.1):
            if self.secret.exists() and (token := self.secret.read_bytes().strip()):
                self.looks += 1
                self.found |= {line for line in command_lines() if token in line}


def command_lines():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue


@pytest.mark.molecule
def test_it_keeps_a_host_enrolled(tmp_path: Path):
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CALLBOARD_"))},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path / "molecule"),
        "NO_COLOR": "1",
    }
    watch = Watch(tmp_path / "molecule/service/join_token")
    watch.start()
    done = subprocess.run(
        ["molecule", "test", "--scenario-name", "heartbeat"],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    watch.over.set()
    watch.join()
    assert done.returncode == 0, done.stdout
    assert watch.looks > 30
    assert watch.found == set()
