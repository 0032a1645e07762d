from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import peewee
import pytest
from click.testing import CliRunner, Result

from inventory_service.cli import main
from inventory_service.database import database as bound
from inventory_service.settings import TABLE

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    """Call a command on a data folder of this test; environment variables by keyword."""
    mask = os.umask(0o022)

    def invoke(*words: str, **environment: str) -> Result:
        given = {"CALLBOARD_DATA_DIR": str(tmp_path / "data"), **environment}
        done = CliRunner().invoke(main, list(words), env=given)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    yield invoke
    os.umask(mask)
    if isinstance(bound.obj, peewee.Database):
        bound.close()


def names(file: Path) -> list[str]:
    with sqlite3.connect(file) as opened:
        return [row[0] for row in opened.execute("SELECT name FROM user")]


def test_it_shows_the_first_sign_in_once(call: Call, tmp_path: Path) -> None:
    first, second = call("init"), call("init")
    assert first.exit_code == 0
    assert "admin token  cbu_" in first.output
    assert "was set up already" in second.output
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "data").iterdir()}
    assert {modes["callboard.db"], modes["secret_key"], modes["ssh"]} == {0o600, 0o700}


def test_it_migrates_and_then_has_nothing_to_do(call: Call) -> None:
    assert call("migrate").output.startswith("Applied: 0001_initial")
    assert call("migrate").output == "The database is up to date.\n"


def test_it_shows_every_setting_with_its_source_and_no_secret(call: Call) -> None:
    done = call("doctor", CALLBOARD_SECRET_KEY="hunter2", CALLBOARD_PORT="9000")
    lines = {line.split()[0]: line for line in done.output.splitlines() if line.startswith("CALLBOARD_")}
    assert len(lines) == len(TABLE)
    assert "hunter2" not in done.output
    assert lines["CALLBOARD_PORT"].split()[1:3] == ["9000", "environment"]
    assert lines["CALLBOARD_SECRET_KEY"].split()[1:3] == ["…", "environment"]
    assert lines["CALLBOARD_FORKS"].split()[1:3] == ["20", "default"]


def test_it_starts_with_the_settings_and_the_folder_of_an_earlier_version_and_says_what_is_obsolete(
    call: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    call("init")
    for name in ("queue.db", "queue.db-wal", "queue.db-shm"):
        (tmp_path / "data" / name).write_bytes(b"")
    assert call("init", CALLBOARD_QUEUE_URL="redis://:hunter2@queue.example/0").exit_code == 0
    assert not list((tmp_path / "data").glob("queue.db*"))
    told = [record.message for record in caplog.records if re.search("QUEUE_URL|queue.db", record.message)]
    assert [line.split(" ")[0] for line in told] == ["CALLBOARD_QUEUE_URL", "removed"], told
    doctor = call("doctor", CALLBOARD_QUEUE_URL="redis://:hunter2@queue.example/0").output
    assert "CALLBOARD_QUEUE_URL (environment) is ignored" in doctor, doctor
    assert "hunter2" not in doctor, doctor


def test_it_says_in_one_line_that_a_setting_is_wrong(call: Call) -> None:
    done = call("migrate", CALLBOARD_PORT="http")
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("callboard: CALLBOARD_PORT is 'http' (environment)")


@pytest.mark.parametrize(
    ("name", "value"),
    [("DATABASE_URL", "sqlite:////nowhere/x.db"), ("DATABASE_URL", "nonsense"), ("LOG_LEVEL", "loud")],
)
def test_it_says_in_one_line_that_it_can_not_start(call: Call, name: str, value: str) -> None:
    done = call("init", **{f"CALLBOARD_{name}": value})
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)


def test_it_brings_a_backup_back(call: Call, tmp_path: Path) -> None:
    call("init")
    assert call("backup", str(tmp_path / "copy.db")).exit_code == 0
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    live = tmp_path / "data" / "callboard.db"
    with sqlite3.connect(live) as opened:
        opened.execute("DELETE FROM user")
    assert call("restore", "--yes", str(tmp_path / "copy.db")).exit_code == 0
    assert names(live) == ["admin"]
    assert live.stat().st_mode & 0o777 == 0o600


def test_it_backs_up_no_database_that_is_not_there(call: Call, tmp_path: Path) -> None:
    done = call("backup", str(tmp_path / "copy.db"))
    assert done.exit_code == 1
    assert "There is no database at" in done.stderr
    assert not (tmp_path / "copy.db").exists()


def test_it_overwrites_no_backup(call: Call, tmp_path: Path) -> None:
    call("migrate")
    (tmp_path / "copy.db").write_text("mine")
    done = call("backup", str(tmp_path / "copy.db"))
    assert done.exit_code == 1
    assert "exists" in done.stderr
    assert (tmp_path / "copy.db").read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00"])
def test_it_restores_nothing_that_is_no_backup(call: Call, tmp_path: Path, content: bytes) -> None:
    call("migrate")
    live = tmp_path / "data" / "callboard.db"
    (tmp_path / "copy.db").write_bytes(content)
    before = live.read_bytes()
    done = call("restore", "--yes", str(tmp_path / "copy.db"))
    assert done.exit_code == 1
    assert "is no backup of Callboard" in done.stderr
    assert live.read_bytes() == before


def test_it_asks_before_it_replaces_the_database(call: Call, tmp_path: Path) -> None:
    call("migrate")
    call("backup", str(tmp_path / "copy.db"))
    done = call("restore", str(tmp_path / "copy.db"))
    assert done.exit_code == 1
    assert "Stop the service first" in done.output


@pytest.mark.parametrize("words", [["backup", "x.db"], ["restore", "--yes", __file__]])
def test_it_leaves_another_databases_backup_to_its_own_tools(call: Call, words: list[str]) -> None:
    done = call(*words, CALLBOARD_DATABASE_URL="postgresql://localhost/x")
    assert done.exit_code == 1
    assert "pg_dump" in done.stderr
