"""Runs the real agent as a process, under this Python and, where there is one, Python 3.8."""

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from agent_peer import JOIN_TOKEN, Peer

from inventory_service.agent import callboard_agent

AGENT = Path(callboard_agent.__file__)
# A real ed25519 public key blob: length, type, length, 32 bytes.
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


def _oldest_python() -> str | None:
    found = sorted(Path("~/.pyenv/versions").expanduser().glob("3.8.*/bin/python3"))
    return shutil.which("python3.8") if not found else str(found[-1])


@dataclass
class Agent:
    """The agent on one imaginary host, whose files lie below `folder`."""

    python: str
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def key_glob(self) -> str:
        return str(self.folder / "ssh_host_*_key.pub")

    def command(self, *words: str) -> list[str]:
        self.refuse_the_real_machine(words)
        return [self.python, str(AGENT), *words]

    def refuse_the_real_machine(self, words: tuple[str, ...]) -> None:
        """Whatever is broken in the code, a test that installs writes below its own folder."""
        options = dict(itertools.pairwise(words))
        if words[0] == "install" or "--root" in options:
            place = options["--root"] if "--root" in options else options["--bin-path"]
            assert Path(place).is_relative_to(self.folder)
        if words[0] in ("install", "uninstall"):
            assert "--root" in options or "--user" in words

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        path = os.environ["PATH"]
        base = {"PATH": path, "HOME": str(self.folder), "CALLBOARD_AGENT_DIR": str(self.state)}
        return {**base, **self.env, **more}

    def run(self, *words: str, text: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment(env),
            check=False,
        )

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(env),
        )

    def enrol(self, url: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        release = () if "--release-path" in words else ("--release-path", str(self.folder / "app"))
        place = ("--name", "web-1", "--host-key-glob", self.key_glob, *release)
        return self.run("enrol", "--url", url, *place, *words, **{"CALLBOARD_JOIN_TOKEN": JOIN_TOKEN, **env})


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    peer.start()
    yield peer
    peer.stop()


def _agent(python: str, folder: Path) -> Agent:
    (folder / "ssh_host_ed25519_key.pub").write_text(f"{HOST_KEY} root@build-machine\n")
    return Agent(python, folder)


@pytest.fixture(params=["this", "3.8"])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Agent:
    """The agent under this Python, and once more under 3.8."""
    python = sys.executable if request.param == "this" else _oldest_python()
    if python is None:
        pytest.skip("there is no Python 3.8")
    return _agent(python, tmp_path)


@pytest.fixture
def one_agent(tmp_path: Path) -> Agent:
    """The agent under this Python only, for what takes long or depends on no version."""
    return _agent(sys.executable, tmp_path)


@pytest.fixture
def host(agent: Agent, peer: Peer) -> Agent:
    """An enrolled host."""
    done = agent.enrol(peer.url)
    assert done.returncode == 0, done.stderr
    return agent


@pytest.fixture
def one_host(one_agent: Agent, peer: Peer) -> Agent:
    """An enrolled host, under this Python only."""
    done = one_agent.enrol(peer.url)
    assert done.returncode == 0, done.stderr
    return one_agent


def wait_for(condition: Callable[[], object], seconds: float = 15) -> None:
    """Returns once the condition holds; fails when it doesn't in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
