"""The executor answers a run's own playbook, over a real socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inventory_service.adapters import line_server
from inventory_service.deployments.executor.heartbeat_reports import HeartbeatReports
from inventory_service.registry import hosts
from tests.support import GONE_AFTER_SECONDS, START, FakeClock, Machine, at_once


def ask(path: Path, question: bytes) -> Any:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(path))
        line.sendall(question + b"\n")
        answer = line.makefile("rb").readline()
        return json.loads(answer) if answer else None


@pytest.fixture
def reports(web_1: Machine, web_2: Machine, clock: FakeClock, tmp_path: Path) -> Iterator[Path]:
    """The socket of a run on web-1 alone."""
    path = tmp_path / "reports"
    reports = HeartbeatReports(web_1.stage, ["web-1"], clock=clock, gone_after_seconds=GONE_AFTER_SECONDS)
    with line_server.answering(path, reports.answer):
        yield path


def test_it_tells_what_a_host_said_last(reports: Path, web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.advance(7), release_number=3, revision="c" * 40, is_healthy=False, health_reason="500")
    clock.advance(1)
    told = ask(reports, b'{"hosts": ["web-1"]}')
    assert (told["stage"], told["server_time"], told["ttl_seconds"]) == ("shop/production", "2026-11-23T14:00:08Z", 300)
    assert told["hosts"]["web-1"] == {
        "id": web_1.host_id,
        "agent": None,
        "state": "live",
        "last_seen_at": "2026-11-23T14:00:07Z",
        "reported_at": "2026-11-23T14:00:07Z",
        "release": 3,
        "revision": "c" * 40,
        "healthy": False,
        "reason": "500",
    }


def test_it_keeps_the_moment_of_the_last_report_through_heartbeats_without_one(
    reports: Path, web_1: Machine, clock: FakeClock
) -> None:
    web_1.beat(START, revision="c" * 40)
    web_1.beat(clock.advance(60))
    word = ask(reports, b'{"hosts": ["web-1"]}')["hosts"]["web-1"]
    assert (word["reported_at"], word["last_seen_at"]) == ("2026-11-23T14:00:00Z", "2026-11-23T14:01:00Z")


def test_it_tells_nothing_of_other_hosts(reports: Path) -> None:
    assert ask(reports, b'{"hosts": ["web-2", "web-9"]}')["hosts"] == {}


def test_it_calls_a_host_that_left_gone(reports: Path, web_1: Machine, clock: FakeClock) -> None:
    hosts.goodbye(web_1.row, at=clock.now())
    assert ask(reports, b'{"hosts": ["web-1"]}')["hosts"] == {"web-1": {"state": "gone"}}


@pytest.mark.parametrize(
    "question", [b"", b"hello", b"[]", b"{}", b'{"hosts": 3}', b'{"hosts": [[]]}', b"[" * 100_000, b"\xff\x00"]
)
def test_it_rejects_what_is_no_question(reports: Path, question: bytes) -> None:
    assert ask(reports, question) is None
    assert ask(reports, b'{"hosts": []}') is not None


def test_it_answers_many_at_once_beside_one_that_never_asks(reports: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(reports))
        answers = at_once(lambda _: ask(reports, b'{"hosts": ["web-1"]}'), 20)
    assert all("web-1" in answer["hosts"] for answer in answers)
