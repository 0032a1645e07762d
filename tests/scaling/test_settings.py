"""A stage's scaling, set and read through the API."""

from __future__ import annotations

from typing import Any

import pytest

from inventory_service.models import Stage
from inventory_service.scaling import settings, windows
from tests.support import Caller, FakeClock, Machine, expiry

PATH = "/api/v1/stages/shop/production/scaling"
TARGET = {"type": "target", "name": "cpu", "metric": "load1_per_cpu", "target": 0.6}
STEP = {"type": "step", "name": "queue", "metric": "queue_depth", "threshold": 100}
GROUP = {"type": "auto_scaling_group", "region": "eu-central-1", "name": "shop-web"}
TEMPLATE = {
    "type": "launch_template",
    "region": "eu-central-1",
    "id": "lt-0123456789abcdef0",
    "subnets": ["subnet-01234567"],
}


def test_it_is_set_as_a_whole(admin: Caller, viewer: Caller, stage: Stage) -> None:
    assert viewer.get(PATH).status_code == 404
    body = {"limits": {"minimum": 2}, "policies": [TARGET], "actuator": GROUP, "enabled": True}
    assert admin.put(PATH, body).status_code == 200
    shown = viewer.get(PATH).get_json()
    assert (shown["limits"]["minimum"], shown["limits"]["maximum"]) == (2, 10)
    assert (shown["policies"], shown["actuator"], shown["enabled"]) == ([TARGET], GROUP, True)
    found = settings.parse(settings.get(stage))
    assert found.actuator == settings.Actuator("auto_scaling_group", "eu-central-1", group="shop-web")
    assert admin.put(PATH, {"actuator": TEMPLATE}).get_json()["policies"] == []


def test_it_is_removed(admin: Caller, stage: Stage) -> None:
    admin.put(PATH, {"policies": [TARGET]})
    assert admin.delete(PATH).status_code == 204
    assert admin.get(PATH).status_code == 404


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"policies": [{"type": "magic"}]}, "policies.0.type"),
        ({"policies": [TARGET, TARGET]}, "policies"),
        ({"policies": [{**STEP, "steps": [{"lower": 0, "adjustment": "x"}]}]}, "policies.0.steps.0.adjustment"),
        ({"policies": [{**STEP, "steps": [{"lower": "x", "adjustment": 1}]}]}, "policies.0.steps.0.lower"),
        ({"limits": {"minimum": 5, "maximum": 1}}, "limits.minimum"),
        ({"actuator": {}}, "actuator.type"),
        ({"actuator": {**GROUP, "region": "here"}}, "actuator.region"),
        ({"actuator": {**GROUP, "name": ""}}, "actuator.name"),
        ({"actuator": {**GROUP, "size": 3}}, "actuator.size"),
        ({"actuator": {**TEMPLATE, "id": "lt-; rm"}}, "actuator.id"),
        ({"actuator": {**TEMPLATE, "version": "newest"}}, "actuator.version"),
        ({"actuator": {**TEMPLATE, "subnets": "subnet-1"}}, "actuator.subnets"),
        ({"actuator": {**TEMPLATE, "subnets": [7]}}, "actuator.subnets"),
        ({"drain_playbook": "../etc/passwd"}, "drain_playbook"),
    ],
)
def test_it_rejects_nonsense_and_keeps_what_was(admin: Caller, stage: Stage, body: dict[str, Any], loc: str) -> None:
    admin.put(PATH, {"policies": [TARGET]})
    answer = admin.put(PATH, body)
    (error,) = answer.get_json()["errors"]
    assert (answer.status_code, ".".join(map(str, error["loc"]))) == (422, loc)
    assert admin.get(PATH).get_json()["policies"] == [TARGET]


def test_it_names_every_wrong_field_at_once(admin: Caller, stage: Stage) -> None:
    wrong = {**TARGET, "target": "much"}
    body = {
        "policies": [wrong, {**wrong, "name": "other"}],
        "limits": {"minimum": -1},
        "actuator": {**GROUP, "name": ""},
    }
    errors = admin.put(PATH, body).get_json()["errors"]
    places = [".".join(map(str, error["loc"])) for error in errors]
    assert places == ["limits.minimum", "policies.0.target", "policies.1.target", "actuator.name"]


def test_only_admins_set_it(operator: Caller, stage: Stage) -> None:
    assert operator.put(PATH, {}).status_code == 403


def test_it_shows_metrics(viewer: Caller, stage: Stage, web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.advance(30), metrics={"load1_per_cpu": 0.5})
    windows.sample(expiry=expiry(clock.advance(30)))
    base = "/api/v1/stages/shop/production/metrics"
    assert viewer.get(base).get_json()["items"] == ["load1_per_cpu"]
    shown = viewer.get(f"{base}/load1_per_cpu?statistic=max").get_json()
    assert (shown["seconds"], [point["value"] for point in shown["items"]]) == (60, [0.5])
    own = viewer.get(f"/api/v1/hosts/{web_1.host_id}/metrics/load1_per_cpu").get_json()
    assert [point["value"] for point in own["items"]] == [0.5]
    assert viewer.get(f"{base}/nothing").get_json()["items"] == []
    for query in ("since=2020-01-01T00:00:00Z", "since=2030-01-01T00:00:00Z", "statistic=p99"):
        assert viewer.get(f"{base}/load1_per_cpu?{query}").status_code == 422
