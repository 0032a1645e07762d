"""A log is read alike from the file and from its copy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inventory_service.deployments.executor import event_writer
from inventory_service.deployments.runs import logs
from inventory_service.deployments.runs.logs import RunLog
from inventory_service.errors import GoneError
from inventory_service.models import Run, Stage
from inventory_service.settings import Settings
from tests.support import FakeClock

pytestmark = pytest.mark.each_database

COMPLAINT = """\x1b[0;31m[ERROR]: Older\x1b[0m\r
\x1b[0;31m[ERROR]: YAML parsing failed: Colons.\x1b[0m\r
\x1b[0;31mOrigin: /var/lib/callboard/runs/7/work/source/noise.yml:13:28\x1b[0m\r
"""
TEXT = "one\ngrüß\n" + "x" * 200_000 + "\nlast\n"
DATA = TEXT.encode()


@pytest.fixture
def run(stage: Stage, queue: Callable[..., Run]) -> Run:
    return queue(stage)


@pytest.fixture(params=["file", "copy"])
def log(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> RunLog:
    if request.param == "file":
        (tmp_path / "log").write_bytes(DATA)
    else:
        event_writer.copy_log(run.id, 0, DATA[:7])
        event_writer.copy_log(run.id, 7, DATA[7:])
        event_writer.copy_log(run.id, 7, DATA[7:])
    return RunLog(run.id, tmp_path / "log")


@pytest.mark.parametrize("start", [0, 4, 6, 7, 8, 65_536, 131_072, len(DATA) - 1, len(DATA), len(DATA) + 1, 2**62])
def test_it_reads_from_any_byte_on(log: RunLog, start: int) -> None:
    assert b"".join(log.pieces(start)) == DATA[start:]


@pytest.mark.parametrize(("start", "end"), [(0, 3), (0, 0), (4, 11), (9, 4), (5, 150_000), (200_000, 999_999)])
def test_it_reads_a_part(log: RunLog, start: int, end: int) -> None:
    assert log.text(start, end) == DATA[start:end].decode("utf-8", "replace")


def test_it_sees_what_is_added(run: Run, tmp_path: Path) -> None:
    for has_copy in (False, True):
        file = tmp_path / f"log-{has_copy}"
        log = RunLog(run.id, file)
        assert log.read(0) == b""
        for number, word in enumerate([b"one\n", b"two\n"]):
            if has_copy:
                event_writer.copy_log(run.id, number * 4, word)
            else:
                file.write_bytes((file.read_bytes() if number else b"") + word)
            assert log.read(number * 4) == word
            assert log.read(number * 4 + 4) == b""


def test_it_keeps_the_logs_of_two_runs_apart(run: Run, stage: Stage, queue: Callable[..., Run], tmp_path: Path) -> None:
    event_writer.copy_log(run.id, 0, b"mine\n")
    assert RunLog(queue(stage).id, tmp_path / "log").read(0) == b""


def test_it_says_since_when_a_log_is_no_more(run: Run, settings: Settings, clock: FakeClock) -> None:
    run.events_removed_at = clock.now()
    with pytest.raises(GoneError, match="removed on 2026-11-23"):
        logs.open_log(run, settings)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (COMPLAINT, "YAML parsing failed: Colons. (noise.yml:13:28)"),
        ("x" * 20_000 + "\nERROR! No such file\n", "No such file"),
        ("ok: [web-1] => [ERROR]: no\n", ""),
    ],
)
def test_it_finds_ansibles_own_last_error(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "log").write_text(text)
    assert logs.last_error(tmp_path / "log") == told
    assert logs.last_error(tmp_path / "nothing") == ""
