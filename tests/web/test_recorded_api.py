"""What a laptop sends about a run of its own, and what comes of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from inventory_service.deployments.launching import requests, run_queue
from inventory_service.deployments.runs import external, logs
from inventory_service.models import Host, Run, RunEvent, RunHost, Secret, Stage
from inventory_service.registry import stages
from inventory_service.settings import Settings
from inventory_service.vault import store
from inventory_service.vault.masking import MASK
from inventory_service.vault.store import Scope
from tests.support import ADA, START, Caller, FakeClock, Machine, why

ID = "0123456789abcdef" * 2
CANARY = "tweet-of-the-laptop"
Send = Callable[..., Any]


@pytest.fixture
def send(operator: Caller, stage: Stage) -> Send:
    """Send a batch: send(**fields) → the response."""

    def post(caller: Caller = operator, **fields: Any) -> Any:
        head = {"id": ID, "stage": "shop/production", "playbook": "site.yml", "started_at": "2026-11-23T13:59:00Z"}
        return caller.post("/api/v1/runs/recorded", {**head, "user": "ada", "machine": "ada-laptop", **fields})

    return post


def event(counter: int, **fields: Any) -> dict[str, Any]:
    told = {"event": "runner_on_ok", "host": "web-1", "task": "Say", "status": "ok", "log_start": 0, "log_end": 3}
    return {"counter": counter, "at": "2026-11-23T13:59:30Z", **told, **fields}


def ending(**counts: dict[str, int]) -> dict[str, Any]:
    return {"ended_at": "2026-11-23T13:59:59Z", "hosts": {name.replace("_", "-"): of for name, of in counts.items()}}


def log(settings: Settings) -> str:
    run = Run.get()
    return b"".join(logs.open_log(run, settings).pieces(0)).decode()


def test_it_records_a_run_in_batches(send: Send, web_1: Machine, settings: Settings) -> None:
    first = send(hosts=["web-1", "localhost"], commit="c" * 40, dirty=True, extra_vars=["password"], log="one\n")
    assert (first.status_code, first.json["status"], first.json["log_bytes"]) == (201, "running", 4)
    assert (
        send(events=[event(1), event(2, status="changed", changed=True)], log="two\n", log_start=4).status_code == 200
    )
    done = send(ending=ending(web_1={"ok": 2, "changed": 1}, localhost={"ok": 1}))
    assert (done.json["id"], done.json["status"], log(settings)) == (1, "successful", "one\ntwo\n")
    run = Run.get()
    assert (run.origin, run.kind, run.created_by) == ("external", "playbook", "token:operator-everywhere")
    assert (run.source_commit, run.extra_vars) == ("c" * 40, {"password": "(not recorded)"})
    assert run.snapshot["sender"] == {"user": "ada", "machine": "ada-laptop", "branch": None, "dirty": True}
    assert (run.started_at, run.ended_at) == (START - dt.timedelta(minutes=1), START - dt.timedelta(seconds=1))
    assert [row.is_changed for row in RunEvent.select().order_by(RunEvent.counter)] == [False, True]
    told = {row.name: (row.host_id, row.address, row.status, row.ok) for row in RunHost.select()}
    assert told == {"web-1": (web_1.host_id, "10.0.0.1", "changed", 2), "localhost": (None, "", "ok", 1)}


def test_it_takes_everything_twice_and_keeps_it_once(send: Send, settings: Settings) -> None:
    batches = [
        {"hosts": ["web-1"], "log": "one\n", "events": [event(1)]},
        {"log": "two\n", "log_start": 4, "events": [event(2)]},
        {"ending": ending(web_1={"ok": 2})},
    ]
    for _ in range(3):
        answers = [send(**batch).json for batch in batches]
    assert {answer["id"] for answer in answers} == {1}
    assert (answers[-1]["status"], log(settings)) == ("successful", "one\ntwo\n")
    assert (RunEvent.select().count(), RunHost.select().count(), Run.select().count()) == (2, 1, 1)


def test_it_rejects_a_log_with_a_gap(send: Send, settings: Settings) -> None:
    send(log="one\n")
    answer = send(log="three\n", log_start=8)
    assert answer.status_code == 409
    assert "has 4 bytes" in answer.json["detail"]
    assert send(log="one\ntwo\n").json["log_bytes"] == 8
    assert log(settings) == "one\ntwo\n"


@pytest.mark.parametrize(
    ("of_end", "status"),
    [
        (ending(web_1={"ok": 1}, web_2={"failed": 1}), "failed"),
        (ending(web_1={"unreachable": 1}), "failed"),
        (ending(), "failed"),
        ({**ending(), "interrupted": True}, "canceled"),
    ],
)
def test_it_judges_a_run_as_its_own(send: Send, of_end: dict[str, Any], status: str) -> None:
    assert send(ending=of_end).json["status"] == status


@pytest.mark.parametrize(
    ("playbook", "kind"),
    [("deploy.yml", "deploy"), ("playbooks/deploy.yml", "deploy"), ("rollback.yml", "rollback"), ("x.yml", "playbook")],
)
def test_it_knows_a_deploy_by_its_playbook(send: Send, playbook: str, kind: str) -> None:
    assert send(playbook=playbook).json["kind"] == kind


def test_it_moves_no_release(send: Send, web_1: Machine) -> None:
    send(playbook="deploy.yml", ending=ending(web_1={"ok": 9, "changed": 9}))
    assert Stage.get().desired_release_number is None
    assert Host.get_by_id(web_1.host_id).release_number is None


def test_it_holds_no_stage(send: Send, stage: Stage, operator: Caller) -> None:
    send()
    asked = operator.post("/api/v1/runs", {"stage": "shop/production", "kind": "deploy", "if_locked": "refuse"})
    assert asked.status_code == 202
    assert run_queue.is_due(requests.get(asked.json["id"]))


def test_it_can_neither_stop_nor_repeat_it(send: Send, operator: Caller) -> None:
    send(commit="c" * 40)
    stopped = operator.post("/api/v1/runs/1/cancel")
    send(ending=ending(web_1={"ok": 1}))
    repeated = operator.post("/api/v1/runs/1/repeat", {"mode": "live"})
    assert [(answer.status_code, "recorded here" in answer.json["detail"]) for answer in (stopped, repeated)] == [
        (409, True)
    ] * 2


def test_it_loses_a_silent_laptop_and_takes_it_back(send: Send, clock: FakeClock) -> None:
    send(hosts=["web-1"])
    clock.advance(601)
    assert external.lose_silent(at=clock.now()) == [1]
    assert (Run.get().status, Run.get().ended_at) == ("lost", START)
    assert send(log="back\n").json["status"] == "running"
    assert why(Run.get()) == ""
    assert send(ending=ending(web_1={"ok": 1})).json["status"] == "successful"


def test_it_leaves_a_laptop_that_talks_alone(send: Send, clock: FakeClock) -> None:
    send()
    clock.advance(599)
    assert external.lose_silent(at=clock.now()) == []


def test_it_believes_no_time_of_the_future(send: Send) -> None:
    send(started_at="2099-01-01T00:00:00Z", ending={**ending(web_1={"ok": 1}), "ended_at": "2099-01-02T00:00:00Z"})
    assert (Run.get().started_at, Run.get().ended_at) == (START, START)


def test_it_keeps_the_ids_of_two_senders_apart(send: Send, admin: Caller) -> None:
    assert [send().json["id"], send(admin).json["id"]] == [1, 2]


def test_it_rejects_an_id_of_another_stages_run(send: Send, make_stage: Callable[..., Stage]) -> None:
    make_stage("staging")
    send()
    assert send(stage="shop/staging").status_code == 409


def test_it_takes_hostile_text_as_text(send: Send, viewer: Caller) -> None:
    odd = "\x1b]8;;javascript:x\x07 \u202e </script>"
    answer = send(hosts=[odd], user=odd, playbook=odd, log=odd, events=[event(1, host=odd, task=odd, message=odd)])
    assert answer.status_code == 201
    assert viewer.get("/api/v1/runs/1/events").json["items"][0]["task"] == odd


@pytest.mark.parametrize(
    "field",
    [
        {"id": "x"},
        {"id": "A" * 32},
        {"commit": "HEAD; rm -rf /"},
        {"started_at": "yesterday"},
        {"hosts": ["x" * 256]},
        {"events": [event(0)]},
        {"events": [event(1, event="playbook_on_stats")]},
        {"events": [event(1, status="fine")]},
        {"events": [event(number) for number in range(1, 1002)]},
        {"log_start": -1},
        {"extra_vars": {"password": "hunter2"}},
        {"ending": {"ended_at": "2026-11-23T14:00:00Z", "hosts": {"web-1": {"ok": -1}}}},
        {"release": 7},
    ],
)
def test_it_rejects_a_batch(send: Send, field: dict[str, Any]) -> None:
    assert (send(**field).status_code, Run.select().count()) == (422, 0)


def test_it_takes_batches_of_operators_only(send: Send, viewer: Caller, nobody: Caller, stranger: Caller) -> None:
    assert [send(who).status_code for who in (viewer, nobody, stranger)] == [403, 401, 404]


def test_it_shows_what_was_recorded(send: Send, viewer: Caller, stage: Stage) -> None:
    send(ending=ending(web_1={"ok": 1}), log="one\n")
    shown = viewer.get("/api/v1/runs/1").json
    assert (shown["origin"], shown["status"], shown["hosts"][0]["host"]) == ("external", "successful", "web-1")
    assert viewer.get("/api/v1/runs/1/log?follow=1").text == "one\n"
    assert viewer.get("/api/v1/runs/1/inventory").status_code == 404
    assert stages.list_stages() == [stage]


# masking


@pytest.fixture
def with_secret(stage: Stage, settings: Settings, clock: FakeClock) -> None:
    scope, named = Scope(stage.project, stage), {"settings": settings, "actor": ADA, "at": clock.now()}
    store.put(scope, "db_password", kind="variable", value=CANARY.encode(), **named)


@pytest.mark.usefixtures("with_secret")
def test_it_masks_the_stages_secrets_before_it_keeps_anything(send: Send, settings: Settings) -> None:
    first, second = f"grüß {CANARY}\n", f"then {CANARY} and {CANARY[:9]}…\n"
    size = len(first.encode())
    told = {"task": f"Say {CANARY}", "play": CANARY, "message": f"failed: {CANARY}"}
    events = [
        event(1, **told, log_start=0, log_end=size),
        event(2, log_start=size, log_end=size + len(second.encode())),
    ]
    head = {"playbook": f"{CANARY}.yml", "limit": CANARY, "tags": [CANARY], "branch": CANARY, "user": CANARY}
    assert send(log=first + second, events=events, **head).json["log_bytes"] == size + len(second.encode())
    run = Run.get()
    assert log(settings) == f"grüß {MASK}\nthen {MASK} and {MASK}…\n"
    assert CANARY not in str([*Run.select().dicts(), *RunEvent.select().dicts()])
    kept = logs.open_log(run, settings)
    shown = [b"".join(kept.pieces(row.log_start, row.log_end)).decode() for row in RunEvent.select()]
    assert shown == log(settings).splitlines(keepends=True)


@pytest.mark.usefixtures("with_secret")
def test_it_counts_the_log_as_the_laptop_does(send: Send, settings: Settings) -> None:
    first, second = f"{CANARY}\n", "then\n"
    send(log=first, events=[event(1, log_end=len(first))])
    again = send(log=first + second, events=[event(2, log_start=len(first), log_end=len(first + second))])
    assert (again.status_code, again.json["log_bytes"]) == (200, len(first + second))
    assert send(log="x", log_start=len(first)).status_code == 200
    assert send(log="x", log_start=len(first + second) + 1).status_code == 409
    assert log(settings) == f"{MASK}\nthen\n"
    rows = list(RunEvent.select().order_by(RunEvent.counter))
    assert [(row.log_start, row.log_end) for row in rows] == [(0, 9), (9, 14)]


@pytest.mark.usefixtures("with_secret")
def test_it_takes_offsets_of_any_kind(send: Send) -> None:
    odd = [event(1, log_start=2**62, log_end=0), event(2, log_start=1, log_end=2), event(3, log_start=9, log_end=7)]
    assert send(log="ü" * 5, events=odd).status_code == 201
    assert {row.log_end <= Run.get().log_bytes for row in RunEvent.select()} == {True}


@pytest.mark.usefixtures("with_secret")
def test_it_keeps_nothing_while_it_can_not_tell_what_is_secret(send: Send) -> None:
    Secret.update(sealed="gAAAAABother").execute()
    answer = send(log=CANARY)
    assert (answer.status_code, Run.select().count()) == (503, 0)
