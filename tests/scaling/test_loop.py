"""The loop against moto over HTTP."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from inventory_service.adapters.ec2 import Cloud, CloudError
from inventory_service.codes import scaling as codes
from inventory_service.codes import statuses
from inventory_service.errors import ConflictError
from inventory_service.models import Event, Host, Release, Run, RunHost, ScalingDecision, Stage, StageScaling
from inventory_service.reasons import because
from inventory_service.scaling import loop, settings
from tests.scaling.conftest import LIMITS, REGION, World, crash_once
from tests.support import ADA, START, Machine, launched


def last(status: str | None = None) -> ScalingDecision:
    query = ScalingDecision.select().where(ScalingDecision.status == status) if status else ScalingDecision.select()
    return query.order_by(ScalingDecision.id.desc()).get()


def scaling() -> StageScaling:
    return StageScaling.get()


def test_load_makes_the_group_larger(group: World) -> None:
    group.minute(0.9)
    assert (group.aws.desired, last().status, last().to_capacity) == (3, "done", 3)
    (reason,), (reading,) = last().reasons, last().readings
    assert reason == {
        "code": "target_above", "policy": "cpu", "statistic": "avg", "metric": "load1_per_cpu", "window_seconds": 60,
        "value": pytest.approx(0.9), "target": 0.6, "capacity": 3,
    }  # fmt: skip
    assert (reading["metric"], reading["value"], reading["problem"]) == ("load1_per_cpu", pytest.approx(0.9), None)
    event = Event.get(Event.name == "scaling.out")
    assert (event.reason_code, event.changes) == ("target_above", {"capacity": [2, 3]})
    assert (event.target_path, event.details["decision"]) == ("shop/production", last().id)


def test_machines_that_boot_are_counted(group: World) -> None:
    group.minute(0.9)
    group.minute(0.9)
    assert group.aws.desired == 3
    assert last().action == "hold"
    group.enrol_all()
    group.minute(0.6)
    assert group.aws.desired == 3


def test_quiet_takes_a_machine_away_after_it_drained(group: World) -> None:
    group.minute(0.1)
    assert last().status == "acting"
    (going,) = last().instances
    assert group.machines[going].row.is_draining
    assert group.aws.desired == 2
    group.minute(0.1)
    assert (group.aws.desired, last("done").instances) == (1, [going])
    assert going not in [one["InstanceId"] for one in group.aws.running()]
    gone = group.machines[going].row
    assert (gone.gone_code, gone.gone_params) == ("scaled_in", {"decision": last("done").id})
    assert Event.get((Event.name == "host.gone") & (Event.target_id == gone.id)).actor_kind == "scaling"


def test_the_drain_playbook_runs_before_a_machine_ends(group: World, stage: Stage) -> None:
    group.configure(scaling().actuator, drain_playbook="drain.yml")
    (number,) = group.minute(0.1)
    run = Run.get_by_id(number)
    (going,) = last().instances
    assert (run.playbook, run.limit, run.created_by) == ("drain.yml", going, "scaling")
    group.minute(0.1)
    assert group.aws.desired == 2
    Run.update(status=statuses.SUCCESSFUL).execute()
    group.minute(0.1)
    assert group.aws.desired == 1


def test_a_drain_run_that_failed_keeps_the_machine(group: World) -> None:
    group.configure(scaling().actuator, drain_playbook="drain.yml")
    group.minute(0.1)
    (going,) = last().instances
    Run.update(status=statuses.FAILED).execute()
    group.minute(0.1)
    assert last("failed").error_code == codes.Failure.DRAIN_FAILED
    assert last("failed").error_params == {"run": Run.get().id, "status": "failed"}
    assert group.aws.desired == 2
    assert not group.machines[going].row.is_draining


def test_no_machine_goes_while_a_run_works(group: World, stage: Stage) -> None:
    launched(stage, at=group.clock.now())
    group.minute(0.1)
    assert (last().action, group.aws.desired) == ("hold", 2)
    assert last().veto_code == codes.Plan.RUN_ACTIVE


def test_a_run_that_begins_while_a_machine_drains_is_not_disturbed(group: World, stage: Stage) -> None:
    group.minute(0.1)
    host = group.machines[last().instances[0]].row
    run = launched(stage, at=group.clock.now())
    Run.update(status=statuses.RUNNING).execute()
    RunHost.create(run=run, host=host, name=host.name, address=host.address, status="pending")
    group.minute(0.1)
    assert group.aws.desired == 2
    Run.update(status=statuses.SUCCESSFUL).execute()
    group.minute(0.1)
    assert group.aws.desired == 1


def test_no_machine_is_chosen_while_a_run_has_not_settled_on_its_hosts(group: World, stage: Stage) -> None:
    group.minute(0.1)
    launched(stage, at=group.clock.now())
    Run.update(status=statuses.RUNNING).execute()
    group.minute(0.1)
    assert group.aws.desired == 2


def test_no_machine_ends_while_expiry_is_paused(group: World, stage: Stage) -> None:
    group.minute(0.1)
    Stage.update(expiry_paused_at=group.clock.now(), expiry_pause_code="many_silent").execute()
    group.minute(0.1)
    assert (last().status, group.aws.desired) == ("acting", 2)
    Stage.update(expiry_paused_at=None).execute()
    group.minute(0.1)
    assert group.aws.desired == 1


def test_a_machine_that_is_protected_while_it_drains_stays(group: World) -> None:
    group.minute(0.1)
    (going,) = last().instances
    group.aws.groups.set_instance_protection(
        AutoScalingGroupName="shop-web", InstanceIds=list(group.machines), ProtectedFromScaleIn=True
    )
    group.minute(0.1)
    error = last("failed").error_code, last("failed").error_params
    assert error == (codes.Failure.PROTECTED, {"instances": [going]})
    assert (group.machines[going].row.is_draining, group.machines[going].row.leaving_at) == (False, None)


def test_a_drain_that_takes_too_long_is_given_up_and_its_run_canceled(group: World) -> None:
    group.configure(scaling().actuator, drain_playbook="drain.yml")
    group.minute(0.1)
    (going,) = last().instances
    Host.update(instance=None, address=private_address(group, going)).where(Host.name == going).execute()
    group.clock.advance(3 * 3600 + 1)
    group.look()
    assert last("failed").error_code == codes.Failure.EXPIRED
    assert Run.get().status == statuses.CANCELED
    assert not group.machines[going].row.is_draining


def release_two(stage: Stage) -> None:
    row = {"revision_name": "", "variables": {}, "created_by": "", "created_at": START}
    Release.create(stage=stage, number=2, revision="b" * 40, **row)
    Stage.update(desired_release_number=2).execute()


def private_address(world: World, instance: str) -> str:
    return next(one["PrivateIpAddress"] for one in world.aws.running() if one["InstanceId"] == instance)


def roll_back(stage: Stage, world: World) -> None:
    at = world.clock.now()
    Run.create(
        stage=stage, kind="rollback", status="queued", playbook="rollback.yml", exclude=[], tags=[], skip_tags=[],
        extra_vars={}, created_by="ada", created_by_kind="person", created_at=at, sent_at=at,
    )  # fmt: skip


def test_no_machine_is_added_onto_a_release_that_is_rolled_back(group: World, stage: Stage) -> None:
    roll_back(stage, group)
    group.minute(0.9)
    assert (last().action, group.aws.desired) == ("hold", 2)


def test_no_machine_is_added_by_a_decision_that_a_rollback_overtook(
    group: World, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as aws:
        aws.setattr(Cloud, "set_desired", _throttled)
        group.minute(0.9)
    assert (last().action, last().status) == ("out", "acting")
    roll_back(stage, group)
    group.minute(0.9)
    assert group.aws.desired == 2
    Run.update(status=statuses.SUCCESSFUL).execute()
    group.minute(0.9)
    assert group.aws.desired == 3


def test_a_decision_that_waited_for_too_long_is_made_anew(group: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as aws:
        aws.setattr(Cloud, "set_desired", _throttled)
        group.minute(0.9)
        for _ in range(11):
            group.minute(0.6)
    group.minute(0.6)
    assert last("failed").action == "out"
    assert group.aws.desired == 2


def _throttled(*_: Any, **__: Any) -> None:
    reason = because(codes.Failure.AWS_REFUSED, about="the group", error="Throttling", text="")
    raise CloudError(reason, code="Throttling", is_passing=True)


def test_protected_machines_stay(group: World) -> None:
    ids = list(group.machines)
    group.aws.groups.set_instance_protection(
        AutoScalingGroupName="shop-web", InstanceIds=ids, ProtectedFromScaleIn=True
    )
    group.minute(0.1)
    assert (last().action, group.aws.desired) == ("hold", 2)
    assert last().veto_code == codes.Plan.NO_CANDIDATE


def test_a_dry_run_only_says_what_it_would_do(group: World) -> None:
    group.configure(scaling().actuator, is_dry_run=True)
    group.minute(0.9)
    assert (last().status, last().to_capacity, group.aws.desired) == ("dry_run", 3, 2)


def test_a_disabled_stage_is_left_alone(group: World) -> None:
    group.configure(scaling().actuator, is_enabled=False)
    group.minute(0.9)
    assert ScalingDecision.select().count() == 0


def test_without_a_group_it_launches_from_the_template(template: World) -> None:
    assert len(template.aws.running()) == 2
    template.minute(0.9)
    tags = [{tag["Key"]: tag["Value"] for tag in one["Tags"]} for one in template.aws.running()]
    assert [one["callboard:stage"] for one in tags] == ["shop/production"] * 3
    assert len({one["SubnetId"] for one in template.aws.running()}) == 2
    assert len(last("done").instances) == 1


def test_without_a_group_it_ends_machines_itself(template: World) -> None:
    template.configure(scaling().actuator, limits=LIMITS)
    template.minute(0.1)
    template.minute(0.1)
    assert len(template.aws.running()) == 1


class CrashError(BaseException):
    """The process dies here."""


GROWING = ((loop, "_move"), (loop, "_end"))
SHRINKING = ((loop, "_drain"), (loop, "_end_machines"), (loop.host_records, "end"), (loop, "_end"))
CRASHES = [
    *(("group", 0.9, *step) for step in (*GROWING, (Cloud, "set_desired"))),
    *(("template", 0.9, *step) for step in (*GROWING, (Cloud, "launch"))),
    *(("group", 0.1, *step) for step in (*SHRINKING, (Cloud, "end_in_group"))),
    *(("template", 0.1, *step) for step in (*SHRINKING, (Cloud, "end"))),
]


def two_minutes(world: World, load: float) -> None:
    world.minute(load)
    world.minute(load)


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize(("kind", "load", "owner", "step"), CRASHES)
def test_a_crash_between_any_two_steps_changes_nothing_twice(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: str,
    load: float,
    owner: Any,
    step: str,
    is_after: bool,
) -> None:
    world: World = request.getfixturevalue(kind)
    world.configure(scaling().actuator, limits=LIMITS)
    real = getattr(owner, step)
    crash, _ = crash_once(owner, step, CrashError, is_after=is_after)
    monkeypatch.setattr(owner, step, crash)
    with pytest.raises(CrashError):
        two_minutes(world, load)
    monkeypatch.setattr(owner, step, real)
    world.look()
    world.look()
    assert loop.open_decision(world.stage) is None
    assert len(world.aws.running()) == (3 if load > 0.5 else 1)
    if kind == "group":
        assert world.aws.desired == (3 if load > 0.5 else 1)


def test_a_group_that_was_deleted_is_told_on_the_stage_once(group: World) -> None:
    group.aws.groups.delete_auto_scaling_group(AutoScalingGroupName="shop-web", ForceDelete=True)
    group.minute(0.9)
    group.minute(0.9)
    assert scaling().problem_code == codes.Failure.NO_GROUP
    (event,) = Event.select().where(Event.name == "scaling.fail")
    assert (event.reason_code, event.details) == ("no_group", {"group": "shop-web", "region": REGION})
    group.aws.make_group()
    group.minute(0.9)
    assert scaling().problem_code is None


def test_a_capacity_that_aws_refuses_ends_the_decision_and_is_tried_anew(group: World) -> None:
    group.aws.groups.update_auto_scaling_group(AutoScalingGroupName="shop-web", MaxSize=2)
    group.minute(0.9)
    assert last().status == "failed"
    assert (last().error_code, scaling().problem_code) == (codes.Failure.GROUP_FULL,) * 2
    group.aws.groups.update_auto_scaling_group(AutoScalingGroupName="shop-web", MaxSize=6)
    group.minute(0.9)
    group.minute(0.9)
    assert group.aws.desired == 3


def test_an_outage_of_aws_changes_nothing(group: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        patch.setattr(group, "cloud_of", Cloud)
        group.minute(0.9)
    assert scaling().problem_code == codes.Failure.AWS_UNREACHABLE
    assert all(machine.row.gone_at is None for machine in group.machines.values())
    group.minute(0.9)
    assert group.aws.desired == 3


def test_a_wrong_credential_is_told(group: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(CloudError, match="credentials"):
        Cloud(REGION).group("shop-web")


def test_what_ec2_ended_is_gone_here(group: World) -> None:
    going, stays = group.machines
    group.aws.ec2.terminate_instances(InstanceIds=[going])
    group.look()
    gone = group.machines[going].row
    assert (gone.gone_code, gone.gone_params) == ("ec2_ended", {"instance": going, "state": "terminated"})
    assert group.machines[stays].row.gone_at is None


def test_a_machine_that_beats_after_its_end_is_a_contradiction(group: World) -> None:
    going = next(iter(group.machines))
    group.aws.ec2.terminate_instances(InstanceIds=[going])
    group.look()
    again = Machine(group.stage, name="ghost", address="10.9.0.1").enrol(group.clock.now())
    Host.update(instance=f"123456789012/{REGION}/{going}").where(Host.id == again.host_id).execute()
    group.look()
    assert again.row.conflict_code == "ended_but_beats"
    assert [finding["code"] for finding in scaling().findings] == ["beats_after_end", "ended"]
    first = scaling().findings[0]["since"]
    group.clock.advance(3601)
    group.beat_all(0.6)
    with pytest.raises(ConflictError, match="but it beats"):
        again.beat(group.clock.now())
    group.look()
    assert [row["since"] for row in scaling().findings if row["code"] == "beats_after_end"] == [first]


def test_it_shows_machines_whose_agent_is_dead_and_unknown_ones(group: World) -> None:
    silent, stranger = group.machines
    Host.update(recorded_state="stale").where(Host.id == group.machines[silent].host_id).execute()
    Host.update(instance=None, address="10.7.7.7").where(Host.id == group.machines[stranger].host_id).execute()
    group.clock.advance(700)
    group.look()
    assert sorted(finding["code"] for finding in scaling().findings) == ["agent_silent", "not_enrolled"]
    assert all(machine.row.gone_at is None for machine in group.machines.values())


def test_it_counts_only_who_is_live_on_the_desired_release_and_does_not_drain(group: World, stage: Stage) -> None:
    first, second = group.machines.values()
    release_two(stage)
    first.beat(group.clock.now(), release_number=2, revision="b" * 40)
    second.beat(group.clock.now(), release_number=1, revision="a" * 40)
    group.look()
    assert last().serving == 1
    second.beat(group.clock.now(), release_number=2, revision="b" * 40)
    group.look()
    assert last().serving == 2
    Host.update(is_draining=True).where(Host.id == first.host_id).execute()
    group.look()
    assert last().serving == 1


def test_a_clock_that_was_set_back_prolongs_no_cooldown(group: World) -> None:
    group.configure(scaling().actuator, limits={**LIMITS, "scale_out_cooldown_seconds": 60})
    StageScaling.update(last_out_at=group.clock.now() + dt.timedelta(days=1)).execute()
    group.minute(0.9)
    assert last().veto_code == codes.Plan.COOLDOWN_OUT
    group.minute(0.9)
    assert group.aws.desired == 3


def test_what_nobody_foresaw_is_told_and_stops_no_other_stage(group: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Cloud, "group", lambda *_: 1 / 0)
        group.minute(0.9)
    assert scaling().problem_code == codes.Failure.UNEXPECTED
    assert scaling().problem_params == {"error": "ZeroDivisionError", "text": "division by zero"}
    group.minute(0.9)
    assert (scaling().problem_code, group.aws.desired) == (None, 3)


def test_it_forgets_what_changed_nothing(group: World) -> None:
    group.minute(0.6)
    group.minute(0.9)
    at = group.clock.now() + dt.timedelta(days=8)
    assert loop.prune(at=at, days=93) == 1
    assert last().action == "out"


def test_several_stages_do_not_stop_each_other(group: World, make_stage: Any) -> None:
    other = make_stage("a-first")
    settings.configure(
        other, limits={}, policy_texts=[], actuator={"type": "auto_scaling_group", "region": REGION, "name": "gone"},
        is_enabled=True, is_dry_run=False, actor=ADA, at=group.clock.now(),
    )  # fmt: skip
    group.minute(0.9)
    assert group.aws.desired == 3
