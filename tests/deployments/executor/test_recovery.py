from __future__ import annotations

import datetime as dt
import os
import socket
import subprocess
from collections.abc import Callable

import pytest

from inventory_service import wording
from inventory_service.adapters import processes
from inventory_service.deployments.executor import execution, recovery
from inventory_service.deployments.launching import requests
from inventory_service.models import Event, Host, Run, RunEvent, RunHost, Stage
from inventory_service.records import runs
from inventory_service.settings import Settings
from tests.support import FakeClock, Machine, at_once, why

Queue = Callable[..., Run]


def claim(run: Run, clock: FakeClock) -> Run | None:
    return execution.claim(run.id, at=clock.now())


def identity_of_the_dead() -> processes.Identity:
    child = subprocess.Popen(["sleep", "60"])
    identity = processes.identity_of(child.pid)
    child.kill()
    child.wait()
    assert identity is not None
    return identity


@pytest.fixture
def orphan(stage: Stage, queue: Queue, clock: FakeClock) -> Run:
    """A running run whose executor has died."""
    run = claim(queue(stage), clock)
    assert run is not None
    RunHost.create(run=run, name="web-1", address="10.0.0.1", status="pending")
    RunHost.create(run=run, name="web-2", address="10.0.0.2", status="ok")
    Run.update(executor=identity_of_the_dead()).execute()
    return requests.get(run.id)


def test_it_marks_a_run_lost_and_frees_its_stage(
    orphan: Run, settings: Settings, clock: FakeClock, queue: Queue
) -> None:
    assert recovery.recover_lost(settings, at=clock.advance(16)) == [orphan.id]
    run = requests.get(orphan.id)
    assert run.status == "lost"
    assert run.ended_at == clock.now()
    assert "executor died" in why(run)
    assert [row.status for row in RunHost.select().order_by(RunHost.name)] == ["lost", "ok"]
    assert claim(queue(orphan.stage), clock) is not None
    assert Event.select().where(Event.name == "run.lost").count() == 1


def test_it_waits_for_the_lease_to_run_out(orphan: Run, settings: Settings, clock: FakeClock) -> None:
    assert recovery.recover_lost(settings, at=clock.advance(15)) == []


def test_it_loses_no_run_whose_executor_lives(stage: Stage, queue: Queue, settings: Settings, clock: FakeClock) -> None:
    claim(queue(stage), clock)
    assert recovery.recover_lost(settings, at=clock.advance(10_000)) == []


@pytest.mark.parametrize("field", ["started", "boot_id"])
def test_it_is_not_deceived_by_a_pid_that_is_used_again(
    orphan: Run, settings: Settings, clock: FakeClock, field: str
) -> None:
    own = dict(processes.identity_of(os.getpid()) or {})
    Run.update(executor={**own, field: 1}).execute()
    assert recovery.recover_lost(settings, at=clock.advance(16)) == [orphan.id]


def test_it_waits_longer_for_an_executor_on_another_machine(orphan: Run, settings: Settings, clock: FakeClock) -> None:
    Run.update(executor={**orphan.executor, "machine": f"not-{socket.gethostname()}"}).execute()
    assert recovery.recover_lost(settings, at=clock.advance(119)) == []
    assert recovery.recover_lost(settings, at=clock.advance(2)) == [orphan.id]


def test_it_loses_a_run_once(orphan: Run, settings: Settings, clock: FakeClock) -> None:
    clock.advance(16)
    results = at_once(lambda _: recovery.recover_lost(settings, at=clock.now()), 4)
    assert sorted(results) == [[], [], [], [orphan.id]]
    assert Event.select().where(Event.name == "run.lost").count() == 1


def test_it_ends_what_the_dead_executor_left_behind(orphan: Run, settings: Settings, clock: FakeClock) -> None:
    marked = {**os.environ, execution.MARKER: f"{settings.data_dir}#{orphan.id}"}
    other = {**os.environ, execution.MARKER: f"{settings.data_dir}#{orphan.id}0"}
    left, foreign = (subprocess.Popen(["sleep", "60"], env=environment) for environment in (marked, other))
    recovery.recover_lost(settings, at=clock.advance(16))
    assert [processes.identity_of(child.pid) is None for child in (left, foreign)] == [True, False]
    foreign.kill()
    foreign.wait()


def test_it_keeps_a_lease_that_was_renewed_in_between(orphan: Run, settings: Settings, clock: FakeClock) -> None:
    Run.update(lease_at=clock.now() + dt.timedelta(seconds=1)).execute()
    assert not recovery._lose(orphan, settings, at=clock.advance(16))
    assert requests.get(orphan.id).status == "running"


@pytest.fixture
def killed(orphan: Run, clock: FakeClock) -> Run:
    """The orphan had four hosts: one of them at a task, one done, one without a beginning, one that was left out."""
    for name, status in (("db-1", "pending"), ("db-2", "pending"), ("db-3", "left_out")):
        RunHost.create(run=orphan, name=name, address="10.0.0.9", status=status)
    RunEvent.create(
        run=orphan,
        counter=1,
        at=clock.now(),
        event="runner_on_ok",
        host="db-1",
        status="changed",
        log_start=0,
        log_end=0,
    )
    Run.update(in_flight={"web-1": "Restart"}).execute()
    return requests.get(orphan.id)


def test_it_names_the_hosts_with_a_task_under_way(killed: Run, settings: Settings, clock: FakeClock) -> None:
    recovery.recover_lost(settings, at=clock.advance(16))
    assert "died with a task under way on web-1 (Restart)." in why(requests.get(killed.id))
    assert {
        row.name: (row.status, wording.run.host_note(row.message_code, row.message_params)) for row in RunHost.select()
    } == {
        "web-1": ("lost", "The task 'Restart' was under way when the run ended; it may have completed."),
        "web-2": ("ok", None),
        "db-1": ("changed", None),
        "db-2": ("untouched", None),
        "db-3": ("left_out", None),
    }


def test_it_quarantines_hosts_on_which_converging_kills_the_executor(
    orphan: Run, web_1: Machine, settings: Settings, clock: FakeClock
) -> None:
    Host.update(converge_attempts=4).execute()
    RunHost.update(host=web_1.row).where(RunHost.name == "web-1").execute()
    Run.update(
        kind="converge",
        created_by="callboard",
        created_by_kind="service",
        release_number=1,
        in_flight={"web-1": "Restart"},
    ).execute()
    recovery.recover_lost(settings, at=clock.advance(16))
    assert web_1.why["quarantine"].endswith(
        "4 attempts to bring it to release 1 failed; see run 1: "
        "The task 'Restart' was under way when the run ended; it may have completed."
    )


def test_it_names_a_few_of_many_hosts(killed: Run, settings: Settings, clock: FakeClock) -> None:
    Run.update(in_flight={f"web-{number:02}": "Restart" for number in range(30)}).execute()
    recovery.recover_lost(settings, at=clock.advance(16))
    assert "web-09 (Restart) and 20 more." in why(requests.get(killed.id))


def test_it_says_so_where_no_host_had_a_task_under_way(killed: Run, settings: Settings, clock: FakeClock) -> None:
    Run.update(in_flight={}).execute()
    recovery.recover_lost(settings, at=clock.advance(16))
    assert "no host had a task under way" in why(requests.get(killed.id))


def test_it_keeps_an_executor_out_that_was_given_up(orphan: Run, settings: Settings, clock: FakeClock) -> None:
    assert runs.renew_lease(orphan, at=clock.advance(1)).is_claimed
    recovery.recover_lost(settings, at=clock.advance(16))
    Run.update(status="running").execute()  # as if it had been started once more
    assert not runs.renew_lease(orphan, at=clock.now()).is_claimed
    assert runs.renew_lease(requests.get(orphan.id), at=clock.now()).is_claimed


def test_it_leaves_runs_alone_that_no_executor_of_the_service_has(
    orphan: Run, settings: Settings, clock: FakeClock
) -> None:
    Run.update(executor=None).execute()
    assert recovery.recover_lost(settings, at=clock.advance(10_000)) == []
