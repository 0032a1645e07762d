"""What the benchmarks share: rows of the table, a load generator, processes on one core, a fleet in a database.

Every script measures its peers in turns, in one run: on a busy machine only ratios carry over.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import resource
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from inventory_service import credentials
from inventory_service.clock import SystemClock
from inventory_service.database import database as bound
from inventory_service.database import execute_many, to_microseconds
from inventory_service.models import Stage

SERVER_CORE, CLIENT_CORE = {0}, {max(os.sched_getaffinity(0))}
FACTS = {
    "os": "Debian GNU/Linux 12", "kernel": "6.1.0-25-cloud-amd64", "cpus": 2, "memory_mb": 3925,
    "architecture": "x86_64", "zone": "eu-central-1a", "instance_type": "t3.medium",
    "instance_id": "i-0a1b2c3d4e5f60718",
}  # fmt: skip
METRICS = {"load1_per_cpu": 0.25, "memory_used_ratio": 0.5, "disk_used_ratio": 0.4}
REVISION = "9b6293fa178bd58fe62eaf5eccc1120a2467074e"
BOOT_ID = "7b1c0d9e-0000-4000-8000-000000000000"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3kV4b1n0x5bX0k9J2m3Q4r5S6t7U8v9W0xY1zA2bC3"
_CHUNK = 65536


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: `ours` against `peer`. `bound` is what the ratio (or `ours`) is held to, None for none."""

    work: str
    ours: str
    peer: str
    ratio: str
    target: str = ""
    is_met: bool | None = None


def ratio_row(
    work: str, ours: str, peer: str, ratio: float, *, least: float | None = None, most: float | None = None
) -> Row:
    """A row whose ratio has to be at least or at most something."""
    target = f"≥ {least:g}x" if least is not None else f"≤ {most:g}x" if most is not None else ""
    is_met = ratio >= least if least is not None else ratio <= most if most is not None else None
    return Row(work, ours, peer, f"{ratio:.2f}x", target, is_met)


def limit_row(work: str, value: float, most: float, unit: str, *, peer: str = "") -> Row:
    """A row whose value itself has to be at most something."""
    return Row(work, f"{value:.3g} {unit}", peer, "", f"≤ {most:g} {unit}", value <= most)


def arguments(description: str, *, quick: dict[str, Any], full: dict[str, Any]) -> argparse.Namespace:
    """`--quick` and `--json FILE`, and each of the sizes as an option whose default is the quick or the full one."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="smaller and shorter: for trying out, under a minute")
    parser.add_argument("--json", type=Path, help="write the rows of the table here")
    for name, value in full.items():
        parser.add_argument(f"--{name}", type=type(value), help=f"{value}; quick: {quick[name]}")
    parsed = parser.parse_args()
    for name, value in (quick if parsed.quick else full).items():
        if getattr(parsed, name) is None:
            setattr(parsed, name, value)
    return parsed


def finish(rows: Sequence[Row], file: Path | None) -> None:
    """Print the rows, and write them for the runner."""
    print()
    for row in rows:
        verdict = {True: "met", False: "NOT MET", None: ""}[row.is_met]
        print(f"{row.work:<64} {row.ours:>12} {row.peer:>44} {row.ratio:>8}  {row.target:<10} {verdict}")
    if file is not None:
        file.write_text(json.dumps([dataclasses.asdict(row) for row in rows]))


# ── load ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass
class Load:
    """What a drive measured. Latencies in seconds, in the order of the answers."""

    seconds: float
    latencies: list[float]
    failures: int = 0

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        """In milliseconds."""
        return statistics.quantiles(self.latencies, n=100)[percent - 1] * 1000 if len(self.latencies) > 1 else 0.0


class _Connection:
    __slots__ = ("began", "buffer", "socket")

    def __init__(self, peer: socket.socket) -> None:
        self.socket, self.buffer, self.began = peer, b"", 0.0


def is_whole(answer: bytes) -> bool:
    """Whether an HTTP answer has arrived, by its length or its last chunk."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(lowered.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])


def drive(port: int, requests: Iterator[bytes], *, seconds: float, connections: int) -> Load:
    """Keep-alive connections, each sending its next request when it has its answer (a closed loop)."""
    poll, open_, latencies = select.epoll(), {}, []
    for _ in range(connections):
        peer = socket.create_connection(("127.0.0.1", port))
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        open_[peer.fileno()] = _Connection(peer)
        poll.register(peer.fileno(), select.EPOLLIN)
    began, now = time.perf_counter(), time.perf_counter
    deadline = began + seconds
    for connection in open_.values():
        connection.began = now()
        connection.socket.send(next(requests))
    while open_:
        for number, _ in poll.poll(30):
            connection = open_[number]
            connection.buffer += connection.socket.recv(_CHUNK)
            if not is_whole(connection.buffer):
                assert connection.buffer, "the server closed the connection"
                continue
            assert connection.buffer.startswith(b"HTTP/1.1 200"), connection.buffer
            moment = now()
            latencies.append(moment - connection.began)
            connection.buffer = b""
            if moment >= deadline:
                poll.unregister(number)
                open_.pop(number).socket.close()
                continue
            connection.began = moment
            connection.socket.send(next(requests))
    return Load(now() - began, latencies)


def one_shot(port: int, requests: Sequence[bytes], *, per_second: float | None = None, patience: float = 120) -> Load:
    """A connection for each request: all at once, or at an even rate. What is not answered with 200 is a failure.

    A latency counts from the moment when the request was due, so that a slow server cannot hide its queue.
    """
    poll, open_, latencies, failures, started = select.epoll(), {}, [], 0, 0
    pause, now = 1 / per_second if per_second else 0.0, time.perf_counter
    began = now()
    while (started < len(requests) or open_) and now() - began < patience + len(requests) * pause:
        while started < len(requests) and (due := began + started * pause) <= now():
            connection = _connect(port)
            connection.began, connection.buffer = (due if per_second else now()), b""
            open_[connection.socket.fileno()] = (connection, requests[started])
            poll.register(connection.socket.fileno(), select.EPOLLOUT)
            started += 1
            if not per_second and started % 64 == 0:
                break
        for number, event in poll.poll(0.0 if started < len(requests) and not per_second else 0.001):
            connection, request = open_[number]
            try:
                if event & select.EPOLLOUT:
                    connection.socket.send(request)
                    poll.modify(number, select.EPOLLIN)
                    continue
                received = connection.socket.recv(_CHUNK)
            except OSError:
                received = b""
            connection.buffer += received
            if received and not is_whole(connection.buffer):
                continue
            if connection.buffer.startswith(b"HTTP/1.1 200") and is_whole(connection.buffer):
                latencies.append(now() - connection.began)
            else:
                failures += 1
            del open_[number]
            connection.socket.close()
    for connection, _ in open_.values():
        connection.socket.close()
    return Load(now() - began, latencies, failures + len(open_))


def _connect(port: int) -> _Connection:
    peer = socket.socket()
    peer.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        peer.connect(("127.0.0.1", port))
    return _Connection(peer)


def allow_many_files() -> None:
    """As many open connections as the system permits."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def http(method: str, path: str, *, token: str = "", body: bytes = b"", close: bool = False) -> bytes:
    """A request as bytes."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    head += f"Authorization: Bearer {token}\r\n" if token else ""
    head += "Content-Type: application/json\r\n" if body else ""
    head += "Connection: close\r\n" if close else ""
    return head.encode() + b"\r\n" + body


def beat_body(sequence: int, **more: Any) -> bytes:
    """A heartbeat as the agent sends it."""
    return json.dumps(
        {"boot_id": BOOT_ID, "seq": sequence, "agent_version": "0.1.0",
         "release": {"name": "12", "number": 12, "revision": REVISION},
         "facts_hash": "0" * 64, "metrics": METRICS, "sent_at": "2026-11-23T14:00:00Z", **more}
    ).encode()  # fmt: skip


def beats(tokens: Sequence[str], *, close: bool = False) -> Iterator[bytes]:
    """Heartbeats of all tokens in turn, for ever; a host's sequence rises."""
    mark = 10**15  # sixteen digits, like each sequence below
    sequence = mark + int(time.time() * 1000)
    shuffled = random.Random(1).sample(tokens, len(tokens))  # machines do not beat in the order of their rows
    template = [http("POST", "/api/v1/heartbeat", token=token, body=beat_body(mark), close=close) for token in shuffled]
    halves = [request.split(str(mark).encode()) for request in template]
    while True:
        sequence += 1
        text = str(sequence).encode()
        for before, after in halves:
            yield before + text + after


# ── processes ─────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def on(cores: set[int]) -> Iterator[None]:
    """Whatever is started meanwhile runs on these cores, and so does this thread."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def process(command: Sequence[str], *, port: int, **environment: str) -> Iterator[int]:
    """A server on the server's core, from when it listens on `port`; gives its pid."""
    with on(SERVER_CORE):
        child = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert child.poll() is None, f"{command[0]} ended"
            assert time.monotonic() < deadline, f"{command[0]} does not listen"
            time.sleep(0.05)
        yield child.pid
    finally:
        child.terminate()
        child.wait()


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += [int(word) for word in children.read_text().split()]
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time that these processes have used, user and system."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def written_bytes(pids: Iterable[int]) -> int:
    """What these processes have sent to the disk."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/io").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
    return total


# ── a fleet ───────────────────────────────────────────────────────────────────────────────────────────────


def seed(stage: Stage, count: int) -> list[str]:
    """Put `count` live hosts into the bound database, as enrolment leaves them; returns their tokens."""
    now = to_microseconds(SystemClock().now())
    minted = [credentials.mint("cbh_") for _ in range(count)]
    fixed = {"stage_id": stage.id, "port": 22, "description": "", "enrolled_at": now, "last_seen_at": now,
             "recorded_state": "live", "is_draining": False, "converge_attempts": 0,
             "boot_id": BOOT_ID, "sequence": 1, "agent_version": "0.1.0", "facts": json.dumps(FACTS),
             "facts_hash": "0" * 64, "metrics": json.dumps(METRICS), "host_keys": json.dumps([KEY]),
             "release_number": 12, "revision": REVISION, "release_reported_at": now}  # fmt: skip
    rows = [
        {"id": one.id, "secret_sha256": one.secret_sha256, "name": f"web-{number:06}",
         "address": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
         "groups": json.dumps(["canary", "web"] if number < 10 else ["web"]), **fixed}
        for number, one in enumerate(minted)
    ]  # fmt: skip
    names = list(rows[0]) if rows else []
    with bound.atomic():
        execute_many(
            f"INSERT INTO host ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
            [tuple(row.values()) for row in rows],
        )
        execute_many(
            "INSERT INTO transition (host_id, stage_id, at, from_state, to_state, reason_code, reason_params) "
            "VALUES (?, ?, ?, NULL, 'live', 'enrolled', '{}')",
            [(row["id"], stage.id, now) for row in rows],
        )
    return [one.token for one in minted]


def program(name: str) -> str:
    """A program of this environment."""
    return str(Path(sys.executable).with_name(name))
