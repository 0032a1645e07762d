from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inventory_service.adapters import processes, ssh_agent
from inventory_service.demo.hosts import make_keypair
from inventory_service.errors import CallboardError
from tests.support import wait_for


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, bytes]:
    """Private keys by their public lines: made here, and by OpenSSH itself in other forms."""
    found = {make_keypair(tmp_path / "ours"): (tmp_path / "ours").read_bytes()}
    for name, options in {"ecdsa": ["-t", "ecdsa"], "rsa": ["-t", "rsa", "-b", "2048", "-m", "PEM"]}.items():
        subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", tmp_path / name, *options], check=True)
        public = " ".join((tmp_path / f"{name}.pub").read_text().split()[:2])
        found[public] = (tmp_path / name).read_bytes()
    return found


def listed(socket: Path) -> list[str]:
    done = subprocess.run(
        ["ssh-add", "-L"], env={**os.environ, "SSH_AUTH_SOCK": str(socket)}, capture_output=True, text=True, check=False
    )
    return [" ".join(line.split()[:2]) for line in done.stdout.splitlines()]


def test_it_holds_keys_for_a_while(keys: dict[str, bytes], tmp_path: Path) -> None:
    socket = tmp_path / "agent"
    with ssh_agent.holding(list(keys.values()), socket):
        assert listed(socket) == list(keys)
    assert not socket.exists()


_LATE = """#!{python}
import os, socket, sys, time
early = socket.socket(socket.AF_UNIX)
early.bind(sys.argv[3])
time.sleep(0.5)
os.unlink(sys.argv[3])
os.execv({agent!r}, ["ssh-agent", *sys.argv[1:]])
"""


def test_it_waits_for_an_agent_that_can_be_seen_before_it_listens(
    keys: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = tmp_path / "bin" / "ssh-agent"
    late.parent.mkdir()
    late.write_text(_LATE.format(python=sys.executable, agent=shutil.which("ssh-agent")))
    late.chmod(0o755)
    monkeypatch.setenv("PATH", f"{late.parent}:{os.environ['PATH']}")
    with ssh_agent.holding(list(keys.values()), tmp_path / "agent"):
        assert listed(tmp_path / "agent") == list(keys)


def test_it_names_a_keys_public_half(keys: dict[str, bytes]) -> None:
    assert [ssh_agent.public_line(key) for key in keys.values()] == list(keys)
    assert ssh_agent.public_line(next(iter(keys.values())).replace(b"\n", b"\r\n")) == next(iter(keys))


def test_it_rejects_what_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no private SSH key without a passphrase"):
        ssh_agent.public_line(b"-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(CallboardError, match="did not take"), ssh_agent.holding([b"hunter2"], tmp_path / "agent"):
        pass
    assert not (tmp_path / "agent").exists()


_HOLDER = """
import sys, time
from pathlib import Path
from inventory_service.adapters import ssh_agent
with ssh_agent.holding([Path(sys.argv[1]).read_bytes()], Path(sys.argv[2])):
    print("holding", flush=True)
    time.sleep(60)
"""


def test_it_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    make_keypair(tmp_path / "key")
    socket = tmp_path / "agent"
    owner = subprocess.Popen([sys.executable, "-c", _HOLDER, tmp_path / "key", socket], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"holding\n"
    (agent,) = processes.descendants(owner.pid)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    wait_for(lambda: processes.identity_of(agent) is None)
    assert not socket.exists()
