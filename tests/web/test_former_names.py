"""Names that the outside knew before: each still works beside the new one, and means the same."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from inventory_service.models import Release, Run, Stage
from inventory_service.records import locks
from tests.support import Caller, FakeClock, Machine
from tests.web.test_scaling_page import sign_in

HOSTS = "/api/v1/stages/shop/production/hosts"


@pytest.fixture
def released(stage: Stage, web_1: Machine, web_2: Machine, clock: FakeClock) -> Stage:
    """The stage should run release 2: web-1 does, web-2 does not."""
    fields = {"stage": stage, "revision_name": "", "variables": {}, "created_by": "", "created_at": clock.now()}
    for number in (1, 2):
        Release.create(number=number, revision=str(number) * 40, **fields)
    Stage.update(desired_release_number=2).execute()
    for machine, number in ((web_1, 2), (web_2, 1)):
        machine.beat(clock.advance(1), release_number=number, revision=str(number) * 40)
    return stage


@pytest.mark.parametrize("name", ["out_of_date", "drift"])
def test_it_filters_hosts_that_are_out_of_date(viewer: Caller, released: object, name: str) -> None:
    found = {
        value: [row["name"] for row in viewer.get(f"{HOSTS}?{name}={value}").json["items"]] for value in ("1", "0")
    }
    assert found == {"1": ["web-2"], "0": ["web-1"]}


def test_it_says_of_a_host_whether_it_is_up_to_date(viewer: Caller, released: object) -> None:
    rows = viewer.get(HOSTS).json["items"]
    told = {row["name"]: (row["up_to_date"], row["is_converged"]) for row in rows}
    assert told == {"web-1": (True, True), "web-2": (False, False)}


@pytest.mark.parametrize("name", ["out_of_date", "behind"])
def test_it_groups_hosts_that_are_out_of_date(viewer: Caller, released: object, name: str) -> None:
    assert viewer.get("/api/v1/stages/shop/production/inventory").json[name] == {"hosts": ["web-2"]}


@pytest.mark.parametrize("name", ["callboard_hosts_out_of_date", "callboard_hosts_behind"])
def test_it_counts_hosts_that_are_out_of_date(viewer: Caller, released: object, name: str) -> None:
    assert _gauge(viewer, name) == 1


@pytest.mark.parametrize("name", ["callboard_stage_expiry_paused", "callboard_stage_frozen"])
def test_it_tells_paused_expiry(viewer: Caller, web_1: Machine, clock: FakeClock, name: str) -> None:
    before = _gauge(viewer, name)
    Stage.update(expiry_paused_at=clock.now()).execute()
    assert (before, _gauge(viewer, name)) == (0, 1)


@pytest.mark.parametrize("name", ["allow_paused_expiry", "allow_frozen"])
def test_it_launches_while_expiry_is_paused(operator: Caller, web_1: Machine, clock: FakeClock, name: str) -> None:
    Stage.update(expiry_paused_at=clock.now()).execute()
    body = {"stage": "shop/production", "kind": "deploy"}
    answers = [operator.post("/api/v1/runs", {**body, **more}) for more in ({}, {name: True})]
    assert [answer.status_code for answer in answers] == [409, 202], [answer.json for answer in answers]


@pytest.mark.parametrize("name", ["agentless", "simple_join"])
def test_it_sets_whether_a_stage_takes_agentless_heartbeats(admin: Caller, stage: Stage, name: str) -> None:
    changed = admin.patch("/api/v1/stages/shop/production", {name: True}).json
    assert (changed["agentless"], changed["simple_join"]) == (True, True), changed


def test_it_takes_a_setting_by_one_of_its_names(admin: Caller, stage: Stage) -> None:
    answer = admin.patch("/api/v1/stages/shop/production", {"agentless": True, "simple_join": False})
    assert answer.status_code == 422, answer.text
    assert "given twice" in answer.text, answer.text


def test_it_names_the_run_at_work_of_a_stage(viewer: Caller, run: Run, clock: FakeClock) -> None:
    locks.take_for_run(run, at=clock.now())
    shown = viewer.get("/api/v1/stages/shop/production").json
    assert (shown["locked_by_run"], shown["held_by_run"]) == (run.id, run.id), shown


@pytest.mark.parametrize(("name", "tag"), [("behind", "out-of-date"), ("held", "pinned")])
def test_its_page_takes_former_filters(
    client: FlaskClient, stage: Stage, clock: FakeClock, name: str, tag: str
) -> None:
    sign_in(client, clock)
    page = client.get(f"/stages/shop/production?state={name}")
    assert f'value="{tag}" checked' in page.text, page.text[:2000]


def _gauge(caller: Caller, name: str) -> float:
    families = text_string_to_metric_families(caller.get("/metrics").text)
    found = [one.value for family in families for one in family.samples if one.name == name]
    assert len(found) == 1, found
    return found[0]
