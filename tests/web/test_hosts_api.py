from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from inventory_service.models import Host, Stage
from inventory_service.registry import hosts, join_tokens
from inventory_service.registry.enrolment import IdentityRules
from inventory_service.registry.stage_settings import StageChange
from inventory_service.registry.stages import update_stage
from tests.support import ADA, Caller, FakeClock, Machine, key_line

HOSTS = "/api/v1/stages/shop/production/hosts"
BEAT = {"boot_id": "b007", "seq": 1000}


@pytest.fixture
def joining(viewer: Caller, join_token: str) -> Caller:
    return Caller(viewer.client, join_token, peer="10.0.0.1")


@pytest.fixture
def beating(viewer: Caller, web_1: Machine) -> Caller:
    return Caller(viewer.client, web_1.token, peer="10.0.0.1")


@pytest.fixture
def agentless(stage: Stage, joining: Caller) -> Caller:
    """A join token of a stage that takes agentless heartbeats."""
    update_stage(stage, change=StageChange(agentless=True), actor=ADA, at=stage.created_at)
    return joining


# enrol


def test_it_lets_a_machine_in(joining: Caller) -> None:
    body = {
        "name": "Web-1",
        "boot_id": "b-1",
        "host_keys": [key_line()],
        "facts": {"zone": "a"},
        "agent_version": "1.0",
    }
    answer = joining.post("/api/v1/enrol", body)
    told = answer.json
    assert (answer.status_code, hosts.authenticate(told["token"]).address) == (201, "10.0.0.1")
    assert told == {
        "host": told["host"],
        "token": told["token"],
        "name": "web-1",
        "stage": "shop/production",
        "interval_seconds": 60,
        "ttl_seconds": 300,
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"name": "localhost"}, 422),
        ({"name": "db\n"}, 422),
        ({"name": "-oProxyCommand=id"}, 422),
        ({"name": "web-1", "ssh_port": 0}, 422),
        ({"name": "web-1", "ssh_port": "22; id"}, 422),
        ({"name": "web-1", "address": "172.16.0.1"}, 403),
        ({"name": "web-1", "address": "-oProxyCommand=id"}, 422),
        ({"name": "web-1", "host_keys": [f"{key_line()}\n* {key_line()}"]}, 422),
        ({"name": "web-1", "host_keys": ["ssh-rsa x"]}, 422),
        ({"name": "web-1", "facts": {"a": {"b": 1}}}, 422),
        ({"name": "web-1", "facts": {"a": "\u202e"}}, 422),
        ({"name": "web-1", "boot_id": "\u001b[31m"}, 422),
        ({"name": "web-1", "agent_version": "{{ x }}"}, 422),
        ({"name": "web-1", "stage": "shop/staging"}, 422),
        ({"name": "web-1", "groups": ["db"]}, 422),
    ],
)
def test_it_rejects_a_machine_that_says(joining: Caller, body: dict[str, Any], status: int) -> None:
    assert joining.post("/api/v1/enrol", body).status_code == status
    assert Host.select().count() == 0


def test_it_shows_a_join_tokens_end_with_the_same_words(joining: Caller, stage: Stage, clock: FakeClock) -> None:
    _, expired = join_tokens.create(stage, actor=ADA, at=clock.now(), expires_at=clock.now())
    told = [
        Caller(joining.client, token).post("/api/v1/enrol", {"name": "web-1"})
        for token in (expired, "cbj_abcdefghijkl." + "x" * 43, "nonsense")
    ]
    assert {answer.status_code for answer in told} == {401}
    assert len({answer.json["detail"] for answer in told}) == 1


def test_it_rejects_a_machine_from_another_network(viewer: Caller, stage: Stage, clock: FakeClock) -> None:
    _, token = join_tokens.create(stage, actor=ADA, at=clock.now(), networks=["10.0.0.0/8"])
    answer = Caller(viewer.client, token, peer="192.0.2.1").post("/api/v1/enrol", {"name": "web-1"})
    unknown = Caller(viewer.client, "cbj_abcdefghijkl." + "x" * 43).post("/api/v1/enrol", {"name": "web-1"})
    assert (answer.status_code, answer.json) == (401, unknown.json)


# heartbeat and goodbye


def test_it_renews_and_says_what_should_be(beating: Caller, clock: FakeClock) -> None:
    clock.advance(100)
    answer = beating.post("/api/v1/heartbeat", BEAT | {"run": 17}).json
    assert Host.get().acknowledged_run == 17
    assert 54 <= answer.pop("next_in_seconds") <= 60
    expected = {
        "server_time": "2026-11-23T14:01:40Z",
        "state": "live",
        "duplicate": False,
        "ttl_seconds": 300,
        "desired_release": None,
        "send_facts": False,
    }
    assert expected.items() <= answer.items()


def test_it_answers_a_replayed_heartbeat_with_duplicate(beating: Caller, web_1: Machine, clock: FakeClock) -> None:
    beating.post("/api/v1/heartbeat", BEAT)
    clock.advance(100)
    answer = beating.post("/api/v1/heartbeat", BEAT)
    assert (answer.status_code, answer.json["duplicate"]) == (200, True)
    assert web_1.row.last_seen_at == clock.jump(-100)


def test_it_does_not_believe_a_hosts_clock(beating: Caller, web_1: Machine, clock: FakeClock) -> None:
    beating.post("/api/v1/heartbeat", {**BEAT, "sent_at": "2036-01-01T00:00:00Z"})
    assert web_1.row.last_seen_at == clock.now()


@pytest.mark.parametrize(
    "body",
    [
        {"seq": 1},
        {"boot_id": "b007"},
        {"boot_id": "", "seq": 1},
        {"boot_id": "a\n", "seq": 1},
        {"boot_id": "b007", "seq": -1},
        {"boot_id": "b007", "seq": 1.5},
        {"boot_id": "b007", "seq": 2**62 + 1},
        {**BEAT, "metrics": {"load": "nan"}},
        {**BEAT, "metrics": {"load": "inf"}},
        {**BEAT, "metrics": {"Load": 1}},
        {**BEAT, "metrics": {f"m{number}": 1 for number in range(65)}},
        {**BEAT, "facts": {"a": ["b"]}},
        {**BEAT, "facts": {f"fact_{number}": "x" * 250 for number in range(20)}},
        {**BEAT, "facts_hash": "x"},
        {**BEAT, "release": {"revision": "{{ x }}"}},
        {**BEAT, "release": {"number": -1}},
        {**BEAT, "release": "v1"},
        {**BEAT, "host": "another"},
        {**BEAT, "ansible_host": "10.9.9.9"},
    ],
)
def test_it_rejects_a_heartbeat(beating: Caller, web_1: Machine, clock: FakeClock, body: dict[str, Any]) -> None:
    clock.advance(100)
    assert beating.post("/api/v1/heartbeat", body).status_code == 422
    assert web_1.row.last_seen_at == clock.jump(-100)


@pytest.mark.parametrize(("size", "status"), [(16_384, 422), (16_385, 413)])
def test_it_takes_16_kb_of_a_heartbeat_and_no_more(beating: Caller, size: int, status: int) -> None:
    text = b'{"boot_id": "b007", "seq": 1, "x": "'
    data = text + b"x" * (size - len(text) - 2) + b'"}'
    headers = {"Authorization": f"Bearer {beating.token}", "Content-Type": "application/json"}
    assert beating.client.post("/api/v1/heartbeat", data=data, headers=headers).status_code == status


def test_it_says_goodbye_twice_and_410_to_everything_else(beating: Caller, web_1: Machine) -> None:
    answer = beating.post("/api/v1/goodbye")
    assert (answer.status_code, answer.json) == (200, {"host": web_1.host_id, "state": "gone"})
    for path, body in (("heartbeat", BEAT), ("rotate", {})):
        assert beating.post(f"/api/v1/{path}", body).status_code == 410


# agentless heartbeats


def test_it_takes_an_agentless_heartbeat_of_a_machine(agentless: Caller, clock: FakeClock) -> None:
    first = agentless.put(f"{HOSTS}/10.0.0.1")
    clock.advance(100)
    second = agentless.put(f"{HOSTS}/10.0.0.1")
    assert [answer.status_code for answer in (first, second)] == [201, 200]
    assert second.json["last_seen_at"] == "2026-11-23T14:01:40Z"
    assert [agentless.delete(f"{HOSTS}/10.0.0.1").status_code for _ in range(2)] == [204, 204]


def test_it_rejects_bad_groups_of_a_host_that_is_there(operator: Caller, stage: Stage) -> None:
    assert operator.put(f"{HOSTS}/web-7.example.org", {"groups": ["web"]}).status_code == 201
    assert operator.put(f"{HOSTS}/web-7.example.org", {"groups": ["web*"]}).status_code == 422


def test_it_takes_agentless_heartbeats_without_a_body(agentless: Caller) -> None:
    headers = {"Authorization": f"Bearer {agentless.token}"}
    answer = agentless.client.put(f"{HOSTS}/10.0.0.1", headers=headers, environ_base={"REMOTE_ADDR": "10.0.0.1"})
    assert answer.status_code == 201


def test_it_rejects_anothers_address_from_a_join_token(agentless: Caller) -> None:
    for method in ("PUT", "DELETE"):
        answer = agentless.send(method, f"{HOSTS}/10.0.0.2", {})
        assert answer.status_code == 403
        assert "own address, which is 10.0.0.1" in answer.json["detail"]


def test_it_rejects_agentless_heartbeats_where_the_stage_does_not_take_it(joining: Caller) -> None:
    answer = joining.put(f"{HOSTS}/10.0.0.1")
    assert answer.status_code == 403
    assert "switch them on (agentless)" in answer.json["detail"]


def test_it_rejects_a_join_token_of_another_stage(agentless: Caller, make_stage: Callable[..., Stage]) -> None:
    make_stage("staging", agentless=True)
    assert agentless.put("/api/v1/stages/shop/staging/hosts/10.0.0.1").status_code == 403


def test_it_rejects_a_spent_join_token(agentless: Caller, clock: FakeClock, stage: Stage) -> None:
    _, expired = join_tokens.create(stage, actor=ADA, at=clock.now(), expires_at=clock.now())
    assert Caller(agentless.client, expired, "10.0.0.1").put(f"{HOSTS}/10.0.0.1").status_code == 401


def test_it_tells_nobody_which_stages_there_are(agentless: Caller) -> None:
    guesser = Caller(agentless.client, "cbj_abcdefghijkl." + "x" * 43, peer="10.0.0.1")
    answers = [guesser.put(f"/api/v1/stages/shop/{stage}/hosts/10.0.0.1") for stage in ("production", "nowhere")]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert agentless.put("/api/v1/stages/shop/nowhere/hosts/10.0.0.1").status_code == 403


def test_it_lets_a_machine_of_agentless_heartbeats_wait_for_approval(
    agentless: Caller, operator: Caller, stage: Stage, clock: FakeClock
) -> None:
    update_stage(stage, change=StageChange(approval=True), actor=ADA, at=stage.created_at)
    answers = [agentless.put(f"{HOSTS}/10.0.0.1") for _ in range(2)]
    assert [(answer.status_code, answer.json["state"]) for answer in answers] == [(202, "pending")] * 2
    clock.advance(1000)
    assert agentless.put(f"{HOSTS}/10.0.0.1").json["last_seen_at"] == "2026-11-23T14:16:40Z"
    assert operator.patch(f"/api/v1/hosts/{answers[0].json['id']}", {"approved": True}).json["state"] == "live"
    assert agentless.put(f"{HOSTS}/10.0.0.1").status_code == 200


def test_it_takes_an_operators_heartbeat_for_an_approval(agentless: Caller, operator: Caller, stage: Stage) -> None:
    update_stage(stage, change=StageChange(approval=True), actor=ADA, at=stage.created_at)
    host = agentless.put(f"{HOSTS}/10.0.0.1").json["id"]
    assert operator.put(f"{HOSTS}/10.0.0.1").json["state"] == "live"
    changes = operator.get(f"/api/v1/hosts/{host}").json["transitions"]
    assert [(change["from"], change["to"]) for change in changes] == [("pending", "live"), (None, "pending")]


def test_it_gives_a_machine_of_agentless_heartbeats_its_join_tokens_groups(
    agentless: Caller, stage: Stage, clock: FakeClock
) -> None:
    _, token = join_tokens.create(stage, actor=ADA, at=clock.now(), groups=["web", "app"])
    machine = Caller(agentless.client, token, peer="10.0.0.3")
    refused = machine.put(f"{HOSTS}/10.0.0.3", {"groups": ["db"]})
    assert refused.status_code == 403
    assert "'db'" in refused.json["detail"]
    assert machine.put(f"{HOSTS}/10.0.0.3").json["groups"] == ["app", "web"]


def test_it_counts_the_uses_of_a_join_token_in_agentless_heartbeats(
    agentless: Caller, stage: Stage, clock: FakeClock
) -> None:
    _, token = join_tokens.create(stage, actor=ADA, at=clock.now(), maximum_uses=1)
    first, second = (Caller(agentless.client, token, peer=peer) for peer in ("10.0.0.3", "10.0.0.4"))
    answers = [first.put(f"{HOSTS}/10.0.0.3"), first.put(f"{HOSTS}/10.0.0.3"), second.put(f"{HOSTS}/10.0.0.4")]
    assert [answer.status_code for answer in answers] == [201, 200, 401]
    assert first.delete(f"{HOSTS}/10.0.0.3").status_code == 204


def test_it_keeps_agentless_heartbeats_away_from_hosts_with_a_credential(agentless: Caller, operator: Caller) -> None:
    agentless.post("/api/v1/enrol", {"name": "10.0.0.1"})
    for method in ("PUT", "DELETE"):
        answer = agentless.send(method, f"{HOSTS}/10.0.0.1", {})
        assert answer.status_code == 409
        assert "its own credential" in answer.json["detail"]
    assert operator.delete(f"{HOSTS}/10.0.0.1").status_code == 204


def test_it_rejects_agentless_heartbeats_where_machines_prove_who_they_are(agentless: Caller, operator: Caller) -> None:
    extensions = agentless.client.application.extensions
    rules = IdentityRules("eu-central-1", ("111122223333",))
    extensions["callboard"] = dataclasses.replace(extensions["callboard"], identity_rules=rules)
    answer = agentless.put(f"{HOSTS}/10.0.0.1")
    assert answer.status_code == 403
    assert "enrol with the agent" in answer.json["detail"]
    assert operator.put(f"{HOSTS}/10.0.0.1").status_code == 201


def test_it_lets_an_operator_add_any_address(operator: Caller, stage: Stage) -> None:
    answer = operator.put(f"{HOSTS}/web-7.example.org", {"groups": ["web"], "port": 2222})
    assert (answer.status_code, answer.json["address"], answer.json["port"]) == (201, "web-7.example.org", 2222)
    assert operator.put(f"{HOSTS}/2001:db8::1").json["name"] == "2001:db8::1"


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "all", "-x", "a b", "0.0.0.0", "%2e%2e", "behind"])
def test_it_rejects_to_add(operator: Caller, stage: Stage, address: str) -> None:
    assert operator.put(f"{HOSTS}/{address}").status_code == 422


def test_it_rejects_to_add_a_host_with_a_reserved_group(operator: Caller, stage: Stage) -> None:
    assert operator.put(f"{HOSTS}/10.0.0.1", {"groups": ["all"]}).status_code == 422


# looking


@pytest.fixture
def fleet(stage: Stage, clock: FakeClock) -> dict[str, Machine]:
    """web-1 live, web-2 late, web-3 stale, db-1 gone."""
    names = {"web-1": ("web",), "web-2": ("web",), "web-3": ("web",), "db-1": ("db_servers",)}
    found = {
        name: Machine(stage, name, f"10.0.0.{number}", (key_line(seed=number),), groups).enrol(clock.now())
        for number, (name, groups) in enumerate(names.items(), 1)
    }
    hosts.goodbye(found["db-1"].row, at=clock.now())
    found["web-2"].beat(clock.advance(200))
    found["web-1"].beat(clock.advance(100))
    return found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["web-1", "web-2", "web-3"]),
        ("state=live", ["web-1"]),
        ("state=live,late", ["web-1", "web-2"]),
        ("state=stale", ["web-3"]),
        ("state=gone", ["db-1"]),
        ("group=web", ["web-1", "web-2", "web-3"]),
        ("group=nothing", []),
        ("q=b-2", ["web-2"]),
        ("q=0.0.3", ["web-3"]),
        ("q=B-2", ["web-2"]),
        ("state=live,%20late", ["web-1", "web-2"]),
        ("out_of_date=1", []),
        ("out_of_date=0", ["web-1", "web-2", "web-3"]),
    ],
)
def test_it_lists_hosts(viewer: Caller, fleet: object, query: str, found: list[str]) -> None:
    assert [row["name"] for row in viewer.get(f"{HOSTS}?{query}").json["items"]] == found


def test_it_rejects_a_state_that_there_is_not(viewer: Caller, fleet: object) -> None:
    answer = viewer.get(f"{HOSTS}?state=lvie")
    assert answer.status_code == 422
    assert "'lvie' is no state" in answer.json["detail"]


@pytest.mark.each_database
def test_it_lists_hosts_page_by_page(viewer: Caller, fleet: object) -> None:
    first = viewer.get(f"{HOSTS}?limit=2").json
    second = viewer.get(f"{HOSTS}?limit=2&cursor={first['next']}").json
    assert [[row["name"] for row in page["items"]] for page in (first, second)] == [["web-1", "web-2"], ["web-3"]]
    assert second["next"] is None


@pytest.mark.each_database
def test_it_loses_no_host_of_the_past_at_a_pages_edge(viewer: Caller, stage: Stage, clock: FakeClock) -> None:
    name = "w" * 63 + ".example.org"
    for _ in range(5):
        hosts.goodbye(Machine(stage, name).enrol(clock.now()).row, at=clock.now())
    found, cursor = [], ""
    for _ in range(3):
        shown = viewer.get(f"{HOSTS}?state=gone&limit=2&cursor={cursor}").json
        found += [row["id"] for row in shown["items"]]
        cursor = shown["next"]
    assert (len(found), len(set(found)), cursor) == (5, 5, None)


def test_it_shows_a_host_with_its_history(viewer: Caller, web_1: Machine, clock: FakeClock) -> None:
    hosts.goodbye(web_1.row, at=clock.advance(60))
    shown = viewer.get(f"/api/v1/hosts/{web_1.host_id}").json
    assert (shown["state"], shown["gone_at"], shown["runs"]) == ("gone", "2026-11-23T14:01:00Z", [])
    steps = [(item["from"], item["to"], item["reason"]) for item in shown["transitions"]]
    assert steps == [("live", "gone", "said goodbye"), (None, "live", "enrolled")]


def test_it_shows_no_secret_of_a_host(viewer: Caller, web_1: Machine) -> None:
    assert web_1.row.secret_sha256 not in viewer.get(f"/api/v1/hosts/{web_1.host_id}").text


# changing


def test_it_changes_a_host(operator: Caller, web_1: Machine) -> None:
    body = {"draining": True, "quarantined": True, "reason": "disk", "groups": ["web"], "description": "the first"}
    answer = operator.patch(f"/api/v1/hosts/{web_1.host_id}", body)
    assert (answer.status_code, answer.json["quarantine_reason"]) == (200, "disk")
    assert (answer.json["draining"], answer.json["groups"]) == (True, ["web"])
    assert operator.patch(f"/api/v1/hosts/{web_1.host_id}", {"quarantined": False}).json["quarantine_reason"] is None


@pytest.mark.parametrize(
    "body", [{"groups": ["all"]}, {"host_keys": ["x"]}, {"draining": "maybe"}, {"name": "x"}, {"address": "10.9.9.9"}]
)
def test_it_rejects_a_change_of_a_host(operator: Caller, web_1: Machine, body: dict[str, Any]) -> None:
    assert operator.patch(f"/api/v1/hosts/{web_1.host_id}", body).status_code == 422


def test_it_shows_a_hosts_health(beating: Caller, viewer: Caller) -> None:
    said = {"health": {"healthy": False, "reason": "/health answered 500"}}
    assert beating.post("/api/v1/heartbeat", {**BEAT, **said}).status_code == 200
    (row,) = viewer.get(HOSTS).json["items"]
    assert (row["healthy"], row["health_reason"]) == (False, "/health answered 500")


@pytest.mark.parametrize("health", [{}, {"healthy": "yes please"}, {"healthy": True, "more": 1}, {"healthy": None}, []])
def test_it_rejects_health_of_another_shape(beating: Caller, health: Any) -> None:
    assert beating.post("/api/v1/heartbeat", {**BEAT, "health": health}).status_code == 422


def test_it_tells_the_last_words_of_hosts(viewer: Caller, web_1: Machine, clock: FakeClock, stranger: Caller) -> None:
    web_1.beat(clock.advance(7), release_number=3, revision="c" * 40, is_healthy=True)
    words = "/api/v1/stages/shop/production/heartbeats"
    assert list(viewer.get(words).json["hosts"]) == ["web-1"]
    told = viewer.get(f"{words}?hosts=web-1,web-9").json
    assert (told["server_time"], told["hosts"]["web-9"]) == ("2026-11-23T14:00:07Z", {"state": "gone"})
    web = told["hosts"]["web-1"]
    assert (web["release"], web["healthy"], web["reported_at"]) == (3, True, "2026-11-23T14:00:07Z")
    assert stranger.get(words).status_code == 404
