"""What AWS does wrong: a clear error on the stage, nothing scaled by mistake, recovery without a restart."""

from __future__ import annotations

import datetime as dt
import functools
from pathlib import Path
from typing import Any

import pytest

from inventory_service.adapters.ec2 import Cloud
from inventory_service.models import MetricFrame, ScalingDecision, StageScaling
from inventory_service.scaling import settings, windows
from inventory_service.scaling.lifecycle import hooks
from inventory_service.web.answers.scaling import problem_of
from tests.fixtures.aws import LAUNCHING, Aws, PlayedGroup
from tests.scaling.conftest import LIMITS, REGION, TARGET, World
from tests.support import expiry


@pytest.fixture
def group(world: World, played: Aws) -> World:
    """Two machines of the group `shop-web`."""
    played.groups["shop-web"] = PlayedGroup("shop-web", world.aws.template, world.aws.subnets, maximum=6, desired=2)
    played.settle(played.groups["shop-web"])
    world.configure({"type": settings.GROUP, "region": REGION, "name": "shop-web"})
    world.enrol_all()
    return world


@pytest.fixture
def template(world: World, played: Aws) -> World:
    """Two machines without a group."""
    actuator = {"type": settings.TEMPLATE, "region": REGION, "id": world.aws.template, "subnets": world.aws.subnets}
    world.configure(actuator, limits={**LIMITS, "minimum": 2})
    world.look()
    world.enrol_all()
    assert len(world.machines) == 2
    return world


def problem() -> str | None:
    """As people read it; None for none."""
    row = StageScaling.get()
    return problem_of(row.problem_code, row.problem_params)


def changes() -> list[tuple[str, str]]:
    rows = ScalingDecision.select().where(ScalingDecision.action != "hold").order_by(ScalingDecision.id)
    return [(row.action, row.status) for row in rows]


PASSING = [
    ("Throttling", 400),
    ("RequestLimitExceeded", 503),
    ("InternalFailure", 500),
    ("ServiceUnavailable", 503),
    ("RequestExpired", 400),
]


@pytest.mark.parametrize("action", ["DescribeAutoScalingGroups", "DescribeInstances", "SetDesiredCapacity"])
@pytest.mark.parametrize(("code", "status"), PASSING)
def test_a_refusal_that_passes_is_told_and_made_up_for(
    group: World, played: Aws, action: str, code: str, *, status: int
) -> None:
    played.fail(action, code, status=status)
    group.minute(0.9)
    assert code in (problem() or "")
    assert (played.groups["shop-web"].desired, len(group.aws.running())) == (2, 2)
    assert all(machine.row.gone_at is None for machine in group.machines.values())
    group.minute(0.9)
    assert (problem(), played.groups["shop-web"].desired, changes()) == (None, 3, [("out", "done")])


def test_a_silence_is_told_and_made_up_for(group: World, played: Aws) -> None:
    patient, group.cloud_of = (
        group.cloud_of,
        functools.cache(lambda region: Cloud(region, timeout_seconds=1, attempts=1)),
    )
    played.hang("DescribeInstances", 2)
    group.minute(0.9)
    group.cloud_of = patient
    assert "timeout" in (problem() or "").lower()
    assert (played.groups["shop-web"].desired, changes()) == (2, [])
    group.minute(0.9)
    assert (problem(), played.groups["shop-web"].desired) == (None, 3)


@pytest.mark.parametrize("fault", ["silence", "refusal"])
@pytest.mark.parametrize("kind", ["group", "template"])
def test_what_aws_did_without_saying_so_is_not_done_twice(request: Any, played: Aws, kind: str, fault: str) -> None:
    world: World = request.getfixturevalue(kind)
    action = "SetDesiredCapacity" if kind == "group" else "RunInstances"
    patient = world.cloud_of
    if fault == "silence":
        played.hang(action, 12, is_late=True)
        world.cloud_of = functools.cache(lambda region: Cloud(region, timeout_seconds=6, attempts=1))
    else:
        played.fail(action, "InternalError", status=500, is_late=True)
    world.minute(0.9)
    world.cloud_of = patient
    assert problem()
    world.look()
    world.look()
    assert (problem(), len(world.aws.running()), changes()[-1]) == (None, 3, ("out", "done"))


@pytest.mark.parametrize("kind", ["group", "template"])
def test_an_end_without_an_answer_ends_one_machine(request: Any, played: Aws, kind: str) -> None:
    world: World = request.getfixturevalue(kind)
    world.configure(StageScaling.get().actuator, limits=LIMITS)
    action = "TerminateInstanceInAutoScalingGroup" if kind == "group" else "TerminateInstances"
    world.minute(0.1)
    played.fail(action, "InternalFailure", status=500, is_late=True)
    world.minute(0.1)
    world.minute(0.6)
    assert (len(world.aws.running()), changes()) == (1, [*changes()[:-1], ("in", "done")])


def test_the_librarys_own_second_try_launches_nothing_twice(template: World, played: Aws) -> None:
    template.cloud_of = functools.cache(lambda region: Cloud(region, attempts=2))
    played.fail("RunInstances", "InternalError", status=500, is_late=True)
    template.minute(0.9)
    assert (problem(), len(template.aws.running())) == (None, 3)
    assert len({call["ClientToken"] for call in played.called("RunInstances")[-2:]}) == 1


def test_a_list_that_lags_launches_nothing_twice(template: World, played: Aws) -> None:
    template.minute(0.9)
    (made,) = ScalingDecision.select().order_by(ScalingDecision.id.desc()).get().instances
    played.hidden.add(made)
    template.minute(0.9)
    template.minute(0.9)
    assert len(template.aws.running()) == 3
    played.hidden.clear()
    template.enrol_all()
    template.minute(0.6)
    assert len(template.aws.running()) == 3


def test_credentials_that_expire_are_told_and_new_ones_are_taken(
    group: World, played: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.cloud_of = functools.cache(Cloud)
    file = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    played.expired_keys.add("AKIDOLD")
    file.write_text("[default]\naws_access_key_id=AKIDOLD\naws_secret_access_key=x\n")
    group.minute(0.9)
    assert "ExpiredToken" in (problem() or "")
    file.write_text("[default]\naws_access_key_id=AKIDNEW\naws_secret_access_key=x\n")
    group.minute(0.9)
    assert (problem(), played.groups["shop-web"].desired) == (None, 3)


def test_credentials_that_are_missing_are_told_and_later_ones_are_taken(
    group: World, played: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.cloud_of = functools.cache(Cloud)
    with monkeypatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        group.minute(0.9)
    assert "credentials" in (problem() or "")
    group.minute(0.9)
    assert (problem(), played.groups["shop-web"].desired) == (None, 3)


def test_a_group_that_was_deleted_by_hand_is_told_until_it_is_back(group: World, played: Aws) -> None:
    kept = played.groups.pop("shop-web")
    group.minute(0.9)
    assert "no Auto Scaling group 'shop-web'" in (problem() or "")
    assert all(machine.row.gone_at is None for machine in group.machines.values())
    played.groups["shop-web"] = kept
    group.minute(0.9)
    assert (problem(), kept.desired) == (None, 3)


def test_where_a_zone_has_no_machines_another_one_is_asked(template: World, played: Aws) -> None:
    first, second = template.aws.subnets
    played.fail("RunInstances", "InsufficientInstanceCapacity", status=500, times=99, where={"SubnetId": first})
    template.minute(0.9)
    assert (problem(), len(template.aws.running()), changes()[-1]) == (None, 3, ("out", "done"))
    assert played.called("RunInstances")[-1]["SubnetId"] == second


def test_where_no_zone_has_machines_it_says_so_and_tries_anew(template: World, played: Aws) -> None:
    played.fail("RunInstances", "InsufficientInstanceCapacity", status=500, times=99)
    template.minute(0.9)
    assert "InsufficientInstanceCapacity" in (problem() or "")
    assert (len(template.aws.running()), changes()[-1]) == (2, ("out", "failed"))
    played.heal()
    template.minute(0.9)
    assert (problem(), len(template.aws.running())) == (None, 3)


def test_what_it_may_not_do_ends_the_decision(template: World, played: Aws) -> None:
    played.fail("RunInstances", "UnauthorizedOperation", status=403)
    template.minute(0.9)
    assert "UnauthorizedOperation" in (problem() or "")
    assert changes()[-1] == ("out", "failed")


def test_an_answer_that_is_none_is_told(group: World, played: Aws) -> None:
    played.garble("DescribeAutoScalingGroups", b"<html>A proxy's page")
    group.minute(0.9)
    assert "could not be asked about the group" in (problem() or "")
    group.minute(0.9)
    assert (problem(), played.groups["shop-web"].desired) == (None, 3)


NONSENSE: list[Any] = [[{"type": "moon"}], [{}], [17], "x", [{**TARGET, "target": -1}], [{**TARGET, "later": True}]]


@pytest.mark.parametrize("policies", NONSENSE)
def test_a_policy_that_makes_no_sense_is_told_and_scales_nothing(group: World, played: Aws, policies: Any) -> None:
    StageScaling.update(policies=policies).execute()
    group.minute(0.9)
    assert problem()
    assert (played.groups["shop-web"].desired, ScalingDecision.select().count()) == (2, 0)
    StageScaling.update(policies=[TARGET]).execute()
    group.minute(0.9)
    assert (problem(), played.groups["shop-web"].desired) == (None, 3)


@pytest.mark.parametrize("load", [0.01, 9.0])
def test_metrics_from_the_future_decide_nothing(group: World, played: Aws, load: float) -> None:
    for minute in range(1, 70):
        at = windows.floor(group.clock.now() + dt.timedelta(minutes=minute), 60)
        windows._write(group.stage, "load1_per_cpu", 60, at, {"x": load}, expected=2)
    for _ in range(3):
        group.minute(0.6)
    assert (played.groups["shop-web"].desired, changes()) == (2, [])
    assert MetricFrame.select().where(MetricFrame.at > group.clock.now()).count() == 0


def test_a_number_that_is_none_decides_nothing(group: World, played: Aws) -> None:
    group.minute(0.6)
    MetricFrame.update(avg=float("inf")).execute()
    group.look()
    assert (played.groups["shop-web"].desired, changes()) == (2, [])


@pytest.mark.parametrize(("code", "status"), PASSING)
def test_a_hook_whose_answer_is_refused_for_now_is_answered_once(
    group: World, played: Aws, code: str, status: int
) -> None:
    row = played.groups["shop-web"]
    row.hooks = {LAUNCHING: "greet"}
    group.configure({**StageScaling.get().actuator, "launching_hook": "greet"})
    row.desired = 3
    played.settle(row)
    group.enrol_all()
    played.fail("CompleteLifecycleAction", code, status=status, is_late=True)
    answer(group)
    assert StageScaling.get().hook_problem_params["error"] == code
    answer(group)
    answer(group)
    assert StageScaling.get().hook_problem_code is None
    assert [member.state for member in row.members.values()] == ["InService"] * 3
    assert len(played.called("CompleteLifecycleAction")) == 1


def answer(world: World) -> None:
    at = world.clock.advance(70)
    world.beat_all(0.6)
    hooks.answer_all(world.cloud_of, expiry=expiry(at))
