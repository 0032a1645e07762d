from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inventory_service.errors import ConflictError, InvalidError, NotFoundError
from inventory_service.models import Event, Project, Stage
from inventory_service.registry import stage_settings, stages
from inventory_service.registry.stage_settings import StageChange
from tests.support import ADA, START


def create(**fields: Any) -> Project:
    given = {"name": "blog", "source": "https://git.example.org/blog.git", "description": "", "variables": {}}
    return stages.create_project(**{**given, **fields}, actor=ADA, at=START)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("https://git.example.org/shop.git", "git"),
        ("ssh://git@git.example.org:2222/shop.git", "git"),
        ("git@git.example.org:shop/shop.git", "git"),
        ("file:///srv/git/shop.git", "git"),
        ("/srv/git/shop.git", "git"),
        ("/srv/shop/", "folder"),
    ],
)
def test_it_tells_a_repository_from_a_folder(source: str, kind: str) -> None:
    assert stages.source_kind(source) == kind


@pytest.mark.parametrize(
    "source",
    [
        "",
        "  ",
        "--upload-pack=touch /tmp/x",
        "-u./x",
        "ext::sh -c id",
        "fd::17",
        "https://-oProxyCommand=id/x",
        "ssh://-oProxyCommand=id/x",
        "git@-oProxyCommand=id:x",
        "-oProxyCommand=id@host:x",
        "user@host:-x",
        "relative/path",
        "./shop",
        "https://git.example.org/x\n--upload-pack=id",
        "http:/x",
        "javascript:alert(1)",
    ],
)
def test_it_rejects_a_source_that_git_would_take_for_a_command(source: str) -> None:
    with pytest.raises(InvalidError):
        stages.source_kind(source)


def test_it_adds_a_project_and_writes_it_down(project: Project) -> None:
    entry = Event.get(Event.name == "project.create")
    assert (entry.actor_name, entry.target_path, entry.peer) == ("ada", "shop", "192.0.2.7")


def test_it_rejects_a_project_that_exists(project: Project) -> None:
    with pytest.raises(ConflictError, match="There is a project 'shop' already"):
        create(name="shop")


def test_it_leaves_no_trace_of_a_project_that_was_refused(project: Project) -> None:
    with pytest.raises(InvalidError):
        create(source="ext::id")
    assert Event.select().where(Event.name == "project.create").count() == 1


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b", "a\n", "é", "x" * 129, "{{ x }}"])
def test_it_rejects_a_variable_that_ansible_would(database: object, name: str) -> None:
    with pytest.raises(InvalidError):
        create(variables={name: 1})


def test_it_rejects_more_than_64_kb_of_variables(database: object) -> None:
    with pytest.raises(InvalidError, match="larger than 65536"):
        create(variables={"a": "x" * 65536})


def test_it_changes_the_kind_with_the_source(project: Project) -> None:
    changed = stages.update_project(project, changes={"source": "git@h.example:x.git"}, actor=ADA, at=START)
    assert (changed.source_kind, changed.description) == ("git", "")


def test_it_archives_a_project_with_its_stages(stage: Stage) -> None:
    stages.archive_project(stage.project, actor=ADA, at=START)
    assert (stages.list_projects(), stages.list_stages()) == ([], [])
    with pytest.raises(NotFoundError):
        stages.get_stage("shop", "production")
    with pytest.raises(NotFoundError):
        stages.get_project("shop")
    told = [(one.name, one.target_path, one.actor_name) for one in Event.select() if one.name.endswith(".archive")]
    assert told == [("stage.archive", "shop/production", "ada"), ("project.archive", "shop", "ada")]


def test_it_keeps_the_name_of_an_archived_project(project: Project) -> None:
    stages.archive_project(project, actor=ADA, at=START)
    with pytest.raises(ConflictError, match="perhaps archived"):
        create(name="shop")


def test_it_rejects_a_stage_that_exists(stage: Stage, make_stage: Callable[..., Stage]) -> None:
    with pytest.raises(ConflictError):
        make_stage("production")


def test_it_rejects_a_stage_whose_group_another_has(make_stage: Callable[..., Stage]) -> None:
    make_stage("eu-west")
    other = create(name="shop-eu")
    with pytest.raises(ConflictError, match="group 'stage_shop_eu_west' already"):
        stages.create_stage(other, name="west", change=StageChange(), actor=ADA, at=START)


@pytest.mark.parametrize(("interval", "ttl"), [(60, 119), (2, 3), (300, None)])
def test_it_rejects_a_ttl_that_one_late_heartbeat_would_break(
    make_stage: Callable[..., Stage], interval: int, ttl: int | None
) -> None:
    with pytest.raises(InvalidError, match="at least twice"):
        make_stage("fast", interval_seconds=interval, ttl_seconds=ttl)


def test_it_checks_a_new_interval_against_the_ttl_that_stays(stage: Stage) -> None:
    with pytest.raises(InvalidError, match="at least twice"):
        stages.update_stage(stage, change=StageChange(interval_seconds=200), actor=ADA, at=START)


def test_it_changes_what_is_given_and_nothing_else(stage: Stage) -> None:
    changed = stages.update_stage(stage, change=StageChange(description="the shop"), actor=ADA, at=START)
    assert (changed.description, changed.interval_seconds, changed.has_convergence) == ("the shop", 60, True)
    assert Event.get(Event.name == "stage.update").changes == {"description": ["", "the shop"]}


def test_it_tells_each_variable_that_changed_before_and_after(stage: Stage) -> None:
    secret = {"$secret": "db_password"}
    first = {"colour": "red", "db": secret, "size": 1}
    changed = stages.update_stage(stage, change=StageChange(variables=first), actor=ADA, at=START)
    stages.update_stage(changed, change=StageChange(variables={"colour": "blue", "db": secret}), actor=ADA, at=START)
    last = Event.select().where(Event.name == "stage.update").order_by(Event.id.desc()).first()
    assert last.changes == {"variables.colour": ["red", "blue"], "variables.size": [1, None]}


def test_it_forgets_the_login_when_it_is_set_to_nothing(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage("production", ansible_user="deploy")
    assert stages.update_stage(stage, change=StageChange(ansible_user=""), actor=ADA, at=START).ansible_user == ""


@pytest.mark.parametrize("path", ["deploy.yml", "playbooks/db/migrate.yaml", "_x.yml", "a-b.yml"])
def test_it_takes_a_playbook_of_the_source(path: str) -> None:
    assert stage_settings.check_playbook(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "--version",
        "-x.yml",
        "/etc/passwd",
        "/srv/x.yml",
        "../x.yml",
        "a/../../x.yml",
        "./x.yml",
        "a//x.yml",
        "a/./x.yml",
        "x.txt",
        "x.yml\n",
        "x.yml\x00",
        "x y.yml",
        "@x.yml",
        "~/x.yml",
        "{{ x }}.yml",
        "é.yml",
        "a" * 300 + ".yml",
        "callboard.callboard.deploy",
    ],
)
def test_it_rejects_a_playbook_path_that_leaves_the_source(path: str) -> None:
    with pytest.raises(InvalidError):
        stage_settings.check_playbook(path)


@pytest.mark.parametrize("name", ["main", "v1.2.3", "feature/x", "3f2c1d0", "HEAD", "a@b", "rel+1", "issue#7"])
def test_it_takes_a_revision(name: str) -> None:
    assert stage_settings.check_revision_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-x",
        "--upload-pack=id",
        "/x",
        "x/",
        "x.",
        "x.lock",
        "a..b",
        "HEAD@{1}",
        "HEAD~1",
        "HEAD^",
        "a:b",
        "a b",
        "a\n",
        "a\x00",
        "*",
        "a?",
        "a[b",
        "a\\b",
        "é",
        "x" * 201,
        "../../../etc/passwd",
    ],
)
def test_it_rejects_a_revision_that_git_would_take_for_something_else(name: str) -> None:
    with pytest.raises(InvalidError):
        stage_settings.check_revision_name(name)


@pytest.mark.parametrize(
    "change",
    [
        StageChange(deploy_playbook="../x.yml"),
        StageChange(rollback_playbook="/x.yml"),
        StageChange(default_revision="-x"),
        StageChange(ansible_user="-oProxyCommand=id"),
        StageChange(variables={"a b": 1}),
    ],
)
def test_it_checks_each_field_of_a_stage(stage: Stage, change: StageChange) -> None:
    with pytest.raises(InvalidError):
        stages.update_stage(stage, change=change, actor=ADA, at=START)


@pytest.mark.parametrize(
    ("given", "kept"), [([1, "25%", "100%"], [1, "25%", "100%"]), (["3"], [3]), ([], None), (["05%"], ["5%"])]
)
def test_it_keeps_a_stages_batches(stage: Stage, given: list[int | str], kept: list[int | str] | None) -> None:
    stages.update_stage(stage, change=StageChange(batches=[2]), actor=ADA, at=START)
    stages.update_stage(stage, change=StageChange(batches=given), actor=ADA, at=START)
    assert stages.get_stage("shop", "production").batches == kept


@pytest.mark.parametrize("batch", [0, -1, "0%", "101%", "", "%", "many", "1.5", "٣", "1 %", "{{ x }}"])
def test_it_rejects_a_batch_of_nobody_or_of_more_than_all(stage: Stage, batch: int | str) -> None:
    with pytest.raises(InvalidError, match="is no batch"):
        stages.update_stage(stage, change=StageChange.of({"batches": [1, batch]}), actor=ADA, at=START)


def test_it_rejects_more_batches_than_anybody_counts(stage: Stage) -> None:
    with pytest.raises(InvalidError, match="More than 20 batches"):
        stages.update_stage(stage, change=StageChange.of({"batches": [1] * 21}), actor=ADA, at=START)
