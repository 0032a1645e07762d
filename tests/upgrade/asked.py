"""What fill.py asks the old code about the database it has filled, and how both are written down.

Runs against commit aec9e55 only, as fill.py does.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from inventory_service.automation.notifications import EVENTS
from inventory_service.clock import iso
from inventory_service.models import TABLES, Host, Project, Run, Stage
from inventory_service.registry import past, stages
from inventory_service.vault import keyring, store
from inventory_service.web.app import create_app
from tests.upgrade.filler import DATA, KEYS, TurnedClock, load_settings

__all__ = ["EVENTS", "write"]

HERE = Path(__file__).parent
_STAGE = (
    "",
    "/hosts?limit=500",
    "/hosts?state=gone&limit=500",
    "/hosts?drift=true&limit=500",
    "/inventory",
    "/inventory?state=live,late,stale,pending",
    "/heartbeats",
    "/known_hosts",
    "/join-tokens",
    "/releases",
    "/variables",
    "/schedules",
    "/webhooks",
    "/notifications",
    "/secrets",
    "/metrics",
    "/metrics/load1_per_cpu",
    "/metrics/stage.live/chart?range=3h",
    "/scaling",
    "/scaling/decisions?limit=500",
    "/scaling/decisions?changes=true",
    "/scaling/lifecycle",
)
_AUDIT = (
    "",
    "?limit=500",
    "?action=host&limit=100",
    "?action=host.refuse&limit=100",
    "?action=freeze",
    "?action=run.failed",
    "?action=scaling&limit=200",
    "?actor=callboard&limit=200",
    "?actor=ada&limit=200",
    "?actor=token:ci",
    "?actor=enrolment",
    "?target=shop/staging&limit=200",
    "?target=shop/production&limit=100&action=stage",
    "?target=all stages",
)


def write(fill: Any) -> None:
    """Write old.db.gz and expected.json.gz."""
    at = fill.s.now
    folder = DATA / "alone"  # without sources and logs, as the test has it
    folder.mkdir()
    with sqlite3.connect(DATA / "data" / "callboard.db") as opened:
        opened.execute("VACUUM INTO ?", (str(folder / "callboard.db"),))
    content = (folder / "callboard.db").read_bytes()
    assert str(Path.cwd()).encode() not in content, "the fixture names this checkout's folder"
    (HERE / "old.db.gz").write_bytes(gzip.compress(content, 9, mtime=0))
    settings = load_settings()
    shutil.move(DATA / "data" / "runs", DATA / "runs")
    shutil.move(DATA / "data" / "sources", DATA / "sources")
    shutil.move(DATA / "shop", DATA / "shop-of-then")  # nobody can fetch it any more
    shutil.move(DATA / "blog", DATA / "blog-of-then")
    app = create_app(settings, TurnedClock(at))
    token = fill.s.token
    answers = {path: _ask(app, path, token) for path in _paths(fill)}
    told = {
        "at": iso(at),
        "settings": {**KEYS, "gone_after_seconds": 7200.0, "public_url": "https://callboard.example.org"},
        "admin_token": token,
        "marks": fill.marks,
        "counts": {table._meta.table_name: table.select().count() for table in TABLES},
        "users": {
            "admin": fill.s.password,
            "ada": "ada-0123456789",
            "grace": "grace-9876543210",
            "callboard": "callboard-0123456789",
        },
        "no_users": {"linus": "linus-0123456789", "grace": "grace-0123456789"},
        "tokens": {name: _ask(app, "/whoami", text) for name, text in fill.tokens.items()},
        "token_texts": fill.tokens,
        "secrets": _secrets(settings),
        "timelines": _timelines(at),
        "answers": answers,
        "beats": [_beat(app, box) for box in fill.s.boxes if box.token],
    }
    text = json.dumps(told, indent=0, sort_keys=True, ensure_ascii=False)
    (HERE / "expected.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(len(content), (HERE / "old.db.gz").stat().st_size, len(text), (HERE / "expected.json.gz").stat().st_size)


def _ask(app: Any, path: str, token: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    answer = app.test_client().get(f"/api/v1{path}", headers=headers)
    body = answer.get_json(silent=True)
    return {"status": answer.status_code, "body": answer.get_data(as_text=True) if body is None else body}


def _beat(app: Any, box: Any) -> dict[str, Any]:
    """What an old heartbeat of the machine is answered: whether its token holds, and in which state it is."""
    headers = {"Authorization": f"Bearer {box.token}"}
    body = {"boot_id": box.boot_id, "seq": 0}
    answer = app.test_client().post("/api/v1/heartbeat", json=body, headers=headers)
    told = {"status": answer.status_code, "state": answer.get_json().get("state")}
    return {"host": box.name, "token": box.token, "body": body, **told}


def _paths(fill: Any) -> list[str]:
    names = [f"{row.project.name}/{row.name}" for row in stages.list_stages()]
    found = ["/whoami", "/users", "/tokens", "/projects", "/runs?limit=500"]
    for project in Project.select().order_by(Project.name):
        found += [f"/projects/{project.name}{more}" for more in ("", "/stages", "/secrets")]
    for name in [*names, "shop/retired", "old/attic"]:
        found += [f"/stages/{name}{more}" for more in _STAGE]
        moments = [moment for moment in fill.marks.values() if name in names]
        found += [f"/stages/{name}/{noun}?at={moment}" for moment in moments for noun in ("hosts", "inventory")]
        found.append(f"/runs?stage={name}&limit=100")
    found += [f"/stages/shop/production/webhooks/{hook['id']}" for hook in fill.hooks.values()]
    found += [f"/hosts/{row.id}" for row in Host.select().order_by(Host.id)]
    some = Host.select().where(Host.name.in_(["web-1", "app-1"])).order_by(Host.id)
    found += [f"/hosts/{row.id}/metrics/load1_per_cpu" for row in some]
    found += [f"/runs?{query}&limit=200" for query in _RUNS]
    for run in Run.select(Run.id).order_by(Run.id):
        found += [f"/runs/{run.id}{more}" for more in ("", "/variables", "/inventory", "/log")]
        found.append(f"/runs/{run.id}/events?limit=500")
    found += [f"/runs/{fill.failed}/events?failed=true", f"/runs/{fill.failed}/events?q=disk"]
    found += [f"/runs/{fill.failed}/export?format=junit"]
    found += [f"/runs/{fill.first}/diff/{fill.second}", f"/runs/{fill.second}/diff/{fill.failed}"]
    return [*found, *(f"/audit{query}" for query in _AUDIT)]


_RUNS = (
    "status=failed",
    "status=lost",
    "status=canceled",
    "status=timeout",
    "kind=converge",
    "kind=rollback",
    "user=callboard",
    "user=ada",
    "user=token:ci",
    "q=behind",
)


def _secrets(settings: Any) -> dict[str, dict[str, str]]:
    """Every stage's secrets, opened: {stage: {name: value}}, bytes as latin-1."""
    keys = keyring.load(settings)
    return {
        f"{stage.project.name}/{stage.name}": {
            name: opened.value.decode("latin-1") for name, opened in store.open_for_stage(stage, keys).items()
        }
        for stage in stages.list_stages()
    }


def _timelines(at: dt.datetime) -> dict[str, Any]:
    """{stage: {host's name and id: [[state, since, until], …]}} of the last day."""
    return {
        f"{stage.project.name}/{stage.name}": {
            f"{host.name} {host.id}": [[span.state, iso(span.since), iso(span.until)] for span in spans]
            for host, spans in past.timeline(stage, since=at - dt.timedelta(days=1), until=at).items()
        }
        for stage in Stage.select(Stage, Project).join(Project)
    }
