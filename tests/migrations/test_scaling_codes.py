"""Sentences about scaling that earlier versions kept, read back as codes."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peewee
import pytest
from playhouse.migrations import Runner

from inventory_service import models
from inventory_service.codes import scaling as codes
from inventory_service.database import open_database
from inventory_service.reasons import split
from inventory_service.wording import scaling as wording
from tests.postgresql import PostgreSQL

FOLDER = Path(models.__file__).parent / "migrations"
migration = importlib.import_module("inventory_service.migrations.0022_scaling_codes")
CPU = {"policy": "cpu: of all", "statistic": "avg", "metric": "load1_per_cpu", "window_seconds": 60}
SEEN = "cpu: of all: avg load1_per_cpu over 60 s is"

PLANS: list[tuple[str, dict[str, Any]]] = [
    (f"{SEEN} 0.9, the target 0.6: 3 hosts.",
     {"code": "target_above", **CPU, "value": 0.9, "target": 0.6, "capacity": 3}),
    (f"{SEEN} 0.1, the target 0.6: 1 hosts are enough.",
     {"code": "target_below", **CPU, "value": 0.1, "target": 0.6, "capacity": 1}),
    (f"{SEEN} 1e+03, the target 0.6: 20 hosts are right.",
     {"code": "target_met", **CPU, "value": 1000, "target": 0.6, "capacity": 20}),
    (f"{SEEN} -0.5, the threshold 100: no step.", {"code": "step_none", **CPU, "value": -0.5, "threshold": 100}),
    (f"{SEEN} 120, the threshold 100: 7 hosts by its step.",
     {"code": "step", **CPU, "value": 120, "threshold": 100, "capacity": 7}),
    ("morning: at least 12 by schedule.", {"code": "schedule", "policy": "morning", "capacity": 12}),
    ("cpu: nobody reported load for 300 s.", {
        "code": "no_reading", "policy": "cpu", "problem": {"code": "not_reported", "metric": "load", "seconds": 300},
    }),
    ("cpu: there is no value.", {"code": "no_reading", "policy": "cpu", "problem": {"code": "no_value"}}),
    ("jobs: CloudWatch gave nothing certain of cloudwatch.jobs: Forbidden not yours.", {
        "code": "no_reading", "policy": "jobs",
        "problem": {"code": "cloudwatch_unsure", "metric": "cloudwatch.jobs", "text": "Forbidden not yours"},
    }),
    ("Bounded to 6: there are to be 1 to 6.", {"code": "bounded", "capacity": 6, "minimum": 1, "maximum": 6}),
    ("Held: the release is being rolled back; a new host would start with it.", {"code": "rolling_back"}),
    ("Held: the cooldown after adding hosts lasts 60 s more.", {"code": "cooldown_out", "seconds": 60}),
    ("Held: the cooldown after removing hosts lasts 0 s more.", {"code": "cooldown_in", "seconds": 0}),
    ("Held: the stage is frozen; who is silent may still serve.", {"code": "expiry_paused"}),
    ("Held: run 17 works on the hosts.", {"code": "run_active", "run": 17}),
    ("Held: 2 hosts do not serve yet.", {"code": "not_serving", "hosts": 2}),
    ("Held: without a reading of cpu, jobs no host goes.", {"code": "reading_missing", "policies": ["cpu", "jobs"]}),
    ("Held: no machine may go; each is protected, in a run, not converged or draining already.",
     {"code": "no_candidate"}),
    ("Held: by a version that nobody knows.", {"code": "other", "text": "Held: by a version that nobody knows."}),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "kept"), PLANS)
def test_a_decisions_reason_becomes_its_code(sentence: str, kept: dict[str, Any]) -> None:
    assert migration.plan(sentence) == kept
    code, params = split(kept)
    assert wording.plan(codes.Plan(code), params), "and can be said again"


FAILURES: list[tuple[str, str, dict[str, Any]]] = [
    ("It was not carried out in time; what it saw is no longer so.", "expired", {}),
    ("i-1, i-2 is protected from scale-in by now; no machine was ended, and its hosts serve again.", "protected",
     {"instances": ["i-1", "i-2"]}),
    ("The drain run 7 was failed; no machine was ended, and its hosts serve again.", "drain_failed",
     {"run": 7, "status": "failed"}),
    ("AWS refused a call about the queue https://sqs/1/q: AWS.SimpleQueueService.NonExistentQueue. It is not.",
     "aws_refused",
     {"about": "the queue https://sqs/1/q", "error": "AWS.SimpleQueueService.NonExistentQueue", "text": "It is not."}),
    ("AWS refused a call about the group 'web': Throttling. ", "aws_refused",
     {"about": "the group 'web'", "error": "Throttling", "text": ""}),
    ("AWS could not be asked about instances: Could not connect: no", "aws_unreachable",
     {"about": "instances: Could not connect", "text": "no"}),
    ("AWS has no Auto Scaling group 'shop-web' in eu-central-1; was it deleted or renamed?", "no_group",
     {"group": "shop-web", "region": "eu-central-1"}),
    ("The group 'shop-web' lets there be 6 machines at most; raise its MaxSize.", "group_full",
     {"group": "shop-web", "maximum": 6}),
    ("Unexpected: ZeroDivisionError: division by zero. See the service's log.", "unexpected",
     {"error": "ZeroDivisionError", "text": "division by zero"}),
    ("'moon' is no type of policy.", "other", {"text": "'moon' is no type of policy."}),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "code", "params"), FAILURES)
def test_a_problem_becomes_its_code_and_says_the_same(sentence: str, code: str, params: dict[str, Any]) -> None:
    assert migration.failure(sentence) == (code, params)
    said = wording.failure(codes.Failure(code), params)
    assert said == sentence.replace("i-2 is", "i-2 are")


SAME_ADDRESS = "the same address as the live host 'b': 10.0.0.1 port 22"
LIFECYCLES: list[tuple[str, str, dict[str, Any]]] = [
    ("It has not enrolled yet.", "not_enrolled", {}),
    ("web-1 is not listed: it is stale.", "not_listed", {"host": "web-1", "state": "stale"}),
    (f"web-1 is not listed: {SAME_ADDRESS}.", "in_conflict",
     {"host": "web-1", "conflict": {"code": "other", "text": SAME_ADDRESS}}),
    ("web-1 is being brought to release 2.", "out_of_date", {"host": "web-1", "release": 2}),
    ("web-1 is being brought to release None.", "out_of_date", {"host": "web-1", "release": None}),
    ("web-1 is not healthy: no reason given.", "not_healthy", {"host": "web-1", "text": None}),
    ("web-1 is not healthy: disk. full.", "not_healthy", {"host": "web-1", "text": "disk. full"}),
    ("A run works on web-1.", "run_active", {"host": "web-1"}),
    ("The drain run 7 is running.", "draining", {"run": 7, "status": "running"}),
    ("web-1 is live and runs what it should.", "ready", {"host": "web-1"}),
    ("It drained.", "drained", {}),
    ("There is no live host to drain.", "nobody_to_drain", {}),
    ("The drain run 7 was failed.", "drain_ended", {"run": 7, "status": "failed"}),
    ("The drain run 7 took too long.", "drain_too_long", {"run": 7}),
    ("The stage has another hook now.", "other_hook", {}),
    ("The group does not wait any more: it says nothing of it.", "not_waiting", {"state": None}),
    ("The group does not wait any more: it says InService.", "not_waiting", {"state": "InService"}),
    ("The group does not wait any more.", "no_longer_waiting", {}),
    ("The stage answers no hooks now.", "not_answered", {}),
    ("It drained. The group did not wait for that word any more.", "not_taken", {"answer": {"code": "drained"}}),
    ("Something else", "other", {"text": "Something else"}),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "code", "params"), LIFECYCLES)
def test_what_an_instance_waits_for_becomes_its_code_and_says_the_same(
    sentence: str, code: str, params: dict[str, Any]
) -> None:
    assert migration.lifecycle(sentence, is_abandoned=False) == (code, params)
    said = wording.lifecycle(codes.Lifecycle(code), params)
    assert said == sentence.replace("for that word", "for that answer")


GAVE_UP = "Convergence gave up: 4 attempts to bring it to release 2 failed; see run 7"


@pytest.mark.parametrize(
    ("sentence", "quarantine"),
    [
        ("Its host is quarantined.", None),
        ("its disk: broken", {"code": "person", "text": "its disk: broken"}),
        ("It drained.", {"code": "person", "text": "It drained."}),
        (GAVE_UP, {"code": "convergence", "attempts": 4, "release": 2, "run": 7, "words": None}),
        (f"{GAVE_UP}: a: b", {"code": "convergence", "attempts": 4, "release": 2, "run": 7, "words": "a: b"}),
    ],
)
def test_an_instance_was_abandoned_because_its_host_was_quarantined(sentence: str, quarantine: Any) -> None:
    assert migration.lifecycle(sentence, is_abandoned=True) == ("quarantined", {"quarantine": quarantine})


@pytest.fixture(params=["sqlite", "postgresql"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[peewee.Database]:
    """A database as it was before this migration."""
    if request.param == "sqlite":
        opened = open_database(f"sqlite:///{tmp_path}/before.db")
        Runner(opened, str(FOLDER)).up("0019_events")
        yield opened
        opened.close()
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    url = server.empty()
    opened = open_database(url)
    Runner(opened, str(FOLDER)).up("0019_events")
    yield opened
    opened.close_all()  # type: ignore[attr-defined]
    server.drop(url)


def test_rows_of_the_version_before_keep_all_that_they_say(before: peewee.Database) -> None:
    insert(before, "project", id=1, name="shop")
    insert(before, "stage", id=1, project_id=1, name="production")
    readings = {"avg load over 60 s": {"metric": "load", "value": None, "reporting": 0, "expected": 2}}
    readings["avg load over 60 s"]["problem"] = "there is no value"  # type: ignore[assignment]
    reasons = ["x", "Held: run 17 works on the hosts."]
    drain = "The drain run 7 was failed; no machine was ended, and its hosts serve again."
    insert(before, "scaling_decision", id=1, stage_id=1, status="held", reasons=reasons, readings=readings)
    insert(before, "scaling_decision", id=2, stage_id=1, status="failed", reasons=[], readings={}, error=drain)
    insert(before, "stage_scaling", id=1, stage_id=1, problem="no", findings=[{"kind": "tag", "detail": "x"}])
    for number, (status, reason) in enumerate(
        [("continued", "It drained."), ("abandoned", "bad"), ("waiting", None)], start=1
    ):
        insert(before, "lifecycle_action", id=number, instance=f"i-{number}", stage_id=1, status=status, reason=reason)
    for number, (name, details) in enumerate(EVENTS, start=1):
        insert(before, "event", id=number, name=name, changes={}, details=details)

    Runner(before, str(FOLDER)).up("0022_scaling_codes")

    reading = {"metric": "load", "value": None, "reporting": 0, "expected": 2, "statistic": "avg", "window_seconds": 60}
    assert rows(
        before,
        "SELECT status, veto_code, reasons, readings, error_code, error_params FROM scaling_decision ORDER BY id",
    ) == [
        (
            "unchanged",
            "run_active",
            [{"code": "other", "text": "x"}, {"code": "run_active", "run": 17}],
            [{**reading, "problem": {"code": "no_value"}}],
            None,
            None,
        ),
        ("failed", None, [], [], "drain_failed", {"run": 7, "status": "failed"}),
    ]
    scaling = rows(before, "SELECT problem_code, problem_params, hook_problem_code, findings FROM stage_scaling")
    assert scaling == [("other", {"text": "no"}, None, [])]
    assert rows(before, "SELECT reason_code, reason_params FROM lifecycle_action ORDER BY id") == [
        ("drained", {}),
        ("quarantined", {"quarantine": {"code": "person", "text": "bad"}}),
        (None, None),
    ]
    assert rows(before, "SELECT reason_code, changes, details FROM event ORDER BY id") == [
        ("bounded", {"capacity": [2, 3]}, {"capacity": 3, "minimum": 3, "maximum": 6}),
        (
            "quarantined",
            {},
            {
                "quarantine": {"code": "person", "text": "bad"},
                "instance": "i-1",
                "transition": "launching",
            },
        ),
        ("other", {}, {"text": "no"}),
        (None, {}, {"enabled": True}),
        (None, {}, {"reason": "mine"}),
    ]


EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("scaling.out", {"reason": "2 → 3: Bounded to 3: there are to be 3 to 6."}),
    ("scaling.abandon", {"reason": "i-1 (launching): bad"}),
    ("scaling.fail", {"reason": "no"}),
    ("scaling.configure", {"enabled": True}),
    ("stage.lock", {"reason": "mine"}),
]


def insert(opened: peewee.Database, table: str, **values: Any) -> None:
    """A row with these values; the other columns are as empty as they may be."""
    empty = {"json": "{}", "bool": False, "int": 0}
    row = {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in values.items()}
    for column in opened.get_columns(table):
        if not column.null and column.name not in row:
            row[column.name] = next((empty[kind] for kind in empty if kind in column.data_type.lower()), "")
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join([str(opened.param)] * len(row))
    statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"
    opened.execute_sql(statement, tuple(row.values()))  # type: ignore[no-untyped-call]


def rows(opened: peewee.Database, sql: str) -> list[tuple[Any, ...]]:
    """SQLite gives JSON as text."""
    found = opened.execute_sql(sql).fetchall()  # type: ignore[no-untyped-call]
    return [
        tuple(json.loads(value) if isinstance(value, str) and value.startswith(("[", "{")) else value for value in row)
        for row in found
    ]
