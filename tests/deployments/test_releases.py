from __future__ import annotations

from collections.abc import Callable

from inventory_service.deployments import releases
from inventory_service.models import Host, Release, Stage
from inventory_service.registry import hosts, stages
from tests.support import START, Machine

Make = Callable[..., Release]


def test_it_numbers_releases_by_stage(stage: Stage, make_stage: Callable[..., Stage], release: Make) -> None:
    assert [release(stage).number, release(stage).number, release(make_stage("staging")).number] == [1, 2, 1]


def test_it_lists_the_newest_first(stage: Stage, release: Make) -> None:
    for _ in range(3):
        release(stage)
    assert [row.number for row in releases.list_releases(stage, limit=2)] == [3, 2]


def test_it_makes_a_release_the_stages_own(stage: Stage, release: Make) -> None:
    release(stage, "b" * 40)
    assert hosts.desired_release(stages.get_stage("shop", "production")) == {"number": 1, "revision": "b" * 40}


def test_it_has_none_before_the_first(stage: Stage) -> None:
    assert hosts.desired_release(stage) is None


def test_it_holds_hosts_on_a_release_of_their_own_until_the_next_whole_one(
    stage: Stage, web_1: Machine, web_2: Machine, release: Make
) -> None:
    first, trial = release(stage), release(stage, "b" * 40, is_good=False)
    releases.record_on_hosts(first, [web_1.host_id, web_2.host_id], is_pinned=False)
    releases.record_on_hosts(trial, [web_1.host_id], is_pinned=True)
    desired = hosts.desired_release(stages.get_stage("shop", "production"))
    assert [hosts.is_up_to_date(machine.row, desired) for machine in (web_1, web_2)] == [True, True]
    releases.make_desired(stage, first, at=START)
    assert [hosts.is_up_to_date(machine.row, desired) for machine in (web_1, web_2)] == [False, True]


def test_it_gives_a_host_that_was_reached_new_attempts(stage: Stage, web_1: Machine, release: Make) -> None:
    Host.update(converge_attempts=3).execute()
    releases.record_on_hosts(release(stage), [web_1.host_id], is_pinned=False)
    assert (web_1.row.converge_attempts, web_1.row.release_number) == (0, 1)
