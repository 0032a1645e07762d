from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from peewee import SqliteDatabase

from inventory_service.models import Event, Run, RunEvent, RunHost, Stage
from inventory_service.settings import Settings
from tests.support import START, Caller, at_once

Launch = Callable[..., Any]
SSE = {"Accept": "text/event-stream"}


def test_it_launches_a_run_and_answers_at_once(launch: Launch) -> None:
    answer = launch(revision="main", comment="because")
    assert answer.status_code == 202
    assert answer.json == {"id": 1, "status": "queued", "url": "/api/v1/runs/1"}
    assert (Run.get().created_by, Run.get().status) == ("token:operator-everywhere", "queued")


def test_it_answers_a_repeated_key_with_the_same_run(launch: Launch) -> None:
    answers = [launch(headers={"Idempotency-Key": "build-42"}).json["id"] for _ in range(3)]
    assert (answers, Run.select().count()) == ([1, 1, 1], 1)


@pytest.mark.each_database
def test_it_answers_a_key_that_comes_many_times_at_once_with_one_run(launch: Launch) -> None:
    answers = at_once(lambda _: launch(headers={"Idempotency-Key": "build-42"}), 8)
    told = [(answer.status_code, answer.json["id"]) for answer in answers]
    assert told == [(202, Run.get().id)] * 8
    assert (Run.select().count(), Event.select().where(Event.name == "run.deploy").count()) == (1, 1)


@pytest.mark.sqlite
def test_it_answers_503_while_the_database_takes_nothing_and_202_when_asked_again(
    launch: Launch, settings: Settings, database: SqliteDatabase
) -> None:
    database.timeout = 0.2
    file = settings.data_dir / "callboard.db"
    key = {"Idempotency-Key": "build-42"}
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (launch(headers=key).status_code, Run.select().count()) == (503, 0)
        other.execute("ROLLBACK")
    assert [launch(headers=key).status_code for _ in range(2)] == [202, 202]
    assert Run.select().count() == 1


def test_it_keeps_the_keys_of_two_callers_apart(launch: Launch, admin: Caller) -> None:
    key = {"Idempotency-Key": "build-42"}
    other = admin.post("/api/v1/runs", {"stage": "shop/production", "kind": "deploy"}, headers=key)
    assert (other.json["id"], launch(headers=key).json["id"]) == (1, 2)


def test_it_refuses_a_key_with_another_body(launch: Launch) -> None:
    key = {"Idempotency-Key": "build-42"}
    launch(headers=key)
    answer = launch(headers=key, revision="v2")
    assert answer.status_code == 409
    assert "asked for something else" in answer.json["detail"]


def test_it_tells_a_queued_runs_place_and_what_it_waits_for(launch: Launch, operator: Caller) -> None:
    operator.send("PUT", "/api/v1/stages/shop/production/lock", {"reason": "Black Friday"})
    runs = [launch().json["id"] for _ in range(2)]
    overriding = launch(override_lock="the shop is down").json["id"]
    shown = {row["id"]: row for row in operator.get("/api/v1/runs").json["items"]}
    assert shown[overriding]["queue"] == {"position": 1, "waits_for": "a free worker", "code": "worker"}
    assert shown[overriding]["override_lock"] == "the shop is down"
    assert [shown[run]["queue"] for run in runs] == [
        {"position": place, "waits_for": "the lock by token:operator-everywhere: Black Friday", "code": "lock"}
        for place in (2, 3)
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"override_lock": ""}, 422),
        ({"kind": "destroy"}, 422),
        ({"kind": "playbook"}, 422),
        ({"kind": "playbook", "playbook": "../x.yml"}, 422),
        ({"kind": "playbook", "playbook": "--version"}, 422),
        ({"limit": ""}, 422),
        ({"limit": "@/etc/passwd"}, 422),
        ({"limit": "~(a+)+$"}, 422),
        ({"revision": "--upload-pack=id"}, 422),
        ({"extra_vars": {"ansible_connection": "local"}}, 422),
        ({"if_locked": "perhaps"}, 422),
        ({"stage": "shop"}, 422),
        ({"stage": "shop/nothing"}, 404),
        ({"kind": "rollback"}, 409),
        ({"kind": "rollback", "release": 9}, 404),
        ({"kind": "converge"}, 409),
    ],
)
def test_it_rejects_a_launch(launch: Launch, body: dict[str, Any], status: int) -> None:
    answer = launch(**body)
    assert (answer.status_code, Run.select().count()) == (status, 0)


def test_it_waits_or_refuses_as_the_request_says(launch: Launch, operator: Caller) -> None:
    operator.put("/api/v1/stages/shop/production/lock", {"reason": "Black Friday"})
    assert launch().status_code == 202
    answer = launch(if_locked="refuse")
    assert answer.status_code == 409
    assert "Black Friday" in answer.json["detail"]


@pytest.mark.parametrize("name", ["allow_paused_expiry", "allow_frozen"])
def test_it_launches_while_expiry_is_paused_when_told_so_by_either_name(launch: Launch, name: str) -> None:
    Stage.update(expiry_paused_at=START, expiry_pause_code="many_silent").execute()
    assert launch().status_code == 409
    assert launch(**{name: True}).status_code == 202


def test_it_cancels_a_queued_run_and_says_409_the_second_time(operator: Caller, run: Run) -> None:
    answers = [operator.post(f"/api/v1/runs/{run.id}/cancel") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 409]
    assert answers[0].json["status"] == "canceled"


@pytest.mark.each_database
def test_it_lists_runs_page_by_page(viewer: Caller, launch: Launch) -> None:
    for _ in range(5):
        launch()
    first = viewer.get("/api/v1/runs?limit=3").json
    second = viewer.get(f"/api/v1/runs?limit=3&cursor={first['next']}").json
    assert [[row["id"] for row in page["items"]] for page in (first, second)] == [[5, 4, 3], [2, 1]]
    assert second["next"] is None


@pytest.mark.parametrize(("query", "count"), [("kind=deploy", 1), ("status=failed", 0), ("stage=shop/production", 1)])
def test_it_finds_runs(viewer: Caller, run: Run, query: str, count: int) -> None:
    assert len(viewer.get(f"/api/v1/runs?{query}").json["items"]) == count


def test_it_shows_a_run_with_its_hosts(viewer: Caller, run: Run) -> None:
    RunHost.create(run=run, name="web-1", address="10.0.0.1", status="changed", ok=3, changed=1)
    Run.update(snapshot={"commit": "a" * 40, "inventory": {"big": 1}}, source_commit="a" * 40).execute()
    shown = viewer.get(f"/api/v1/runs/{run.id}").json
    assert (shown["commit"], shown["snapshot"]) == ("a" * 40, {"commit": "a" * 40})
    assert (shown["hosts"][0]["host"], shown["hosts"][0]["status"], shown["hosts"][0]["ok"]) == ("web-1", "changed", 3)


@pytest.mark.each_database
def test_it_pages_through_events(viewer: Caller, run: Run) -> None:
    for counter in range(1, 6):
        RunEvent.create(run=run, counter=counter, at=START, event="runner_on_ok", log_start=0, log_end=0)
    first = viewer.get(f"/api/v1/runs/{run.id}/events?limit=3").json
    second = viewer.get(f"/api/v1/runs/{run.id}/events?limit=3&after={first['next']}").json
    assert [[row["counter"] for row in page["items"]] for page in (first, second)] == [[1, 2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("query", "counters"),
    [("q=route", [2]), ("status=ok", [1]), ("failed=1", [2]), ("task=say", [1, 2]), ("host=x", [])],
)
def test_it_finds_events(viewer: Caller, run: Run, query: str, counters: list[int]) -> None:
    event = {"run": run, "at": START, "event": "x", "host": "web-1", "task": "Say", "log_start": 0, "log_end": 0}
    RunEvent.create(**event, counter=1, status="ok")
    RunEvent.create(**event, counter=2, status="failed", message="no route to host")
    found = viewer.get(f"/api/v1/runs/{run.id}/events?{query}").json["items"]
    assert [row["counter"] for row in found] == counters


def test_it_rejects_a_status_that_no_event_has(viewer: Caller, run: Run) -> None:
    assert viewer.get(f"/api/v1/runs/{run.id}/events?status=sad").status_code == 422
    assert [viewer.get(f"/api/v1/runs?{query}").status_code for query in ("status=sad", "kind=sad")] == [422, 422]


@pytest.mark.parametrize("what", ["log", "log?follow=1", "events"])
def test_it_says_that_events_and_log_were_removed(viewer: Caller, run: Run, what: str) -> None:
    Run.update(status="failed", events_removed_at=START).execute()
    answer = viewer.get(f"/api/v1/runs/{run.id}/{what}")
    assert answer.status_code == 410
    assert "were removed on 2026-11-23" in answer.json["detail"]


def test_it_serves_no_more_live_logs_than_it_has_places(viewer: Caller, run: Run, app: Flask) -> None:
    services = app.extensions["callboard"]
    held = [services.streams.counted(iter("")) for _ in range(services.settings.most_log_streams)]
    answer = viewer.get(f"/api/v1/runs/{run.id}/log?follow=1")
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert viewer.get(f"/api/v1/runs/{run.id}/log").status_code == 200
    held[0].close()
    Run.update(status="failed").execute()
    assert viewer.get(f"/api/v1/runs/{run.id}/log?follow=1").status_code == 200


# the log


@pytest.fixture
def log(settings: Settings, run: Run) -> Path:
    file = settings.run_dir(run.id) / "log"
    file.parent.mkdir(parents=True)
    file.write_text("one\ngrüß\nthree\n")
    return file


@pytest.fixture
def ended(run: Run, log: Path) -> Run:
    Run.update(status="failed").execute()
    return run


def test_it_has_an_empty_log_at_first(viewer: Caller, run: Run) -> None:
    answer = viewer.get(f"/api/v1/runs/{run.id}/log")
    assert (answer.status_code, answer.data, answer.mimetype) == (200, b"", "text/plain")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "one\ngrüß\nthree\n"),
        ("?start=4", "grüß\nthree\n"),
        ("?start=4&end=11", "grüß\n"),
        ("?start=17", ""),
        ("?start=999", ""),
        ("?start=4611686018427387904", ""),
    ],
)
def test_it_gives_the_log_from_an_offset(viewer: Caller, run: Run, log: Path, query: str, text: str) -> None:
    assert viewer.get(f"/api/v1/runs/{run.id}/log{query}").text == text


def test_it_follows_a_log_to_the_runs_end(viewer: Caller, ended: Run) -> None:
    assert viewer.get(f"/api/v1/runs/{ended.id}/log?follow=1").text == "one\ngrüß\nthree\n"


def test_it_follows_as_events_for_a_browser(viewer: Caller, ended: Run) -> None:
    answer = viewer.get(f"/api/v1/runs/{ended.id}/log?follow=1", headers=SSE)
    assert answer.mimetype == "text/event-stream"
    assert answer.text == (
        'event: log\nid: 17\ndata: {"text": "one\\ngr\\u00fc\\u00df\\nthree\\n"}\n\n'
        'event: end\nid: 17\ndata: {"status": "failed"}\n\n'
    )
    assert (answer.headers["Cache-Control"], answer.headers["X-Accel-Buffering"]) == ("no-cache", "no")


@pytest.mark.parametrize(("seen", "text"), [("4", '"gr\\u00fc\\u00df\\nthree\\n"'), ("11", '"three\\n"')])
def test_it_resumes_after_what_a_browser_has_seen(viewer: Caller, ended: Run, seen: str, text: str) -> None:
    answer = viewer.get(f"/api/v1/runs/{ended.id}/log?follow=1", headers={**SSE, "Last-Event-ID": seen})
    assert answer.text.startswith(f'event: log\nid: 17\ndata: {{"text": {text}}}')


@pytest.mark.parametrize("seen", ["17", "18", "9999999999999999999", "9223372036854775807"])
def test_it_only_ends_where_everything_was_seen(viewer: Caller, ended: Run, seen: str) -> None:
    answer = viewer.get(f"/api/v1/runs/{ended.id}/log?follow=1", headers={**SSE, "Last-Event-ID": seen})
    assert answer.text.startswith("event: end\n")


@pytest.mark.parametrize("seen", ["", "x", "-1", "²", "1e3"])
def test_it_begins_anew_for_an_odd_last_event(viewer: Caller, ended: Run, seen: str) -> None:
    answer = viewer.get(f"/api/v1/runs/{ended.id}/log?follow=1", headers={**SSE, "Last-Event-ID": seen.encode()})
    assert '"one\\n' in answer.text


def test_it_shows_a_runs_variables_with_their_sources(viewer: Caller, run: Run) -> None:
    url = f"/api/v1/runs/{run.id}/variables"
    assert viewer.get(url).status_code == 404
    layers = [{"from": "project", "values": {"a": 1}}, {"from": "run", "values": {"a": {"$secret": "key"}}}]
    Run.update(snapshot={"format": 1, "variables": layers}).execute()
    assert viewer.get(url).json["items"] == [
        {"name": "a", "value": {"$secret": "key"}, "from": "run", "overridden": [{"from": "project", "value": 1}]}
    ]


def test_it_repeats_a_run(operator: Caller, launch: Launch, settings: Settings) -> None:
    launch(comment="first", extra_vars={"size": 3})
    url = "/api/v1/runs/1/repeat"
    assert operator.post(url).status_code == 409
    assert "has frozen nothing" in operator.post(url).json["detail"]
    Run.update(source_commit="a" * 40, snapshot={"format": 1}, release_number=4, status="successful").execute()
    answers = [operator.post(url, {"mode": "live"}, headers={"Idempotency-Key": "again"}) for _ in range(2)]
    assert [(answer.status_code, answer.json["id"]) for answer in answers] == [(202, 2), (202, 2)]
    shown = operator.get("/api/v1/runs/2").json
    assert (shown["repeat_of"], shown["repeat_mode"], shown["release"], shown["comment"]) == (1, "live", 4, "first")
    assert (shown["extra_vars"], shown["status"]) == ({"size": 3}, "queued")
    assert operator.post(url, {"mode": "roughly"}).status_code == 422


def test_it_compares_two_runs(viewer: Caller, launch: Launch) -> None:
    launch()
    launch(check=True)
    found = viewer.get("/api/v1/runs/1/diff/2").json
    assert ((found["before"]["id"], found["after"]["id"]), found["commits"]["relation"]) == ((1, 2), "unknown")
    assert found["options"] == [{"name": "check", "before": False, "after": True}]
    assert (found["tasks"], found["hosts"]) == ([], {"added": [], "removed": [], "same": [], "changed": []})


def test_it_compares_with_no_run_that_the_caller_may_not_see(stranger: Caller, viewer: Caller, run: Run) -> None:
    assert stranger.get(f"/api/v1/runs/{run.id}/diff/{run.id}").status_code == 404
    assert viewer.get(f"/api/v1/runs/{run.id}/diff/99").status_code == 404
