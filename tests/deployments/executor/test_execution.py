"""What ends a run before Ansible is started, and what its result does to hosts and stage. Real runs: tests/e2e."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from inventory_service.deployments import locks, releases
from inventory_service.deployments.executor import execution, targets
from inventory_service.deployments.executor.execution import Result
from inventory_service.deployments.launching import requests
from inventory_service.deployments.runs.outcome import Ending, HostCount
from inventory_service.models import Event, Host, Release, Run, RunHost, Stage
from inventory_service.registry import stages
from inventory_service.settings import Settings
from tests.support import FakeClock, Machine, expiry, why

Queue = Callable[..., Run]


def test_it_fails_a_run_for_nobody(stage: Stage, queue: Queue, execute: Callable[..., Run], settings: Settings) -> None:
    run = execute(queue(stage))
    assert (run.status, why(run)) == ("failed", "No hosts matched: shop/production has no live host for this run.")
    assert "callboard: No hosts matched" in (settings.run_dir(run.id) / "log").read_text()
    assert locks.find(stage, locks.BY_RUN) is None
    assert Event.select().where(Event.name == "run.failed").count() == 1


def test_it_fails_a_run_when_all_hosts_have_fallen_silent(
    web_1: Machine, queue: Queue, execute: Callable[..., Run], clock: FakeClock
) -> None:
    run = queue(web_1.stage)
    clock.advance(301)
    assert "has no live host" in why(execute(run))


def test_it_fails_a_run_whose_stage_froze_while_it_waited(
    web_1: Machine, queue: Queue, execute: Callable[..., Run], clock: FakeClock
) -> None:
    run, told = queue(web_1.stage), queue(web_1.stage, allows_paused_expiry=True)
    Stage.update(expiry_paused_at=clock.now(), expiry_pause_code="many_silent").execute()
    assert "The expiry of shop/production's hosts is paused: too many are silent" in why(execute(run))
    assert "is paused" not in why(execute(told))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, ["web-1"]), ("web*", ["web-1"]), ("web-2", ["web-2"]), ("web-1,web-2", ["web-1", "web-2"])],
)
def test_it_leaves_out_hosts_whose_machines_are_to_end_unless_it_is_for_them(
    web_1: Machine, web_2: Machine, queue: Queue, clock: FakeClock, *, limit: str | None, expected: list[str]
) -> None:
    Host.update(leaving_at=clock.now()).where(Host.id == web_2.host_id).execute()
    chosen = targets.live(queue(web_1.stage, limit=limit), expiry=expiry(clock.now())).chosen
    assert [host.name for host in chosen] == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"limit": "web-9"}, "matches no live host"),
        ({"exclude": ("web-1",)}, "No hosts matched"),
        ({"revision": "v9"}, "has no revision 'v9'"),
        ({"kind": "playbook", "playbook": "other.yml"}, "has no playbook 'other.yml'"),
    ],
)
def test_it_fails_a_run_with_a_reason(
    web_1: Machine, queue: Queue, execute: Callable[..., Run], fields: dict[str, object], words: str
) -> None:
    run = execute(queue(web_1.stage, **fields))
    assert run.status == "failed", why(run)
    assert words in why(run), why(run)


def test_it_fails_a_run_whose_playbook_leads_out_of_the_source(
    web_1: Machine, queue: Queue, execute: Callable[..., Run], source: Path
) -> None:
    (source / "link.yml").symlink_to("/etc/passwd")
    assert "leads out of the source" in why(execute(queue(web_1.stage, "playbook", playbook="link.yml")))


def test_it_fails_a_run_on_a_full_disk(
    web_1: Machine, queue: Queue, execute: Callable[..., Run], settings: Settings
) -> None:
    run = execute(queue(web_1.stage), dataclasses.replace(settings, free_space_mb=10**9))
    assert "a run needs 1000000000 MB" in why(run)


def test_it_fails_a_run_on_an_error_of_its_own(
    web_1: Machine, queue: Queue, execute: Callable[..., Run], settings: Settings
) -> None:
    (settings.data_dir / "sources").write_text("in the way")
    run = execute(queue(web_1.stage))
    assert (run.status, why(run).startswith("Callboard itself failed")) == ("failed", True)
    assert locks.find(web_1.stage, locks.BY_RUN) is None


def test_it_leaves_nothing_of_its_work_behind(
    web_1: Machine, queue: Queue, execute: Callable[..., Run], settings: Settings
) -> None:
    run = execute(queue(web_1.stage, "playbook", playbook="other.yml"))
    assert [path.name for path in settings.run_dir(run.id).iterdir()] == ["log"]


# what a result does


@pytest.fixture
def finish(
    web_1: Machine, web_2: Machine, queue: Queue, release: Callable[..., Release], clock: FakeClock
) -> Callable[..., Stage]:
    """Finish a run of release 2 on two hosts that run release 1; returns the stage afterwards."""
    releases.record_on_hosts(release(web_1.stage), [web_1.host_id, web_2.host_id], is_pinned=False)
    second = release(web_1.stage, "b" * 40, is_good=False)

    def end(status: str, kind: str = "deploy", counts: dict[str, HostCount] | None = None, **fields: object) -> Stage:
        run = execution.claim(queue(web_1.stage, kind, **fields).id, at=clock.now())
        assert run is not None
        chosen = (web_1.row, web_2.row)
        for host in chosen:
            RunHost.create(run=run, host=host, name=host.name, address=host.address, status="pending")
        told = counts or {"web-1": HostCount(ok=1, changed=1), "web-2": HostCount(ok=1)}
        prepared = execution.Prepared(None, chosen, second)
        assert execution._finish(run, Result(Ending(status), prepared), told, at=clock.now()) == status
        return stages.get_stage("shop", "production")

    return end


def releases_of(*machines: Machine) -> list[tuple[int, int | None]]:
    return [(machine.row.release_number, machine.row.pinned_release_number) for machine in machines]


def test_it_moves_the_desired_release_on_success(finish: Callable[..., Stage], web_1: Machine, web_2: Machine) -> None:
    assert finish("successful").desired_release_number == 2
    assert releases_of(web_1, web_2) == [(2, None), (2, None)]


@pytest.mark.parametrize("status", ["failed", "canceled", "timeout"])
def test_it_keeps_the_desired_release_otherwise(finish: Callable[..., Stage], status: str) -> None:
    assert finish(status).desired_release_number == 1


def test_it_says_which_hosts_a_failed_deploy_reached(
    finish: Callable[..., Stage], web_1: Machine, web_2: Machine
) -> None:
    finish("failed", counts={"web-1": HostCount(ok=1), "web-2": HostCount(failed=1)})
    assert releases_of(web_1, web_2) == [(2, 2), (1, None)]
    assert [row.status for row in RunHost.select().order_by(RunHost.name)] == ["ok", "failed"]


def test_it_believes_nothing_of_a_run_that_was_stopped(
    finish: Callable[..., Stage], web_1: Machine, web_2: Machine
) -> None:
    finish("canceled")
    assert releases_of(web_1, web_2) == [(1, None), (1, None)]


def test_it_changes_nothing_by_a_check(finish: Callable[..., Stage], web_1: Machine, web_2: Machine) -> None:
    assert finish("successful", is_check=True).desired_release_number == 1
    assert releases_of(web_1, web_2) == [(1, None), (1, None)]


@pytest.mark.parametrize(
    "fields", [{"limit": "web-1"}, {"exclude": ("web-2",)}, {"tags": ("a",)}, {"skip_tags": ("a",)}]
)
def test_it_holds_hosts_that_a_part_of_a_deploy_reached(
    finish: Callable[..., Stage], web_1: Machine, web_2: Machine, fields: dict[str, object]
) -> None:
    assert finish("successful", counts={"web-1": HostCount(ok=1)}, **fields).desired_release_number == 1
    assert releases_of(web_1, web_2) == [(2, 2), (1, None)]


def test_it_marks_hosts_that_no_task_reached(finish: Callable[..., Stage]) -> None:
    finish("failed", counts={"web-1": HostCount(failed=1)})
    assert [row.status for row in RunHost.select().order_by(RunHost.name)] == ["failed", "untouched"]


def test_it_records_nothing_of_a_run_that_others_have_given_up(
    web_1: Machine, queue: Queue, release: Callable[..., Release], clock: FakeClock
) -> None:
    run = execution.claim(queue(web_1.stage).id, at=clock.now())
    assert run is not None
    RunHost.create(run=run, host=web_1.row, name="web-1", address="10.0.0.1", status="pending")
    Run.update(attempt=Run.attempt + 1).execute()
    prepared = execution.Prepared(None, (web_1.row,), release(web_1.stage, is_good=False))
    status = execution._finish(run, Result(Ending("successful"), prepared), {"web-1": HostCount(ok=1)}, at=clock.now())
    assert (status, requests.get(run.id).status, RunHost.get().status) == ("lost", "running", "pending")
    assert (web_1.row.release_number, stages.get_stage("shop", "production").desired_release_number) == (None, None)
