"""What follows when a rollout stops: a rollback, a lock, and the reason; never twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inventory_service.codes.run import End
from inventory_service.deployments import convergence, locks, releases, rollout
from inventory_service.deployments.executor import execution
from inventory_service.deployments.launching import requests, run_queue
from inventory_service.deployments.runs.outcome import Ending, HostCount
from inventory_service.models import Event, Host, Release, Run, RunEvent, RunHost, Stage
from inventory_service.reasons import because
from inventory_service.registry import hosts, stages
from inventory_service.registry.stage_settings import StageChange
from tests.support import ADA, FakeClock, Machine, expiry, why, why_locked

Queue = Callable[..., Run]
UNHEALTHY = "web-1: it is not healthy: / answered 500. Waited 4 s."
STOPPED = {"web-1": HostCount(ok=9, failed=1)}


@pytest.fixture
def machines(stage: Stage, clock: FakeClock) -> list[Machine]:
    """web-1, web-2 and web-3, all live and on release 1."""
    names = [f"web-{number}" for number in (1, 2, 3)]
    return [Machine(stage, name=name, address=f"10.0.0.{at}").enrol(clock.now()) for at, name in enumerate(names, 1)]


@pytest.fixture
def first(stage: Stage, machines: list[Machine], release: Callable[..., Release]) -> Release:
    made = release(stage)
    releases.record_on_hosts(made, [machine.host_id for machine in machines], is_pinned=False)
    stages.update_stage(stage, change=StageChange(auto_rollback=True), actor=ADA, at=stage.created_at)
    return made


@pytest.fixture
def end(
    first: Release, stage: Stage, queue: Queue, release: Callable[..., Release], clock: FakeClock
) -> Callable[..., Run]:
    """Deploy release 2, or carry a queued run, to this end; returns the run."""

    def carry(
        counts: dict[str, HostCount],
        status: str = "failed",
        run: Run | None = None,
        in_flight: dict[str, str] | None = None,
        **fields: Any,
    ) -> Run:
        queued = run or queue(stage, fields.pop("kind", "deploy"), **fields)
        target = (
            releases.get(stage, queued.release_number)
            if queued.release_number
            else release(stage, "b" * 40, is_good=False)
        )
        Run.update(release_number=target.number).where(Run.id == queued.id).execute()
        claimed = execution.claim(queued.id, at=clock.now())
        assert claimed is not None, "it is not its turn"
        for host in hosts.list_hosts(stage):
            RunHost.create(run=claimed, host=host, name=host.name, address=host.address, status="pending")
        if "web-1" in counts and counts["web-1"].failed:
            RunEvent.create(
                run=claimed, counter=7, at=clock.now(), event="runner_on_failed", host="web-1", status="failed",
                message=UNHEALTHY, log_start=0, log_end=0,
            )  # fmt: skip
        chosen = tuple(hosts.list_hosts(stage))
        failed = because(End.HOSTS_FAILED, hosts=["web-1"], more=0, of=3)
        ending = Ending(status, () if status == "successful" else (failed,))
        prepared = execution.Prepared(None, chosen, target)
        result = execution.Result(ending, prepared, in_flight=in_flight or {})
        execution._finish(claimed, result, counts, at=clock.now())
        return requests.get(claimed.id)

    return carry


def automatic() -> list[Run]:
    return list(Run.select().where(Run.rolls_back.is_null(False)).order_by(Run.id))


def lock_of(stage: Stage) -> str | None:
    held = locks.find(stage, locks.BY_PERSON)
    return why_locked(held) if held else None


def test_it_rolls_a_stopped_rollout_back_locks_and_says_why(end: Callable[..., Run], stage: Stage) -> None:
    run = end(STOPPED)
    (back,) = automatic()
    assert (back.kind, back.status, back.release_number, back.limit) == ("rollback", "queued", 1, "web-1")
    assert (back.rolls_back, back.created_by, rollout.rolled_back_by(run)) == (run.id, "callboard", back.id)
    assert why(run) == (
        f"1 of 3 hosts failed: web-1. {UNHEALTHY} Run {back.id} goes back to release 1 on 1 of its hosts. "
        "The stage is locked."
    )
    assert lock_of(stage) == (
        f"The rollout of release 2 stopped (run {run.id}): 1 of 3 hosts failed: web-1. {UNHEALTHY} "
        f"Run {back.id} goes back to release 1 on 1 of its hosts"
    )
    assert Event.select().where(Event.name.in_(["stage.lock", "run.rollback"])).count() == 2


def test_it_takes_every_host_that_the_rollout_touched(end: Callable[..., Run]) -> None:
    end({"web-1": HostCount(ok=9, failed=1), "web-2": HostCount(ok=3, changed=2), "web-3": HostCount()})
    assert automatic()[0].limit == "web-1,web-2"


def test_it_leaves_hosts_out_that_have_left(end: Callable[..., Run], machines: list[Machine], clock: FakeClock) -> None:
    hosts.goodbye(machines[1].row, at=clock.now())
    end({"web-1": HostCount(failed=1), "web-2": HostCount(changed=1)})
    assert automatic()[0].limit == "web-1"


def test_it_rolls_back_before_runs_that_waited_longer_and_past_its_lock(
    end: Callable[..., Run], stage: Stage, queue: Queue, clock: FakeClock
) -> None:
    claimed = queue(stage)
    waiting = queue(stage)
    end(STOPPED, run=claimed)
    (back,) = automatic()
    assert [run.id for run in run_queue.due_runs()] == [back.id]
    assert execution.claim(waiting.id, at=clock.now()) is None
    assert execution.claim(back.id, at=clock.now()) is not None


def test_it_lets_hosts_go_once_they_are_back(end: Callable[..., Run], stage: Stage, machines: list[Machine]) -> None:
    end(STOPPED)
    Host.update(release_number=2, revision="b" * 40).where(Host.name == "web-1").execute()
    end({"web-1": HostCount(ok=9, changed=1)}, "successful", run=automatic()[0])
    row = machines[0].row
    assert (row.release_number, row.pinned_release_number) == (1, None)
    assert (stages.get_stage("shop", "production").desired_release_number, len(automatic())) == (1, 1)
    assert lock_of(stage) is not None, "a person looks at it first"


@pytest.mark.parametrize("is_unlocked", [True, False])
def test_it_only_locks_when_the_rollback_fails_too(end: Callable[..., Run], stage: Stage, is_unlocked: bool) -> None:
    end(STOPPED)
    (back,) = automatic()
    if is_unlocked:
        locks.unlock(stage, actor=ADA, at=stage.created_at)
    end(STOPPED, run=back)
    assert automatic() == [back]
    assert f"run {back.id}, did not succeed: 1 of 3 hosts failed: web-1. {UNHEALTHY[:-1]}" in (lock_of(stage) or "")


def test_it_keeps_a_persons_lock_and_adds_its_reason(end: Callable[..., Run], stage: Stage, queue: Queue) -> None:
    claimed = execution.claim(queue(stage).id, at=stage.created_at)
    assert claimed is not None
    locks.lock(stage, reason="Wait for me.", actor=ADA, at=stage.created_at)
    RunHost.create(run=claimed, host=Host.get(Host.name == "web-1"), name="web-1", address="10.0.0.1", status="failed")
    rollout.conclude(claimed, Ending("failed", (because(End.OTHER, text="It failed."),)), at=stage.created_at)
    held = locks.find(stage, locks.BY_PERSON)
    assert held is not None
    assert held.locked_by == "ada"
    assert why_locked(held).startswith("Wait for me. The rollout of release")


@pytest.mark.parametrize(
    ("counts", "status", "fields"),
    [
        ({}, "failed", {}),
        (STOPPED, "canceled", {}),
        (STOPPED, "failed", {"is_check": True}),
        (STOPPED, "failed", {"kind": "playbook", "playbook": "x.yml"}),
        ({"web-1": HostCount(ok=1)}, "successful", {}),
    ],
)
def test_it_leaves_other_ends_alone(
    end: Callable[..., Run], stage: Stage, counts: Any, status: str, fields: Any
) -> None:
    end(counts, status, **fields)
    assert (automatic(), lock_of(stage)) == ([], None)


def test_it_rolls_back_what_ran_out_of_time(end: Callable[..., Run]) -> None:
    end({"web-1": HostCount(ok=3)}, "timeout")
    assert automatic()[0].limit == "web-1"


def test_it_rolls_hosts_back_whose_task_the_time_cut_off(end: Callable[..., Run], stage: Stage) -> None:
    end({"web-2": HostCount(ok=1)}, "timeout", in_flight={"web-1": "Restart", "web-2": "Restart"})
    assert [row.status for row in RunHost.select().order_by(RunHost.name)] == ["lost", "lost", "untouched"]
    assert automatic()[0].limit == "web-1,web-2"
    assert lock_of(stage) is not None


def test_it_only_locks_where_there_is_nothing_to_go_back_to(end: Callable[..., Run], stage: Stage) -> None:
    Stage.update(desired_release_number=None).execute()
    assert "There is no release before it to go back to. The stage is locked." in why(end(STOPPED))
    assert automatic() == []
    assert "no release before it" in (lock_of(stage) or "")


# where the stage does not roll back by itself


def test_it_holds_hosts_of_a_stopped_rollout_for_somebody_to_look(
    end: Callable[..., Run], stage: Stage, machines: list[Machine], clock: FakeClock
) -> None:
    Stage.update(has_auto_rollback=False).execute()
    machines[0].beat(clock.now(), release_number=2, revision="b" * 40, is_healthy=False)
    run = end({"web-1": HostCount(ok=9, failed=1), "web-2": HostCount(ok=9, changed=1), "web-3": HostCount()})
    assert why(run) == f"1 of 3 hosts failed: web-1. {UNHEALTHY}"
    assert (automatic(), lock_of(stage)) == ([], None)
    assert [machine.row.pinned_release_number for machine in machines] == [2, 2, None]
    assert convergence.converge_all(expiry=expiry(clock.now())) == []


def test_it_holds_hosts_that_say_they_run_what_ran_out_of_time(
    end: Callable[..., Run], machines: list[Machine], clock: FakeClock
) -> None:
    Stage.update(has_auto_rollback=False).execute()
    for machine in machines[:2]:
        machine.beat(clock.now(), release_number=2, revision="b" * 40)
    end({"web-1": HostCount(ok=9), "web-3": HostCount(ok=1)}, "timeout", in_flight={"web-2": "Restart"})
    assert [machine.row.pinned_release_number for machine in machines] == [2, 2, None]


def test_it_does_not_hold_a_host_that_the_role_has_restored(
    end: Callable[..., Run], machines: list[Machine], clock: FakeClock
) -> None:
    Stage.update(has_auto_rollback=False).execute()
    machines[0].beat(clock.now(), release_number=1, revision="a" * 40)
    end(STOPPED)
    assert machines[0].row.pinned_release_number is None


# batches


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        ("deploy", {}, {"callboard_batches": [1, "50%"]}),
        ("rollback", {}, {"callboard_batches": [1, "50%"]}),
        ("rollback", {"rolls_back": 1}, {"callboard_batches": ["100%"], "callboard_max_fail_percentage": 100}),
        ("converge", {}, {"callboard_batches": ["100%"], "callboard_max_fail_percentage": 100}),
    ],
)
def test_it_tells_playbooks_their_batches(stage: Stage, kind: str, fields: Any, told: Any) -> None:
    stage.batches = [1, "50%"]
    assert rollout.variables(Run(stage=stage, kind=kind, **fields)) == told


def test_it_leaves_batches_to_the_playbook(stage: Stage) -> None:
    assert rollout.variables(Run(stage=stage, kind="deploy")) == {}
