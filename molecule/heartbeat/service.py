"""The scenario's service, and the only file that knows what it is: `service.py up|down|known FOLDER`.

`up` starts it and writes FOLDER/join_token (a join token of shop/production) and FOLDER/id, the SSH key
whose public half it hands out. `known` prints its hosts as JSON: `{name: {stage, state, address, ssh_port,
host_keys, heartbeats, release}}`. `down` ends it. It speaks the contract at URL and keeps all in FOLDER.
"""

import hashlib
import http.server
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from inventory_service.agent import callboard_agent
from inventory_service.demo.hosts import make_keypair

ADDRESS, PORT = "127.0.43.254", 8543
URL = f"http://{ADDRESS}:{PORT}"
PATIENCE_SECONDS = 10


def up(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True)
    make_keypair(folder / "id")
    (folder / "join_token").write_text(f"cbj_{secrets.token_urlsafe(24)}\n")
    with (folder / "log").open("wb") as log:
        words = [sys.executable, __file__, "serve", str(folder)]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    (folder / "pid").write_text(str(process.pid))
    deadline = time.monotonic() + PATIENCE_SECONDS
    # One that has ended, for instance because the port was taken, must not be mistaken for whoever answers.
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{URL}/agent.sha256", timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            if process.poll() is None:
                return
    down(folder)
    raise SystemExit(f"the service did not answer at {URL}:\n{(folder / 'log').read_text()}")


def down(folder: Path) -> None:
    pid = int((folder / "pid").read_text())
    command_line = Path(f"/proc/{pid}/cmdline")
    # The id may have gone to another process since.
    if command_line.exists() and str(folder) in command_line.read_text():
        os.kill(pid, signal.SIGTERM)


def known(folder: Path) -> None:
    path = folder / "hosts.json"
    print(path.read_text() if path.exists() else "{}")


def serve(folder: Path) -> None:
    Handler.folder = folder
    http.server.ThreadingHTTPServer((ADDRESS, PORT), Handler).serve_forever()


class Handler(http.server.BaseHTTPRequestHandler):
    """The contract's calls of a host, as far as the role needs them."""

    folder: Path
    hosts: dict[str, dict[str, Any]] = {}
    tokens: dict[str, str] = {}
    lock = threading.Lock()

    def do_GET(self) -> None:
        agent = Path(callboard_agent.__file__).read_bytes()
        texts = {
            "/agent": agent,
            "/agent.sha256": f"{hashlib.sha256(agent).hexdigest()}  callboard-agent\n".encode(),
            "/api/v1/ssh_key": (self.folder / "id.pub").read_bytes(),
        }
        self.answer(200 if self.path in texts else 404, texts.get(self.path, b""))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        with self.lock:
            if self.path == "/api/v1/enrol":
                status, said = self.enrol(token, body)
            elif token not in self.tokens:
                status, said = 401, {"title": "Not signed in", "detail": "This token is not valid."}
            else:
                status, said = self.of_host(self.hosts[self.tokens[token]], body)
            (self.folder / "hosts.json").write_text(json.dumps(self.hosts))
        self.answer(status, json.dumps(said).encode())

    def enrol(self, token: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if token != (self.folder / "join_token").read_text().strip():
            return 401, {"title": "Not signed in", "detail": "This join token is not valid."}
        name, credential = body["name"], f"cbh_{secrets.token_urlsafe(24)}"
        address = body["address"] or self.client_address[0]
        kept = {key: body[key] for key in ("ssh_port", "host_keys")}
        self.hosts[name] = {"stage": "shop/production", "state": "live", "address": address, "heartbeats": 0, **kept}
        self.tokens[credential] = name
        said = {"host": f"h-{name}", "name": name, "stage": "shop/production", "token": credential}
        return 201, {**said, "interval_seconds": 60, "ttl_seconds": 300}

    def of_host(self, host: dict[str, Any], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.path == "/api/v1/goodbye":
            host["state"] = "gone"
            return 200, {}
        host["heartbeats"] += 1
        host["release"] = body["release"]
        said = {"server_time": "2026-11-23T14:03:00Z", "state": "live", "generation": 1, "next_in_seconds": 57}
        return 200, {**said, "ttl_seconds": 300, "desired_release": None, "send_facts": False}

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    {"up": up, "down": down, "known": known, "serve": serve}[sys.argv[1]](Path(sys.argv[2]))
