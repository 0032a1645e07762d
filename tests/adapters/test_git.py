from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from inventory_service.adapters import git
from inventory_service.errors import SourceError
from tests.support import Repository


def test_it_hands_git_none_of_the_services_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBOARD_SECRET_KEY", "hunter2")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    environment = git._environment()
    assert not {"CALLBOARD_SECRET_KEY", "GIT_DIR"} & set(environment)
    assert environment["GIT_TERMINAL_PROMPT"] == "0"
    assert environment["GIT_ALLOW_PROTOCOL"] == "file:git:http:https:ssh"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ext::sh -c 'touch pwned'", "transport 'ext' not allowed"),
        ("fd::3", "transport 'fd' not allowed"),
        ("--upload-pack=touch pwned", "repository '--upload-pack=touch pwned' does not exist"),
        ("-u", "repository '-u' does not exist"),
    ],
)
def test_it_rejects_a_url_that_is_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=re.escape(words)):
        git.fetch(url, tmp_path / "mirror.git")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_it_leaves_no_half_mirror_behind(tmp_path: Path, repository: Repository) -> None:
    with pytest.raises(SourceError):
        git.fetch(str(tmp_path / "nothing"), tmp_path / "mirror.git")
    assert not (tmp_path / "mirror.git").exists()
    repository.commit(a__yml="1")
    git.fetch(str(repository.folder), tmp_path / "mirror.git")
    assert (tmp_path / "mirror.git" / "HEAD").exists()


def test_it_keeps_commits_that_the_source_has_no_more(tmp_path: Path, repository: Repository) -> None:
    repository.commit(a__yml="1")
    mirror, place = tmp_path / "mirror.git", ["git", "-C", str(repository.folder)]
    subprocess.run([*place, "checkout", "-q", "-b", "fix"], check=True)
    sha = repository.commit(a__yml="2")
    git.fetch(str(repository.folder), mirror)
    for words in (["checkout", "-q", "-"], ["branch", "-q", "-D", "fix"]):
        subprocess.run([*place, *words], check=True)
    for name, value in (("gc.pruneExpire", "now"), ("gc.auto", "1"), ("gc.autoDetach", "false")):
        subprocess.run(["git", "-C", str(mirror), "config", name, value], check=True)
    repository.commit(a__yml="3")
    git.fetch(str(repository.folder), mirror)
    git._git("-C", str(mirror), "gc", "--quiet")
    assert git.is_present(mirror, sha), "a release or an exact repeat may need it"


def test_it_cuts_what_git_has_to_say() -> None:
    assert git._last_lines("\n".join(["x" * 400] * 9)) == ("x" * 400 + " " + "x" * 99)
    assert git._last_lines("") == "git failed without a word."


@pytest.mark.parametrize("revision", ["main", "abc", "-x", "g" * 40])
def test_it_takes_only_a_full_commit_for_present(tmp_path: Path, repository: Repository, revision: str) -> None:
    sha = repository.commit(a__yml="1")
    git.fetch(str(repository.folder), tmp_path / "mirror.git")
    assert git.is_present(tmp_path / "mirror.git", sha)
    assert not git.is_present(tmp_path / "mirror.git", revision)


def test_it_reads_what_lies_between_two_commits(repository: Repository, tmp_path: Path) -> None:
    older = repository.commit(a__txt="one\n")
    (repository.folder / "odd\tname\n.bin").write_bytes(b"\0\1")
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "-m", "odd\x0b> \x1b[31mred\n\nbody", "--author", "Eve\t<e@example.org>")
    newer = repository.git("rev-parse", "HEAD")
    mirror = tmp_path / "mirror"
    git.fetch(str(repository.folder), mirror)
    (commit,) = git.log_between(mirror, older, newer, most=9)
    assert (commit.sha, commit.subject, commit.is_newer) == (newer, "odd\x0b> \x1b[31mred", True)
    assert [one.is_newer for one in git.log_between(mirror, newer, older, most=9)] == [False]
    assert git.changes_between(mirror, older, newer) == [git.FileChange("odd\tname\n.bin", None, None)]


@pytest.mark.parametrize("name", ["main", "--output=x", "a" * 39, "HEAD"])
def test_it_looks_only_between_commits(tmp_path: Path, name: str) -> None:
    for look in (git.changes_between, lambda *names: git.log_between(*names, most=1)):
        with pytest.raises(SourceError, match="is no commit"):
            look(tmp_path, "a" * 40, name)
