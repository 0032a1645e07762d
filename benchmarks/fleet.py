"""What a fleet costs: hosts that beat once a minute, each over a connection of its own, as the agent does from cron.

First in real time against the real service: latency from the moment when a beat is due, the share of one core that
all processes of the service take, bytes written to disk for each beat. Then in compressed time: minute after minute
of everybody's beats through the same functions, with a sweep each minute, to see how large the database becomes.
"""

from __future__ import annotations

import datetime as dt
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import support
from heartbeats import callboard
from support import Load, Row

from inventory_service.clock import SystemClock
from inventory_service.database import database, open_database
from inventory_service.records.heartbeat import Heartbeat, ReportedRelease
from inventory_service.registry import expiry_guard, heartbeats, liveness, sweep

GONE_AFTER = 86400.0
BATCH = 500


def real_time(folder: Path, hosts: int, seconds: float) -> tuple[list[Row], list[str]]:
    """Beats at an even rate of hosts / 60 a second for some seconds."""
    support.allow_many_files()
    per_second = hosts / 60
    with callboard(folder, hosts) as (port, pid, tokens), support.on(support.CLIENT_CORE):
        requests = list(islice(support.beats(tokens, close=True), max(1, int(per_second * seconds))))
        time.sleep(2)  # what the start took is not what beats cost
        pids = support.tree(pid)
        cpu, written, began = support.cpu_seconds(pids), support.written_bytes(pids), time.perf_counter()
        load = support.one_shot(port, requests, per_second=per_second)
        elapsed = time.perf_counter() - began
        share = (support.cpu_seconds(pids) - cpu) / elapsed
        per_beat = (support.written_bytes(pids) - written) / max(1, len(load.latencies))
    print(
        f"{hosts:,} hosts, {per_second:.0f} beats/s for {elapsed:.0f} s: p50 {load.percentile(50):.2f} ms, "
        f"p99 {load.percentile(99):.2f} ms, {share:.1%} of a core, {per_beat:,.0f} bytes written a beat, "
        f"{load.failures} failures",
        flush=True,
    )
    return rows_of(hosts, load, share, per_beat), tokens


def rows_of(hosts: int, load: Load, share: float, per_beat: float) -> list[Row]:
    """The table's lines; the target is for 100,000 hosts."""
    work = f"{hosts:,} hosts at one beat a minute"
    is_judged = hosts == 100_000
    told = f"p50 {load.percentile(50):.1f}, p99 {load.percentile(99):.1f} ms, {load.failures} failures"
    return [
        Row(f"{work}: latency, a connection each", told, "", ""),
        Row(
            f"{work}: share of one core",
            f"{share:.1%}",
            "one core",
            f"{share:.2f}x",
            "< 0.5x" if is_judged else "",
            share < 0.5 if is_judged else None,
        ),
        Row(
            f"{work}: written to disk for each",
            f"{per_beat / 1024:.1f} KiB",
            "one page of SQLite: 4 KiB",
            f"{per_beat / 4096:.2f}x",
        ),
    ]


def compressed_time(file: Path, tokens: list[str], minutes: int) -> Row:
    """Everybody beats once in each of these minutes; the database's size at the end, and what it grew by."""
    opened = open_database(f"sqlite:///{file}")
    at, sizes, costs = SystemClock().now(), [], []
    for minute in range(minutes):
        at += dt.timedelta(seconds=60)
        began = time.process_time()
        for start in range(0, len(tokens), BATCH):
            beat_all(tokens[start : start + BATCH], at=at, sequence=10**16 + minute)
        costs.append(time.process_time() - began)
        expiry = liveness.expiry(at=at, gone_after_seconds=GONE_AFTER)
        expiry_guard.step_pauses(expiry=expiry, bound_seconds=3600)
        sweep.sweep(expiry=expiry)
        opened.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        sizes.append(file.stat().st_size)
    database.close()
    size, growth, hosts = sizes[-1] / 1e6, sizes[-1] - sizes[0], len(tokens)
    cost = statistics.median(costs) / hosts * 1e6
    print(
        f"{hosts:,} hosts, {minutes} minutes compressed: {size:.0f} MB, "
        f"grown by {growth:,} bytes since the first, {cost:.0f} µs of CPU a beat",
        flush=True,
    )
    told = f"{size:.1f} MB"
    is_judged = hosts == 100_000
    return Row(
        f"{hosts:,} hosts: database after {minutes} minutes",
        told,
        f"after the first minute: {sizes[0] / 1e6:.1f} MB",
        f"{sizes[-1] / sizes[0]:.2f}x",
        "< 200 MB" if is_judged else "",
        size < 200 if is_judged else None,
    )


def beat_all(tokens: list[str], *, at: dt.datetime, sequence: int) -> None:
    """One transaction of heartbeats, none of which may fail."""
    expiry = liveness.expiry(at=at, gone_after_seconds=GONE_AFTER)
    release = ReportedRelease(number=12, revision=support.REVISION)
    beat = Heartbeat(boot_id=support.BOOT_ID, seq=sequence, agent_version="0.1.0", release=release,
                     facts_hash="0" * 64, metrics=support.METRICS)  # fmt: skip
    for result in heartbeats.renew_many([(token, beat) for token in tokens], expiry=expiry):
        assert not isinstance(result, Exception), result
        assert not result.is_duplicate


def main() -> None:
    options = support.arguments(
        __doc__,
        quick={"small": 300, "large": 1200, "seconds": 3.0, "minutes": 3},
        full={"small": 10_000, "large": 100_000, "seconds": 30.0, "minutes": 60},
    )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for hosts in (options.small, options.large):
            told, tokens = real_time(Path(folder) / str(hosts), hosts, options.seconds)
            # A minute of 100,000 hosts takes as long as ten of 10,000, and no row is added after the first.
            minutes = max(2, options.minutes * options.small // hosts)
            rows += [*told, compressed_time(Path(folder) / str(hosts) / "data" / "callboard.db", tokens, minutes)]
    support.finish(rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
