from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inventory_service.deployments.source import source_credentials
from inventory_service.deployments.source.sources import Source
from inventory_service.errors import SourceError
from inventory_service.models import Event, Project, Secret
from inventory_service.settings import Settings
from inventory_service.vault import keyring, store
from tests.git_server import serving
from tests.support import ADA, Caller, FakeClock, Repository

CANARY = "canary%3Atoken"
CLEAN = "https://git.example/shop.git"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (f"https://ada:{CANARY}@git.example/shop.git", (CLEAN, "ada:canary:token")),
        ("https://canary@git.example/shop.git", (CLEAN, "canary:")),
        (CLEAN, (CLEAN, "")),
        ("git@git.example:shop.git", ("git@git.example:shop.git", "")),
        ("ssh://git@git.example/shop.git", ("ssh://git@git.example/shop.git", "")),
        ("/srv/a@b.git", ("/srv/a@b.git", "")),
        ("https://[half/shop.git", ("https://[half/shop.git", "")),
    ],
)
def test_it_splits_a_credential_from_an_address(source: str, found: tuple[str, str]) -> None:
    assert source_credentials.split(source) == found


def credential(settings: Settings) -> str | None:
    opened = store.open_for_source(Project.get(Project.name == "books"), keyring.load(settings))
    return opened and opened.text


def test_it_keeps_a_sources_token_as_a_secret(admin: Caller, settings: Settings) -> None:
    body: dict[str, Any] = {"name": "books", "source": f"https://ada:{CANARY}@git.example/shop.git"}
    made = admin.post("/api/v1/projects", body)
    assert (made.status_code, made.json["source"], credential(settings)) == (201, CLEAN, "ada:canary:token")
    changed = admin.patch("/api/v1/projects/books", {"source": "https://ada:changed@git.example/shop.git"})
    assert (changed.json["source"], credential(settings)) == (CLEAN, "ada:changed")
    assert admin.patch("/api/v1/projects/books", {"source": CLEAN}).status_code == 200
    assert (credential(settings), Secret.select().count()) == ("ada:changed", 1)
    kept = repr([row.__data__ for model in (Project, Secret, Event) for row in model.select()])
    assert "canary" not in kept
    assert "changed" not in kept.replace("'fields'", "")


def test_it_moves_tokens_out_of_addresses_of_old(project: Project, settings: Settings, clock: FakeClock) -> None:
    Project.update(name="books", source="https://ada:canary@git.example/shop.git", source_kind="git").execute()
    source_credentials.take_out_of_addresses(settings, at=clock.now())
    assert (Project.get().source, credential(settings)) == (CLEAN, "ada:canary")


def test_it_fetches_with_the_projects_secret_and_masks_what_git_says(
    *, repository: Repository, project: Project, settings: Settings, clock: FakeClock, tmp_path: Path
) -> None:
    commit = repository.commit(a__yml="1")
    with serving(repository.folder.parent, "ada:canary-token") as url:
        address = url.replace("//", "//ada:canary-token@") + f"/{repository.folder.name}/.git"
        row = source_credentials.create_project(
            name="books", source=address, description="", variables={}, settings=settings, actor=ADA, at=clock.now()
        )
        assert Source(row, settings).resolve("main") == commit
        Project.update(source=f"{url}/canary-token/.git").where(Project.id == row.id).execute()
        with pytest.raises(SourceError) as refused:
            Source(Project.get_by_id(row.id), settings).resolve("main")
    assert "********" in refused.value.detail
    assert "canary-token" not in refused.value.detail
