from __future__ import annotations

import io
import json
import tarfile
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from inventory_service.deployments.executor import event_writer
from inventory_service.models import Run, RunEvent, RunHost
from tests.support import START, Caller

HOSTILE = "no \x1b[31mroute\x1b[0m \x00\x08\ufffe<b>&]]>"


@pytest.fixture
def ended(run: Run) -> Run:
    """A run that failed on one of its two hosts."""
    reasons = [{"code": "hosts_failed", "hosts": ["web-2"], "more": 0, "of": 2}]
    Run.update(status="failed", end_reasons=reasons, started_at=START, ended_at=START).execute()
    event_writer.copy_log(run.id, 0, b"TASK [Say]\nok: [web-1]\n")
    for name, status in (("web-1", "ok"), ("web-2", "failed"), ("web-3", "untouched")):
        RunHost.create(run=run, name=name, address="10.0.0.1", status=status)
    told = [("web-1", "ok", None), ("web-2", "failed", HOSTILE), ("web-1", "skipped", None), ("web-1", None, None)]
    told += [("web-2", "unreachable", None), ("web-1", "ignored", "never mind"), (None, None, None)]
    for counter, (host, status, message) in enumerate(told):
        of_event = {"counter": counter, "host": host, "status": status, "message": message, "duration_seconds": 0.5}
        RunEvent.create(run=run, at=START, event="x", play="all", task="S\u202ey", log_start=0, log_end=9, **of_event)
    return Run.get_by_id(run.id)


def unpack(answer: Any) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(answer.data)) as archive:
        assert {member.mode for member in archive} == {0o600}
        return {member.name: archive.extractfile(member).read() for member in archive}


def test_it_packs_everything_about_a_run(viewer: Caller, ended: Run) -> None:
    Run.update(snapshot={"commit": "a" * 40, "inventory": {"all": {}}}).execute()
    answer = viewer.get(f"/api/v1/runs/{ended.id}/export")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="run-1.tar.gz"'
    files = unpack(answer)
    names = ("run.json", "results.json", "snapshot.json", "inventory.json", "events.jsonl", "log", "junit.xml")
    assert list(files) == [f"run-1/{name}" for name in names]
    assert json.loads(files["run-1/run.json"]).items() <= viewer.get(f"/api/v1/runs/{ended.id}").json.items()
    assert files["run-1/log"] == b"TASK [Say]\nok: [web-1]\n"
    assert [json.loads(line)["counter"] for line in files["run-1/events.jsonl"].splitlines()] == list(range(7))
    assert [row["host"] for row in json.loads(files["run-1/results.json"])] == ["web-1", "web-2", "web-3"]
    assert json.loads(files["run-1/inventory.json"]) == {"all": {}}
    assert json.loads(files["run-1/snapshot.json"]) == {"commit": "a" * 40}


def test_it_writes_results_as_junit(viewer: Caller, ended: Run) -> None:
    answer = viewer.get(f"/api/v1/runs/{ended.id}/export?format=junit")
    assert (answer.mimetype, answer.headers["Content-Disposition"][-11:]) == ("application/xml", '"run-1.xml"')
    suites = {suite.get("name"): suite for suite in ET.fromstring(answer.data)}
    counts = {
        name: [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] for name, suite in suites.items()
    }
    assert counts == {"run": ["1", "1", "0", "0"], "web-1": ["3", "0", "0", "1"], "web-2": ["2", "1", "1", "0"]}
    assert suites["run"][0][0].text == "1 of 2 hosts failed: web-2."
    assert suites["web-2"][0][0].text == "no route <b>&]]>"
    assert (suites["web-1"][0].get("classname"), suites["web-1"].get("time")) == ("web-1.all", "1.500")


def test_it_writes_junit_of_a_run_that_did_nothing(viewer: Caller, run: Run) -> None:
    Run.update(status="canceled").execute()
    suites = ET.fromstring(viewer.get(f"/api/v1/runs/{run.id}/export?format=junit").data)
    assert [suite.get("failures") for suite in suites] == ["1"]


@pytest.mark.parametrize("status", ["queued", "running"])
@pytest.mark.parametrize("kind", ["tar", "junit"])
def test_it_rejects_a_run_that_has_not_ended(viewer: Caller, run: Run, status: str, kind: str) -> None:
    Run.update(status=status).execute()
    answer = viewer.get(f"/api/v1/runs/{run.id}/export?format={kind}")
    assert answer.status_code == 409
    assert "when it has ended" in answer.json["detail"]


def test_it_packs_what_is_left_of_an_old_run(viewer: Caller, ended: Run) -> None:
    Run.update(events_removed_at=START).execute()
    files = unpack(viewer.get(f"/api/v1/runs/{ended.id}/export"))
    assert list(files) == ["run-1/run.json", "run-1/results.json"]
    assert json.loads(files["run-1/run.json"])["events_removed_at"] == "2026-11-23T14:00:00Z"
    assert viewer.get(f"/api/v1/runs/{ended.id}/export?format=junit").status_code == 410


def test_it_rejects_another_format(viewer: Caller, ended: Run) -> None:
    assert viewer.get(f"/api/v1/runs/{ended.id}/export?format=pdf").status_code == 422
