"""`callboard scaling` and `callboard userdata` against a service of their own; user data runs on a bare host."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from inventory_service.cli import main
from inventory_service.demo.service import RunningService, free_port

Call = Callable[..., Result]
POLICY = """
limits: {minimum: 2, maximum: 30}
policies:
  - {type: target, name: cpu, metric: load1_per_cpu, target: 0.6}
"""
STAGE = "shop/production"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    running = RunningService(tmp_path_factory.mktemp("service"), port=free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def call(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Call:
    def invoke(*words: str) -> Result:
        environment = {"CALLBOARD_URL": service.url, "CALLBOARD_TOKEN": service.token}
        done = CliRunner().invoke(main, list(words), env=environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    source = tmp_path_factory.mktemp("source")
    (source / "deploy.yml").write_text("- hosts: all\n")
    assert invoke("project", "add", "shop", "--source", f"{source}/").exit_code == 0
    assert invoke("stage", "add", STAGE).exit_code == 0
    return invoke


@pytest.fixture
def policy(tmp_path: Path) -> str:
    file = tmp_path / "policy.yml"
    file.write_text(POLICY)
    return str(file)


def test_it_plays_a_policy_against_the_present_one(call: Call, policy: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(call("scaling", "trace", "--days", "1").stdout)
    fixed = tmp_path / "fixed.yml"
    fixed.write_text("limits: {minimum: 3, maximum: 3}\nenabled: false\n")
    assert call("scaling", "set", STAGE, str(fixed)).exit_code == 0
    png = tmp_path / "out.png"
    words = ("--policy", policy, "--trace", str(trace), "--price", "0.1", "--png", str(png), "--json")
    done = call("scaling", "simulate", STAGE, *words)
    assert done.exit_code == 0, done.output
    new, present = json.loads(done.stdout[: done.stdout.rindex("]") + 1])
    assert (new["policy"], present["policy"], present["host_hours"]) == ("new", "present", 72.0)
    assert new["violation_minutes"] < present["violation_minutes"]
    assert png.read_bytes().startswith(b"\x89PNG")


def test_it_plays_recordings_by_five_minutes(call: Call, service: RunningService, policy: str) -> None:
    now = int(time.time()) // 300 * 300
    row = "INSERT INTO metric_frame (stage_id, metric, seconds, at, expected, reporting, avg, p50, p95, max, min, sum,"
    with sqlite3.connect(service.data_dir / "callboard.db", timeout=30) as database:
        for number in range(1, 7 * 288):
            values = (300, (now - 300 * number) * 1_000_000, 1, 1, *[0.5] * 6, b"")
            stage = "SELECT id, 'load1_per_cpu', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM stage"
            database.execute(f"{row} packed) {stage}", values)
    done = call("scaling", "simulate", STAGE, "--policy", policy, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["host_hours"] == pytest.approx(2 * 7 * 24, abs=1)


def test_it_shows_sets_and_removes(call: Call, policy: str) -> None:
    assert "does not scale yet" in call("scaling", "set", STAGE, policy).stdout
    assert json.loads(call("scaling", "show", STAGE, "--json").stdout)["limits"]["maximum"] == 30
    assert "Nothing was changed yet" in call("scaling", "decisions", STAGE).stdout
    assert call("scaling", "remove", STAGE, "--yes").exit_code == 0
    assert call("scaling", "show", STAGE).exit_code == 1


@pytest.mark.parametrize("text", ["[1]", "{", "policies: 3", "policies: [{type: magic}]"])
def test_it_rejects_a_file_that_is_no_policy(call: Call, tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yml"
    file.write_text(text)
    done = call("scaling", "simulate", STAGE, "--policy", str(file))
    assert done.exit_code == 1
    assert done.stderr.startswith("callboard: ")


def test_a_bare_machine_joins_by_its_user_data(call: Call, tmp_path: Path) -> None:
    text = call("userdata", STAGE, "--network", "127.0.0.0/8", "--group", "web", "--pin-agent").stdout
    assert text.startswith("#cloud-config\n")
    content = yaml.safe_load(text)
    boot = tmp_path / "boot"
    boot.mkdir()
    for file in content["write_files"]:
        place = boot / Path(file["path"]).name
        place.write_text(file["content"])
        place.chmod(int(file["permissions"], 8))
    assert content["runcmd"] == [[content["write_files"][1]["path"]]]
    root = tmp_path / "root"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CALLBOARD_ROOT": str(root)}
    environment["CALLBOARD_FIRST_BOOT"] = str(boot)
    done = subprocess.run([boot / "first-boot.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    hosts = json.loads(call("hosts", STAGE, "--json").stdout)
    assert [(host["state"], host["groups"]) for host in hosts] == [("live", ["web"])]
    assert list(root.rglob("callboard-agent*"))
    assert not (boot / "join-token").exists()


def test_it_makes_a_join_token_for_a_year_where_it_is_told(call: Call) -> None:
    def tokens() -> list[dict[str, str]]:
        return json.loads(call("join-token", "list", STAGE, "--json").stdout)

    before = len(tokens())
    assert "cbj_" not in call("userdata", STAGE, "--script").stdout
    assert len(tokens()) == before
    told = call("userdata", STAGE)
    made = tokens()[0]
    assert made["expires_at"][:10] in told.stderr
    assert len(tokens()) == before + 1
    days = dt.datetime.fromisoformat(made["expires_at"]) - dt.datetime.fromisoformat(made["created_at"])
    assert 364 < days / dt.timedelta(days=1) <= 365


def test_it_refuses_an_agent_that_was_not_pinned(call: Call, tmp_path: Path) -> None:
    script = call("userdata", STAGE, "--pin-agent", "--script").stdout
    broken = tmp_path / "first-boot.sh"
    broken.write_text(re.sub(r"\b[0-9a-f]{64}\b", "0" * 64, script))
    environment = {"PATH": os.environ["PATH"], "CALLBOARD_ROOT": str(tmp_path), "CALLBOARD_FIRST_BOOT": str(tmp_path)}
    done = subprocess.run(["sh", broken], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not the one that was pinned" in done.stderr


def test_it_tells_that_no_hook_has_asked(call: Call) -> None:
    assert "No lifecycle hook has asked yet." in call("scaling", "lifecycle", STAGE).stdout
    assert json.loads(call("scaling", "lifecycle", STAGE, "--json").stdout) == []
