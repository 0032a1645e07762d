from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from inventory_service import events
from inventory_service.accounts import users
from inventory_service.automation import schedules
from inventory_service.events import EventName, Target, TargetKind
from inventory_service.models import Event, Host, Schedule, Stage
from inventory_service.registry import hosts, join_tokens, stages, sweep
from inventory_service.registry.stage_settings import StageChange
from inventory_service.settings import Settings
from tests.support import ADA, START, Caller, FakeClock, Machine, expiry

AUDIT = "/api/v1/audit"


@pytest.fixture
def entries(admin: Caller, stage: Stage) -> None:
    Event.delete().execute()
    another = Target(TargetKind.STAGE, "99", "shop/production2", 99)
    events.record(EventName.STAGE_LOCK, events.target(stage), actor=ADA, at=START, details={"reason": "why"})
    events.record(EventName.SCHEDULE_FAIL, another, actor=ADA, at=START)
    web_1 = events.host_target("h1", "web-1", stage)
    events.record(EventName.HOST_ADD, web_1, actor=events.SERVICE, at=START)
    events.record(EventName.HOST_STALE, web_1, actor=events.SERVICE, at=START)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["host.add", "schedule.fail", "stage.lock"]),
        ("?action=stage", ["stage.lock"]),
        ("?action=stage.lock", ["stage.lock"]),
        ("?target=shop/production", ["host.add", "stage.lock"]),
        ("?actor=ada", ["schedule.fail", "stage.lock"]),
        ("?action=host.stale", ["host.stale"]),
        ("?actor=nobody", []),
    ],
)
def test_it_shows_who_changed_what_newest_first(admin: Caller, entries: None, query: str, found: list[str]) -> None:
    assert [row["action"] for row in admin.get(f"{AUDIT}{query}").json["items"]] == found


def test_it_pages_through_the_past(admin: Caller, stage: Stage, entries: None) -> None:
    first = admin.get(f"{AUDIT}?limit=2").json
    rest = admin.get(f"{AUDIT}?limit=2&cursor={first['next']}").json
    assert [row["action"] for row in first["items"] + rest["items"]] == ["host.add", "schedule.fail", "stage.lock"]
    assert rest["next"] is None
    assert rest["items"][0] | {"id": 0} == {
        "id": 0,
        "at": "2026-11-23T14:00:00Z",
        "actor": "ada",
        "actor_kind": "person",
        "actor_id": None,
        "peer": "192.0.2.7",
        "action": "stage.lock",
        "target": "shop/production",
        "target_kind": "stage",
        "target_id": str(stage.id),
        "changes": {},
        "details": {"reason": "why"},
        "said": ["why"],
    }


def test_it_shows_it_to_admins_of_everything_only(operator: Caller, stranger: Caller) -> None:
    assert [caller.get(AUDIT).status_code for caller in (operator, stranger)] == [403, 403]


def test_it_ends_the_guessing_of_join_tokens(viewer: Caller, stage: Stage, clock: FakeClock) -> None:
    """After 30 refusals within a minute: 429, no more entries, and yet a token that holds lets its machine in."""
    guesser = Caller(viewer.client, "cbj_abcdefghijkl." + "x" * 43, peer="10.0.0.1")
    answers = [guesser.post("/api/v1/enrol", {"name": "web-1"}) for _ in range(35)]
    assert [answer.status_code for answer in answers] == [401] * 30 + [429] * 5
    assert answers[-1].headers["Retry-After"]
    assert Event.select().where(Event.name == "host.refuse").count() == 30
    _, token = join_tokens.create(stage, actor=ADA, at=clock.now())
    assert Caller(viewer.client, token, peer="10.0.0.1").post("/api/v1/enrol", {"name": "web-1"}).status_code == 201
    elsewhere = Caller(viewer.client, guesser.token, peer="10.0.0.2")
    assert elsewhere.post("/api/v1/enrol", {"name": "web-2"}).status_code == 401
    clock.advance(60)
    assert guesser.post("/api/v1/enrol", {"name": "web-1"}).status_code == 401


def test_it_audits_agentless_hosts_but_no_renewal(viewer: Caller, stage: Stage, clock: FakeClock) -> None:
    stages.update_stage(stage, change=StageChange(agentless=True), actor=ADA, at=clock.now())
    row, secret = join_tokens.create(stage, actor=ADA, at=clock.now())
    machine, token = Caller(viewer.client, secret, peer="10.0.0.1"), f"join token {row.id}"
    before = Event.select().count()
    for call in (machine.put, machine.put, machine.delete, machine.delete):
        call("/api/v1/stages/shop/production/hosts/10.0.0.1")
    told = [
        (row.actor_kind, row.actor_id, row.actor_name, row.peer, row.name, row.target_path)
        for row in Event.select().order_by(Event.id)
    ]
    assert told[before:] == [
        ("join_token", row.id, token, "10.0.0.1", "host.add", "shop/production/10.0.0.1"),
        ("join_token", row.id, token, "10.0.0.1", "host.remove", "shop/production/10.0.0.1"),
    ]
    assert Host.select().count() == 1


def test_it_audits_a_refused_agentless_heartbeat_once_an_hour(viewer: Caller, stage: Stage, clock: FakeClock) -> None:
    stages.update_stage(stage, change=StageChange(agentless=True), actor=ADA, at=clock.now())
    row, token = join_tokens.create(stage, actor=ADA, at=clock.now())
    join_tokens.revoke(stage, row.id, actor=ADA, at=clock.now())
    cron = Caller(viewer.client, token, peer="10.0.0.1")
    calls = [cron.put("/api/v1/stages/shop/production/hosts/10.0.0.1") for _ in range(35)]
    assert [call.status_code for call in calls] == [401] * 30 + [429] * 5
    clock.advance(3600)
    cron.put("/api/v1/stages/shop/production/hosts/10.0.0.1")
    told = list(Event.select().where(Event.name == "host.refuse"))
    assert [(one.peer, one.target_path, one.details["reason"]) for one in told] == [
        ("10.0.0.1", "shop/production/10.0.0.1", "the join token was revoked")
    ] * 2


def test_it_shows_what_was_before_and_what_is_now(
    admin: Caller, web_1: Machine, settings: Settings, clock: FakeClock
) -> None:
    path = "/api/v1/stages/shop/production"
    admin.patch("/api/v1/projects/shop", {"source": "https://ada:old-token@git.example/shop.git"})
    admin.post("/api/v1/users", {"name": "grace", "password": "correct horse", "role": "viewer"})
    before = Event.select().count()
    admin.patch("/api/v1/users/grace", {"role": "admin", "password": "another horse"})
    admin.patch(path, {"converge": False, "ttl_seconds": 600, "batches": [1, "25%"]})
    admin.put(f"{path}/secrets/pin", {"value": "hunter2-of-the-till"})
    admin.put(f"{path}/secrets/pin", {"value": "hunter3-of-the-till"})
    admin.patch(path, {"variables": {"size": 1, "pin": {"$secret": "pin"}, "app": {"port": 80, "host": "a"}}})
    admin.patch(path, {"variables": {"size": 2, "app": {"port": 81, "host": "a"}}})
    admin.patch("/api/v1/projects/shop", {"source": "https://ada:new-token@git.example/store.git"})
    admin.patch(f"/api/v1/hosts/{web_1.host_id}", {"groups": ["db", "web"]})
    admin.patch(f"/api/v1/hosts/{web_1.host_id}", {"quarantined": True, "reason": "a bad disk"})
    admin.put(f"{path}/lock", {"reason": "migration"})
    admin.post("/api/v1/runs", {"stage": "shop/production", "kind": "deploy", "override_lock": "it burns"})
    admin.post("/api/v1/tokens", {"name": "ci", "role": "operator", "projects": ["shop"]})
    told = admin.get(f"{AUDIT}?limit=200").json["items"][::-1][before:]
    said = [(row["action"], [line for line in row["said"] if not line.startswith("id: ")]) for row in told]
    assert said == [
        ("user.update", ["role: viewer → admin", "password: changed"]),
        ("stage.update", ["ttl_seconds: 300 → 600", "converge: yes → no", "batches: none → 1, 25%"]),
        ("secret.set", ["kind: none → variable", "value: set", "name: pin"]),
        ("secret.set", ["value: changed", "name: pin", "kind: variable"]),
        (
            "stage.update",
            ["variables.size: none → 1", "variables.pin: none → secret pin",
             'variables.app: none → {"port": 80, "host": "a"}'],
        ),
        ("stage.update", ["variables.size: 1 → 2", "variables.app.port: 80 → 81", "variables.pin: secret pin → none"]),
        ("project.update", ["source: https://git.example/shop.git → https://git.example/store.git"]),
        ("secret.set", ["value: changed", "name: source_token", "kind: git_token"]),
        ("host.update", ["groups: none → db, web"]),
        ("host.quarantine", ["a bad disk"]),
        ("stage.lock", ["migration"]),
        ("run.deploy", []),
        ("stage.override_lock", ["it burns", "run: 1", "locked_by: token:admin-everywhere", "lock: migration"]),
        ("token.create", ["role: operator", "projects: shop"]),
    ]  # fmt: skip
    shown = str(told)
    assert [word for word in ("hunter", "horse", "-token") if word in shown] == []


def test_it_says_which_kind_acted(
    admin: Caller, client: FlaskClient, stage: Stage, settings: Settings, clock: FakeClock
) -> None:
    """A name is a free choice, and so no proof of who it was."""
    path = "/api/v1/stages/shop/production"
    token = admin.post("/api/v1/tokens", {"name": "ci", "role": "admin"}).json
    row, secret = join_tokens.create(stage, actor=ADA, at=clock.now())
    host = Caller(client, secret, peer="10.0.0.1").post("/api/v1/enrol", {"name": "web-1"}).json
    Caller(client, host["token"]).post("/api/v1/rotate")
    Caller(client, token["token"]).put(f"{path}/lock", {"reason": "migration"})
    Caller(client, token["token"]).delete(f"{path}/lock")
    person = users.create("ada", "correct horse", role="admin", projects=None, actor=ADA, at=clock.now())
    hosts.change(
        hosts.get_host(host["host"]),
        actor=users.principal_of(person, peer=None).actor,
        at=clock.now(),
        is_draining=True,
    )
    admin.post(f"{path}/schedules", {"name": "nightly", "cron": "* * * * *", "kind": "deploy"})
    schedules.run_due(at=clock.advance(60))
    hook = admin.post(f"{path}/webhooks", {"provider": "gitlab", "refs": ["branch:main"]}).json
    push = {"ref": "refs/heads/main", "checkout_sha": "a" * 40, "user_username": "callboard"}
    headers = {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": hook["secret"]}
    pushed = client.post(f"/api/v1/webhooks/{hook['id']}", json=push, headers=headers)
    assert pushed.json["outcome"] == "deployed", pushed.text
    clock.advance(900)
    sweep.sweep(expiry=expiry(clock.now()))
    acted = {
        (one.name, one.actor_kind, one.actor_id)
        for one in Event.select()
        if one.name.startswith(("host.", "run.", "stage.lock"))
    }
    (schedule,) = Schedule.select()
    assert acted == {
        ("host.enrol", "join_token", row.id),
        ("host.rotate", "host", host["host"]),
        ("stage.lock", "token", token["id"]),
        ("host.drain", "person", str(person.id)),
        ("run.deploy", "schedule", str(schedule.id)),
        ("run.deploy", "webhook", hook["id"]),
        ("host.stale", "service", None),
    }


def test_it_audits_a_new_token_of_a_host(viewer: Caller, web_1: Machine) -> None:
    Caller(viewer.client, web_1.token).post("/api/v1/rotate")
    last = Event.select().order_by(Event.id.desc()).get()
    assert (last.actor_name, last.name, last.target_path) == ("host:web-1", "host.rotate", "shop/production/web-1")
