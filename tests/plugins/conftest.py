"""A Callboard on loopback that answers as told, and Ansible's own commands run against it."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import subprocess
import sysconfig
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sysconfig.get_path("scripts"))
PLUGINS = ROOT / "plugins" / "inventory"
TOKEN = "cbu_abcdefghijkl.s3cr3ts3cr3ts3cr3ts3cr3ts3cr3ts3cr3ts3cr3t"
KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIJ3kV4b1n0x5bX0k9J2m3Q4r5S6t7U8v9W0xY1zA2bC3"


def host(name: str = "web-1", **values: Any) -> dict[str, Any]:
    """A host's variables as the service sends them."""
    return {
        "ansible_host": "10.0.0.1",
        "ansible_port": 22,
        "callboard_host_id": f"id-of-{name}",
        "callboard_state": "live",
        "callboard_release": 12,
        "callboard_reported": {"zone": "a", "memory_mb": 512},
    } | values


def answer(
    stage: str = "shop/production",
    hosts: dict[str, dict[str, Any]] | None = None,
    variables: dict[str, Any] | None = None,
    groups: dict[str, Any] | None = None,
    **about: Any,
) -> dict[str, Any]:
    """An inventory as the contract has it."""
    hosts = {"web-1": host()} if hosts is None else hosts
    project, _, _ = stage.partition("/")
    own = f"stage_{stage}".replace("/", "_").replace("-", "_")
    members = {
        own: {"hosts": list(hosts), "vars": {"callboard_project": project} | (variables or {})},
        "web": {"hosts": list(hosts)},
        "release_12": {"hosts": list(hosts)},
    } | (groups or {})
    callboard = {"stage": stage, "as_of": "2026-11-23T14:03:00Z", "expiry_paused": False, "generation": 17} | about
    return {
        "_meta": {"hostvars": hosts, "callboard": callboard},
        "all": {"children": list(members)},
    } | members


@dataclass
class Answer:
    """What the service says to one path; `cut` bytes of the announced body are never sent."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    delay: float = 0
    drip: float = 0


class Service:
    """A Callboard whose answers a test writes down beforehand; it keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.headers: list[dict[str, str]] = []
        self.posted: list[dict[str, Any]] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.stage()
        self._thread.start()

    def stage(self, inventory: Any = None, known_hosts: str = "", name: str = "shop/production") -> None:
        """Let a stage have this inventory and these known hosts."""
        body = inventory if isinstance(inventory, bytes) else json.dumps(inventory or answer(name)).encode()
        packed = {"Content-Type": "application/json", "Content-Encoding": "gzip", "ETag": '"1"'}
        self.answers[f"/api/v1/stages/{name}/inventory"] = Answer(gzip.compress(body), headers=packed)
        self.answers[f"/api/v1/stages/{name}/known_hosts"] = Answer(known_hosts.encode())

    def say(self, reply: Answer, name: str = "shop/production") -> None:
        """Let a stage's inventory be this reply, right or wrong."""
        self.answers[f"/api/v1/stages/{name}/inventory"] = reply

    def wrap_tls(self, context: Any) -> None:
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append((self.path, self.headers.get("Authorization")))
                service.headers.append(dict(self.headers))
                reply(self, service.answers.get(urlsplit(self.path).path, Answer(status=404)))

            def do_POST(self) -> None:
                service.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.do_GET()

            def log_message(self, *_args: Any) -> None:
                """Say nothing."""

        return Handler


def reply(handler: http.server.BaseHTTPRequestHandler, told: Answer) -> None:
    """Send one answer, with the faults it is to have."""
    time.sleep(told.delay)
    handler.send_response(told.status)
    for name, value in {"Content-Length": str(len(told.body)), **told.headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    body = told.body[: len(told.body) - told.cut]
    try:
        for piece in [body[i : i + 1] for i in range(len(body))] if told.drip else [body]:
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(told.drip)
    except OSError:
        handler.close_connection = True


def problem(status: int, detail: str) -> Answer:
    """An error as the service gives it."""
    body = {"type": "about:blank", "title": "No", "status": status, "detail": detail}
    return Answer(json.dumps(body).encode(), status, {"Content-Type": "application/problem+json"})


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.stop()


class Controller:
    """A machine with Ansible, an inventory file and nothing else: no ansible.cfg, an empty home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.env = {
            "PATH": f"{BIN}:/usr/bin:/bin",
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_INVENTORY_PLUGINS": str(PLUGINS),
            "ANSIBLE_NOCOLOR": "1",
            "CALLBOARD_TOKEN": TOKEN,
            "COLUMNS": "1000",
        }

    def configure(self, name: str = "registry.yml", **options: Any) -> Path:
        """Write an inventory file."""
        path = self.folder / name
        path.write_text(yaml.safe_dump({"plugin": "registry", "stages": ["shop/production"]} | options))
        return path

    def run(self, *command: Any, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Ansible."""
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def list(self, *flags: str, **env: str) -> dict[str, Any]:
        """`ansible-inventory --list`, which must succeed."""
        done = self.run("ansible-inventory", "-i", "registry.yml", "--list", *flags, **env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout, object_hook=unwrap) | {"warnings": done.stderr}

    def fail(self, *flags: str, **env: str) -> str:
        """`ansible-inventory --list`, which must fail with one clean error; the error."""
        return assert_clean_failure(self.run("ansible-inventory", "-i", "registry.yml", "--list", *flags, **env))

    def play(self, playbook: str, *flags: Any, **env: str) -> subprocess.CompletedProcess[str]:
        """`ansible-playbook` with the given YAML."""
        (self.folder / "x.yml").write_text(playbook)
        return self.run("ansible-playbook", "-i", "registry.yml", "x.yml", *flags, **env)


def unwrap(value: dict[str, Any]) -> Any:
    """Ansible marks text that is no template in the output of `--list`."""
    return value["__ansible_unsafe"] if set(value) == {"__ansible_unsafe"} else value


def assert_clean_failure(done: subprocess.CompletedProcess[str]) -> str:
    """Exit code 4, one error, no hosts, no traceback, no token."""
    everything = done.stdout + done.stderr
    assert done.returncode == 4, everything
    assert done.stderr.count("[ERROR]") == 1, everything
    assert "Traceback" not in everything
    assert "hostvars" not in everything
    assert TOKEN not in everything
    assert TOKEN.split(".")[1] not in everything
    return done.stderr.replace("\n", " ")


@pytest.fixture
def controller(tmp_path: Path, service: Service) -> Controller:
    controller = Controller(tmp_path)
    controller.configure(url=service.url)
    return controller


assert os.access(BIN / "ansible-inventory", os.X_OK)
