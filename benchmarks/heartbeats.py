"""Durable, authenticated heartbeats through the real HTTP stack, against three peers in turns.

The peers: the same server's no-op route (the limit), Flask with a peewee upsert per request on the same server
program, and etcd's put with a lease over its JSON gateway. Each server on one core, the client on another.
Then 10,000 hosts beat once, all at the same moment, each over a connection of its own.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import shutil
import sqlite3
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import support
from support import Load, Row

from inventory_service.database import database, open_database
from inventory_service.demo.service import RunningService, free_port
from inventory_service.models import Stage

CONNECTIONS = 32

NAIVE = """
import datetime, hashlib, os, peewee as pw
from flask import Flask, request
db = pw.SqliteDatabase(os.environ["NAIVE_DB"], pragmas={"journal_mode": "wal", "synchronous": "full"}, timeout=15)
class Host(pw.Model):
    id = pw.TextField(primary_key=True); secret = pw.TextField(); seen = pw.DateTimeField()
    boot = pw.TextField(); seq = pw.BigIntegerField()
    class Meta: database = db
db.create_tables([Host]); db.close()
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
    now = datetime.datetime.now()
    Host.insert(id=owner, secret=row.secret, seen=now, boot=body["boot_id"], seq=body["seq"]).on_conflict(
        conflict_target=[Host.id], preserve=[Host.seen, Host.boot, Host.seq]).execute()
    return {"state": "live"}
"""


class Peer:
    """One server with the requests that it is driven with."""

    def __init__(self, name: str, port: int, pid: int, requests: Iterator[bytes]) -> None:
        self.name, self.port, self.pid, self.requests = name, port, pid, requests
        self.loads: list[Load] = []
        self.cpu_seconds = 0.0

    def drive(self, seconds: float) -> None:
        pids = support.tree(self.pid)
        before = support.cpu_seconds(pids)
        self.loads.append(support.drive(self.port, self.requests, seconds=seconds, connections=CONNECTIONS))
        self.cpu_seconds += support.cpu_seconds(pids) - before

    @property
    def rate(self) -> float:
        return statistics.median(load.rate for load in self.loads)

    @property
    def whole(self) -> Load:
        return Load(sum(load.seconds for load in self.loads), [one for load in self.loads for one in load.latencies])

    def report(self) -> None:
        whole = self.whole
        cost = self.cpu_seconds / len(whole.latencies) * 1e6
        print(
            f"{self.name:<44} {self.rate:8.0f}/s  p50 {whole.percentile(50):7.2f} ms  "
            f"p99 {whole.percentile(99):7.2f} ms"
            f"  {cost:6.0f} µs of CPU each",
            flush=True,
        )


def ratio(ours: Peer, peer: Peer) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(mine.rate / its.rate for mine, its in zip(ours.loads, peer.loads, strict=True))


@contextlib.contextmanager
def callboard(folder: Path, hosts: int) -> Iterator[tuple[int, int, list[str]]]:
    """A service with that many hosts: (port, pid, tokens)."""
    port = free_port()
    service = RunningService(folder, port=port)
    with support.on(support.SERVER_CORE):
        service.start()
    try:
        service.client.send("POST", "/api/v1/projects", {"name": "shop", "source": "/srv/shop/"})
        service.client.send("POST", "/api/v1/projects/shop/stages", {"name": "production"})
        open_database(f"sqlite:///{service.data_dir / 'callboard.db'}")
        tokens = support.seed(Stage.get(), hosts)
        database.close()
        yield port, service.pid or 0, tokens
    finally:
        service.stop()


@contextlib.contextmanager
def naive(folder: Path, hosts: int) -> Iterator[tuple[int, int, list[str]]]:
    """What one would write first: (port, pid, tokens)."""
    port, file = free_port(), folder / "naive.db"
    (folder / "naive.py").write_text(NAIVE)
    command = [support.program("granian"), "--interface", "wsgi", "--port", str(port), "--blocking-threads", "32",
               "--backlog", "2048", "--log-level", "error", "naive:app"]  # fmt: skip
    with support.process(command, port=port, NAIVE_DB=str(file), PYTHONPATH=str(folder)) as pid:
        digests = [(f"h{n}", hashlib.sha256(f"secret{n}".encode()).hexdigest()) for n in range(hosts)]
        with contextlib.closing(sqlite3.connect(file, timeout=15)) as opened, opened:
            opened.executemany("INSERT INTO host (id, secret, seen, boot, seq) VALUES (?, ?, 0, '', 0)", digests)
        yield port, pid, [f"cbh_h{n}.secret{n}" for n in range(hosts)]


@contextlib.contextmanager
def etcd(folder: Path, hosts: int) -> Iterator[tuple[int, int]]:
    """Debian's etcd with a lease for each host: (port, pid)."""
    port, peer_port = free_port(), free_port()
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    command = ["etcd", "--data-dir", str(folder / "etcd"),
               "--listen-client-urls", client, "--advertise-client-urls", client,
               "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
               "--initial-cluster", f"default={peer}",
               "--log-level", "error"]  # fmt: skip
    with support.process(command, port=port, GOMAXPROCS="1") as pid:
        for number in range(1, hosts + 1):
            ask(f"{client}/v3/lease/grant", {"TTL": 3600, "ID": number})
        yield port, pid


def ask(url: str, body: dict[str, object]) -> None:
    with urllib.request.urlopen(
        urllib.request.Request(url, json.dumps(body).encode(), method="POST"), timeout=30
    ) as answer:
        answer.read()


def puts(hosts: int) -> Iterator[bytes]:
    """A put of what a heartbeat carries under the host's lease, host by host, for ever."""
    value = base64.b64encode(support.beat_body(10**15)).decode()
    keys = [base64.b64encode(f"/hosts/{number}".encode()).decode() for number in range(1, hosts + 1)]
    bodies = [json.dumps({"key": key, "value": value, "lease": number}) for number, key in enumerate(keys, 1)]
    return cycle([support.http("POST", "/v3/kv/put", body=body.encode()) for body in bodies])


def renewals(hosts: int) -> Iterator[bytes]:
    """etcd's own renewal of a lease, which it keeps in memory only."""
    bodies = [json.dumps({"ID": number}).encode() for number in range(1, hosts + 1)]
    return cycle([support.http("POST", "/v3/lease/keepalive", body=body) for body in bodies])


def throughput(folder: Path, options: object) -> list[Row]:
    """Closed loop, 32 connections, in turns."""
    hosts, leases = options.hosts, min(options.hosts, 1000)
    with contextlib.ExitStack() as stack:
        port, pid, tokens = stack.enter_context(callboard(folder / "callboard", hosts))
        ours = Peer("Callboard: heartbeat", port, pid, support.beats(tokens))
        noop = Peer("Callboard: no-op route", port, pid, cycle([support.http("GET", "/healthz")]))
        port, pid, tokens = stack.enter_context(naive(folder, hosts))
        upsert = Peer("Flask + peewee upsert per request", port, pid, support.beats(tokens))
        peers = [ours, noop, upsert]
        if shutil.which("etcd"):
            port, pid = stack.enter_context(etcd(folder, leases))
            peers += [Peer("etcd: put with lease", port, pid, puts(leases))]
            peers += [Peer("etcd: lease keep-alive (not durable)", port, pid, renewals(leases))]
        else:
            print("etcd is missing: install the package etcd-server")
        with support.on(support.CLIENT_CORE):
            for _ in range(options.rounds):
                for peer in peers:
                    peer.drive(options.seconds)
    for peer in peers:
        peer.report()
    return rows_of(ours, peers[1:])


def rows_of(ours: Peer, others: list[Peer]) -> list[Row]:
    """A row for each peer, and one for the 99th percentile."""
    least = {"Flask + peewee upsert per request": 10.0, "etcd: put with lease": 2.0}
    rate = f"{ours.rate:,.0f}/s"
    rows = [
        support.ratio_row(
            "durable heartbeats, 32 connections",
            rate,
            f"{peer.name}: {peer.rate:,.0f}/s",
            ratio(ours, peer),
            least=least.get(peer.name),
        )
        for peer in others
    ]
    return [*rows, support.limit_row("the same, 99th percentile", ours.whole.percentile(99), 10, "ms")]


def storm(folder: Path, options: object) -> list[Row]:
    """Each host once, all at the same moment, each over its own connection."""
    support.allow_many_files()
    measured: dict[str, Load] = {}
    for name, server in (("callboard", callboard), ("naive", naive)):
        with server(folder / name, options.storm) as (port, _, tokens), support.on(support.CLIENT_CORE):
            stream = support.beats(tokens, close=True)
            requests = [next(stream) for _ in tokens]
            measured[name] = load = support.one_shot(port, requests)
            print(
                f"{name}: {options.storm} one-shot heartbeats in {load.seconds:.2f} s, {load.failures} failures",
                flush=True,
            )
    ours, peer = measured["callboard"], measured["naive"]
    work = f"{options.storm:,} one-shot heartbeats at once"
    told = f"Flask + peewee: {peer.seconds:.1f} s, {peer.failures} failures"
    is_met = ours.seconds <= 2 and ours.failures == 0
    ratio_ = f"{ours.seconds / peer.seconds:.2f}x"
    return [Row(work, f"{ours.seconds:.2f} s, {ours.failures} failures", told, ratio_, "≤ 2 s, no failure", is_met)]


def main() -> None:
    options = support.arguments(
        __doc__,
        quick={"hosts": 500, "rounds": 2, "seconds": 1.0, "storm": 1000},
        full={"hosts": 2000, "rounds": 7, "seconds": 2.0, "storm": 10_000},
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "storm" / "naive").mkdir(parents=True)
        rows = throughput(Path(folder), options) + storm(Path(folder) / "storm", options)
    support.finish(rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
