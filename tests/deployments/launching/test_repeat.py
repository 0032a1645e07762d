"""What a repeat takes over and what it takes anew. Runs here end at their missing playbook; real ones: tests/e2e."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inventory_service import wording
from inventory_service.deployments.launching import requests
from inventory_service.deployments.runs import snapshot
from inventory_service.errors import ConflictError, InvalidError, LockedError
from inventory_service.models import Event, Host, Project, Release, Run, RunHost, Stage
from inventory_service.registry import hosts, stages
from inventory_service.settings import Settings
from tests.support import ADA, FakeClock, Machine, key_line, launched, why

Queue = Callable[..., Run]
Again = Callable[..., Run]


@pytest.fixture
def first(web_1: Machine, web_2: Machine, queue: Queue, execute: Callable[..., Run]) -> Run:
    """A run of a playbook on two hosts, with variables that change afterwards."""
    Project.update(variables={"colour": "red"}).execute()
    run = queue(web_1.stage, "playbook", playbook="other.yml", extra_vars={"size": 3}, tags=("a",), is_diff=True)
    executed = execute(run)
    Project.update(variables={"colour": "blue"}).execute()
    return executed


@pytest.fixture
def again(execute: Callable[..., Run], clock: FakeClock, settings: Settings) -> Again:
    """Repeat a run and carry the repeat to its end: again(run, mode)."""

    def carry(run: Run, mode: str = "exact", **fields: Any) -> Run:
        return execute(repeated(run, mode, clock, settings, **fields))

    return carry


def repeated(run: Run, mode: str, clock: FakeClock, settings: Settings, **fields: Any) -> Run:
    original = requests.get(run.id)
    comment = {"comment": original.comment, **fields}
    asked = {"repeats": original, "repeat_mode": mode, **comment}
    return launched(original.stage, original.kind, at=clock.now(), settings=settings, **asked)


def colour(run: Run) -> str:
    found: str = snapshot.inventory(run)["stage_shop_production"]["vars"]["colour"]
    return found


def notes(run: Run) -> list[str]:
    return [wording.run.snapshot_note(note) for note in run.snapshot["notes"]]


def missing(run: Run) -> list[tuple[str, str, str | None]]:
    found = run.snapshot["missing"]
    return [(one["host"], one["status"], wording.run.host_note(one["code"], one["params"])) for one in found]


def rows(run: Run) -> list[tuple[str, str]]:
    return [(row.name, row.status) for row in RunHost.select().where(RunHost.run == run).order_by(RunHost.name)]


# exactly


def test_it_repeats_a_run_with_all_that_it_had(first: Run, again: Again) -> None:
    second = again(first)
    same = ("kind", "playbook", "extra_vars", "tags", "is_diff", "is_check", "source_commit", "comment")
    assert {name: getattr(second, name) for name in same} == {name: getattr(first, name) for name in same}
    assert (second.repeat_of, second.repeat_mode, second.created_by) == (first.id, "exact", "ada")
    assert Event.get(Event.name == "run.playbook", Event.details["repeat_of"] == first.id)


def test_it_takes_the_frozen_variables_not_those_of_now(first: Run, again: Again) -> None:
    exact, live = again(first), again(first, "live")
    assert (colour(exact), colour(live)) == ("red", "blue")
    found = {one.name: (one.value, one.source) for one in snapshot.effective_variables(exact)}
    assert (found["colour"], found["callboard_run"]) == (("red", "project"), (exact.id, "server"))


def test_it_takes_the_commit_of_then(first: Run, again: Again, source: Any) -> None:
    (source / "new.yml").write_text("- hosts: all\n")
    for mode in requests.MODES:
        assert again(first, mode).source_commit == first.source_commit


def test_it_names_hosts_that_have_gone(first: Run, again: Again, web_2: Machine, clock: FakeClock) -> None:
    hosts.goodbye(web_2.row, at=clock.now())
    second = again(first)
    assert rows(second) == [("web-1", "untouched"), ("web-2", "gone")]
    assert missing(second) == [("web-2", "gone", "said goodbye")]
    assert second.snapshot["hosts"] == ["web-1"]
    assert "web-2" in snapshot.inventory(second)["_meta"]["hostvars"], "templates may name it"


def test_it_takes_no_newcomer(first: Run, again: Again, stage: Stage, clock: FakeClock) -> None:
    Machine(stage, name="web-3", address="10.0.0.3").enrol(clock.now())
    assert again(first).snapshot["hosts"] == ["web-1", "web-2"]


def test_it_takes_no_other_machine_of_the_same_name(
    first: Run, again: Again, web_2: Machine, stage: Stage, clock: FakeClock
) -> None:
    hosts.goodbye(web_2.row, at=clock.now())
    Machine(stage, name="web-2", address="10.0.0.2").enrol(clock.now())
    assert rows(again(first)) == [("web-1", "untouched"), ("web-2", "gone")]


def test_it_leaves_out_who_is_silent_or_in_conflict(first: Run, again: Again, web_1: Machine, clock: FakeClock) -> None:
    Host.update(conflict_code="other", conflict_params={"text": "two machines"}).where(
        Host.id == web_1.host_id
    ).execute()
    clock.advance(301)
    second = again(first)
    assert rows(second) == [("web-1", "conflict"), ("web-2", "stale")]
    assert why(second) == (
        "No hosts matched: none of the repeated run's hosts is there now: web-1 (conflict), web-2 (stale)."
    )


def test_it_leaves_out_whose_machine_is_to_end_unless_the_run_was_for_it(
    *, first: Run, again: Again, web_1: Machine, queue: Queue, execute: Callable[..., Run], clock: FakeClock
) -> None:
    Host.update(leaving_at=clock.now()).where(Host.id == web_1.host_id).execute()
    own = execute(queue(web_1.stage, "playbook", playbook="other.yml", limit="web-1"))
    second = again(first)
    assert rows(second) == [("web-1", "gone"), ("web-2", "untouched")]
    assert missing(second) == [("web-1", "gone", "its machine is to be ended")]
    assert rows(again(own)) == [("web-1", "untouched")]


def test_it_tries_those_again_that_an_earlier_repeat_had_to_leave_out(
    first: Run, again: Again, web_1: Machine, web_2: Machine, clock: FakeClock
) -> None:
    clock.advance(301)
    web_1.beat(clock.now())
    second = again(first)
    assert rows(second) == [("web-1", "untouched"), ("web-2", "stale")]
    web_2.beat(clock.now())
    assert again(second).snapshot["hosts"] == ["web-1", "web-2"]


def test_it_reaches_a_host_where_it_is_today_and_says_so(first: Run, again: Again, web_1: Machine) -> None:
    Host.update(address="10.9.9.9", port=2222, host_keys=[key_line(seed=7)]).where(Host.id == web_1.host_id).execute()
    second = again(first)
    values = snapshot.inventory(second)["_meta"]["hostvars"]["web-1"]
    assert (values["ansible_host"], values["ansible_port"]) == ("10.9.9.9", 2222)
    assert notes(second) == [
        "web-1 had the address 10.0.0.1 port 22; now 10.9.9.9 port 2222 is used.",
        "web-1 has other SSH host keys than in run 1; those of now are used.",
    ]


def test_it_says_which_tools_are_others_now(first: Run, again: Again) -> None:
    kept = {**first.snapshot, "versions": {**first.snapshot["versions"], "ansible_core": "2.1.0"}}
    Run.update(snapshot=kept).where(Run.id == first.id).execute()
    (note,) = notes(again(first))
    assert note.startswith("ansible_core was 2.1.0 in run 1 and is ")


def test_it_repeats_a_deploy_with_its_release(
    web_1: Machine, queue: Queue, execute: Callable[..., Run], again: Again
) -> None:
    Stage.update(deploy_playbook="other.yml").execute()
    deployed = execute(queue(web_1.stage))
    execute(queue(web_1.stage))
    for mode in requests.MODES:
        repeated = again(deployed, mode)
        assert (repeated.release_number, repeated.snapshot["release"], repeated.revision) == (1, 1, None)
    assert Release.select().count() == 2


def test_it_keeps_the_batches_of_then(first: Run, again: Again) -> None:
    Stage.update(batches=["1", "50%"]).execute()
    second = again(first, "live")
    Stage.update(batches=["100%"]).execute()
    seen = [
        {one.name: one.value for one in snapshot.effective_variables(again(run))}.get("callboard_batches")
        for run in (first, second)
    ]
    assert seen == [None, ["1", "50%"]]


# on who is live now


def test_it_goes_to_the_hosts_that_are_live_now(
    first: Run, again: Again, web_2: Machine, stage: Stage, clock: FakeClock
) -> None:
    hosts.goodbye(web_2.row, at=clock.now())
    Machine(stage, name="web-3", address="10.0.0.3").enrol(clock.now())
    second = again(first, "live")
    assert (second.snapshot["hosts"], second.repeat_mode) == (["web-1", "web-3"], "live")
    assert notes(second) == ["web-2, on which run 1 worked, is not live now."]


def test_it_keeps_limit_and_exclusions_as_far_as_hosts_are_there(
    *, web_1: Machine, web_2: Machine, queue: Queue, execute: Callable[..., Run], again: Again, clock: FakeClock
) -> None:
    web_3 = Machine(web_1.stage, name="web-3", address="10.0.0.3").enrol(clock.now())
    run = execute(
        queue(web_1.stage, "playbook", playbook="other.yml", limit="web-1,web-2", exclude=("web-3",), comment="first")
    )
    for gone in (web_2, web_3):
        hosts.goodbye(gone.row, at=clock.now())
    second = again(run, "live", comment="again")
    assert (second.snapshot["hosts"], second.exclude, second.comment) == (["web-1"], [], "again")
    hosts.goodbye(web_1.row, at=clock.now())
    Machine(web_1.stage, name="web-4", address="10.0.0.4").enrol(clock.now())
    assert "No hosts matched" in why(again(run, "live")), "a limit whose hosts have all left means nobody"


# refusals


def test_it_rejects_to_repeat_what_has_frozen_nothing(stage: Stage, queue: Queue, again: Again) -> None:
    run = queue(stage)
    for mode in requests.MODES:
        with pytest.raises(ConflictError, match="has frozen nothing that could be repeated: it is queued"):
            again(run, mode)


def test_it_rejects_to_repeat_an_old_run_exactly(first: Run, again: Again) -> None:
    Run.update(snapshot={"commit": first.source_commit, "hosts": ["web-1"]}).where(Run.id == first.id).execute()
    with pytest.raises(ConflictError, match="before runs kept all that an exact repeat needs"):
        again(first)
    assert again(first, "live").snapshot["hosts"] == ["web-1", "web-2"]


def test_it_rejects_an_odd_mode_an_archived_stage_and_a_busy_one(
    first: Run, again: Again, clock: FakeClock, settings: Settings
) -> None:
    with pytest.raises(InvalidError, match="no way to repeat"):
        again(first, "roughly")
    again_waiting = repeated(first, "exact", clock, settings)
    with pytest.raises(LockedError, match=f"busy: run {again_waiting.id}"):
        again(first, if_locked="refuse")
    stages.archive_stage(first.stage, actor=ADA, at=clock.now())
    with pytest.raises(ConflictError, match="is archived"):
        again(first)


def test_it_rejects_to_converge_to_what_is_no_longer_desired(
    web_1: Machine, queue: Queue, execute: Callable[..., Run], again: Again, release: Callable[..., Release]
) -> None:
    Stage.update(deploy_playbook="other.yml").execute()
    deployed = execute(queue(web_1.stage))
    Stage.update(desired_release_number=deployed.release_number).execute()
    run = execute(queue(web_1.stage, "converge", limit="web-1"))
    assert again(run).release_number == 1
    release(web_1.stage)
    with pytest.raises(ConflictError, match="Roll back to that release instead"):
        again(run)
