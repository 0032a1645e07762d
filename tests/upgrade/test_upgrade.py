"""A database of commit aec9e55, filled by that commit's own code, opens with the present code: everything is kept, and
its past answers as it did.

`old.db.gz` and `expected.json.gz` come from fill.py and do not change. Where an answer of today is meant to differ, the
noun's function below says how: it makes of what the old code answered what is to be answered now. More fields than
before need no word there.
"""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peewee
import pytest
from flask import Flask

from inventory_service import settings as settings_module
from inventory_service.accounts import users
from inventory_service.clock import iso, parse_iso
from inventory_service.database import migrate, open_database
from inventory_service.errors import UnauthorizedError
from inventory_service.models import ApiToken, Event, Host, JoinToken, Project, Schedule, Stage, User, Webhook
from inventory_service.registry import past, stages
from inventory_service.settings import Settings
from inventory_service.vault import keyring, store
from inventory_service.web.app import create_app
from inventory_service.wording import event as event_wording
from tests.support import FakeClock
from tests.upgrade import sentences

HERE = Path(__file__).parent
EXPECTED: dict[str, Any] = json.loads(gzip.decompress((HERE / "expected.json.gz").read_bytes()))
_MOST_SHOWN = 20

# what is meant to differ

Answer = Any
"""The JSON, or the text, of one answer."""


def _same(told: Answer, path: str) -> Answer:
    return told


def _run_diff(told: Answer, path: str) -> Answer:
    """Why git can't be asked about commits is git's own word."""
    return {**told, "commits": {name: value for name, value in told["commits"].items() if name != "reason"}}


# What is said of the ends of runs in other words now.
_ENDS = {
    "Not run: nobody is behind any more.": "Not run: nobody is out of date any more.",
    "Not run: the stage is frozen, so it is unclear who is live.": (
        "Not run: the expiry of the stage's hosts is paused, so it is unclear who is live."
    ),
    "The laptop fell silent. If it kept a spool, `callboard spool send` there tells the rest.": (
        "The machine that records it fell silent. If it kept a spool, `callboard spool send` there sends the rest."
    ),
}


def _run(told: Answer, path: str) -> Answer:
    if "items" in told:
        return {**told, "items": [_run(item, path) for item in told["items"]]}
    if "origin" not in told:  # a refusal
        return told
    hosts = {"hosts": [_run_host(one) for one in told["hosts"]]} if "hosts" in told else {}
    origin = {"laptop": "external"}.get(told["origin"], told["origin"])
    return {**told, **hosts, "origin": origin, "error": _ENDS.get(told["error"], told["error"])}


def _run_host(told: dict[str, Any]) -> dict[str, Any]:
    return {**told, "status": {"skipped (stale)": "left_out"}.get(told["status"], told["status"])}


def _host(told: Answer, path: str) -> Answer:
    return {**told, "runs": [_run_host(one) for one in told["runs"]]}


def _notifications(told: Answer, path: str) -> Answer:
    """What was called a freeze is a pause of expiry."""
    if "items" not in told:  # a refusal
        return told
    items = [{**item, "events": sorted(map(_expiry, item["events"]))} for item in told["items"]]
    items = [{**item, "last_event": _expiry(item["last_event"])} for item in items]
    return {**told, "items": items}


def _inventory(told: Answer, path: str) -> Answer:
    """Who is behind is in `out_of_date`, too."""
    if "behind" not in told:
        return told
    children = sorted([*told["all"]["children"], "out_of_date"])
    return {**told, "all": {**told["all"], "children": children}, "out_of_date": told["behind"]}


def _expiry(event: str) -> str:
    return {"freeze": "expiry"}.get(event, event)


def _audit(told: Answer, path: str) -> Answer:
    """Entries became events. Those about hosts name project, stage and host; a stage's filter finds them, and runs."""
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(path).query))
    if "target" not in query or query["target"] == "all stages":
        return {**told, "items": [_event(item) for item in told["items"]]}
    place, action = query["target"], query.get("action", "")
    events = [_event(item) for item in _old_entries()]
    found = [one for one in events if _is_about(one, place) and one["action"].startswith(action)]
    return {"items": found[: int(query["limit"])]}


def _is_about(event: dict[str, Any], place: str) -> bool:
    """A stage's filter finds its runs, too."""
    run = EXPECTED["answers"].get(f"/runs/{event['target'].removeprefix('run ')}", {}).get("body", {})
    return f"{event['target']}/".startswith(f"{place}/") or run.get("stage") == place


def _event(entry: dict[str, Any]) -> dict[str, Any]:
    action, target, details = entry["action"], entry["target"], entry["details"]
    if action == "host.refuse" and "stage" in details:
        target = f"{details['stage']}/{target}"
    elif "id" in details and action.startswith("host."):
        host = EXPECTED["answers"][f"/hosts/{details['id']}"]["body"]
        target = f"{host['stage']}/{host['name']}"
    if action == "host.conflict" and details["reason"].startswith("a machine at "):
        action = "host.key_mismatch"
    renamed = {"freeze.begin": "expiry.pause", "freeze.end": "expiry.resume"}
    if action.startswith("scaling."):  # its reason is a code with parameters now
        details = {name: value for name, value in details.items() if name != "reason"}
    return {**entry, "action": renamed.get(action, action), "target": target, "details": details}


def _old_entries() -> list[dict[str, Any]]:
    """All of them, newest first, as far as they say something that is compared."""
    with sqlite3.connect(":memory:") as opened:
        opened.deserialize(gzip.decompress((HERE / "old.db.gz").read_bytes()))
        rows = opened.execute("SELECT id, actor, action, target, details, peer FROM audit_entry ORDER BY id DESC")
        names = ("id", "actor", "action", "target", "details", "peer")
        return [{**dict(zip(names, row, strict=True)), "details": json.loads(row[4])} for row in rows]


def _decisions(told: Answer, path: str) -> Answer:
    """What was `held` is `unchanged`, and the rule that forbade a change has other words."""
    return {**told, "items": [_decision(item) for item in told["items"]]} if "items" in told else told


def _decision(told: Answer) -> Answer:
    status = "unchanged" if told["status"] == "held" else told["status"]
    return {**told, "status": status, "reasons": [_scaling_sentence(reason) for reason in told["reasons"]]}


def _scaling_sentence(sentence: str) -> str:
    for old, new in (("1 hosts do", "1 host does"), ("1 hosts are", "1 host is"), (": 1 hosts", ": 1 host")):
        sentence = re.sub(rf"(?<!\d){old}\b", new, sentence)
    return sentence.replace("Held: ", "No change: ")


def _scaling(told: Answer, path: str) -> Answer:
    """Where EC2 and the registry differ is looked for anew."""
    return {**told, "findings": []} if "findings" in told else told


# The first pattern that matches a path says which noun it is about; the function makes the present answer of the old.
NOUNS: dict[str, tuple[str, Callable[[Answer, str], Answer]]] = {
    "audit": (r"/audit", _audit),
    "run's inventory": (r"/runs/\d+/inventory", _same),
    "run's variables": (r"/runs/\d+/variables", _same),
    "run's events": (r"/runs/\d+/events", _same),
    "run's log": (r"/runs/\d+/log", _same),
    "run's export": (r"/runs/\d+/export", _same),
    "runs' difference": (r"/runs/\d+/diff/\d+", _run_diff),
    "run": (r"/runs/\d+$", _run),
    "runs": (r"/runs\?", _run),
    "host's metrics": (r"/hosts/\w+/metrics", _same),
    "host": (r"/hosts/\w+$", _host),
    "hosts": (r"/stages/[^/]+/[^/]+/hosts", _same),
    "inventory": (r"/stages/[^/]+/[^/]+/inventory", _inventory),
    "heartbeats": (r"/stages/[^/]+/[^/]+/heartbeats", _same),
    "known_hosts": (r"/stages/[^/]+/[^/]+/known_hosts", _same),
    "join tokens": (r"/stages/[^/]+/[^/]+/join-tokens", _same),
    "releases": (r"/stages/[^/]+/[^/]+/releases", _same),
    "stage's variables": (r"/stages/[^/]+/[^/]+/variables", _same),
    "schedules": (r"/stages/[^/]+/[^/]+/schedules", _same),
    "webhooks": (r"/stages/[^/]+/[^/]+/webhooks", _same),
    "notifications": (r"/stages/[^/]+/[^/]+/notifications", _notifications),
    "secrets": (r"/(stages/[^/]+|projects)/[^/]+/secrets", _same),
    "stage's metrics": (r"/stages/[^/]+/[^/]+/metrics", _same),
    "lifecycle": (r"/stages/[^/]+/[^/]+/scaling/lifecycle", _same),
    "decisions": (r"/stages/[^/]+/[^/]+/scaling/decisions", _decisions),
    "scaling": (r"/stages/[^/]+/[^/]+/scaling$", _scaling),
    "stage": (r"/stages/[^/]+/[^/]+$", _same),
    "project": (r"/projects", _same),
    "accounts": (r"/(whoami|users|tokens)$", _same),
}
# Tables that have another name now.
RENAMED = {"audit_entry": "event"}
# Rows that are meant to go: (table, how many).
DROPPED = {"service_state": 2}  # when the service heard itself last, and with which token


# the database


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The old service's, over a copy of its database and nothing else of its files."""
    (tmp_path / "callboard.db").write_bytes(gzip.decompress((HERE / "old.db.gz").read_bytes()))
    own = {**EXPECTED["settings"], "keyring": tuple(EXPECTED["settings"]["keyring"])}
    return settings_module.load({}, data_dir=tmp_path, **own)


@pytest.fixture
def upgraded(settings: Settings) -> Iterator[peewee.Database]:
    opened = open_database(settings.database_url)
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FakeClock:
    made = FakeClock()
    made.jump((parse_iso(EXPECTED["at"]) - made.now()).total_seconds())
    return made


@pytest.fixture
def app(upgraded: peewee.Database, settings: Settings, clock: FakeClock) -> Flask:
    return create_app(settings, clock)


def ask(app: Flask, path: str, token: str = EXPECTED["admin_token"]) -> dict[str, Any]:
    answer = app.test_client().get(f"/api/v1{path}", headers={"Authorization": f"Bearer {token}"})
    body = answer.get_json(silent=True)
    return {"status": answer.status_code, "body": answer.get_data(as_text=True) if body is None else body}


def differences(wanted: Any, found: Any, place: str = "") -> list[str]:
    """Each place where `found` is not what was wanted; it may have more fields."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        lost = [f"{place}.{name}: lost {wanted[name]!r}" for name in wanted if name not in found]
        kept = [differences(wanted[name], found[name], f"{place}.{name}") for name in wanted if name in found]
        return [*lost, *(line for lines in kept for line in lines)]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [line for number, (one, two) in pairs for line in differences(one, two, f"{place}[{number}]")]
    return [] if wanted == found else [f"{place}: {found!r} instead of {wanted!r}"[:1000]]


def test_the_old_database_holds_every_sentence(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    file.write_bytes(gzip.decompress((HERE / "old.db.gz").read_bytes()))
    assert sentences.missing(str(file)) == []


def test_the_upgraded_database_is_whole(upgraded: peewee.Database) -> None:
    assert upgraded.execute_sql("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert upgraded.execute_sql("PRAGMA foreign_key_check").fetchall() == []


def test_an_upgraded_database_has_the_schema_of_a_new_one(upgraded: peewee.Database, tmp_path: Path) -> None:
    """Else later migrations would do one thing here and another there."""
    had = _columns(upgraded)
    fresh = open_database(f"sqlite:///{tmp_path / 'fresh.db'}")
    migrate(fresh)
    found = _columns(fresh)
    fresh.close()
    assert had == found


def _columns(opened: peewee.Database) -> dict[str, list[str]]:
    return {table: sorted(one.name for one in opened.get_columns(table)) for table in opened.get_tables()}


def test_events_of_scaling_say_what_they_said(upgraded: peewee.Database) -> None:
    before = {entry["id"]: entry["details"].get("reason") for entry in _old_entries()}
    rows = [row for row in Event.select().where(Event.name.startswith("scaling.")) if before[row.id]]
    assert {row.name.removeprefix("scaling.") for row in rows} == {"out", "in", "fail", "continue", "abandon"}
    assert [row.id for row in rows if row.reason_code in (None, "other")] == []
    wrong = {
        before[row.id]: said
        for row in rows
        for said in [event_wording.reason(row.name, row.reason_code, row.details)]
        if said != _scaling_sentence(re.sub(r"^\d+ → \d+: ", "", before[row.id]))
    }
    assert wrong == {}


def test_to_migrate_twice_is_harmless(upgraded: peewee.Database) -> None:
    before = "\n".join(_dump(upgraded))
    assert migrate(upgraded) == []
    assert "\n".join(_dump(upgraded)) == before


def _dump(opened: peewee.Database) -> Iterator[str]:
    with sqlite3.connect(opened.database) as raw:
        yield from raw.iterdump()


def test_it_keeps_every_row(upgraded: peewee.Database) -> None:
    names = {table: RENAMED.get(table, table) for table in EXPECTED["counts"]}
    found = {
        table: upgraded.execute_sql(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0] for table, name in names.items()
    }
    assert found == {table: count - DROPPED.get(table, 0) for table, count in EXPECTED["counts"].items()}


def test_what_a_person_typed_is_a_persons_quarantine(upgraded: peewee.Database) -> None:
    excluded = Host.select().where(Host.quarantine_code.is_null(False))
    found = {(row.quarantine_params.get("text"), row.quarantine_code) for row in excluded}
    assert ("Convergence gave up: I typed that by hand", "person") in found
    assert (None, "convergence") in found


def test_events_name_who_was_there(upgraded: peewee.Database) -> None:
    """A name may have belonged to several, one after the other; ids tell them apart."""
    rows = Event.select(Event, Host).join(Host, on=(Event.target_id == Host.id), attr="about")
    hosts = list(rows.where(Event.target_kind == "host"))
    wrong = [f"{row.name} of {row.target_path} at {row.at}" for row in hosts if row.at < row.about.enrolled_at]
    assert (wrong, len(hosts) > 50) == ([], True)


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        ("person", User),
        ("token", ApiToken),
        ("host", Host),
        ("join_token", JoinToken),
        ("schedule", Schedule),
        ("webhook", Webhook),
    ],
)
def test_actors_are_known_by_their_ids(upgraded: peewee.Database, kind: str, table: type[peewee.Model]) -> None:
    told = {row.actor_id for row in Event.select().where(Event.actor_kind == kind)}
    known = {str(row.id) for row in table.select()}
    assert (told - known, len(told) > 0) == (set(), True)


def test_a_person_named_as_the_service_is_none(upgraded: peewee.Database) -> None:
    rows = Event.select().where(Event.actor_name == "callboard")
    assert {(row.actor_kind, row.peer is None) for row in rows} == {("service", True), ("person", False)}


# what it answers


def _noun(path: str) -> str:
    return next(noun for noun, (pattern, _) in NOUNS.items() if re.match(pattern, path))


@pytest.mark.parametrize("noun", NOUNS)
def test_it_answers_as_before(app: Flask, noun: str) -> None:
    paths = [path for path in EXPECTED["answers"] if _noun(path) == noun]
    assert paths, f"nothing was asked about {noun}"
    wanted = {path: EXPECTED["answers"][path] for path in paths}
    mapped = {path: {**told, "body": NOUNS[noun][1](told["body"], path)} for path, told in wanted.items()}
    lines = [line for path in paths for line in differences(mapped[path], ask(app, path), path)]
    assert not lines, f"{len(lines)} differences:\n" + "\n".join(lines[:_MOST_SHOWN])


def test_it_draws_the_same_timelines(app: Flask, clock: FakeClock) -> None:
    since = parse_iso(EXPECTED["marks"]["after release 1"]).replace(hour=0)
    found = {
        f"{stage.project.name}/{stage.name}": {
            f"{host.name} {host.id}": [[span.state, iso(max(span.since, since)), iso(span.until)] for span in spans]
            for host, spans in past.timeline(stage, since=since, until=clock.now()).items()
        }
        for stage in Stage.select(Stage, Project).join(Project)
    }
    assert differences(EXPECTED["timelines"], found) == []


# what lets people and machines in


def test_sealed_secrets_still_open(upgraded: peewee.Database, settings: Settings) -> None:
    keys = keyring.load(settings)
    found = {
        f"{stage.project.name}/{stage.name}": {
            name: opened.value.decode("latin-1") for name, opened in store.open_for_stage(stage, keys).items()
        }
        for stage in stages.list_stages()
    }
    assert found == EXPECTED["secrets"]


def test_users_still_sign_in(upgraded: peewee.Database) -> None:
    for name, password in EXPECTED["users"].items():
        assert users.sign_in(name, password).name == name
    for name, password in EXPECTED["no_users"].items():
        with pytest.raises(UnauthorizedError):
            users.sign_in(name, password)


def test_tokens_still_hold(app: Flask) -> None:
    for name, text in EXPECTED["token_texts"].items():
        assert ask(app, "/whoami", text)["status"] == EXPECTED["tokens"][name]["status"], name


def test_machines_are_still_known_by_their_tokens(app: Flask) -> None:
    found, wanted = {}, {}
    for told in EXPECTED["beats"]:
        headers = {"Authorization": f"Bearer {told['token']}"}
        answer = app.test_client().post("/api/v1/heartbeat", json=told["body"], headers=headers)
        key = f"{told['host']} {told['token'].split('_')[1]}"
        found[key] = (answer.status_code, answer.get_json().get("state"))
        wanted[key] = (told["status"], told["state"])
    assert found == wanted
