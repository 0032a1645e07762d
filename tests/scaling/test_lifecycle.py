"""Lifecycle hooks against an Auto Scaling group that waits for our word (tests/fixtures/aws.py) and moto's SQS."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from inventory_service.adapters.ec2 import Cloud
from inventory_service.codes import statuses
from inventory_service.codes.host import Quarantine
from inventory_service.models import (
    Event,
    LifecycleAction,
    Release,
    Run,
    RunHost,
    ScalingDecision,
    Stage,
    StageScaling,
)
from inventory_service.reasons import because
from inventory_service.records import hosts as records
from inventory_service.scaling import settings
from inventory_service.scaling.lifecycle import actions, answering, hooks, messages
from tests.fixtures.aws import LAUNCHING, TERMINATING, Aws, Member, PlayedGroup
from tests.scaling.conftest import REGION, World, crash_once
from tests.support import ADA, START, Caller, Machine, expiry, launched

HOOKS = {LAUNCHING: "greet", TERMINATING: "farewell"}
REVISION = "b" * 40


class Hooked:
    """A stage whose group has both hooks; `world` looks after its machines."""

    def __init__(self, world: World, played: Aws, *, queue: str = "") -> None:
        self.world, self.played, self.stage, self.clock = world, played, world.stage, world.clock
        template, subnets = world.aws.template, world.aws.subnets
        self.group = PlayedGroup("shop-web", template, subnets, maximum=6, hooks=dict(HOOKS), queue=queue)
        played.groups["shop-web"] = self.group
        self.actuator = {"type": settings.GROUP, "region": REGION, "name": "shop-web", "queue_url": queue or None}
        self.actuator |= {"launching_hook": "greet", "terminating_hook": "farewell"}
        world.configure(self.actuator)
        release = {"revision_name": "", "variables": {}, "created_by": "", "created_at": START}
        Release.create(stage=self.stage, number=2, revision=REVISION, **release)
        Stage.update(desired_release_number=2).execute()

    def launch(self, count: int = 1) -> list[Member]:
        self.group.desired += count
        self.played.settle(self.group)
        return list(self.group.members.values())[-count:]

    def enrol(self) -> list[Machine]:
        self.world.enrol_all()
        return list(self.world.machines.values())

    def serve(self, count: int = 1) -> list[Machine]:
        """Machines that are in service."""
        self.launch(count)
        for machine in self.enrol():
            self.converge(machine)
        self.answer()
        assert {member.state for member in self.group.members.values()} == {"InService"}
        return list(self.world.machines.values())

    def converge(self, machine: Machine, *, healthy: bool | None = None) -> None:
        machine.beat(self.clock.now(), release_number=2, revision=REVISION, is_healthy=healthy)

    def answer(self, seconds: float = 15) -> list[int]:
        at = self.clock.advance(seconds)
        return hooks.answer_all(self.world.cloud_of, expiry=expiry(at))

    def send(self, body: str) -> None:
        self.played.sqs.send_message(QueueUrl=self.group.queue, MessageBody=body)

    def waiting_messages(self) -> int:
        about = self.played.sqs.get_queue_attributes(QueueUrl=self.group.queue, AttributeNames=["All"])["Attributes"]
        return int(about["ApproximateNumberOfMessages"]) + int(about["ApproximateNumberOfMessagesNotVisible"])


@pytest.fixture
def hooked(world: World, played: Aws) -> Hooked:
    """Without a queue: the group is asked."""
    return Hooked(world, played)


@pytest.fixture
def queued(world: World, played: Aws) -> Hooked:
    """With a queue that EventBridge fills."""
    url = played.sqs.create_queue(QueueName="callboard", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    return Hooked(world, played, queue=url)


def action(transition: str = LAUNCHING) -> LifecycleAction:
    query = LifecycleAction.select().where(LifecycleAction.transition == transition)
    return query.order_by(LifecycleAction.id.desc()).get()


def reason(transition: str = LAUNCHING) -> tuple[str, dict[str, Any]]:
    row = action(transition)
    return row.reason_code, row.reason_params


@pytest.mark.parametrize("kind", ["hooked", "queued"])
def test_an_instance_serves_only_once_its_host_runs_what_it_should(request: Any, kind: str) -> None:
    hooked: Hooked = request.getfixturevalue(kind)
    (member,) = hooked.launch()
    hooked.answer()
    assert (member.state, action().status, action().reason_code) == ("Pending:Wait", "waiting", "not_enrolled")
    (machine,) = hooked.enrol()
    hooked.answer()
    assert reason() == ("out_of_date", {"host": member.id, "release": 2})
    hooked.converge(machine, healthy=False)
    hooked.answer()
    assert (member.state, action().reason_code) == ("Pending:Wait", "not_healthy")
    hooked.converge(machine, healthy=True)
    hooked.answer()
    assert (member.state, action().status) == ("InService", "continued")
    assert len(hooked.played.called("CompleteLifecycleAction")) == 1


def test_a_quarantined_host_is_abandoned_with_the_reason(hooked: Hooked) -> None:
    (member,) = hooked.launch()
    (machine,) = hooked.enrol()
    kept = {"code": "person", "text": "its disk is broken"}
    records.quarantine(machine.row, because(Quarantine.PERSON, text=kept["text"]), actor=ADA, at=hooked.clock.now())
    hooked.answer()
    assert hooked.group.ended == {member.id: "launching ABANDON"}
    assert (action().status, reason()) == ("abandoned", ("quarantined", {"quarantine": kept}))
    event = Event.get(Event.name == "scaling.abandon")
    assert (event.reason_code, event.target_path) == ("quarantined", "shop/production")
    assert event.details == {"quarantine": kept, "instance": member.id, "transition": "launching"}


def test_the_group_is_asked_to_wait_while_there_is_work(hooked: Hooked) -> None:
    (member,) = hooked.launch()
    for _ in range(10):
        hooked.answer(30)
    assert member.heartbeats == 0, "nobody works on a machine that has not enrolled"
    (machine,) = hooked.enrol()
    for _ in range(10):
        machine.beat(hooked.clock.now())
        hooked.answer(30)
    assert member.heartbeats == 3, "300 s of the hook, asked for at each third"
    for _ in range(140):
        machine.beat(hooked.clock.now())
        hooked.answer(60)
    so_far = member.heartbeats
    machine.beat(hooked.clock.now())
    hooked.answer(200)
    assert member.heartbeats == so_far, "it does not hold the group for ever"


def test_a_group_that_stopped_waiting_is_over(hooked: Hooked) -> None:
    hooked.launch()
    hooked.enrol()
    hooked.answer()
    hooked.played.fail("RecordLifecycleActionHeartbeat", "ValidationError")
    hooked.answer(120)
    assert StageScaling.get().hook_problem_params["error"] == "ValidationError"
    hooked.group.members.clear()
    hooked.answer(120)
    assert (action().status, StageScaling.get().hook_problem_code) == ("over", None)
    assert reason() == ("not_waiting", {"state": None})


def test_an_instance_drains_before_it_ends(hooked: Hooked) -> None:
    hooked.world.configure(hooked.actuator, drain_playbook="drain.yml")
    first, second, third = hooked.serve(3)
    for machine in (first, second):
        hooked.played.terminate(hooked.group, hooked.group.members[machine.name])
    (number,) = hooked.answer()
    run = Run.get_by_id(number)
    assert (run.playbook, set(run.limit.split(","))) == ("drain.yml", {first.name, second.name})
    assert [machine.row.is_draining for machine in (first, second, third)] == [True, True, False]
    for _ in range(8):
        assert hooked.answer() == []
    assert hooked.group.members[first.name].heartbeats == 1
    Run.update(status=statuses.SUCCESSFUL).execute()
    hooked.answer()
    assert hooked.group.ended == {one.name: "terminating CONTINUE" for one in (first, second)}
    assert (first.row.gone_code, first.row.gone_params) == (
        "group_ends",
        {"group": "shop-web", "instance": first.name},
    )
    assert reason(TERMINATING) == ("drain_ended", {"run": number, "status": "successful"})


def test_an_instance_ends_though_its_drain_failed(hooked: Hooked) -> None:
    hooked.world.configure(hooked.actuator, drain_playbook="drain.yml")
    (machine,) = hooked.serve()
    hooked.played.terminate(hooked.group, hooked.group.members[machine.name])
    hooked.answer()
    Run.update(status=statuses.FAILED).execute()
    hooked.answer()
    assert machine.name in hooked.group.ended
    assert reason(TERMINATING) == ("drain_ended", {"run": Run.get().id, "status": "failed"})


def test_a_drain_that_takes_too_long_is_canceled(hooked: Hooked) -> None:
    hooked.world.configure(hooked.actuator, drain_playbook="drain.yml")
    (machine,) = hooked.serve()
    hooked.played.terminate(hooked.group, hooked.group.members[machine.name])
    hooked.answer()
    hooked.answer(3 * 3600 + 1)
    assert Run.get().status == "canceled"
    assert machine.name in hooked.group.ended


def test_an_instance_without_a_live_host_ends_at_once(hooked: Hooked) -> None:
    hooked.world.configure(hooked.actuator, drain_playbook="drain.yml")
    (machine,) = hooked.serve()
    hooked.clock.advance(400)
    hooked.played.terminate(hooked.group, hooked.group.members[machine.name])
    assert hooked.answer() == []
    assert machine.name in hooked.group.ended


def test_a_run_on_the_host_is_not_disturbed(hooked: Hooked) -> None:
    (machine,) = hooked.serve()
    run = launched(hooked.stage, at=hooked.clock.now())
    Run.update(status=statuses.RUNNING).execute()
    RunHost.create(run=run, host=machine.row, name=machine.name, address="10.1.0.1", status="pending")
    hooked.played.terminate(hooked.group, hooked.group.members[machine.name])
    hooked.answer(120)
    hooked.answer(120)
    assert (hooked.group.members[machine.name].state, hooked.group.members[machine.name].heartbeats) == (
        "Terminating:Wait",
        1,
    )
    Run.update(status=statuses.SUCCESSFUL).execute()
    hooked.answer()
    assert machine.name in hooked.group.ended


def test_the_loops_own_scale_in_passes_the_hook(hooked: Hooked) -> None:
    hooked.serve(2)
    hooked.world.minute(0.1)
    hooked.world.minute(0.1)
    assert [member.state for member in hooked.group.members.values()].count("Terminating:Wait") == 1
    hooked.answer()
    assert (len(hooked.group.ended), hooked.group.desired, len(hooked.world.aws.running())) == (1, 1, 1)


def test_an_instance_that_a_scale_in_drains_already_is_drained_once(hooked: Hooked) -> None:
    hooked.world.configure(hooked.actuator, drain_playbook="drain.yml")
    hooked.serve(2)
    hooked.world.minute(0.1)
    (going,) = hooked.stage.scaling_decisions.order_by(ScalingDecision.id.desc()).get().instances
    hooked.played.terminate(hooked.group, hooked.group.members[going])
    assert hooked.answer() == []
    assert (Run.select().count(), action(TERMINATING).run_id) == (1, Run.get().id)
    Run.update(status=statuses.SUCCESSFUL).execute()
    hooked.answer()
    hooked.world.look()
    assert going in hooked.group.ended


def test_an_instance_that_waits_is_neither_counted_nor_chosen(hooked: Hooked) -> None:
    hooked.launch(2)
    for machine in hooked.enrol():
        hooked.converge(machine)
    hooked.world.minute(0.1)
    assert hooked.world.stage.scaling_decisions[0].reasons[-1] == {"code": "not_serving", "hosts": 2}


# the queue


def test_messages_that_come_twice_late_and_in_any_order_change_nothing(queued: Hooked) -> None:
    (member,) = queued.launch()
    early = queued.played.event(queued.group, member, LAUNCHING)
    (machine,) = queued.enrol()
    queued.converge(machine)
    queued.answer()
    assert member.state == "InService"
    queued.group.desired = 0
    queued.played.terminate(queued.group, member)
    queued.send(early)
    queued.send(early)
    queued.answer()
    queued.send(early)
    queued.answer(700)
    rows = [(row.transition, row.status) for row in LifecycleAction.select()]
    assert rows == [("launching", "continued"), ("terminating", "continued")]
    assert len(queued.played.called("CompleteLifecycleAction")) == 2
    assert queued.waiting_messages() == 0


def test_a_message_overtakes_the_groups_own_list(queued: Hooked) -> None:
    (member,) = queued.launch()
    (machine,) = queued.enrol()
    queued.converge(machine)
    member.state = "Pending"
    queued.answer()
    assert action().status == "waiting"
    member.state = "Pending:Wait"
    queued.answer()
    assert (member.state, action().status) == ("InService", "continued")


def test_a_lost_message_is_made_up_for_by_the_loop(queued: Hooked) -> None:
    (member,) = queued.launch()
    queued.played.sqs.purge_queue(QueueUrl=queued.group.queue)
    queued.answer()
    assert LifecycleAction.select().count() == 0
    (machine,) = queued.enrol()
    queued.converge(machine)
    queued.world.look()
    queued.answer()
    assert member.state == "InService"


def test_a_message_is_deleted_only_after_it_was_written_down(queued: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
    queued.launch()
    with monkeypatch.context() as patch:
        patch.setattr(actions, "notice_message", _crash)
        with pytest.raises(KeyboardInterrupt):
            queued.answer()
    assert queued.waiting_messages() == 1
    queued.answer()
    assert (action().status, queued.waiting_messages()) == ("waiting", 0)


def _crash(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


STEPS = (
    (Cloud, "complete"),
    (Cloud, "record_heartbeat"),
    (answering.HookRound, "_drain"),
    (answering.HookRound, "_end"),
    (answering.actions, "change"),
    (answering.drains, "request"),
    (answering.host_records, "drain"),
    (answering.host_records, "end"),
)


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize(("owner", "step"), STEPS)
def test_a_crash_between_any_two_steps_says_and_drains_nothing_twice(
    hooked: Hooked, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str, *, is_after: bool
) -> None:
    hooked.world.configure(hooked.actuator, drain_playbook="drain.yml")
    crash, calls = crash_once(owner, step, KeyboardInterrupt, is_after=is_after)
    monkeypatch.setattr(owner, step, crash)
    (member,) = hooked.launch()
    (machine,) = hooked.enrol()
    for _ in range(3):
        survive(hooked)
    hooked.converge(machine)
    survive(hooked)
    survive(hooked)
    assert member.state == "InService"
    hooked.group.desired = 0
    hooked.played.terminate(hooked.group, member)
    for _ in range(3):
        hooked.converge(machine)
        survive(hooked)
    assert (Run.select().count(), machine.row.is_draining, member.state) == (1, True, "Terminating:Wait")
    Run.update(status=statuses.SUCCESSFUL).execute()
    for _ in range(4):
        survive(hooked)
    assert calls
    assert hooked.group.ended == {member.id: "terminating CONTINUE"}
    assert actions.waiting(hooked.stage) == []
    words = [call["LifecycleActionResult"] for call in hooked.played.called("CompleteLifecycleAction")]
    assert words in (["CONTINUE"] * 2, ["CONTINUE"] * 3), "AWS takes each word once"


def survive(hooked: Hooked) -> None:
    """A look, after which the process may be dead."""
    with contextlib.suppress(KeyboardInterrupt):
        hooked.answer(110)


def test_a_crash_after_the_word_was_given_gives_it_once(hooked: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
    (member,) = hooked.launch()
    (machine,) = hooked.enrol()
    hooked.converge(machine)
    with monkeypatch.context() as patch:
        patch.setattr(answering.HookRound, "_end", _crash)
        with pytest.raises(KeyboardInterrupt):
            hooked.answer()
    assert member.state == "InService"
    hooked.answer(130)
    assert (action().status, len(hooked.played.called("CompleteLifecycleAction"))) == ("over", 1)


GARBAGE = [
    "",
    "{",
    "[1]",
    "[" * 50_000,
    "x" * 70_000,
    json.dumps({"Event": "autoscaling:TEST_NOTIFICATION", "AutoScalingGroupName": "shop-web"}),
]


@pytest.mark.parametrize("body", GARBAGE)
def test_it_takes_no_event_from_garbage(body: str) -> None:
    assert messages.read(body) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("EC2InstanceId", "i-../../x"),
        ("EC2InstanceId", None),
        ("LifecycleTransition", "autoscaling:EC2_INSTANCE_LAUNCH_ERROR"),
        ("LifecycleActionToken", "x"),
        ("AutoScalingGroupName", ["shop-web"]),
    ],
)
def test_it_takes_no_event_with_another_content(field: str, value: Any) -> None:
    detail = {
        "LifecycleActionToken": "87654321-4321-4321-4321-210987654321",
        "AutoScalingGroupName": "shop-web",
        "LifecycleHookName": "greet",
        "EC2InstanceId": "i-1234567890abcdef0",
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
    }
    assert messages.read(json.dumps({"detail": detail})) is not None
    assert messages.read(json.dumps(detail)) is not None, "a hook's own message"
    assert messages.read(json.dumps({"detail": {**detail, field: value}})) is None


def test_what_is_not_for_us_leaves_the_queue_and_changes_nothing(queued: Hooked) -> None:
    (member,) = queued.launch()
    queued.played.sqs.purge_queue(QueueUrl=queued.group.queue)
    body = queued.played.event(queued.group, member, LAUNCHING)
    for other in ("hello", body.replace("shop-web", "others"), body.replace("greet", "another")):
        queued.send(other)
    queued.answer()
    assert (LifecycleAction.select().count(), queued.waiting_messages()) == (0, 0)


def test_a_queue_that_is_gone_is_told_and_the_rest_goes_on(queued: Hooked) -> None:
    (member,) = queued.launch()
    (machine,) = queued.enrol()
    queued.converge(machine)
    queued.world.look()
    queued.played.fail("ReceiveMessage", "QueueDoesNotExist")
    queued.answer()
    assert member.state == "InService"
    assert StageScaling.get().hook_problem_params["error"] == "QueueDoesNotExist"
    queued.answer()
    assert StageScaling.get().hook_problem_code is None


# what people see


def test_a_stage_that_answers_no_hooks_any_more_leaves_nothing_waiting(hooked: Hooked) -> None:
    hooked.launch()
    hooked.answer()
    hooked.world.configure(hooked.actuator, is_enabled=False)
    hooked.answer()
    assert (action().status, action().reason_code) == ("over", "not_answered")


def test_actions_are_listed_and_forgotten_in_time(hooked: Hooked, viewer: Caller) -> None:
    (member,) = hooked.launch()
    hooked.answer()
    (row,) = viewer.get("/api/v1/stages/shop/production/scaling/lifecycle").json["items"]
    assert (row["instance"], row["status"], row["transition"]) == (member.id, "waiting", "launching")
    at = hooked.clock.advance(100 * 86400)
    assert actions.prune(at=at, days=93) == 0
    hooked.group.members.clear()
    hooked.answer()
    assert actions.prune(at=hooked.clock.advance(94 * 86400), days=93) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"queue_url": "https://sqs.eu-central-1.amazonaws.com/123456789012/q"},
        {"launching_hook": "x y"},
        {"launching_hook": "greet", "queue_url": "file:///etc/passwd"},
        {"launching_hook": "greet", "queue_url": "http://10.0.0.1/123456789012/q"},
    ],
)
def test_it_rejects_hooks_that_can_not_be(more: dict[str, str]) -> None:
    with pytest.raises(settings.InvalidError):
        settings.parse_actuator({"type": settings.GROUP, "region": REGION, "name": "shop-web", **more})


def test_it_takes_hooks_and_a_queue() -> None:
    url = "https://sqs.eu-central-1.amazonaws.com/123456789012/callboard"
    text = {"type": settings.GROUP, "region": REGION, "name": "x", "launching_hook": "greet", "queue_url": url}
    assert settings.parse_actuator(text).queue_url == url
