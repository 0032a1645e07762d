from __future__ import annotations

import base64
from typing import Any

import pytest

from inventory_service.models import Project, Secret, Stage
from inventory_service.settings import Settings
from inventory_service.vault import keyring, store
from tests.support import Caller

STAGE, PROJECT = "/api/v1/stages/shop/production/secrets", "/api/v1/projects/shop/secrets"
CANARY = "canary-of-the-api"


def test_it_sets_lists_and_removes_without_ever_answering_the_value(admin: Caller, stage: Stage) -> None:
    made = admin.put(f"{PROJECT}/db_password", {"value": CANARY})
    again = admin.put(f"{PROJECT}/db_password", {"value": CANARY})
    own = admin.put(f"{STAGE}/api_key", {"value": CANARY})
    listed, of_project = admin.get(STAGE), admin.get(PROJECT)
    assert [made.status_code, again.status_code, own.status_code] == [201, 200, 201]
    assert [(row["name"], row["of"]) for row in listed.json["items"]] == [
        ("api_key", "stage"),
        ("db_password", "project"),
    ]
    assert listed.json["items"][0]["updated_by"] == "token:admin-everywhere"
    assert all(CANARY not in answer.text for answer in (made, again, own, listed, of_project))
    assert [admin.delete(f"{STAGE}/api_key").status_code for _ in range(2)] == [204, 404]
    assert admin.get(STAGE).json["items"] == of_project.json["items"]


def test_it_takes_any_bytes_as_base64(admin: Caller, stage: Stage, settings: Settings) -> None:
    encoded = base64.b64encode(b"\0\xff\xfe\xfd").decode()
    assert admin.put(f"{STAGE}/blob", {"kind": "file", "value_base64": encoded}).status_code == 201
    assert store.open_for_stage(stage, keyring.load(settings))["blob"].value == b"\0\xff\xfe\xfd"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"value": CANARY, "value_base64": "AAAA"},
        {"value_base64": f"{CANARY}!"},
        {"value": CANARY, "kind": CANARY},
        {"value": [CANARY]},
        {"value": CANARY, "kind": "ssh_key"},
        {"value": CANARY, "comment": CANARY},
        {"value": CANARY * 9000},
    ],
)
def test_it_rejects_a_bad_body_without_repeating_it(admin: Caller, stage: Stage, body: dict[str, Any]) -> None:
    answer = admin.put(f"{STAGE}/a", body)
    assert answer.status_code == 422
    assert CANARY not in answer.text
    assert Secret.select().count() == 0


def test_it_lets_viewers_see_names_and_only_admins_set(
    viewer: Caller, operator: Caller, stranger: Caller, project: Project, stage: Stage
) -> None:
    assert viewer.get(STAGE).status_code == viewer.get(PROJECT).status_code == 200
    for path in (f"{STAGE}/a", f"{PROJECT}/a"):
        refused = [operator.put(path, {"value": CANARY}), operator.delete(path), stranger.put(path, {"value": CANARY})]
        assert [answer.status_code for answer in refused] == [403, 403, 404]
    assert stranger.get(STAGE).status_code == stranger.get(PROJECT).status_code == 404
