"""Comparing runs that froze what they needed and ended at a missing playbook; runs on real hosts: tests/e2e."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest

from inventory_service.deployments.comparing import run_diff
from inventory_service.deployments.comparing.run_diff import RunDiff
from inventory_service.deployments.launching import requests
from inventory_service.models import Host, Project, Run, RunHost, Stage
from inventory_service.registry import hosts, stages
from inventory_service.registry.stage_settings import StageChange
from inventory_service.settings import Settings
from inventory_service.vault import store
from inventory_service.vault.store import Scope
from tests.support import ADA, FakeClock, Machine, Repository

Launch = Callable[..., Run]
Compare = Callable[[Run, Run], RunDiff]


@pytest.fixture
def launch(web_1: Machine, queue: Callable[..., Run], execute: Callable[..., Run]) -> Launch:
    """Run a missing playbook on the stage's live hosts: launch(stage=None, **fields)."""

    def carry(stage: Stage | None = None, **fields: object) -> Run:
        return execute(queue(stage or web_1.stage, "playbook", **{"playbook": "other.yml", **fields}))

    return carry


@pytest.fixture
def compare(settings: Settings) -> Compare:
    return lambda before, after: run_diff.compare(requests.get(before.id), requests.get(after.id), settings)


def pairs(found: tuple[run_diff.Pair, ...]) -> dict[str, tuple[object, object]]:
    return {one.name: (one.before, one.after) for one in found}


def kinds(found: RunDiff) -> dict[str, str]:
    return {one.name: one.kind for one in found.hosts}


def test_it_finds_nothing_between_two_runs_of_the_same(launch: Launch, compare: Compare) -> None:
    found = compare(launch(), launch())
    assert (found.commits.relation, found.variables, found.options, found.versions) == ("same", (), (), ())
    assert (found.secrets, found.notes, kinds(found)) == ((), (), {"web-1": "same"})


def test_it_compares_variables_and_options(launch: Launch, compare: Compare) -> None:
    before = launch(extra_vars={"size": 1})
    Project.update(variables={"key": {"$secret": "api"}}).execute()
    found = compare(before, launch(extra_vars={"size": 2}, tags=("a",), is_check=True))
    assert [(one.name, one.kind, one.before, one.after) for one in found.variables] == [
        ("key", "added", None, {"$secret": "api"}),
        ("size", "changed", 1, 2),
    ]
    assert pairs(found.options) == {"tags": ([], ["a"]), "check": (False, True)}


def test_it_compares_hosts(launch: Launch, compare: Compare, web_1: Machine, clock: FakeClock) -> None:
    leaving = Machine(web_1.stage, name="web-2", address="10.0.0.2").enrol(clock.now())
    replaced = Machine(web_1.stage, name="web-3", address="10.0.0.3").enrol(clock.now())
    before = launch()
    hosts.goodbye(leaving.row, at=clock.now())
    hosts.goodbye(replaced.row, at=clock.now())
    Machine(web_1.stage, name="web-3", address="10.0.0.4").enrol(clock.now())
    Machine(web_1.stage, name="web-5", address="10.0.0.5").enrol(clock.now())
    Host.update(port=2222, host_keys=[]).where(Host.id == web_1.host_id).execute()
    found = compare(before, launch())
    assert kinds(found) == {"web-1": "changed", "web-2": "removed", "web-3": "changed", "web-5": "added"}
    changes = {one.name: one.changes for one in found.hosts}
    assert changes["web-1"] == ("address 10.0.0.1 → 10.0.0.1 port 2222", "other SSH host keys")
    assert changes["web-3"] == ("another machine of that name", "address 10.0.0.3 → 10.0.0.4")


def test_it_compares_versions(launch: Launch, compare: Compare) -> None:
    before, after = launch(), launch()
    kept = {**before.snapshot, "collections": {"acme.web": "1.0.0"}}
    kept["versions"] = {**kept["versions"], "ansible_core": "2.1.0"}
    Run.update(snapshot=kept).where(Run.id == before.id).execute()
    found = pairs(compare(before, after).versions)
    assert (found["ansible_core"][0], found["acme.web"]) == ("2.1.0", ("1.0.0", None))


def test_it_tells_when_a_secret_was_set_anew(
    *, launch: Launch, compare: Compare, web_1: Machine, settings: Settings, clock: FakeClock
) -> None:
    def put(at: dt.datetime) -> None:
        scope = Scope(web_1.stage.project)
        store.put(scope, "api", kind="variable", value=b"canary", settings=settings, actor=ADA, at=at)

    put(clock.now())
    before = launch()
    put(clock.advance(60))
    assert pairs(compare(before, launch()).secrets) == {"api": ("2026-11-23T14:00:00Z", "2026-11-23T14:01:00Z")}


def test_it_lists_commits_and_files_between_the_runs(
    launch: Launch, compare: Compare, project: Project, repository: Repository
) -> None:
    Project.update(source=str(repository.folder), source_kind="git").execute()
    for name in ("a__txt", "b__txt"):
        repository.commit(**{name: "one\n"})
    before = launch()
    repository.commit(b__txt="one\ntwo\nthree\n")
    after = launch()
    found = compare(before, after).commits
    assert ([one.subject for one in found.log], found.relation) == (["a change"], "ahead")
    assert [(file.path, file.added, file.removed) for file in found.files] == [("b.txt", 2, 0)]
    assert compare(after, before).commits.relation == "behind"
    repository.git("reset", "--quiet", "--hard", before.source_commit or "")
    repository.commit(a__txt="other\n")
    found = compare(after, launch()).commits
    assert (found.relation, {one.is_newer for one in found.log}) == ("diverged", {True, False})


def test_it_lists_the_files_of_a_folder_that_differ(launch: Launch, compare: Compare, source: Path) -> None:
    before = launch()
    (source / "new.yml").write_text("- hosts: all\n")
    (source / "deploy.yml").write_text("- hosts: web\n")
    found = compare(before, launch()).commits
    assert (found.relation, [file.path for file in found.files]) == ("other", ["deploy.yml", "new.yml"])


def test_it_goes_on_when_the_source_is_away(launch: Launch, compare: Compare) -> None:
    before, after = launch(), launch()
    Run.update(source_commit="a" * 40).where(Run.id == after.id).execute()
    found = compare(before, after)
    assert found.commits.relation == "unknown"
    assert "has no revision" in (found.commits.reason or "")
    assert kinds(found) == {"web-1": "same"}


def test_it_compares_runs_of_two_stages_and_says_so(
    launch: Launch, compare: Compare, make_stage: Callable[..., Stage], clock: FakeClock
) -> None:
    other = make_stage("staging", variables={"colour": "red"})
    Machine(other, name="web-1", address="10.1.0.1").enrol(clock.now())
    found = compare(launch(), launch(other))
    assert found.notes == (
        "The runs are of different stages, shop/production and shop/staging: hosts are compared by their names.",
    )
    assert ([one.name for one in found.variables], kinds(found)) == (["colour"], {"web-1": "changed"})


def test_it_compares_runs_of_two_projects(launch: Launch, compare: Compare, source: Path, clock: FakeClock) -> None:
    (source / "new.yml").write_text("- hosts: all\n")
    blog = stages.create_project(
        name="blog", source=f"{source}/", description="", variables={}, actor=ADA, at=clock.now()
    )
    stage = stages.create_stage(blog, name="test", change=StageChange(), actor=ADA, at=clock.now())
    Machine(stage, name="web-1", address="10.1.0.1").enrol(clock.now())
    before = launch()
    (source / "third.yml").write_text("- hosts: all\n")
    assert compare(before, launch(stage)).commits.reason == "The runs are of different projects."


def test_it_says_what_an_old_or_unstarted_run_lacks(launch: Launch, compare: Compare, queue: Launch) -> None:
    old = launch()
    Run.update(snapshot={"commit": "a" * 40, "hosts": ["web-1"]}).where(Run.id == old.id).execute()
    waiting = queue(old.stage)
    found = compare(old, waiting)
    assert found.notes == (
        f"Run {old.id} was recorded before runs kept variables, options and collections.",
        f"Run {waiting.id} froze nothing: it is queued.",
    )
    assert (found.commits.reason, kinds(found)) == ("Not both runs have a commit.", {"web-1": "removed"})


def test_it_says_what_is_not_known_of_a_laptops_run(launch: Launch, compare: Compare) -> None:
    before, after = launch(), launch()
    Run.update(snapshot={"commit": "a" * 40, "sender": {"dirty": True}}).where(Run.id == after.id).execute()
    (note,) = compare(before, after).notes
    assert note == (
        f"Run {after.id} is only recorded here, so its variables and collections are not known. "
        "Its checkout had changes that are not committed."
    )


def test_it_counts_hosts_that_were_missing(launch: Launch, compare: Compare) -> None:
    before, after = launch(), launch()
    RunHost.update(status="gone").where(RunHost.run == after).execute()
    (host,) = compare(before, after).hosts
    assert (host.kind, host.after and host.after.status) == ("same", "gone")
