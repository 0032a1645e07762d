"""A stand-in for an autoscaled machine: a real SSH server, with the real agent running on it."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from inventory_service.content import agent_path
from inventory_service.demo.hosts import LoopbackHost

APP_PORT = 8580
SSH_PORT = 2285


def free_network() -> str:
    """The first three numbers of a loopback network whose machines nobody else plays, such as `127.0.85`."""
    candidates = [f"127.0.{number}" for number in range(85, 125)]
    return next(network for network in candidates if _is_unused(network))


def _is_unused(network: str) -> bool:
    """Also the applications of a demo that was killed hold their addresses."""
    return all(is_free(f"{network}.{last}", port) for last in range(11, 15) for port in (SSH_PORT, APP_PORT))


def is_free(address: str, port: int = SSH_PORT) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


class MachineError(RuntimeError):
    """A machine could not do what it was told."""


class Machine:
    """`boot` starts the SSH server, enrols with the join token and starts the agent; `kill` pulls the plug.

    `options` are more words for `callboard-agent enrol`, `environment` is laid over the agent's own.
    """

    def __init__(
        self,
        name: str,
        address: str,
        folder: Path,
        *,
        service_url: str,
        authorized_key: str,
        ssh_port: int = SSH_PORT,
        app_port: int = APP_PORT,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.address = address
        self.app_port = app_port
        self.host = LoopbackHost(name, address, ssh_port, folder, authorized_key)
        self._service_url = service_url
        self._options = options
        self._environment = environment or {}

    def boot(self, join_token: str) -> None:
        """As a machine's first boot: sshd, enrolment, agent."""
        self.host.start()
        self.enrol(join_token)
        self.start_agent()

    def enrol(self, join_token: str) -> None:
        """Run `callboard-agent enrol`. Raises MachineError with the agent's own words."""
        command = [
            *self._agent("enrol"),
            *("--url", self._service_url),
            *("--name", self.name),
            *("--address", self.address),
            *("--ssh-port", str(self.host.port)),
            *("--host-key-glob", str(self.host.etc / "ssh_host_*_key.pub")),
            *("--release-path", str(self.host.home / "shop")),
            *("--health-url", f"http://{self.address}:{self.app_port}/"),
            *self._options,
        ]
        self._install_agent()
        environment = {**self.host.environment, **self._environment, "CALLBOARD_JOIN_TOKEN": join_token}
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise MachineError(f"{self.name} could not enrol (exit code {done.returncode}): {done.stderr.strip()}")

    def start_agent(self) -> subprocess.Popen[bytes]:
        """Run `callboard-agent beat --loop` on the machine."""
        return self.host.spawn(self._agent("beat", "--loop"), self._environment)

    def _install_agent(self) -> None:
        """Put `callboard-agent` on the path of whoever logs in, as an installed one is."""
        program = self.host.home / "bin" / "callboard-agent"
        program.parent.mkdir(parents=True, exist_ok=True)
        command = shlex.join([sys.executable, "-I", str(agent_path())])
        folder = shlex.quote(str(self.host.folder / "agent"))
        program.write_text(f'#!/bin/sh\nCALLBOARD_AGENT_DIR={folder} exec {command} "$@"\n')
        program.chmod(0o755)

    def _agent(self, *arguments: str) -> list[str]:
        command, *options = arguments
        state = ["--state-dir", str(self.host.folder / "agent")]
        return [sys.executable, "-I", str(agent_path()), command, *state, *options]

    def deployed_revision(self) -> str:
        """The revision that the application on this machine answers over HTTP. Raises OSError when it doesn't."""
        with urllib.request.urlopen(f"http://{self.address}:{self.app_port}/healthz", timeout=3) as answer:
            return str(json.load(answer)["revision"])

    def stop(self) -> None:
        """Shut the machine down."""
        self.host.stop()

    def kill(self) -> None:
        """SIGKILL to everything on the machine, as when it is terminated."""
        self.host.kill()
