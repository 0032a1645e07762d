"""Heartbeats through the real HTTP stack with real authentication, as a ratio to the same server's no-op route.

Also against what one would write first: Flask and a peewee upsert per request, served by the same granian.
Server on one core, client on the other. `python benchmarks/heartbeats.py [seconds]`
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from inventory_service import credentials
from inventory_service.clock import SystemClock
from inventory_service.database import open_database
from inventory_service.demo.service import RunningService, free_port
from inventory_service.models import Host, Stage
from inventory_service.registry import liveness

HOSTS = 2000
CONNECTIONS = 32
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
SERVER_CORE, CLIENT_CORE = {0}, {1}

NAIVE = """
import datetime, hashlib, os, peewee as pw
from flask import Flask, request
db = pw.SqliteDatabase(os.environ["NAIVE_DB"], pragmas={"journal_mode": "wal", "synchronous": "full"}, timeout=15)
class Host(pw.Model):
    id = pw.TextField(primary_key=True); secret = pw.TextField(); seen = pw.DateTimeField(); boot = pw.TextField(); seq = pw.BigIntegerField()
    class Meta: database = db
app = Flask(__name__)
@app.before_request
def connect(): db.connect(reuse_if_open=True)
@app.teardown_request
def close(error): db.close()
@app.post("/api/v1/heartbeat")
def beat():
    owner, _, secret = request.headers["Authorization"].removeprefix("Bearer cbh_").partition(".")
    body = request.get_json()
    row = Host.get_by_id(owner)
    if hashlib.sha256(secret.encode()).hexdigest() != row.secret: return {}, 401
    Host.insert(id=owner, secret=row.secret, seen=datetime.datetime.now(), boot=body["boot_id"], seq=body["seq"]).on_conflict(
        conflict_target=[Host.id], preserve=[Host.seen, Host.boot, Host.seq]).execute()
    return {"state": "live"}
@app.get("/healthz")
def healthz(): return {"status": "ok"}
"""


async def drive(port: int, requests: list[bytes], seconds: float) -> tuple[float, list[float]]:
    """(requests per second, latencies in s) of CONNECTIONS keep-alive connections over the given requests."""
    latencies: list[float] = []
    deadline = time.perf_counter() + seconds

    async def connection(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        position = number
        while time.perf_counter() < deadline:
            started = time.perf_counter()
            writer.write(requests[position % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            lowered = head.lower()
            length = int(lowered.split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - started)
            position += CONNECTIONS
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(connection(number) for number in range(CONNECTIONS)))
    return len(latencies) / (time.perf_counter() - began), latencies


def request(method: str, path: str, token: str = "", body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    return head.encode() + b"\r\n" + body


def beat(sequence: int) -> bytes:
    metrics = {"load1_per_cpu": 0.25, "memory_used_ratio": 0.5, "disk_used_ratio": 0.4}
    return json.dumps(
        {"boot_id": "7b1c0d9e-0000-4000-8000-000000000000", "seq": sequence, "agent_version": "0.1.0",
         "release": {"name": "12", "number": 12, "revision": "9b6293fa178bd58fe62eaf5eccc1120a2467074e"},
         "facts_hash": "0" * 64, "metrics": metrics, "sent_at": "2026-11-23T14:00:00Z"}
    ).encode()  # fmt: skip


def report(name: str, rate: float, latencies: list[float]) -> None:
    p50, p99 = statistics.median(latencies) * 1000, statistics.quantiles(latencies, n=100)[98] * 1000
    print(f"{name:<44} {rate:8.0f}/s   p50 {p50:6.2f} ms   p99 {p99:7.2f} ms")


def seed(data_dir: Path) -> list[str]:
    """HOSTS enrolled hosts in the service's own database; returns their tokens."""
    open_database(f"sqlite:///{data_dir / 'callboard.db'}")
    now, tokens, rows = SystemClock().now(), [], []
    stage = Stage.get()
    for number in range(HOSTS):
        minted = credentials.mint("cbh_")
        tokens.append(minted.token)
        rows.append(
            {"id": minted.id, "stage": stage, "name": f"h{number}", "address": f"10.{number // 250}.{number % 250}.1",
             "groups": [], "host_keys": [], "secret_sha256": minted.secret_sha256, "enrolled_at": now,
             "last_seen_at": now, "recorded_state": liveness.LIVE, "facts": {}, "metrics": {}}
        )  # fmt: skip
    for start in range(0, HOSTS, 40):
        Host.insert_many(rows[start : start + 40]).execute()
    return tokens


def measure_callboard(folder: Path) -> tuple[float, float]:
    port = free_port()
    service = RunningService(folder, port=port)
    os.sched_setaffinity(0, SERVER_CORE)
    service.start()
    os.sched_setaffinity(0, CLIENT_CORE)
    try:
        service.client.send("POST", "/api/v1/projects", {"name": "shop", "source": "/srv/shop/"})
        service.client.send("POST", "/api/v1/projects/shop/stages", {"name": "production"})
        tokens = seed(service.data_dir)
        noop, latencies = asyncio.run(drive(port, [request("GET", "/healthz")], SECONDS))
        report("Callboard, no-op route (Flask on granian)", noop, latencies)
        beats = [
            request("POST", "/api/v1/heartbeat", token, beat(int(time.time() * 1000) + n))
            for n in range(1, 60)
            for token in tokens
        ]
        rate, latencies = asyncio.run(drive(port, beats, SECONDS))
        report("Callboard, heartbeat (durable, authenticated)", rate, latencies)
        return noop, rate
    finally:
        service.stop()


def measure_naive(folder: Path) -> float:
    port, database = free_port(), folder / "naive.db"
    (folder / "naive.py").write_text(NAIVE)
    environment = {**os.environ, "NAIVE_DB": str(database), "PYTHONPATH": str(folder)}
    os.sched_setaffinity(0, SERVER_CORE)
    program = Path(sys.executable).with_name("granian")
    command = [
        str(program),
        "--interface",
        "wsgi",
        "--port",
        str(port),
        "--blocking-threads",
        "32",
        "--log-level",
        "error",
        "naive:app",
    ]
    child = subprocess.Popen(command, env=environment)
    os.sched_setaffinity(0, CLIENT_CORE)
    time.sleep(2)
    try:
        sys.path.insert(0, str(folder))
        os.environ["NAIVE_DB"] = str(database)
        import hashlib

        import naive

        naive.db.create_tables([naive.Host])
        tokens = []
        for number in range(HOSTS):
            secret = f"secret{number}"
            naive.Host.create(
                id=f"h{number}", secret=hashlib.sha256(secret.encode()).hexdigest(), seen=0, boot="", seq=0
            )
            tokens.append(f"cbh_h{number}.{secret}")
        naive.db.close()
        beats = [request("POST", "/api/v1/heartbeat", token, beat(1)) for token in tokens]
        rate, latencies = asyncio.run(drive(port, beats, SECONDS))
        report("Flask + peewee upsert per request", rate, latencies)
        return rate
    finally:
        child.terminate()
        child.wait()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        noop, ours = measure_callboard(Path(folder) / "callboard")
        naive = measure_naive(Path(folder))
    print(f"\nheartbeat / no-op route            {ours / noop:6.2f}x")
    print(f"heartbeat / upsert per request     {ours / naive:6.2f}x   (target: at least 10x)")
