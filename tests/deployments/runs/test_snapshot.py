from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inventory_service.deployments.launching import requests
from inventory_service.deployments.runs import snapshot
from inventory_service.errors import NotFoundError
from inventory_service.models import Project, Release, Run, RunHost, Stage
from inventory_service.registry import hosts
from tests.support import FakeClock, Machine

Queue = Callable[..., Run]
Execute = Callable[..., Run]


@pytest.fixture
def frozen(web_1: Machine, web_2: Machine, queue: Queue, execute: Execute) -> Run:
    """A run that ended right after it had frozen everything: its playbook is missing."""
    run = queue(web_1.stage, "playbook", playbook="other.yml", limit="web-1", tags=("a",), extra_vars={"size": 3})
    return execute(run)


def test_it_freezes_what_a_run_depends_on(frozen: Run) -> None:
    kept = frozen.snapshot
    assert (len(kept["commit"]), kept["commit"], kept["revision"]) == (40, frozen.source_commit, "HEAD")
    assert (kept["release"], kept["hosts"], kept["missing"]) == (None, ["web-1"], [])
    assert set(kept["versions"]) == {"ansible_core", "ansible_runner", "python", "callboard"}
    assert set(kept["collections"]) >= {"ansible.builtin", "callboard.callboard"}
    options = {name: kept["options"][name] for name in ("kind", "playbook", "limit", "exclude", "tags", "check")}
    assert options == {
        "kind": "playbook",
        "playbook": "other.yml",
        "limit": "web-1",
        "exclude": [],
        "tags": ["a"],
        "check": False,
    }


@pytest.mark.parametrize(("own", "frozen"), [(90, 90), (0, 7200)])
def test_it_freezes_the_time_that_the_run_may_take(
    web_1: Machine, queue: Queue, execute: Execute, own: int, frozen: int
) -> None:
    Stage.update(run_timeout_seconds=own).execute()
    run = execute(queue(web_1.stage, "playbook", playbook="other.yml"))
    assert run.snapshot["options"]["timeout_seconds"] == frozen


def test_it_keeps_the_inventory_when_a_host_leaves(frozen: Run, web_1: Machine, clock: FakeClock) -> None:
    hosts.goodbye(web_1.row, at=clock.now())
    kept = snapshot.inventory(requests.get(frozen.id))
    assert kept["stage_shop_production"]["hosts"] == ["web-1", "web-2"]
    assert kept["_meta"]["hostvars"]["web-1"]["ansible_host"] == "10.0.0.1"
    (row,) = RunHost.select()
    assert (row.name, row.address, row.port) == ("web-1", "10.0.0.1", 22)
    assert row.keys_sha256 == snapshot.keys_digest(web_1.row)


def test_it_tells_where_each_variable_of_a_run_came_from(frozen: Run) -> None:
    found = {one.name: (one.value, one.source) for one in snapshot.effective_variables(frozen)}
    assert (found["size"], found["callboard_run"]) == ((3, "run"), (frozen.id, "server"))
    assert found["callboard_stage"] == ("shop/production", "server")


def test_it_knows_what_the_source_requires(web_1: Machine, queue: Queue, execute: Execute, source: Path) -> None:
    (source / "requirements.yml").write_text("collections: [community.general]")
    run = execute(queue(web_1.stage, "playbook", playbook="other.yml"))
    assert run.snapshot["required_collections"] == {"community.general": "*"}


def test_it_brings_a_release_with_the_variables_that_it_was_made_with(
    web_1: Machine, queue: Queue, execute: Execute, clock: FakeClock, source: Path
) -> None:
    Project.update(variables={"colour": "red", "callboard_release": 99}).execute()
    Stage.update(deploy_playbook="other.yml", rollback_playbook="other.yml").execute()
    assert execute(queue(web_1.stage)).snapshot["release"] == 1
    Release.update(succeeded_at=clock.now()).execute()
    Project.update(variables={"colour": "blue", "size": 1}).execute()
    run = execute(queue(web_1.stage, "rollback", release=1))
    found = {one.name: one for one in snapshot.effective_variables(run)}
    assert (found["colour"].value, found["colour"].source) == ("red", "release")
    assert found["colour"].overridden == (("project", "blue"),)
    assert found["callboard_release"].value == 1
    assert "size" not in found
    assert snapshot.inventory(run)["stage_shop_production"]["vars"]["colour"] == "red"


def test_it_rejects_to_show_what_a_run_has_not_frozen(stage: Stage, queue: Queue) -> None:
    run = queue(stage)
    with pytest.raises(NotFoundError, match="has not frozen its variables; it is queued"):
        snapshot.effective_variables(run)
    with pytest.raises(NotFoundError, match="has not frozen an inventory; it is queued"):
        snapshot.inventory(run)
