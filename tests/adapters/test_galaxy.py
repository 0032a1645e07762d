from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path

import pytest

import inventory_service
from inventory_service.adapters import galaxy


def install(folder: Path, name: str, version: str) -> Path:
    """A collection below `folder`, as ansible-galaxy leaves it."""
    place = folder / "ansible_collections" / Path(*name.split("."))
    place.mkdir(parents=True)
    (place / "MANIFEST.json").write_text(json.dumps({"collection_info": {"version": version}}))
    return place


def test_it_knows_what_ships(tmp_path: Path) -> None:
    found = galaxy.installed(tmp_path)
    assert found["ansible.builtin"] == metadata.version("ansible-core")
    assert found["callboard.callboard"] == inventory_service.__version__


def test_it_finds_collections_beside_the_playbooks_and_where_ansible_cfg_says(tmp_path: Path) -> None:
    install(tmp_path / "collections", "acme.web", "1.2.3")
    install(tmp_path / "vendor", "acme.web", "9.9.9")
    install(tmp_path / "vendor", "acme.db", "2.0.0")
    (tmp_path / "ansible.cfg").write_text("[defaults]\ncollections_path = ./vendor:/nowhere\n")
    found = galaxy.installed(tmp_path)
    assert (found["acme.web"], found["acme.db"]) == ("1.2.3", "2.0.0")


def test_it_reads_a_checked_out_collections_version(tmp_path: Path) -> None:
    place = install(tmp_path / "collections", "acme.web", "1")
    (place / "MANIFEST.json").unlink()
    (place / "galaxy.yml").write_text("namespace: acme\nversion: 0.3.0\n")
    assert galaxy.installed(tmp_path)["acme.web"] == "0.3.0"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"collection_info": 3}', '{"collection_info": {"version": [1]}}'])
def test_it_calls_a_version_unknown_that_it_cannot_read(tmp_path: Path, text: str) -> None:
    place = install(tmp_path / "collections", "acme.web", "1")
    (place / "MANIFEST.json").write_text(text)
    assert galaxy.installed(tmp_path)["acme.web"] == "unknown"


def test_it_waits_for_no_pipe(tmp_path: Path) -> None:
    place = install(tmp_path / "collections", "acme.web", "1")
    (place / "MANIFEST.json").unlink()
    os.mkfifo(place / "MANIFEST.json")
    os.mkfifo(tmp_path / "requirements.yml")
    assert (galaxy.installed(tmp_path)["acme.web"], galaxy.required(tmp_path)) == ("unknown", {})


def test_it_reads_what_a_source_requires(tmp_path: Path) -> None:
    (tmp_path / "requirements.yml").write_text(
        "collections:\n- community.general:>=8\n- {name: acme.web, version: 1.2}\n"
    )
    (tmp_path / "collections").mkdir()
    (tmp_path / "collections" / "requirements.yml").write_text("collections:\n- name: acme.db\n- [1]\n- 7\n")
    assert galaxy.required(tmp_path) == {"community.general": ">=8", "acme.web": "1.2", "acme.db": "*"}


@pytest.mark.parametrize("text", ["- role", "collections: 7", "{", "!!python/object:os.system {}"])
def test_it_requires_nothing_where_a_source_says_nothing_clear(tmp_path: Path, text: str) -> None:
    (tmp_path / "requirements.yml").write_text(text)
    assert galaxy.required(tmp_path) == {}
