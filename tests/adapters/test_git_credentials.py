"""Private sources: a real git server with a password, a real SSH server with a key."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory_service.adapters import git
from inventory_service.adapters.git import Access, Credential
from inventory_service.demo.hosts import LoopbackHost, make_keypair
from inventory_service.demo.machine import free_network
from inventory_service.demo.service import free_port
from inventory_service.errors import SourceError
from tests.git_server import serving
from tests.support import Repository

TOKEN = "glpat-kestrel%3Aof/the+mine"


@pytest.fixture
def commit(repository: Repository) -> str:
    return repository.commit(a__yml="1")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whose git writes every credential that works to a file."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.mark.parametrize("credential", [f"deploy:{TOKEN}", TOKEN])
def test_it_hands_a_token_to_git_and_to_nobody_else(
    repository: Repository, commit: str, home: Path, tmp_path: Path, credential: str
) -> None:
    user = "" if ":" in credential else "x-access-token:"
    mirror = tmp_path / "mirror.git"
    seen: set[bytes] = set()
    with serving(repository.folder.parent, user + credential) as url, _watching(seen):
        access = Access(Credential(token=credential))
        git.fetch(f"{url}/{repository.folder.name}/.git", mirror, access)
        git.fetch(f"{url}/{repository.folder.name}/.git", mirror, access)
    assert git.resolve(mirror, "main") == commit
    assert len(seen) > 3, "git was seen at work"
    assert not any(b"kestrel" in text for text in seen)
    assert [
        file for file in (*home.rglob("*"), *mirror.rglob("*")) if file.is_file() and b"kestrel" in file.read_bytes()
    ] == []


@pytest.mark.parametrize("credential", ["", "deploy:wrong-kestrel"])
def test_it_fails_without_a_prompt_where_the_token_is_wrong(
    repository: Repository, commit: str, tmp_path: Path, credential: str
) -> None:
    with serving(repository.folder.parent, "deploy:right") as url, pytest.raises(SourceError) as refused:
        git.fetch(f"{url}/{repository.folder.name}/.git", tmp_path / "mirror.git", Access(Credential(token=credential)))
    assert "could not be fetched" in refused.value.detail
    assert "kestrel" not in refused.value.detail


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[LoopbackHost, bytes]]:
    """An SSH server, and the one key that it lets in."""
    public = make_keypair(tmp_path / "deploy_key")
    host = LoopbackHost("git-1", f"{free_network()}.11", free_port(), tmp_path / "git-1", public)
    host.start()
    yield host, (tmp_path / "deploy_key").read_bytes()
    host.kill()


def test_it_hands_a_deploy_key_to_ssh_through_an_agent(
    server: tuple[LoopbackHost, bytes], repository: Repository, commit: str, tmp_path: Path
) -> None:
    host, key = server
    (tmp_path / "known hosts").write_text(host.known_hosts)
    access = Access(Credential(key=key), known_hosts=str(tmp_path / "known hosts"))
    source = f"ssh://{host.user}@{host.address}:{host.port}{repository.folder}"
    git.fetch(source, tmp_path / "mirror.git", access)
    assert git.resolve(tmp_path / "mirror.git", "main") == commit
    with pytest.raises(SourceError, match="could not be fetched"):
        git.fetch(source, tmp_path / "other.git", dataclasses.replace(access, credential=Credential()))


class _watching:  # noqa: N801 - used like a function
    """Collects command lines and environments of every other process of this user while the context lasts."""

    def __init__(self, seen: set[bytes]) -> None:
        self._seen = seen
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and int(entry.name) != os.getpid():
                    self._look(entry)

    def _look(self, entry: Path) -> None:
        try:
            command = (entry / "cmdline").read_bytes()
            if b"git" in command:
                self._seen.add(command + b"\0" + (entry / "environ").read_bytes())
        except OSError:
            return
