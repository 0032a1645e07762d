from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from inventory_service.deployments import convergence, locks, releases, rollout
from inventory_service.deployments.executor import execution
from inventory_service.deployments.launching import requests
from inventory_service.errors import ConflictError
from inventory_service.models import Event, Host, Release, Run, RunEvent, RunHost, Stage
from inventory_service.registry import hosts, stages
from inventory_service.settings import Settings
from tests.support import ADA, START, FakeClock, Machine, expiry, launched, why


def converge(clock: FakeClock, window_seconds: float = 0) -> list[int]:
    return convergence.converge_all(expiry=expiry(clock.now()), window_seconds=window_seconds)


def chosen(run_id: int, clock: FakeClock) -> list[str]:
    """Whom the run works on when it starts now."""
    return [host.name for host in convergence.targets(requests.get(run_id), expiry=expiry(clock.now())).chosen]


def end(run_id: int, clock: FakeClock, status: str = "failed", **words: str) -> list[str]:
    """Start a run and end it with these words for hosts (web_1="failed"); returns who was quarantined."""
    for name in chosen(run_id, clock):
        row = Host.get(Host.name == name)
        word = words.get(name.replace("-", "_"), "untouched")
        RunHost.create(run=run_id, host=row, name=name, address=row.address, status=word)
    Run.update(status=status, ended_at=clock.now()).where(Run.id == run_id).execute()
    return convergence.conclude(requests.get(run_id))


@pytest.fixture
def released(stage: Stage, release: Callable[..., Release]) -> Release:
    return release(stage)


def test_it_leaves_a_stage_without_a_release_alone(web_1: Machine, clock: FakeClock) -> None:
    assert converge(clock) == []


def test_it_gathers_all_hosts_out_of_date_into_one_run(
    released: Release, web_1: Machine, web_2: Machine, clock: FakeClock
) -> None:
    (run_id,) = converge(clock)
    run = requests.get(run_id)
    assert (run.kind, run.release_number, run.limit) == ("converge", 1, None)
    assert (run.created_by, run.comment) == ("callboard", "2 hosts out of date")
    assert chosen(run_id, clock) == ["web-1", "web-2"]


def test_it_takes_only_hosts_that_are_out_of_date(
    released: Release, web_1: Machine, web_2: Machine, clock: FakeClock
) -> None:
    releases.record_on_hosts(released, [web_1.host_id], is_pinned=False)
    assert chosen(converge(clock)[0], clock) == ["web-2"]


def test_it_does_nothing_where_everybody_is_up_to_date(released: Release, web_1: Machine, clock: FakeClock) -> None:
    releases.record_on_hosts(released, [web_1.host_id], is_pinned=False)
    assert converge(clock) == []


@pytest.mark.parametrize(
    "fields", [{"is_draining": True}, {"quarantine_code": "person"}, {"gone_at": 0}, {"pinned_release_number": 1}]
)
def test_it_leaves_hosts_alone_that_should_be(
    released: Release, web_1: Machine, clock: FakeClock, fields: dict[str, object]
) -> None:
    Host.update(**fields).execute()
    assert converge(clock) == []


def test_it_leaves_silent_hosts_alone(released: Release, web_1: Machine, clock: FakeClock) -> None:
    clock.advance(300)
    assert converge(clock) == []


def test_it_takes_a_host_that_came_back(released: Release, web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.advance(900))
    assert len(converge(clock)) == 1


def test_it_leaves_a_stage_alone_that_does_not_want_it(released: Release, web_1: Machine, clock: FakeClock) -> None:
    Stage.update(has_convergence=False).execute()
    assert converge(clock) == []


def test_it_leaves_a_stage_alone_that_a_person_holds(
    released: Release, web_1: Machine, stage: Stage, clock: FakeClock
) -> None:
    locks.lock(stage, reason="wait", actor=ADA, at=clock.now())
    assert converge(clock) == []


@pytest.mark.parametrize("status", ["queued", "running"])
def test_it_waits_for_the_run_that_is_under_way(
    *, released: Release, web_1: Machine, stage: Stage, queue: Callable[..., Run], clock: FakeClock, status: str
) -> None:
    run = queue(stage)
    Run.update(status=status).execute()
    assert converge(clock) == []
    Run.update(status="successful").where(Run.id == run.id).execute()
    assert len(converge(clock)) == 1


def test_it_pauses_longer_after_each_attempt(released: Release, web_1: Machine, clock: FakeClock) -> None:
    for pause in (40, 80, 160):
        end(converge(clock)[0], clock, web_1="failed")
        assert converge(clock) == []
        web_1.beat(clock.advance(pause - 1))
        assert converge(clock) == []
        clock.advance(1)
    assert len(converge(clock)) == 1


def test_it_quarantines_a_host_after_four_attempts_with_the_reason(
    released: Release, web_1: Machine, web_2: Machine, clock: FakeClock
) -> None:
    quarantined = []
    for _ in range(4):
        clock.advance(600)
        for machine in (web_1, web_2):
            machine.beat(clock.now())
        (run_id,) = converge(clock)
        RunEvent.create(
            run=run_id, counter=1, at=clock.now(), event="runner_on_failed", host="web-1", status="failed",
            message="web-1: no space\nleft", log_start=0, log_end=0,
        )  # fmt: skip
        quarantined.append(end(run_id, clock, web_1="failed", web_2="ok"))
    assert quarantined == [[], [], [], ["web-1"]]
    assert web_1.why["quarantine"] == (
        "Convergence gave up: 4 attempts to bring it to release 1 failed; see run 4: no space left"
    )
    assert web_2.row.quarantine_code is None
    told = Event.get(Event.name == "host.quarantine")
    assert (told.target_path, told.actor_kind, told.reason_code) == ("shop/production/web-1", "service", "convergence")
    assert told.details == web_1.row.quarantine_params
    releases.record_on_hosts(released, [web_2.host_id], is_pinned=False)
    assert converge(clock) == []


@pytest.mark.parametrize("status", ["timeout", "lost"])
def test_it_quarantines_a_host_on_which_runs_never_end(
    released: Release, web_1: Machine, clock: FakeClock, status: str
) -> None:
    quarantined = []
    for _ in range(4):
        web_1.beat(clock.advance(6000))
        quarantined.append(end(converge(clock)[0], clock, status, web_1="lost"))
    assert quarantined == [[], [], [], ["web-1"]]


def test_it_counts_no_attempt_that_a_person_has_cut_off(released: Release, web_1: Machine, clock: FakeClock) -> None:
    for _ in range(6):
        web_1.beat(clock.advance(6000))
        assert end(converge(clock)[0], clock, "canceled", web_1="lost") == []


def test_it_gives_hosts_that_it_did_not_come_to_their_attempt_back(
    released: Release, web_1: Machine, web_2: Machine, clock: FakeClock
) -> None:
    end(converge(clock)[0], clock, web_1="failed")
    assert [machine.row.converge_attempts for machine in (web_1, web_2)] == [1, 0]
    assert chosen(converge(clock)[0], clock) == ["web-2"]


def test_it_pauses_and_quarantines_nobody_where_a_run_comes_to_nobody(
    released: Release, web_1: Machine, clock: FakeClock
) -> None:
    for _ in range(6):
        web_1.beat(clock.advance(6000))
        assert end(converge(clock)[0], clock) == []
        assert converge(clock) == []


def test_it_tries_again_with_a_host_released_from_quarantine(
    released: Release, web_1: Machine, clock: FakeClock
) -> None:
    Host.update(quarantine_code="person", converge_attempts=4, converge_after=clock.advance(3600)).execute()
    clock.jump(-3600)
    hosts.change(web_1.row, actor=ADA, at=clock.now(), is_quarantined=False)
    assert len(converge(clock)) == 1


@pytest.mark.parametrize(("code", "is_kept"), [("convergence", False), ("person", True)])
def test_it_lets_go_whom_it_had_given_up_once_a_deploy_reached_it(
    *, released: Release, web_1: Machine, queue: Callable[..., Run], code: str, is_kept: bool
) -> None:
    params = {"text": "Convergence gave up: 4 attempts"}  # a person may type that, too
    Host.update(quarantine_code=code, quarantine_params=params).execute()
    run = queue(web_1.stage)
    RunHost.create(run=run, host=web_1.row, name="web-1", address="10.0.0.1", status="changed")
    Run.update(status="successful", ended_at=run.created_at).execute()
    convergence.conclude(requests.get(run.id))
    assert (web_1.row.quarantine_code is not None) is is_kept


def test_it_tries_a_new_release_at_once(
    released: Release, stage: Stage, web_1: Machine, clock: FakeClock, release: Callable[..., Release]
) -> None:
    end(converge(clock)[0], clock, web_1="failed")
    release(stage, "b" * 40)
    assert len(converge(clock)) == 1


def test_it_brings_newcomers_what_was_rolled_back_to(
    *, released: Release, stage: Stage, release: Callable[..., Release], web_1: Machine, clock: FakeClock
) -> None:
    release(stage, "b" * 40)
    releases.make_desired(stage, released, at=clock.now())
    assert requests.get(converge(clock)[0]).release_number == 1


# boot storms


def crowd(stage: Stage, clock: FakeClock, *, count: int, per_second: int) -> list[int]:
    """So many hosts boot, with a look each second until nobody is out of date; the sizes of the runs of it."""
    sizes, booted = [], 0
    while booted < count or convergence.hosts_out_of_date(
        stages.get_stage("shop", "production"), expiry=expiry(clock.now())
    ):
        for number in range(booted, min(count, booted + per_second)):
            address = f"10.1.{number // 200}.{number % 200 + 1}"
            Machine(stage, name=f"h{number}", address=address, keys=()).enrol(clock.now())
        booted = min(count, booted + per_second)
        for run_id in converge(clock, window_seconds=5):
            sizes.append(len(chosen(run_id, clock)))
            at_work = Host.select().where(Host.converge_after > clock.now())
            Host.update(release_number=1, revision="a" * 40).where(Host.id.in_(at_work)).execute()
            Run.update(status="successful").where(Run.id == run_id).execute()
        clock.advance(1)
    return sizes


def test_it_makes_one_run_of_a_boot_storm_of_200_hosts(released: Release, stage: Stage, clock: FakeClock) -> None:
    assert crowd(stage, clock, count=200, per_second=20) == [200]
    assert clock.now() - START < dt.timedelta(seconds=20)


def test_it_does_not_wait_for_ever_where_hosts_keep_coming(released: Release, stage: Stage, clock: FakeClock) -> None:
    sizes = crowd(stage, clock, count=90, per_second=1)
    assert sum(sizes) == 90
    assert sizes[0] == pytest.approx(30, abs=2)
    assert len(sizes) == pytest.approx(3, abs=1)


def test_it_does_not_wait_for_hosts_that_have_been_there(released: Release, web_1: Machine, clock: FakeClock) -> None:
    assert converge(clock, window_seconds=5) == []
    clock.advance(5)
    assert len(converge(clock, window_seconds=5)) == 1


def test_it_takes_at_most_200_hosts_at_once(released: Release, web_1: Machine, clock: FakeClock) -> None:
    fields = {key: value for key, value in web_1.row.__data__.items() if key not in ("id", "name")}
    Host.insert_many([{**fields, "id": f"h{number}", "name": f"h{number}"} for number in range(205)]).execute()
    assert len(chosen(converge(clock)[0], clock)) == 200


# when its turn comes


def test_it_takes_whoever_came_while_the_run_waited(
    released: Release, stage: Stage, web_1: Machine, clock: FakeClock
) -> None:
    (run_id,) = converge(clock)
    Machine(stage, name="web-2", address="10.0.0.2").enrol(clock.advance(30))
    assert chosen(run_id, clock) == ["web-1", "web-2"]


def test_it_leaves_out_who_left_while_the_run_waited(
    released: Release, web_1: Machine, web_2: Machine, clock: FakeClock
) -> None:
    (run_id,) = converge(clock)
    hosts.goodbye(web_1.row, at=clock.now())
    assert chosen(run_id, clock) == ["web-2"]


@pytest.mark.parametrize("change", ["frozen", "converged", "quarantined"])
def test_it_ends_a_run_that_has_nothing_to_do_any_more_as_canceled(
    *, released: Release, web_1: Machine, clock: FakeClock, settings: Any, change: str
) -> None:
    (run_id,) = converge(clock)
    if change == "frozen":
        Stage.update(expiry_paused_at=clock.now(), expiry_pause_code="many_silent").execute()
    elif change == "converged":
        releases.record_on_hosts(released, [web_1.host_id], is_pinned=False)
    else:
        Host.update(quarantine_code="person").execute()
    claimed = execution.claim(run_id, at=clock.now())
    assert claimed is not None
    assert execution.execute(claimed, settings=settings, clock=clock) == "canceled"
    run = requests.get(run_id)
    assert why(run).startswith("Not run: ")
    assert (web_1.row.converge_attempts, rollout.rolled_back_by(run)) == (0, None)


def test_it_brings_the_release_that_is_desired_when_it_starts(
    *, released: Release, stage: Stage, web_1: Machine, release: Callable[..., Release], clock: FakeClock, settings: Any
) -> None:
    (run_id,) = converge(clock)
    release(stage, "b" * 40)
    claimed = execution.claim(run_id, at=clock.now())
    assert claimed is not None
    execution.execute(claimed, settings=settings, clock=clock)
    assert requests.get(run_id).release_number == 2


# now, because somebody asks

Ask = Callable[..., Run]


@pytest.fixture
def ask(settings: Settings, clock: FakeClock) -> Ask:
    def converge_now(**fields: Any) -> Run:
        stage = stages.get_stage("shop", "production")
        return launched(stage, "converge", at=clock.now(), settings=settings, **fields)

    return converge_now


def test_it_converges_now_without_minding_the_pause(
    released: Release, web_1: Machine, clock: FakeClock, ask: Callable[..., Run]
) -> None:
    end(converge(clock)[0], clock, web_1="failed")
    run = ask(comment="I mended it")
    assert (chosen(run.id, clock), run.created_by) == (["web-1"], "ada")
    assert web_1.row.converge_attempts == 1


def test_it_converges_whom_the_limit_names(
    released: Release, web_1: Machine, web_2: Machine, clock: FakeClock, ask: Callable[..., Run]
) -> None:
    run = ask(limit="web-2")
    assert (run.limit, convergence.chooses_late(run)) == ("web-2", False)


def test_it_rejects_to_converge_nobody(
    released: Release, web_1: Machine, clock: FakeClock, ask: Callable[..., Run]
) -> None:
    Host.update(quarantine_code="person").execute()
    with pytest.raises(ConflictError, match=r"is quarantined, excluded from convergence \(web-1\)\. Release it first"):
        ask()
    releases.record_on_hosts(released, [web_1.host_id], is_pinned=False)
    Host.update(quarantine_code=None).execute()
    with pytest.raises(ConflictError, match="runs what it should"):
        ask()
    assert Run.select().count() == 0


def test_it_releases_the_quarantined_first_when_told_to(
    released: Release, web_1: Machine, clock: FakeClock, ask: Callable[..., Run]
) -> None:
    Host.update(quarantine_code="convergence", converge_attempts=4).execute()
    assert chosen(ask(releases_quarantined=True).id, clock) == ["web-1"]
    assert (web_1.row.quarantine_code, web_1.row.converge_attempts) == (None, 0)


def test_it_answers_the_same_run_to_the_same_key(
    released: Release, web_1: Machine, clock: FakeClock, ask: Callable[..., Run]
) -> None:
    first = ask(idempotency_key="k")
    releases.record_on_hosts(released, [web_1.host_id], is_pinned=False)
    assert ask(idempotency_key="k").id == first.id
