from __future__ import annotations

from collections.abc import Callable

import pytest

from inventory_service.deployments import convergence, locks, releases, requests
from inventory_service.models import Host, Release, Run, RunHost, Stage
from inventory_service.registry import hosts
from tests.support import ADA, FakeClock, Machine, judge


def converge(clock: FakeClock) -> list[int]:
    return convergence.converge_all(judge=judge(clock.now()))


def end(run_id: int, status: str = "failed", **hosts_: str) -> list[str]:
    """End a run in which these hosts (web_1="failed") came out so; returns who was quarantined."""
    Run.update(status=status).where(Run.id == run_id).execute()
    for name, outcome in hosts_.items():
        row = Host.get(Host.name == name.replace("_", "-"))
        RunHost.create(run=run_id, host=row, name=row.name, address=row.address, status=outcome)
    return convergence.quarantine_hopeless(requests.get(run_id))


@pytest.fixture
def released(stage: Stage, release: Callable[..., Release]) -> Release:
    return release(stage)


def test_it_leaves_a_stage_without_a_release_alone(web_1: Machine, clock: FakeClock) -> None:
    assert converge(clock) == []


def test_it_gathers_all_hosts_behind_into_one_run(
    released: Release, web_1: Machine, web_2: Machine, clock: FakeClock
) -> None:
    (run_id,) = converge(clock)
    run = requests.get(run_id)
    assert (run.kind, run.release_number, run.limit) == ("converge", 1, "web-1,web-2")
    assert (run.created_by, run.comment) == ("callboard", "2 hosts behind")


def test_it_takes_only_hosts_that_are_behind(
    released: Release, web_1: Machine, web_2: Machine, clock: FakeClock
) -> None:
    releases.record_on_hosts(released, [web_1.host_id], is_held=False)
    assert requests.get(converge(clock)[0]).limit == "web-2"


def test_it_does_nothing_where_everybody_is_up_to_date(released: Release, web_1: Machine, clock: FakeClock) -> None:
    releases.record_on_hosts(released, [web_1.host_id], is_held=False)
    assert converge(clock) == []


@pytest.mark.parametrize(
    "fields", [{"is_draining": True}, {"is_quarantined": True}, {"gone_at": 0}, {"held_release_number": 1}]
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
        end(converge(clock)[0], web_1="failed")
        assert converge(clock) == []
        web_1.beat(clock.advance(pause - 1))
        assert converge(clock) == []
        clock.advance(1)
    assert len(converge(clock)) == 1


def test_it_quarantines_a_host_after_four_attempts(
    released: Release, web_1: Machine, web_2: Machine, clock: FakeClock
) -> None:
    quarantined = []
    for _ in range(4):
        clock.advance(600)
        for machine in (web_1, web_2):
            machine.beat(clock.now())
        quarantined.append(end(converge(clock)[0], web_1="failed", web_2="ok"))
    assert quarantined == [[], [], [], ["web-1"]]
    assert "4 attempts to bring it to release 1 failed; see run 4" in web_1.row.quarantine_reason
    assert not web_2.row.is_quarantined


def test_it_quarantines_nobody_for_a_run_that_never_reached_them(
    released: Release, web_1: Machine, clock: FakeClock
) -> None:
    for _ in range(6):
        web_1.beat(clock.advance(6000))
        assert end(converge(clock)[0]) == []


def test_it_tries_again_with_a_host_released_from_quarantine(
    released: Release, web_1: Machine, clock: FakeClock
) -> None:
    Host.update(is_quarantined=True, converge_attempts=4, converge_after=clock.advance(3600)).execute()
    clock.jump(-3600)
    hosts.change(web_1.row, actor=ADA, at=clock.now(), is_quarantined=False)
    assert len(converge(clock)) == 1


def test_it_tries_a_new_release_at_once(
    released: Release, stage: Stage, web_1: Machine, clock: FakeClock, release: Callable[..., Release]
) -> None:
    end(converge(clock)[0], web_1="failed")
    release(stage, "b" * 40)
    assert len(converge(clock)) == 1


def test_it_takes_at_most_200_hosts_at_once(released: Release, web_1: Machine, clock: FakeClock) -> None:
    fields = {key: value for key, value in web_1.row.__data__.items() if key not in ("id", "name")}
    Host.insert_many([{**fields, "id": f"h{number}", "name": f"h{number}"} for number in range(205)]).execute()
    assert len(requests.get(converge(clock)[0]).limit.split(",")) == 200
