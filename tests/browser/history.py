"""Writes weeks of metrics and decisions into the database of a running service: what would take weeks to come about.

Run as a program: the service's process has the database open, and so has this one for a moment.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import subprocess
import sys
import zlib

from peewee import chunked

from inventory_service.codes import scaling as codes
from inventory_service.database import database, open_database
from inventory_service.models import Host, MetricFrame, ScalingDecision
from inventory_service.reasons import because, columns
from inventory_service.registry.stages import get_stage
from inventory_service.scaling import windows

DAYS = 15
GAP = range(6, 9)  # hours ago in which nobody reported


def write(service, stage, **options):
    """Past metrics of the stage's hosts; options: days, decisions (True: scaling's own too)."""
    url = f"sqlite:///{service.folder}/data/callboard.db"
    command = [sys.executable, "-m", "tests.browser.history", url, stage, json.dumps(options)]
    subprocess.run(command, check=True, timeout=120)


def _load(at: dt.datetime, host: int) -> float:
    day = 0.5 + 0.35 * math.sin(at.timestamp() / 86400 * 2 * math.pi)
    return round(day + 0.1 * math.sin(host + at.timestamp() / 700), 4)


def _frame(stage, metric, seconds, at, values):
    packed = zlib.compress(json.dumps(values).encode())
    row = {"stage": stage, "metric": metric, "seconds": seconds, "at": at, "expected": len(values), "packed": packed}
    return row | windows.describe(values.values())


def _frames(stage, hosts, now, days):
    is_fleet = len(hosts) > 50
    for seconds, count in (
        (60, 60 if is_fleet else 24 * 60),
        (300, 288 * (1 if is_fleet else 8)),
        (3600, 24 * (2 if is_fleet else days)),
    ):
        for number in range(1, count + 1):
            at = windows.floor(now, seconds) - dt.timedelta(seconds=number * seconds)
            if (now - at) // dt.timedelta(hours=1) in GAP:
                continue
            loads = {host: _load(at, place) for place, host in enumerate(hosts)}
            yield _frame(stage, "load1_per_cpu", seconds, at, loads)
            yield _frame(stage, "memory_used_ratio", seconds, at, {host: value / 2 for host, value in loads.items()})
            yield _frame(stage, "requests_per_second", seconds, at, {host: value * 90 for host, value in loads.items()})
            # Whole for the last hours: the service folds these minutes into hours itself, whenever an hour ends.
            ready = len(hosts) - (number % 40 == 0 and now - at > dt.timedelta(hours=4))
            for name, many in zip(windows.CAPACITY, (len(hosts), len(hosts), ready), strict=True):
                yield _frame(stage, name, seconds, at, {"": float(many)})


def _decisions(stage, now):
    for hours, action, before, after, status, error in (
        (30, "out", 2, 3, "done", None),
        (20, "in", 3, 2, "failed", because(codes.Failure.DRAIN_FAILED, run=7, status="failed")),
        (4, "out", 2, 4, "dry_run", None),
        (1, "hold", 4, 4, "unchanged", None),
    ):
        at = now - dt.timedelta(hours=hours, minutes=7)
        veto = because(codes.Plan.EXPIRY_PAUSED) if action == "hold" else None
        signal = {"statistic": "avg", "metric": "load1_per_cpu", "window_seconds": 300, "value": 0.9}
        wanted = because(codes.Plan.TARGET_ABOVE, policy="cpu", target=0.6, capacity=after, **signal)
        reading = {**signal, "reporting": 2, "expected": 2, "problem": None}
        ScalingDecision.create(
            stage=stage, at=at, action=action, from_capacity=before, to_capacity=after, serving=before, status=status,
            reasons=[reason.to_json() for reason in (wanted, veto) if reason], veto_code=veto and veto.code,
            readings=[reading], token="t", ended_at=at, **columns("error", error),
        )  # fmt: skip


def main() -> None:
    url, name, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    open_database(url)
    now = dt.datetime.now(dt.UTC)
    stage = get_stage(*name.split("/"))
    with database.atomic():
        hosts = [host.id for host in Host.select().where((Host.stage == stage) & Host.gone_at.is_null())]
        for rows in chunked(_frames(stage, hosts, now, options.get("days", DAYS)), 50):
            MetricFrame.insert_many(rows).on_conflict_ignore().execute()
        if options.get("decisions"):
            _decisions(stage, now)


if __name__ == "__main__":
    main()
