"""A service of one's own, started as a user would: `callboard serve` in a folder, on a port."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from inventory_service.client import Client

_READY_SECONDS = 90
_STOP_SECONDS = 8
_LOOK_SECONDS = 0.1


class ServiceError(RuntimeError):
    """The service did not come up; the message holds its log's last lines."""


class RunningService:
    """`callboard serve` as a process. `start` returns when it is ready; `token` and `password` are of its first."""

    def __init__(
        self, folder: Path, *, port: int, host: str = "127.0.0.1", environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.url = f"http://{host}:{port}"
        self.token = ""
        self.password = ""
        self.pid: int | None = None
        self._port = port
        self._environment = {"CALLBOARD_HOST": host, **(environment or {})}

    @property
    def log(self) -> Path:
        """What the service prints."""
        return self.folder / "serve.log"

    @property
    def data_dir(self) -> Path:
        """The service's data folder."""
        return self.folder / "data"

    @property
    def client(self) -> Client:
        """A client with the admin token."""
        return Client(self.url, self.token)

    def start(self) -> None:
        """Start it and wait until the database answers and the background jobs run. Raises ServiceError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "inventory_service.cli", "serve", "--port", str(self._port)],
                env={**os.environ, "CALLBOARD_DATA_DIR": str(self.data_dir), **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = child.pid
        (self.folder / "serve.pid").write_text(str(child.pid))
        self._wait(child)
        self._read_first_sign_in()

    def _wait(self, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and child.poll() is None:
            if _answers(f"{self.url}/readyz"):
                return
            time.sleep(_LOOK_SECONDS)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        raise ServiceError(f"The service did not become ready at {self.url}; {self.log} ends with:\n{tail}")

    def _read_first_sign_in(self) -> None:
        text = self.log.read_text(errors="replace")
        token, password = re.search(r"admin token\s+(\S+)", text), re.search(r"password\s+(\S+)", text)
        self.token = token[1] if token else self.token
        self.password = password[1] if password else self.password

    def stop(self) -> None:
        """TERM and wait; KILL what does not end. Not running is no error."""
        if self.pid is not None:
            end_service(self.pid)
            self.pid = None

    def kill(self) -> None:
        """SIGKILL to the supervisor alone, as a crash would."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            _reap(self.pid)
            self.pid = None


def end_service(pid: int) -> None:
    """End a service by its supervisor's pid, also one that another process started."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            _reap(pid)
            os.kill(pid, 0)
            time.sleep(_LOOK_SECONDS)
        os.killpg(pid, signal.SIGKILL)
    _reap(pid)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
