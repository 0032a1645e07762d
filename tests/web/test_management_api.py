"""Projects, stages, locks, join tokens, releases, people and tokens over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from inventory_service import first_start
from inventory_service.models import Event, Release, Stage
from inventory_service.registry.stages import get_stage
from inventory_service.settings import Settings
from tests.support import START, Caller, FakeClock, Machine

STAGE = "/api/v1/stages/shop/production"
SOURCE = "https://git.example.org/blog.git"


def test_it_adds_changes_and_archives_a_project(admin: Caller) -> None:
    made = admin.post("/api/v1/projects", {"name": "blog", "source": SOURCE, "variables": {"a": [1]}})
    assert (made.status_code, made.json["source_kind"], made.json["variables"]) == (201, "git", {"a": [1]})
    changed = admin.patch("/api/v1/projects/blog", {"description": "words"})
    assert (changed.json["description"], changed.json["source"]) == ("words", SOURCE)
    assert admin.delete("/api/v1/projects/blog").status_code == 204
    assert admin.get("/api/v1/projects/blog").status_code == 404
    assert admin.post("/api/v1/projects", {"name": "blog", "source": SOURCE}).status_code == 409


@pytest.mark.parametrize(
    "body",
    [
        {"name": "blog"},
        {"name": "Blog", "source": SOURCE},
        {"name": "blog", "source": "--upload-pack=id"},
        {"name": "blog", "source": SOURCE, "variables": {"a b": 1}},
        {"name": "blog", "source": SOURCE, "archived_at": None},
    ],
)
def test_it_rejects_a_project(admin: Caller, body: dict[str, Any]) -> None:
    assert admin.post("/api/v1/projects", body).status_code == 422


def test_it_shows_a_project_with_its_stages(viewer: Caller, stage: Stage) -> None:
    shown = viewer.get("/api/v1/projects/shop").json
    assert [item["stage"] for item in shown["stages"]] == ["shop/production"]
    assert viewer.get("/api/v1/projects/shop/stages").json["items"] == shown["stages"]


def test_it_pages_through_projects(admin: Caller) -> None:
    for name in ("a", "b", "c"):
        admin.post("/api/v1/projects", {"name": name, "source": SOURCE})
    first = admin.get("/api/v1/projects?limit=2").json
    second = admin.get(f"/api/v1/projects?limit=2&cursor={first['next']}").json
    assert [[row["name"] for row in page["items"]] for page in (first, second)] == [["a", "b"], ["c"]]


def test_it_adds_and_changes_a_stage(admin: Caller, project: object) -> None:
    made = admin.post("/api/v1/projects/shop/stages", {"name": "staging", "agentless": True, "ttl_seconds": 600})
    assert (made.status_code, made.json["stage"], made.json["agentless"]) == (201, "shop/staging", True)
    changed = admin.patch("/api/v1/stages/shop/staging", {"converge": False, "agentless": False})
    assert (changed.json["converge"], changed.json["agentless"], changed.json["ttl_seconds"]) == (False, False, 600)


@pytest.mark.parametrize(
    "body", [{"ttl_seconds": 60}, {"interval_seconds": 0}, {"deploy_playbook": "../x.yml"}, {"ansible_user": "-x"}]
)
def test_it_rejects_a_change_of_a_stage(admin: Caller, stage: Stage, body: dict[str, Any]) -> None:
    assert admin.patch(STAGE, body).status_code == 422


def test_it_sends_the_hosts_of_an_archived_stage_away(admin: Caller, web_1: Machine) -> None:
    assert admin.delete(STAGE).status_code == 204
    beat = Caller(admin.client, web_1.token).post("/api/v1/heartbeat", {"boot_id": "b007", "seq": 1})
    assert (beat.status_code, admin.get(STAGE).status_code) == (410, 404)


def test_it_locks_and_unlocks(operator: Caller, viewer: Caller, stage: Stage) -> None:
    assert operator.put(f"{STAGE}/lock", {"reason": "Black Friday"}).json["reason"] == "Black Friday"
    assert viewer.get(STAGE).json["lock"]["locked_by"] == "token:operator-everywhere"
    assert operator.put(f"{STAGE}/lock", {"reason": "again"}).status_code == 409
    assert [operator.delete(f"{STAGE}/lock").status_code for _ in range(2)] == [204, 204]
    assert viewer.get(STAGE).json["lock"] is None


def test_it_shows_a_join_tokens_secret_once(operator: Caller, stage: Stage) -> None:
    made = operator.post(f"{STAGE}/join-tokens", {"groups": ["web"], "maximum_uses": 3}).json
    listed = operator.get(f"{STAGE}/join-tokens")
    assert made["token"].startswith("cbj_")
    assert [row["id"] for row in listed.json["items"]] == [made["id"]]
    assert made["token"].split(".")[1] not in listed.text
    assert operator.delete(f"{STAGE}/join-tokens/{made['id']}").status_code == 204
    assert operator.get(f"{STAGE}/join-tokens").json["items"][0]["revoked_at"] == "2026-11-23T14:00:00Z"


@pytest.mark.parametrize(
    "body",
    [
        {"groups": ["all"]},
        {"networks": ["x"]},
        {"maximum_uses": 0},
        {"expires_at": "soon"},
        {"expires_at": "2026-11-23T14:03:00"},
    ],
)
def test_it_rejects_a_join_token(operator: Caller, stage: Stage, body: dict[str, Any]) -> None:
    assert operator.post(f"{STAGE}/join-tokens", body).status_code == 422


def test_it_takes_the_end_of_a_token_in_any_zone(operator: Caller, stage: Stage) -> None:
    made = operator.post(f"{STAGE}/join-tokens", {"expires_at": "2026-11-23T20:00:00+05:00"})
    assert made.json["expires_at"] == "2026-11-23T15:00:00Z"


def test_it_lists_releases(viewer: Caller, stage: Stage) -> None:
    Release.create(
        stage=stage, number=1, revision="a" * 40, revision_name="main", variables={}, created_by="ada", created_at=START
    )
    assert viewer.get(f"{STAGE}/releases").json["items"][0]["revision_name"] == "main"


def test_it_lists_what_a_stages_source_offers(viewer: Caller, stage: Stage) -> None:
    offered = viewer.get(f"{STAGE}/playbooks").json["items"]
    assert offered == [{"playbook": "deploy.yml", "description": "Put it on the hosts"}]


def test_it_answers_422_when_a_source_can_not_be_read(admin: Caller, stage: Stage) -> None:
    admin.patch("/api/v1/projects/shop", {"source": "/nowhere/"})
    answer = admin.get(f"{STAGE}/playbooks")
    assert (answer.status_code, answer.json["title"]) == (422, "Source not usable")


def test_it_manages_people(admin: Caller) -> None:
    body = {"name": "grace", "password": "correct horse", "role": "operator", "projects": ["shop"]}
    made = admin.post("/api/v1/users", body)
    assert made.status_code == 201
    assert "password" not in made.text
    assert admin.patch("/api/v1/users/grace", {"disabled": True}).json["disabled"]
    assert [row["name"] for row in admin.get("/api/v1/users").json["items"]] == ["grace"]


def test_it_shows_an_api_tokens_secret_once(admin: Caller) -> None:
    made = admin.post("/api/v1/tokens", {"name": "ci", "role": "operator", "projects": ["shop"]}).json
    assert Caller(admin.client, made["token"]).get("/api/v1/whoami").json == {
        "name": "token:ci",
        "role": "operator",
        "projects": ["shop"],
    }
    assert made["token"].split(".")[1] not in admin.get("/api/v1/tokens").text


@pytest.mark.parametrize("name", ["", "-x", "a\n", "é", "x" * 65, "<b>"])
def test_it_rejects_the_name_of_a_token(admin: Caller, name: str) -> None:
    assert admin.post("/api/v1/tokens", {"name": name}).status_code == 422


def test_it_shows_the_ssh_key_to_everybody(nobody: Caller, settings: Settings) -> None:
    assert nobody.get("/api/v1/ssh_key").status_code == 404
    first_start.make_ssh_key(settings)
    assert nobody.get("/api/v1/ssh_key").text.startswith("ssh-ed25519 ")


def test_it_writes_down_who_did_what_from_where(admin: Caller, stage: Stage) -> None:
    Caller(admin.client, admin.token, peer="203.0.113.9").patch(STAGE, {"description": "x"})
    entry = Event.get(Event.name == "stage.update")
    told = (entry.actor_name, entry.target_path, entry.peer)
    assert told == ("token:admin-everywhere", "shop/production", "203.0.113.9")


def test_it_writes_no_secret_into_the_audit_log(admin: Caller, stage: Stage) -> None:
    token = admin.post("/api/v1/tokens", {"name": "ci"}).json["token"]
    join = admin.post(f"{STAGE}/join-tokens", {}).json["token"]
    kept = str([entry.__data__ for entry in Event.select()])
    assert not [secret for secret in (token, join, admin.token) if secret.split(".")[1] in kept]


def test_it_clears_a_stages_login(admin: Caller, stage: Stage) -> None:
    admin.patch(STAGE, {"ansible_user": "deploy"})
    assert get_stage("shop", "production").ansible_user == "deploy"
    assert admin.patch(STAGE, {"ansible_user": ""}).status_code == 200


def test_it_shows_a_stages_effective_variables(admin: Caller, stage: Stage) -> None:
    admin.patch("/api/v1/projects/shop", {"variables": {"colour": "blue"}})
    admin.patch("/api/v1/stages/shop/production", {"variables": {"colour": "red"}})
    shown = admin.get("/api/v1/stages/shop/production/variables").json
    found = {item["name"]: item for item in shown["items"]}
    assert found["colour"] == {
        "name": "colour",
        "value": "red",
        "from": "stage",
        "overridden": [{"from": "project", "value": "blue"}],
    }
    assert (shown["changed_since_release"], found["callboard_project"]["from"]) == ([], "server")


def test_it_changes_batches_and_automatic_rollback(admin: Caller, stage: Stage) -> None:
    changed = admin.patch(STAGE, {"batches": [1, "25%"], "auto_rollback": True}).json
    assert (changed["batches"], changed["auto_rollback"]) == ([1, "25%"], True)
    assert admin.patch(STAGE, {"batches": []}).json["batches"] is None


@pytest.mark.parametrize("batches", [[0], ["101%"], "25%", [None], [True], [[1]], [1.5], [10**6]])
def test_it_rejects_batches(admin: Caller, stage: Stage, batches: Any) -> None:
    assert admin.patch(STAGE, {"batches": batches}).status_code == 422


def test_it_sets_a_stages_strategy(admin: Caller, stage: Stage) -> None:
    assert admin.get(STAGE).json["strategy"] == "linear"
    assert admin.patch(STAGE, {"strategy": "mitogen"}).json["strategy"] == "mitogen"
    assert admin.patch(STAGE, {"strategy": "host_pinned"}).status_code == 422


def test_it_believes_an_operator_about_total_silence(
    operator: Caller, viewer: Caller, web_1: Machine, web_2: Machine, clock: FakeClock
) -> None:
    clock.advance(100)
    assert viewer.post(f"{STAGE}/expire").status_code == 403
    assert operator.post(f"{STAGE}/expire").json == {"expired": 2}
    assert operator.get(f"{STAGE}/inventory").json["_meta"]["hostvars"] == {}
    entry = Event.select().where(Event.name == "stage.expire").get()
    told = (entry.actor_name, entry.target_path, entry.details)
    assert told == ("token:operator-everywhere", "shop/production", {"hosts": 2})
    assert operator.post(f"{STAGE}/expire").json == {"expired": 0}
