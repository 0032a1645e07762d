"""An ssh-agent of one's own: private keys in its memory for a while, never on disk.

The agent ends with the context, and by itself when this process dies.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from inventory_service.errors import CallboardError

_START_SECONDS = 30.0
_LOOK_SECONDS = 0.01
_CALL_SECONDS = 20


def public_line(key: bytes) -> str:
    """The public line, without a comment, of a private key in OpenSSH's or PEM form.

    Raises ValueError for anything else, and for a key with a passphrase; the words hold nothing of it.
    """
    text = _tidy(key)
    try:
        load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in text else load_pem_private_key
        public = load(text, password=None).public_key()
        return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("this is no private SSH key without a passphrase") from None


def _tidy(key: bytes) -> bytes:
    """With the line ends that ssh-add wants."""
    return key.replace(b"\r\n", b"\n").strip() + b"\n"


@contextlib.contextmanager
def holding(keys: Sequence[bytes], path: Path) -> Iterator[None]:
    """Start an agent at `path` (a short path in a folder of one's own) that holds the keys, for as long as the
    context lasts. Raises CallboardError.
    """
    program = shutil.which("ssh-agent")
    if program is None:
        raise CallboardError("ssh-agent is not installed on the service's machine; install the package openssh-client.")
    guard = Path(__file__).with_name("playbook_guard.py")
    command = [sys.executable, "-I", str(guard), "--no-new-privileges", str(os.getpid())]
    agent = subprocess.Popen(
        [*command, program, "-D", "-a", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(path, agent)
        for key in keys:
            _add(key, path)
        yield
    finally:
        agent.terminate()
        agent.wait()
        path.unlink(missing_ok=True)


def _wait_for(path: Path, agent: subprocess.Popen[bytes]) -> None:
    """Until it takes connections: on a busy machine its socket can be seen some time before."""
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(path):
        if agent.poll() is not None or time.monotonic() > deadline:
            raise CallboardError("ssh-agent did not start on the service's machine.")
        time.sleep(_LOOK_SECONDS)


def _answers(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        return True
    return False


def _add(key: bytes, path: Path) -> None:
    """Hand one key over through a pipe. SSH_ASKPASS_REQUIRE: nobody is asked for a passphrase."""
    surroundings = {**os.environ, "SSH_AUTH_SOCK": str(path), "SSH_ASKPASS_REQUIRE": "never"}
    command = ["ssh-add", "-q", "-"]
    done = subprocess.run(
        command, env=surroundings, input=_tidy(key), capture_output=True, timeout=_CALL_SECONDS, check=False
    )
    if done.returncode != 0:
        raise CallboardError("ssh-add did not take an SSH key; is it a private key without a passphrase?")
