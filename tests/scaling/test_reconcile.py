"""EC2's tags and list against the registry, over moto."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from flask import Flask, render_template_string

from inventory_service.clock import iso
from inventory_service.codes import scaling as codes
from inventory_service.errors import GoneError, InvalidError
from inventory_service.models import Conflict, Event, Host, StageScaling, Transition
from inventory_service.reasons import because, columns
from inventory_service.registry import enrolment, hosts, join_tokens, past
from inventory_service.registry.enrolment import Enrolment, IdentityRules
from inventory_service.registry.instance_identity import InstanceIdentityError
from inventory_service.scaling import settings
from inventory_service.web.pages import machines
from tests.registry.test_instance_identity import ACCOUNT, certificate, key, sign, text
from tests.scaling.conftest import REGION, World
from tests.support import ADA, Machine, expiry

SECOND = dt.timedelta(seconds=1)


def tag(world: World, instance: str, **tags: str) -> None:
    named = [{"Key": name.replace("__", ":"), "Value": value} for name, value in tags.items()]
    world.aws.ec2.create_tags(Resources=[instance], Tags=named)


def findings() -> list[tuple[str, str]]:
    return [(row["code"], row["instance"]) for row in StageScaling.get().findings]


def test_tags_put_a_host_into_groups_beside_the_operators(group: World) -> None:
    first, second = group.machines
    hosts.change(group.machines[first].row, actor=ADA, at=group.clock.now(), groups=["canary"])
    tag(group, first, callboard__groups="web, db")
    group.look()
    assert group.machines[first].row.groups == ["canary", "db", "web"]
    assert group.machines[second].row.groups == []
    tag(group, first, callboard__groups="db")
    group.look()
    assert group.machines[first].row.groups == ["canary", "db"]
    group.aws.ec2.delete_tags(Resources=[first], Tags=[{"Key": "callboard:groups"}])
    group.look()
    assert group.machines[first].row.groups == ["canary"]


def test_a_rule_names_the_tags(group: World) -> None:
    first, _ = group.machines
    rule = {"match": {"Project": "shop", "Environment": "production"}, "groups": ["Role", "Tier"]}
    group.configure({**StageScaling.get().actuator, "tags": rule})
    tag(group, first, Role="web", Tier="front", callboard__groups="db")
    (one,) = group.aws.ec2.run_instances(ImageId=image(group), MinCount=1, MaxCount=1)["Instances"]
    tag(group, one["InstanceId"], Project="shop", Environment="production")
    (other,) = group.aws.ec2.run_instances(ImageId=image(group), MinCount=1, MaxCount=1)["Instances"]
    tag(group, other["InstanceId"], Project="shop", Environment="staging")
    group.clock.advance(700)
    group.beat_all(0.6)
    group.look()
    assert group.machines[first].row.groups == ["front", "web"]
    assert findings() == [("not_enrolled", one["InstanceId"])]
    assert group.stage.scaling_decisions[-1].from_capacity == 2, "no machine of the group, so no capacity"


def image(world: World) -> str:
    return str(world.aws.running()[0]["ImageId"])


def test_a_tag_that_is_no_group_is_shown_and_changes_nothing(group: World) -> None:
    first, _ = group.machines
    tag(group, first, callboard__groups="web-1,serving")
    group.look()
    assert findings() == [("bad_tag", first)]
    assert group.machines[first].row.groups == []


def test_a_host_that_is_tagged_for_no_or_another_stage_is_shown(group: World) -> None:
    (one,) = group.aws.ec2.run_instances(ImageId=image(group), MinCount=1, MaxCount=1)["Instances"]
    tag(group, one["InstanceId"], callboard__stage="shop/staging")
    group.enrol_all()
    group.look()
    assert findings() == [("other_stage", one["InstanceId"])]
    tag(group, one["InstanceId"], callboard__stage="shop/production")
    group.look()
    assert findings() == []


def test_a_machine_that_is_not_the_actuators_is_neither_counted_nor_ended(group: World) -> None:
    (one,) = group.aws.ec2.run_instances(ImageId=image(group), MinCount=1, MaxCount=1)["Instances"]
    tag(group, one["InstanceId"], callboard__stage="shop/production")
    group.enrol_all()
    for _ in range(4):
        group.minute(0.01)
    assert one["InstanceId"] in [row["InstanceId"] for row in group.aws.running()]
    assert (len(group.aws.running()), group.aws.desired) == (2, 1)


def test_each_mismatch_tells_since_when(group: World) -> None:
    silent, ended = group.machines
    seen = group.machines[silent].row.last_seen_at
    group.clock.advance(200)
    group.machines[ended].beat(group.clock.now())
    group.clock.advance(200)
    Host.update(recorded_state="stale").where(Host.name == silent).execute()
    group.aws.ec2.terminate_instances(InstanceIds=[ended])
    group.look()
    group.look()
    told = {row["code"]: row["since"] for row in StageScaling.get().findings}
    assert told == {"agent_silent": iso(seen), "ended": iso(group.clock.now())}


def test_the_stages_page_shows_what_differs_with_its_age_and_what_stands_in_the_way(group: World, app: Flask) -> None:
    silent, ended = group.machines
    Host.update(recorded_state="stale").where(Host.name == silent).execute()
    group.aws.ec2.terminate_instances(InstanceIds=[ended])
    group.look()
    group.look()
    problem = because(codes.Failure.REFUSED, text="AWS refused <it>")
    hook_problem = because(codes.Failure.REFUSED, text="no queue")
    StageScaling.update(**columns("problem", problem), **columns("hook_problem", hook_problem)).execute()
    shown = {"stage": group.stage, "machines": machines.of_stage(group.stage)}
    with app.test_request_context():
        source = '{% import "_macros.html" as ui with context %}{% include "_stage_machines.html" %}'
        page = " ".join(render_template_string(source, **shown).split())
    assert "AWS refused &lt;it&gt;" in page
    assert "Lifecycle hooks: no queue" in page
    assert "differ in 2 machines" in page
    for kind, since in ((f"{silent} runs at EC2", "agent dead, <time"), (f"{ended} is gone", "ended, <time")):
        assert kind in page
        assert since in page


def test_a_machine_that_beats_after_its_end_is_a_conflict_though_it_is_gone(group: World) -> None:
    ended, _ = group.machines
    group.aws.ec2.terminate_instances(InstanceIds=[ended])
    group.look()
    for seconds, conflict in ((60, None), (120, f"EC2 says that {ended} is terminated, but it beats"), (60, "told")):
        with pytest.raises(GoneError):
            group.machines[ended].beat(group.clock.advance(seconds))
        assert group.machines[ended].why["conflict"] == conflict or conflict == "told"
    assert Event.select().where(Event.name == "host.conflict").count() == 1
    group.look()
    assert findings() == [("beats_after_end", ended)]


def test_a_conflict_by_ec2s_list_is_in_the_past_from_its_beginning_to_its_end(group: World) -> None:
    ended, _ = group.machines
    group.aws.ec2.terminate_instances(InstanceIds=[ended])
    group.look()
    ghost = Machine(group.stage, name="ghost", address="10.9.0.1").enrol(group.clock.now())
    Host.update(instance=f"123456789012/{REGION}/{ended}").where(Host.id == ghost.host_id).execute()
    began = group.clock.advance(60)
    group.look()
    (conflict,) = Conflict.select().where(Conflict.host == ghost.host_id)
    about = {"instance": ended, "state": "terminated"}
    assert (conflict.reason_code, conflict.reason_params) == ("ended_but_beats", about)
    assert (conflict.since, conflict.until) == (began, None)
    group.look()
    assert Conflict.select().count() == 1, "one conflict, however often it is seen"

    (other,) = group.aws.ec2.run_instances(ImageId=image(group), MinCount=1, MaxCount=1)["Instances"]
    tag(group, other["InstanceId"], callboard__stage="shop/production")
    key = f"123456789012/{REGION}/{other['InstanceId']}"
    Host.update(instance=key).where(Host.id == ghost.host_id).execute()
    over = group.clock.advance(60)
    group.look()
    assert Conflict.get_by_id(conflict.id).until == over, "EC2 runs its machine"
    moments = (began - SECOND, began, over - SECOND, over)
    assert [ghost.host_id in past.conflicts_at(group.stage, at) for at in moments] == [False, True, True, False]
    names = [row.name for row in Event.select().where(Event.target_id == ghost.host_id).order_by(Event.id)]
    assert names == ["host.enrol", "host.conflict", "host.conflict_end"]


# enrolment with AWS's word


RULES = IdentityRules(REGION, (ACCOUNT,), {REGION: certificate(key("aws"))})


def enrol(world: World, instance: str, launched: dt.datetime) -> Host:
    at = world.clock.now()
    said = text(instanceId=instance, pendingTime=launched.strftime("%Y-%m-%dT%H:%M:%SZ"))
    token = join_tokens.create(world.stage, actor=ADA, at=at, groups=["app"])[1]
    request = Enrolment(name="web-9", identity=(said, sign(said)))
    return enrolment.enrol(token, request, peer="10.9.9.9", expiry=expiry(at), rules=RULES)[0]


def test_an_identity_finds_the_expected_instance_and_gets_its_groups(world: World) -> None:
    instance = expect_one(world)
    host = hosts.get_host(enrol(world, instance, world.clock.now()).id)
    assert (host.groups, host.tag_groups) == (["app", "web"], ["web"])
    assert Transition.get(Transition.host == host).reason_code == "enrolled_expected"
    world.look()
    assert instance not in StageScaling.get().expected


def expect_one(world: World) -> str:
    """A group of two; the first is tagged."""
    world.aws.make_group()
    world.configure({"type": settings.GROUP, "region": REGION, "name": "shop-web"})
    instance = str(world.aws.running()[0]["InstanceId"])
    tag(world, instance, callboard__groups="web")
    world.look()
    return instance


def test_an_expected_instance_may_be_older_than_five_minutes(world: World) -> None:
    instance = expect_one(world)
    launched = world.clock.now()
    world.clock.advance(1800)
    with pytest.raises(InstanceIdentityError):
        enrol(world, instance, launched)
    world.look()
    with pytest.raises(InstanceIdentityError):
        enrol(world, "i-0123456789abcdef0", launched)
    assert enrol(world, instance, launched).instance.endswith(instance)


@pytest.mark.parametrize(
    "tags",
    [
        [],
        {"stage": "x"},
        {"match": ["Project"]},
        {"match": {"Project": 1}},
        {"match": {"Project": "*"}},
        {"groups": "Role"},
        {"groups": [""]},
        {"groups": [f"t{number}" for number in range(30)]},
    ],
)
def test_it_rejects_a_rule_that_is_none(tags: Any) -> None:
    with pytest.raises(InvalidError, match="tags"):
        settings.parse_actuator({"type": settings.GROUP, "region": REGION, "name": "x", "tags": tags})


def test_it_takes_the_regions_that_have_certificates() -> None:
    text = {"type": settings.GROUP, "region": "eusc-de-east-1", "name": "x"}
    assert settings.parse_actuator(text).region == "eusc-de-east-1"
