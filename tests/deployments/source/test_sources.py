from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from inventory_service.deployments.source import playbooks, sources
from inventory_service.deployments.source.sources import Source, find_playbook
from inventory_service.errors import SourceError
from inventory_service.models import Project, Stage
from inventory_service.settings import Settings
from tests.support import Repository, at_once

PLAYBOOK = "# Say hello\n- hosts: all\n"


@pytest.fixture
def git_source(repository: Repository, project: Project, settings: Settings) -> Source:
    return Source(with_git(project, str(repository.folder)), settings)


@pytest.fixture
def folder(project: Project, settings: Settings) -> Source:
    return Source(project, settings)


def with_git(project: Project, url: str) -> Project:
    project.source, project.source_kind = url, "git"
    project.save()
    return project


def checked_out(source: Source, revision: str, target: Path) -> dict[str, str]:
    source.checkout(source.resolve(revision), target)
    files = [path for path in target.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {str(path.relative_to(target)): path.read_text() for path in files}


# git


def test_it_resolves_a_branch_a_tag_and_a_commit(git_source: Source, repository: Repository) -> None:
    first = repository.commit(a__yml="1")
    repository.git("tag", "-a", "v1", "-m", "one")
    second = repository.commit(a__yml="2")
    named = [git_source.resolve(name) for name in ("v1", first, first[:10], "main", "HEAD", second)]
    assert named == [first, first, first, second, second, second]


def test_it_follows_a_branch_and_keeps_an_old_commit(
    git_source: Source, repository: Repository, tmp_path: Path
) -> None:
    first = repository.commit(a__yml="1")
    assert git_source.resolve("main") == first
    second = repository.commit(a__yml="2")
    assert git_source.resolve("main") == second
    assert checked_out(git_source, first, tmp_path / "old") == {"a.yml": "1"}


def test_it_follows_a_tag_that_was_moved_and_a_branch_that_was_rewritten(
    git_source: Source, repository: Repository
) -> None:
    repository.commit(a__yml="1")
    repository.git("tag", "latest")
    git_source.resolve("latest")
    repository.git("commit", "--quiet", "--amend", "-m", "other")
    repository.git("tag", "--force", "latest")
    head = repository.git("rev-parse", "HEAD")
    assert [git_source.resolve(name) for name in ("latest", "main")] == [head, head]


def test_it_follows_a_change_of_the_default_branch(git_source: Source, repository: Repository) -> None:
    repository.commit(a__yml="1")
    git_source.resolve("HEAD")
    repository.git("switch", "--quiet", "-c", "trunk")
    sha = repository.commit(a__yml="2")
    assert git_source.resolve("HEAD") == sha


def test_it_follows_a_project_that_moved_to_another_repository(
    git_source: Source, repository: Repository, tmp_path: Path
) -> None:
    repository.commit(a__yml="1")
    git_source.resolve("main")
    other = Repository(tmp_path / "other")
    sha = other.commit(a__yml="elsewhere")
    assert Source(with_git(git_source.project, str(other.folder)), git_source.settings).resolve("main") == sha


def test_it_needs_no_source_for_a_commit_that_it_has(
    git_source: Source, repository: Repository, tmp_path: Path
) -> None:
    sha = repository.commit(a__yml="1")
    git_source.resolve("main")
    repository.folder.rename(tmp_path / "away")
    assert git_source.resolve(sha) == sha
    with pytest.raises(SourceError, match="could not be fetched"):
        git_source.resolve("main")


def test_it_writes_an_archive_of_the_revision(git_source: Source, repository: Repository, tmp_path: Path) -> None:
    git_source.archive(git_source.resolve(repository.commit(a__yml="1")), tmp_path / "a.tar.gz")
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        assert archive.getnames() == ["a.yml"]


def test_it_says_what_to_do_about_an_unknown_revision(git_source: Source, repository: Repository) -> None:
    repository.commit(a__yml="1")
    with pytest.raises(SourceError) as caught:
        git_source.resolve("v9")
    expected = "The source has no revision 'v9'; push it first, or name a branch, tag or commit."
    assert caught.value.detail == expected


def test_it_rejects_a_revision_that_is_no_commit(git_source: Source, repository: Repository) -> None:
    repository.commit(a__yml="1")
    blob = repository.git("rev-parse", "HEAD:a.yml")
    with pytest.raises(SourceError):
        git_source.resolve(blob)


def test_it_rejects_an_empty_repository(git_source: Source) -> None:
    with pytest.raises(SourceError):
        git_source.resolve("HEAD")


@pytest.mark.parametrize("url", ["--upload-pack=touch pwned", "ext::sh -c 'touch pwned'", "-u./pwned", "/nowhere"])
def test_it_executes_nothing_that_stands_in_a_url(
    project: Project, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError):
        Source(with_git(project, url), settings).resolve("main")
    assert not list(tmp_path.rglob("pwned*"))


@pytest.mark.parametrize("name", ["--help", "--output=pwned", "-h", "main;id", "$(id)", "main\nid"])
def test_it_executes_nothing_that_stands_in_a_revision(
    git_source: Source, repository: Repository, tmp_path: Path, name: str
) -> None:
    repository.commit(a__yml="1")
    with pytest.raises(SourceError):
        git_source.resolve(name)
    assert not list(tmp_path.rglob("pwned*"))


def test_it_runs_no_hook_of_the_source(git_source: Source, repository: Repository, tmp_path: Path) -> None:
    hook = repository.folder / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\n")
    hook.chmod(0o755)
    repository.commit(a__yml="1")
    checked_out(git_source, "main", tmp_path / "out")
    assert not (tmp_path / "pwned").exists()


def test_it_fetches_for_many_at_once(git_source: Source, repository: Repository) -> None:
    sha = repository.commit(a__yml="1")
    assert at_once(lambda _: git_source.resolve("main"), 4) == [sha] * 4


# folders


def test_it_names_a_folders_content(folder: Source, source: Path) -> None:
    before = folder.resolve("HEAD")
    assert folder.resolve("HEAD") == before
    (source / "deploy.yml").write_text("changed")
    assert folder.resolve("HEAD") != before


def test_it_names_equal_content_alike_whenever_it_was_written(folder: Source, source: Path) -> None:
    before = folder.resolve("HEAD")
    os.utime(source / "deploy.yml", (0, 0))
    (source / ".git").mkdir()
    assert folder.resolve("HEAD") == before


def test_it_brings_an_old_release_back_after_the_folder_changed(folder: Source, source: Path, tmp_path: Path) -> None:
    old = folder.resolve("HEAD")
    before = (source / "deploy.yml").read_text()
    (source / "deploy.yml").unlink()
    (source / "other.yml").write_text("new")
    folder.resolve("HEAD")
    assert checked_out(folder, old, tmp_path / "old") == {"deploy.yml": before}
    folder.archive(old, tmp_path / "old.tar.gz")
    with tarfile.open(tmp_path / "old.tar.gz") as archive:
        assert archive.getnames() == ["deploy.yml"]


def test_it_keeps_modes_and_folders(folder: Source, source: Path, tmp_path: Path) -> None:
    (source / "empty").mkdir()
    (source / "run.sh").write_text("")
    (source / "run.sh").chmod(0o755)
    checked_out(folder, "HEAD", tmp_path / "out")
    assert (tmp_path / "out" / "empty").is_dir()
    assert (tmp_path / "out" / "run.sh").stat().st_mode & 0o777 == 0o755


def test_it_rejects_a_revision_that_a_folder_never_had(folder: Source) -> None:
    with pytest.raises(SourceError, match="has no revision 'v1'"):
        folder.resolve("v1")


def test_it_rejects_a_folder_that_does_not_exist(folder: Source, source: Path, tmp_path: Path) -> None:
    source.rename(tmp_path / "away")
    with pytest.raises(SourceError, match="does not exist"):
        folder.resolve("HEAD")


# playbooks


def test_it_finds_a_playbook_of_the_source(source: Path) -> None:
    assert find_playbook(source, "deploy.yml", shipped=()) == source / "deploy.yml"


def test_it_prefers_the_sources_own_playbook_to_the_shipped_one(source: Path) -> None:
    assert find_playbook(source, "deploy.yml", shipped=("deploy.yml",)) == source / "deploy.yml"


def test_it_rejects_a_playbook_that_there_is_not(source: Path) -> None:
    for playbook, shipped in (("other.yml", ()), ("other.yml", ("deploy.yml",)), ("rollback.yml", ())):
        with pytest.raises(SourceError, match="has no playbook"):
            find_playbook(source, playbook, shipped=shipped)


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside.yml", "."])
def test_it_rejects_a_playbook_that_a_link_leads_out_of_the_source(source: Path, target: str) -> None:
    (source.parent / "outside.yml").write_text(PLAYBOOK)
    (source / "link.yml").symlink_to(target)
    with pytest.raises(SourceError, match="leads out of the source"):
        find_playbook(source, "link.yml", shipped=())


def test_it_rejects_a_playbook_below_a_linked_folder(source: Path) -> None:
    (source.parent / "outside").mkdir()
    (source.parent / "outside" / "x.yml").write_text(PLAYBOOK)
    (source / "inside").symlink_to("../outside")
    with pytest.raises(SourceError, match="leads out of the source"):
        find_playbook(source, "inside/x.yml", shipped=())


def test_it_rejects_a_link_out_of_a_git_source(git_source: Source, repository: Repository, tmp_path: Path) -> None:
    (repository.folder / "link.yml").symlink_to("/etc/passwd")
    repository.commit(a__yml=PLAYBOOK)
    git_source.checkout(git_source.resolve("main"), tmp_path / "out")
    with pytest.raises(SourceError, match="leads out of the source"):
        find_playbook(tmp_path / "out", "link.yml", shipped=())


def test_it_lists_what_a_stage_offers(stage: Stage, source: Path, settings: Settings) -> None:
    (source / "playbooks").mkdir()
    (source / "playbooks" / "restart.yaml").write_text(PLAYBOOK)
    (source / "vars.yml").write_text("colour: red\n")
    (source / "link.yml").symlink_to("/etc/passwd")
    (source / "odd.yml").write_bytes(b"\xff\xfe\n- hosts: all\n")
    assert playbooks.list_playbooks(stage, settings) == [
        {"playbook": "deploy.yml", "description": "Put it on the hosts"},
        {"playbook": "odd.yml", "description": ""},
        {"playbook": "playbooks/restart.yaml", "description": "Say hello"},
    ]


def test_it_lists_nothing_of_an_empty_source(tmp_path: Path) -> None:
    assert sources.list_playbooks(tmp_path) == []
