from __future__ import annotations

from typing import Any

import pytest

from inventory_service.models import Host, Project, Release, Stage
from inventory_service.registry import hosts, inventory, stages
from tests.support import ADA, START, FakeClock, Machine, expiry, key_line

RELEASES = {1: "a" * 40, 2: "b" * 40}


def render(stage: Stage, clock: FakeClock, **more: Any) -> dict[str, Any]:
    return inventory.render(stages.get_stage("shop", stage.name), expiry=expiry(clock.now()), **more)


def members(listing: dict[str, Any]) -> dict[str, list[str]]:
    return {name: group["hosts"] for name, group in listing.items() if name not in ("_meta", "all")}


@pytest.fixture
def released(stage: Stage) -> Stage:
    """The stage should run release 2; release 1 was before."""
    for number, revision in RELEASES.items():
        Release.create(
            stage=stage,
            number=number,
            revision=revision,
            revision_name="",
            variables={},
            created_by="",
            created_at=START,
        )
    Stage.update(desired_release_number=2).execute()
    return stages.get_stage("shop", "production")


def report(machine: Machine, number: int | None, revision: str | None = None) -> None:
    machine.beat(START, release_number=number, revision=revision or RELEASES[number or 1])


def test_it_lists_the_live_hosts_of_a_stage(web_1: Machine, web_2: Machine, stage: Stage, clock: FakeClock) -> None:
    listing = render(stage, clock)
    assert members(listing) == {"stage_shop_production": ["web-1", "web-2"]}
    assert listing["all"] == {"children": ["stage_shop_production"]}
    assert set(listing["_meta"]["hostvars"]) == {"web-1", "web-2"}


def test_it_leaves_out_who_is_silent_without_any_sweep(web_1: Machine, web_2: Machine, clock: FakeClock) -> None:
    web_2.beat(clock.advance(200))
    clock.advance(100)
    assert members(render(web_1.stage, clock)) == {"stage_shop_production": ["web-2"]}


def test_it_leaves_out_who_has_left(web_1: Machine, web_2: Machine, clock: FakeClock) -> None:
    hosts.goodbye(web_1.row, at=clock.now())
    assert members(render(web_1.stage, clock)) == {"stage_shop_production": ["web-2"]}


def test_it_lists_other_states_when_asked(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(301)
    assert members(render(web_1.stage, clock, states=("stale",))) == {"stage_shop_production": ["web-1"]}


def test_it_lists_a_stage_of_nobody_with_its_group(stage: Stage, clock: FakeClock) -> None:
    assert members(render(stage, clock)) == {"stage_shop_production": []}


def test_it_lists_no_host_of_another_stage(web_1: Machine, make_stage: Any, clock: FakeClock) -> None:
    assert render(make_stage("staging"), clock)["_meta"]["hostvars"] == {}


def test_it_groups_hosts(stage: Stage, clock: FakeClock) -> None:
    Machine(stage, groups=("app", "web")).enrol(START)
    Machine(stage, "web-2", "10.0.0.2", groups=("web",)).enrol(START)
    assert members(render(stage, clock)) == {
        "app": ["web-1"],
        "stage_shop_production": ["web-1", "web-2"],
        "web": ["web-1", "web-2"],
    }


def test_it_groups_hosts_by_release_and_shows_who_is_out_of_date(
    released: Stage, web_1: Machine, web_2: Machine, clock: FakeClock
) -> None:
    report(web_1, 1)
    report(web_2, 2)
    listing = members(render(released, clock))
    assert (listing["release_1"], listing["release_2"], listing["out_of_date"]) == (["web-1"], ["web-2"], ["web-1"])


def test_it_calls_a_host_out_of_date_that_has_nothing(released: Stage, web_1: Machine, clock: FakeClock) -> None:
    assert members(render(released, clock))["out_of_date"] == ["web-1"]


def test_it_groups_who_serves(released: Stage, web_1: Machine, web_2: Machine, clock: FakeClock) -> None:
    report(web_1, 1)
    report(web_2, 2)
    draining = Machine(released, "web-3", "10.0.0.3").enrol(clock.now())
    report(draining, 2)
    hosts.change(draining.row, actor=ADA, at=clock.now(), is_draining=True)
    assert members(render(released, clock))["serving"] == ["web-2"]
    clock.advance(301)
    assert "serving" not in members(render(released, clock, states=("stale",)))


def test_it_calls_nobody_out_of_date_before_the_first_deploy(web_1: Machine, clock: FakeClock) -> None:
    report(web_1, 1)
    assert "out_of_date" not in members(render(web_1.stage, clock))


@pytest.mark.parametrize(
    ("number", "revision", "is_up_to_date"),
    [
        (2, "b" * 40, True),
        (None, "b" * 40, True),
        (1, "b" * 40, False),
        (2, "a" * 40, False),
        (None, "a" * 40, False),
        (None, None, False),
    ],
)
def test_it_compares_number_and_revision(number: int | None, revision: str | None, is_up_to_date: bool) -> None:
    host = Host(release_number=number, revision=revision)
    assert hosts.is_up_to_date(host, {"number": 2, "revision": "b" * 40}) is is_up_to_date


@pytest.mark.parametrize(("number", "is_up_to_date"), [(1, True), (None, True), (2, False)])
def test_it_leaves_a_pinned_host_on_its_release(number: int | None, is_up_to_date: bool) -> None:
    host = Host(release_number=number, revision="a" * 40, pinned_release_number=1)
    assert hosts.is_up_to_date(host, {"number": 2, "revision": "b" * 40}) is is_up_to_date


def test_it_groups_draining_hosts(web_1: Machine, clock: FakeClock) -> None:
    hosts.change(web_1.row, actor=ADA, at=START, is_draining=True)
    assert members(render(web_1.stage, clock))["draining"] == ["web-1"]


def test_it_puts_nothing_that_a_host_says_at_the_top(web_1: Machine, clock: FakeClock) -> None:
    said = {"ansible_connection": "local", "ansible_host": "evil", "callboard_state": "x", "a": "{{ lookup('pipe') }}"}
    web_1.beat(clock.now(), facts=said)
    variables = render(web_1.stage, clock)["_meta"]["hostvars"]["web-1"]
    assert variables.pop("callboard_reported") == said
    assert variables == {
        "ansible_host": "10.0.0.1",
        "ansible_port": 22,
        "callboard_host_id": web_1.host_id,
        "callboard_state": "live",
        "callboard_suspect": False,
        "callboard_actual_release": None,
        "callboard_actual_revision": None,
    }


def test_it_gives_the_projects_variables_then_the_stages_then_its_own(released: Stage, clock: FakeClock) -> None:
    own = {"callboard_project": "mine", "callboard_release": 99, "ansible_user": "root"}
    Project.update(variables={"colour": "red", "size": 1, **own}).execute()
    Stage.update(variables={"colour": "blue", **own}, ansible_user="deploy").execute()
    assert render(released, clock)["stage_shop_production"]["vars"] == {
        "colour": "blue",
        "size": 1,
        "ansible_user": "deploy",
        "callboard_project": "shop",
        "callboard_stage": "shop/production",
        "callboard_release": 2,
        "callboard_revision": "b" * 40,
    }


def test_it_says_where_a_release_comes_from_when_git_has_it(stage: Stage, clock: FakeClock) -> None:
    Project.update(source="https://git.example.org/shop.git", source_kind="git").execute()
    variables = render(stage, clock)["stage_shop_production"]["vars"]
    assert variables["release_repository"] == "https://git.example.org/shop.git"


def test_it_says_what_it_is_about(stage: Stage, clock: FakeClock) -> None:
    about = render(stage, clock)["_meta"]["callboard"]
    paused = {"expiry_paused": False, "frozen": False}
    assert about == {"stage": "shop/production", "as_of": "2026-11-23T14:00:00Z", "generation": 0, **paused}


def test_it_tags_equal_content_alike_however_late(web_1: Machine, clock: FakeClock) -> None:
    before = inventory.to_text(render(web_1.stage, clock))[1]
    clock.advance(30)
    assert inventory.to_text(render(web_1.stage, clock))[1] == before


@pytest.mark.parametrize(
    "change",
    [
        lambda machine, at: machine.beat(at, facts={"zone": "a"}),
        lambda machine, at: hosts.goodbye(machine.row, at=at),
        lambda machine, at: hosts.change(machine.row, actor=ADA, at=at, groups=["web"]),
        lambda *_: Stage.update(variables={"colour": "red"}).execute(),
        lambda machine, at: Machine(machine.stage, "web-3", "10.0.0.3", (key_line(seed=3),)).enrol(at),
    ],
)
def test_it_tags_changed_content_otherwise(web_1: Machine, clock: FakeClock, change: Any) -> None:
    before = inventory.to_text(render(web_1.stage, clock))[1]
    change(web_1, clock.now())
    assert inventory.to_text(render(web_1.stage, clock))[1] != before
