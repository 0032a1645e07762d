"""A real service for the browser to talk to: its process, its API, machines that enrol and beat."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from json import dumps, loads
from pathlib import Path

from inventory_service.demo.hosts import LoopbackHost

PASSWORD = "correct horse battery"


class Service:
    """`callboard serve` in a folder of its own. `user` and `token` are those of the first start."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port = free_port("127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port}"
        self._output = folder / "output"
        self._hosts = []

    def start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLBOARD_")}
        environment |= {"CALLBOARD_SWEEP_SECONDS": "0.5", "CALLBOARD_CONVERGE_SECONDS": "3600"}
        environment |= {"CALLBOARD_TRUSTED_PROXIES": "127.0.0.1/32"}
        command = [sys.executable, "-m", "inventory_service.cli", "serve"]
        command += ["--port", str(self.port), "--data-dir", str(self.folder / "data")]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        wait_for(self._answers, f"the service did not start:\n{self._output.read_text()}", seconds=60)
        text = self._output.read_text()
        self.password = re.search(r"password +(\S+)", text)[1]
        self.token = re.search(r"admin token +(\S+)", text)[1]

    def _answers(self):
        assert self._process.poll() is None, self._output.read_text()
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{self.url}/healthz", timeout=1).status == 200

    def stop(self):
        self._process.terminate()
        self._process.wait(15)
        for host in self._hosts:
            host.kill()

    def call(self, method, path, body=None, token=None):
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
        data = None if body is None else dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                text = response.read().decode()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error
        return loads(text) if text.startswith(("{", "[")) else text

    def project(self, name, **files):
        """A project whose source is a folder with these files."""
        source = self.folder / "sources" / name
        source.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (source / f"{file}.yml").write_text(text)
        self.call("POST", "/projects", {"name": name, "source": f"{source}/", "description": f"The {name}"})

    def stage(self, name, **fields):
        project, _, own = name.partition("/")
        self.call("POST", f"/projects/{project}/stages", {"name": own, **fields})

    def user(self, name, role, projects=None):
        self.call("POST", "/users", {"name": name, "role": role, "password": PASSWORD, "projects": projects})

    def join_token(self, stage, *groups):
        return self.call("POST", f"/stages/{stage}/join-tokens", {"groups": groups, "networks": ["0.0.0.0/0"]})["token"]

    def enrol(self, join_token, name, address, **fields):
        """A machine in the registry that nobody can reach; returns its own token."""
        body = {"name": name, "address": address, **fields}
        return self.call("POST", "/enrol", body, token=join_token)["token"]

    def beat(self, token, seq=1, **fields):
        return self.call("POST", "/heartbeat", {"boot_id": "b0", "seq": seq, **fields}, token=token)

    def ssh_host(self, stage, name, address):
        """A machine that a run can really work on."""
        key = self.call("GET", "/ssh_key")
        key = key["public_key"] if isinstance(key, dict) else key
        host = LoopbackHost(name, address, free_port(address), self.folder / "hosts" / name, key)
        host.start()
        self._hosts.append(host)
        self.enrol(self.join_token(stage, "web"), name, address, ssh_port=host.port, host_keys=host.host_keys)
        return host

    def run(self, **body):
        return self.call("POST", "/runs", body)["id"]

    def wait_for_run(self, run, *statuses, seconds=30):
        found = {}

        def is_there():
            found.update(self.call("GET", f"/runs/{run}"))
            return found["status"] in statuses

        wait_for(is_there, f"run {run} did not become {statuses}", seconds=seconds)
        return found


def free_port(address):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def wait_for(condition, message, *, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.05)
