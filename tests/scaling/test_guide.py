"""What docs/scaling.md tells people to write is accepted, and the IAM policy there lets through what the code calls."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from inventory_service.adapters import ec2
from inventory_service.models import Stage
from inventory_service.scaling import settings
from tests.support import ADA, START

GUIDE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
_CALL = re.compile(r"\b((?:describe|set|terminate|run|complete|record|receive|delete|get_metric)_[a-z_]+)\b")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", GUIDE, flags=re.DOTALL)


def actuators() -> list[dict[str, object]]:
    found = [yaml.safe_load(block.replace("...", "type: auto_scaling_group\n  region: eu-central-1\n  name: x"))
             for block in blocks("yaml") if "actuator:" in block]  # fmt: skip
    return [content["actuator"] for content in found]


def test_the_guides_settings_are_accepted(stage: Stage) -> None:
    (text,) = [block for block in blocks("yaml") if block.startswith("# scaling.yml")]
    content = yaml.safe_load(text)
    row = settings.configure(
        stage,
        limits=content["limits"],
        policy_texts=content["policies"],
        actuator=content["actuator"],
        is_enabled=content["enabled"],
        is_dry_run=content["dry_run"],
        drain_playbook=content["drain_playbook"],
        actor=ADA,
        at=START,
    )
    assert settings.parse(row).is_dry_run


def test_the_guides_actuators_are_accepted() -> None:
    parsed = [settings.parse_actuator(actuator) for actuator in actuators()]
    assert {one.launching_hook for one in parsed} >= {"", "callboard-launch"}
    assert any(one.tags.match for one in parsed)
    assert any(one.queue_url for one in parsed)


def test_the_iam_policy_allows_what_is_called() -> None:
    (policy,) = [json.loads(block) for block in blocks("json") if '"Statement"' in block]
    allowed = set()
    for statement in policy["Statement"]:
        actions = statement["Action"]
        allowed |= {action.partition(":")[2] for action in ([actions] if isinstance(actions, str) else actions)}
    calls = set(_CALL.findall(Path(ec2.__file__).read_text())) - {"set_desired", "record_heartbeat"}
    called = {"".join(word.title() for word in call.split("_")) for call in calls}
    assert called <= allowed, called - allowed
    others = {"CreateTags", "GetMetricData", "ListMetrics"}  # RunInstances with tags; metrics
    assert allowed - called <= others
