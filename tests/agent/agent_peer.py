"""The other side of the agent's wire: a small HTTP server that speaks the contract, with answers to order."""

import http.server
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

JOIN_TOKEN = "cbj_join-token-of-shop-production"
HOST_TOKEN = "cbh_credential-of-web-1"


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    at: float

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


Reply = Callable[["Handler"], None]


def problem(status: int, detail: str, *, headers: dict[str, str] | None = None, **more: object) -> Reply:
    """An RFC 9457 answer."""
    return answer(
        status,
        {"type": "about:blank", "title": "Refused", "status": status, "detail": detail, **more},
        headers={"Content-Type": "application/problem+json", **(headers or {})},
    )


def answer(status: int, data: object, *, headers: dict[str, str] | None = None) -> Reply:
    """A JSON answer, or these very bytes."""

    def reply(handler: "Handler") -> None:
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)

    return reply


def after(seconds: float, reply: Reply) -> Reply:
    """The same answer, late."""

    def late(handler: "Handler") -> None:
        time.sleep(seconds)
        reply(handler)

    return late


def endless(handler: "Handler") -> None:
    """A body that never ends, as fast as it is read."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"[" * 65536)


def dripping(handler: "Handler") -> None:
    """A header of one byte each tenth of a second: no single read ever times out."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.1)


def enrolled(**more: object) -> Reply:
    """The contract's answer to an enrolment."""
    said = {
        "host": "h-1",
        "name": "web-1",
        "stage": "shop/production",
        "token": HOST_TOKEN,
        "interval_seconds": 60,
        "ttl_seconds": 300,
    }
    return answer(201, {**said, **more})


def renewed(**more: object) -> Reply:
    """The contract's answer to a heartbeat."""
    said = {
        "server_time": "2026-11-23T14:03:00Z",
        "state": "live",
        "generation": 1,
        "next_in_seconds": 57.5,
        "ttl_seconds": 300,
        "desired_release": None,
        "send_facts": False,
    }
    return answer(200, {**said, **more})


class Handler(http.server.BaseHTTPRequestHandler):
    """Notes the request and gives the next ordered answer, else the path's usual one."""

    peer: "Peer"
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        peer = self.server.peer  # type: ignore[attr-defined]
        reply = peer.take(Seen(self.command, self.path, dict(self.headers), raw, time.monotonic()))
        self.close_connection = True
        try:
            reply(self)
        except OSError:
            peer.broken += 1

    do_GET = do_POST = do_PUT = handle_any  # noqa: N815 - http.server looks for these names

    def log_message(self, *_: object) -> None:
        """Tests read `seen` instead."""


@dataclass
class Peer:
    """A server on a loopback port. `ordered[path]` are answers to give once each, before the usual ones."""

    seen: list[Seen] = field(default_factory=list)
    ordered: dict[str, list[Reply]] = field(default_factory=dict)
    usual: dict[str, Reply] = field(default_factory=dict)
    broken: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self.usual = {
            "/api/v1/enrol": enrolled(),
            "/api/v1/heartbeat": renewed(),
            "/api/v1/goodbye": answer(200, {}),
            "/api/v1/rotate": answer(200, {"host": "h-1", "token": "cbh_new"}),
            **self.usual,
        }

    def start(self) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self._server.peer = self  # type: ignore[attr-defined]
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def server(self) -> http.server.ThreadingHTTPServer:
        return self._server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        waiting = self.ordered.get(seen.path) or []
        if waiting:
            return waiting.pop(0)
        return self.usual.get(seen.path, answer(404, {"title": "Not found"}))

    def order(self, path: str, *replies: Reply) -> None:
        self.ordered.setdefault(path, []).extend(replies)

    def at(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path]

    @property
    def enrolments(self) -> list[Seen]:
        return self.at("/api/v1/enrol")

    @property
    def heartbeats(self) -> list[Seen]:
        return self.at("/api/v1/heartbeat")

    @property
    def goodbyes(self) -> list[Seen]:
        return self.at("/api/v1/goodbye")
