"""Each notification that is promised comes: what causes it is done for real, and a real HTTP server hears of it.

A promise is an event of `NOTIFIED`; the page docs/webhooks.md is made from the same table. Each has at least one
producer below, and each reason that a person can be told has one, too.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from inventory_service.adapters import processes
from inventory_service.automation import notifications, schedules
from inventory_service.clock import SystemClock
from inventory_service.codes.automation import ScheduleFailure
from inventory_service.codes.host import Conflict, KeyMismatch, Quarantine
from inventory_service.codes.lock import Lock
from inventory_service.codes.run import HostNote
from inventory_service.codes.stage import ExpiryPause
from inventory_service.deployments import convergence
from inventory_service.deployments.executor import execution, recovery
from inventory_service.deployments.launching import requests
from inventory_service.deployments.runs import external
from inventory_service.deployments.runs.outcome import HostCount
from inventory_service.errors import CallboardError
from inventory_service.events import NOTIFIED, EventName
from inventory_service.models import Event, Host, Notice, Notification, Project, Release, Run, RunHost, Stage
from inventory_service.reasons import Code, because
from inventory_service.registry import expiry_guard, self_check, sweep
from inventory_service.settings import Settings
from tests.automation.conftest import Inbox
from tests.deployments.conftest import release  # noqa: F401 - fixtures
from tests.fixtures.aws import Aws as Played
from tests.jobs.conftest import ask, begin, execute, join, local  # noqa: F401 - fixtures
from tests.scaling.conftest import World as Scaled
from tests.scaling.conftest import aws, group, moto, played, played_server, world  # noqa: F401 - fixtures
from tests.scaling.test_lifecycle import Hooked
from tests.support import Caller, FakeClock, Machine, expiry, key_line, launched, wait_for

STAGE = "/api/v1/stages/shop/production"
WELL = "- hosts: all\n  gather_facts: false\n  tasks: [{debug: {msg: hello}}]\n"
BADLY = "- hosts: all\n  gather_facts: false\n  tasks: [{fail: {msg: no space left}}]\n"
SLOWLY = "- hosts: all\n  gather_facts: false\n  tasks: [{command: sleep 60}]\n"


@dataclass
class Service:
    """The real parts, each made when a producer asks for it."""

    fixtures: pytest.FixtureRequest

    def part(self, name: str) -> Any:
        return self.fixtures.getfixturevalue(name)

    @property
    def clock(self) -> FakeClock:
        return self.part("clock")

    @property
    def settings(self) -> Settings:
        return self.part("settings")

    @property
    def stage(self) -> Stage:
        return Stage.select(Stage, Project).join(Project).get()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the API as an admin; what it answers."""
        caller: Caller = self.part("admin")
        answer = caller.send(method, path, body)
        assert answer.status_code < 300, answer.text
        return answer.get_json(silent=True)

    def launch(self, kind: str, **fields: Any) -> int:
        return self.call("POST", "/api/v1/runs", {"stage": "shop/production", "kind": kind, **fields})["id"]

    def machine(self, number: int = 1, **fields: Any) -> Machine:
        machine = Machine(
            self.stage, name=f"web-{number}", address=f"10.0.0.{number}", keys=(key_line(seed=number),), **fields
        )
        return machine.enrol(self.clock.now())

    def play(self, playbook: str, **fields: Any) -> Run:
        """A real ansible-playbook on this machine, to its end."""
        self.part("join")("web-1")
        return self.part("execute")(self.part("ask")(playbook, **fields))

    def sweep(self, bound_seconds: float = 3600) -> None:
        now = expiry(self.clock.now())
        expiry_guard.step_pauses(expiry=now, bound_seconds=bound_seconds)
        sweep.sweep(expiry=now)


Producer = Callable[[Service], object]
PRODUCERS: list[tuple[EventName, Code | None, str, Producer]] = []


def produces(name: EventName, title: str, code: Code | None = None) -> Callable[[Producer], Producer]:
    """What follows makes this event happen, whose message has this title."""

    def add(producer: Producer) -> Producer:
        PRODUCERS.append((name, code, title, producer))
        return producer

    return add


# runs


@produces(EventName.RUN_DEPLOY, "shop/production: deploy 1 started")
def deploy(service: Service) -> None:
    service.launch("deploy")


@produces(EventName.RUN_ROLLBACK, "shop/production: rollback 1 of release 1 started")
def roll_back(service: Service) -> None:
    made: Release = service.part("release")(service.stage)
    Release.update(succeeded_at=service.clock.now()).where(Release.id == made.id).execute()
    service.part("release")(service.stage, "b" * 40)
    service.launch("rollback", release=1)


@produces(EventName.RUN_PLAYBOOK, "shop/production: playbook 1 started")
def run_a_playbook(service: Service) -> None:
    service.launch("playbook", playbook="deploy.yml")


@produces(EventName.RUN_PLAYBOOK, "shop/production: playbook 1 started")
def let_a_clock_start_a_playbook(service: Service) -> None:
    add_schedule(service)
    assert schedules.run_due(at=service.clock.advance(60)) == [1]


@produces(EventName.RUN_SUCCESSFUL, "shop/production: playbook 1 successful")
def end_well(service: Service) -> None:
    assert service.play(WELL).status == "successful"


@produces(EventName.RUN_FAILED, "shop/production: playbook 1 failed")
def fail(service: Service) -> None:
    assert service.play(BADLY).status == "failed"


@produces(EventName.RUN_FAILED, "shop/production: playbook 1 failed")
def fail_on_a_laptop(service: Service) -> None:
    ended = {"ended_at": "2026-11-23T13:59:59Z", "hosts": {"web-1": {"ok": 1, "failed": 1}}}
    assert record(service, ending=ended)["status"] == "failed"


@produces(EventName.RUN_TIMEOUT, "shop/production: playbook 1 timeout")
def run_out_of_time(service: Service) -> None:
    service.part("local")
    service.call("PATCH", STAGE, {"idle_timeout_seconds": 2})
    assert service.play(SLOWLY).status == "timeout"


@produces(EventName.RUN_LOST, "shop/production: deploy 1 lost")
def lose_the_executor(service: Service) -> None:
    run = execution.claim(service.launch("deploy"), at=service.clock.now())
    assert run is not None
    child = subprocess.Popen(["sleep", "60"])
    Run.update(executor=processes.identity_of(child.pid)).execute()
    child.kill()
    child.wait()
    assert recovery.recover_lost(service.settings, at=service.clock.advance(16)) == [run.id]


@produces(EventName.RUN_LOST, "shop/production: playbook 1 lost")
def lose_a_laptop(service: Service) -> None:
    record(service)
    service.clock.advance(3600)
    assert external.lose_silent(at=service.clock.now()) == [1]


@produces(EventName.RUN_CANCELED, "shop/production: deploy 1 canceled")
def cancel_before_it_begins(service: Service) -> None:
    service.call("POST", f"/api/v1/runs/{service.launch('deploy')}/cancel")


@produces(EventName.RUN_CANCELED, "shop/production: playbook 1 canceled")
def cancel_at_work(service: Service) -> None:
    service.part("join")("web-1")
    run: Run = service.part("ask")(SLOWLY)
    child = service.part("begin")(run)
    wait_for(lambda: bool(requests.get(run.id).in_flight) or child.poll() is not None, 60)
    service.call("POST", f"/api/v1/runs/{run.id}/cancel")
    child.communicate(timeout=60)


@produces(EventName.RUN_CANCELED, "shop/production: deploy 1 canceled")
def archive_the_stage(service: Service) -> None:
    service.launch("deploy")
    service.call("DELETE", STAGE)


def record(service: Service, **fields: Any) -> dict[str, Any]:
    head = {"id": "0123456789abcdef" * 2, "stage": "shop/production", "playbook": "site.yml", "hosts": ["web-1"]}
    head |= {"user": "ada", "machine": "ada-laptop", "started_at": "2026-11-23T13:59:00Z"}
    return service.call("POST", "/api/v1/runs/recorded", {**head, **fields})


# expiry


@produces(EventName.EXPIRY_PAUSE, "shop/production: expiry paused, nobody leaves for silence", ExpiryPause.MANY_SILENT)
def fall_silent_together(service: Service) -> list[Machine]:
    fleet = [service.machine(number) for number in range(1, 9)]
    service.clock.advance(300)
    service.sweep()
    return fleet


@produces(EventName.EXPIRY_RESUME, "shop/production: expiry goes on")
def come_back_together(service: Service) -> None:
    for machine in fall_silent_together(service):
        machine.beat(service.clock.now())
    for _ in range(3):
        service.clock.advance(5)
        service.sweep()


@produces(EventName.EXPIRY_RESUME, "shop/production: expiry goes on")
def reach_the_bound_of_the_pause(service: Service) -> None:
    fall_silent_together(service)
    service.clock.advance(3600)
    service.sweep()


@produces(EventName.EXPIRY_RESUME, "shop/production: expiry goes on by token:admin-everywhere")
def believe_the_silence(service: Service) -> None:
    fall_silent_together(service)
    service.call("POST", f"{STAGE}/expire")


@produces(EventName.EXPIRY_PAUSE, "all stages: expiry paused, nobody leaves for silence", ExpiryPause.SELF_CHECK_FAILED)
def fail_self_check(service: Service) -> None:
    token = self_check.make_token()
    assert self_check.receive(token, at=service.clock.now())
    service.clock.advance(31)
    service.sweep()


@produces(EventName.EXPIRY_RESUME, "all stages: expiry goes on")
def pass_self_check(service: Service) -> None:
    fail_self_check(service)
    self_check.receive(self_check.make_token(), at=service.clock.now())
    service.sweep()
    service.sweep()


# locks


@produces(EventName.STAGE_LOCK, "shop/production: locked by token:admin-everywhere", Lock.PERSON)
def lock(service: Service) -> None:
    service.call("PUT", f"{STAGE}/lock", {"reason": "migration"})


@produces(EventName.STAGE_UNLOCK, "shop/production: unlocked by token:admin-everywhere")
def unlock(service: Service) -> None:
    lock(service)
    service.call("DELETE", f"{STAGE}/lock")


@produces(EventName.STAGE_LOCK, "shop/production: locked", Lock.ROLLOUT_STOPPED)
def stop_a_rollout(service: Service) -> Run:
    """Its first host fails."""
    service.part("local")
    (service.part("source") / "deploy.yml").write_text(BADLY)
    service.call("PATCH", STAGE, {"auto_rollback": True})
    service.part("join")("web-1")
    run = launched(service.stage, at=SystemClock().now())
    return service.part("execute")(run)


@produces(EventName.STAGE_LOCK, "shop/production: locked", Lock.ROLLBACK_FAILED)
def fail_to_roll_back(service: Service) -> None:
    service.part("release")(service.stage)
    run = stop_a_rollout(service)
    (service.part("source") / "rollback.yml").write_text(BADLY)
    service.call("DELETE", f"{STAGE}/lock")
    undo = Run.get(Run.rolls_back == run.id)
    assert service.part("execute")(undo).status == "failed"


# hosts


@produces(
    EventName.HOST_QUARANTINE,
    "shop/production: a host is quarantined (excluded from convergence) by token:admin-everywhere",
    Quarantine.PERSON,
)
def quarantine(service: Service) -> None:
    host = service.machine().host_id
    service.call("PATCH", f"/api/v1/hosts/{host}", {"quarantined": True, "reason": "a bad disk"})


@produces(
    EventName.HOST_QUARANTINE,
    "shop/production: a host is quarantined (excluded from convergence)",
    Quarantine.CONVERGENCE,
)
def give_up_to_converge(service: Service) -> None:
    """A release that web-1 has does not come to web-2; its last attempt fails for real."""
    service.part("local")
    (service.part("source") / "deploy.yml").write_text(
        BADLY.replace("fail:", "when: inventory_hostname == 'web-2', fail:")
    )
    service.part("join")("web-1")
    assert service.part("execute")(launched(service.stage, at=SystemClock().now())).status == "successful"
    Machine(service.stage, "web-2", "127.0.0.9", (key_line(seed=2),)).enrol(SystemClock().now())
    service.call("PATCH", STAGE, {"converge": True})
    Host.update(converge_attempts=3).where(Host.name == "web-2").execute()
    (number,) = convergence.converge_all(expiry=expiry(SystemClock().now()), window_seconds=0)
    run = service.part("execute")(requests.get(number))
    assert (run.status, run.end_code) == ("failed", "hosts_failed"), run.end_reasons


@produces(EventName.HOST_CONFLICT, "shop/production: a host is in conflict", Conflict.CLONED)
def clone(service: Service) -> None:
    machine = service.machine()
    machine.beat(service.clock.now(), boot_id="b008")
    with pytest.raises(CallboardError):
        machine.beat(service.clock.advance(70))


@produces(EventName.HOST_CONFLICT, "shop/production: a host is in conflict", Conflict.SAME_ADDRESS)
def come_back_to_a_taken_address(service: Service) -> None:
    first = service.machine()
    service.clock.advance(301)
    Machine(service.stage, name="web-2", address=first.address, keys=(key_line(seed=2),)).enrol(service.clock.now())
    with pytest.raises(CallboardError):
        first.beat(service.clock.advance(10))


@produces(EventName.HOST_CONFLICT, "shop/production: a host is in conflict", Conflict.ENDED_BUT_BEATS)
def beat_after_the_end(service: Service) -> None:
    scaled: Scaled = service.part("group")
    ended = next(iter(scaled.machines))
    scaled.aws.ec2.terminate_instances(InstanceIds=[ended])
    scaled.look()
    for _ in range(2):
        with pytest.raises(CallboardError):
            scaled.machines[ended].beat(scaled.clock.advance(120))


@produces(EventName.HOST_KEY_MISMATCH, "shop/production: a host has other SSH host keys", KeyMismatch.ENROLMENT)
def ask_to_enrol_as_another(service: Service) -> None:
    known = service.machine()
    with pytest.raises(CallboardError):
        Machine(service.stage, known.name, known.address, keys=(key_line(seed=9),)).enrol(service.clock.now())


@produces(EventName.HOST_KEY_MISMATCH, "shop/production: a host has other SSH host keys", KeyMismatch.RUN)
def meet_other_keys(service: Service) -> None:
    """What ssh says then, and that it is understood, is tested with a real one (tests/e2e/test_deployments.py)."""
    host = service.machine().row
    number = service.launch("deploy")
    RunHost.create(run=number, host=host, name=host.name, address=host.address, status="pending")
    met = HostCount(unreachable=1, note=because(HostNote.HOST_KEY_MISMATCH, host=host.name))
    execution.record_hosts(number, {host.name: met}, at=service.clock.now())


# schedules


def add_schedule(service: Service, **fields: Any) -> None:
    body = {"name": "nightly", "cron": "* * * * *", "kind": "playbook", "playbook": "deploy.yml", **fields}
    service.call("POST", f"{STAGE}/schedules", body)


@produces(EventName.SCHEDULE_FAIL, "shop/production: a schedule started nothing", ScheduleFailure.NO_WORKER)
def come_too_late(service: Service) -> None:
    add_schedule(service)
    schedules.run_due(at=service.clock.advance(3600))


@produces(EventName.SCHEDULE_FAIL, "shop/production: a schedule started nothing", ScheduleFailure.STILL_ACTIVE)
def be_too_slow(service: Service) -> None:
    let_a_clock_start_a_playbook(service)
    schedules.run_due(at=service.clock.advance(60))


@produces(EventName.SCHEDULE_FAIL, "shop/production: a schedule started nothing", ScheduleFailure.REFUSED)
def be_refused(service: Service) -> None:
    add_schedule(service)
    fall_silent_together(service)
    schedules.run_due(at=service.clock.advance(1))


# machines


@produces(EventName.SCALING_OUT, "shop/production: more machines")
def add_machines(service: Service) -> Scaled:
    scaled: Scaled = service.part("group")
    scaled.minute(0.9)
    return scaled


@produces(EventName.SCALING_IN, "shop/production: fewer machines")
def remove_machines(service: Service) -> None:
    scaled = add_machines(service)
    scaled.enrol_all()
    scaled.minute(0.1)
    scaled.minute(0.1)


@produces(EventName.SCALING_FAIL, "shop/production: scaling failed")
def find_no_group(service: Service) -> None:
    scaled: Scaled = service.part("group")
    scaled.aws.groups.delete_auto_scaling_group(AutoScalingGroupName="shop-web", ForceDelete=True)
    scaled.minute(0.9)


@produces(EventName.SCALING_FAIL, "shop/production: scaling failed")
def fail_to_drain(service: Service) -> None:
    scaled: Scaled = service.part("group")
    actuator = {"type": "auto_scaling_group", "region": "eu-central-1", "name": "shop-web"}
    scaled.configure(actuator, drain_playbook="deploy.yml")
    scaled.minute(0.1)
    scaled.minute(0.1)
    run = Run.get()
    assert execution.claim(run.id, at=scaled.clock.now()) is not None
    Run.update(status="failed", ended_at=scaled.clock.now()).execute()
    scaled.minute(0.1)


@produces(EventName.SCALING_ABANDON, "shop/production: an instance was abandoned")
def abandon_an_instance(service: Service) -> None:
    scaled: Scaled = service.part("world")
    fake: Played = service.part("played")
    hooked = Hooked(scaled, fake)
    hooked.launch()
    (machine,) = hooked.enrol()
    service.call("PATCH", f"/api/v1/hosts/{machine.host_id}", {"quarantined": True, "reason": "a bad disk"})
    hooked.answer()


@pytest.mark.parametrize(
    ("name", "code", "title", "producer"),
    PRODUCERS,
    ids=[f"{name}-{producer.__name__}" for name, _, _, producer in PRODUCERS],
)
def test_what_is_promised_is_told(
    *,
    name: EventName,
    code: Code | None,
    title: str,
    producer: Producer,
    request: pytest.FixtureRequest,
    told: Notification,
    inbox: Inbox,
    settings: Settings,
) -> None:
    producer(Service(request))
    seen = list(Event.select().order_by(Event.id))
    happened = [one for one in seen if one.name == name and (code is None or one.reason_code == code)]
    assert happened, f"nobody wrote {name} for {code}: {[(one.name, one.reason_code) for one in seen]}"
    newest = max(one.at for one in seen)
    notifications.tell(settings=settings, at=newest.replace(year=newest.year + 1))
    ids = [one.id for one in happened]
    made = [(one.event, one.title, one.error) for one in Notice.select().where(Notice.entry_id.in_(ids))]
    assert (next(one.word for one in NOTIFIED if name in one.events), title, None) in made
    assert title in inbox.titles


def test_each_promised_event_has_a_producer() -> None:
    promised = {event for one in NOTIFIED for event in one.events}
    assert promised - {name for name, _, _, _ in PRODUCERS} == set()


# Not stored: it is said while the database can't be written. OTHER is what earlier versions wrote in words.
NEVER_TOLD = {ExpiryPause.WRITES_FAIL, Lock.RUN}


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        (EventName.HOST_CONFLICT, Conflict),
        (EventName.HOST_KEY_MISMATCH, KeyMismatch),
        (EventName.HOST_QUARANTINE, Quarantine),
        (EventName.EXPIRY_PAUSE, ExpiryPause),
        (EventName.STAGE_LOCK, Lock),
        (EventName.SCHEDULE_FAIL, ScheduleFailure),
    ],
)
def test_each_reason_has_a_producer(name: EventName, codes: type[Code]) -> None:
    wanted = {code for code in codes if code.value != "other"} - NEVER_TOLD
    assert wanted - {code for event, code, _, _ in PRODUCERS if event == name} == set()
