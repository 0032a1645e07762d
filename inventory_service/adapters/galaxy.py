"""Ansible collections on disk: which ones a run from a source finds, and which ones the source asks for.

Read from the folders that Ansible searches, in its order; `ansible-galaxy collection list` takes half a second.
"""

from __future__ import annotations

import configparser
import json
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

import inventory_service

UNKNOWN = "unknown"
_SYSTEM = "/usr/share/ansible/collections"
_REQUIREMENTS = ("requirements.yml", "collections/requirements.yml")
_LARGEST_FILE = 1024 * 1024
_MOST = 1000
_LONGEST = 200


def installed(source: Path) -> dict[str, str]:
    """Version by name of each collection that a run with this work tree finds; the first of a name wins."""
    found = {"ansible.builtin": metadata.version("ansible-core")}
    for folder in _search_path(source):
        for name, place in _collections_in(folder):
            if len(found) < _MOST:
                found.setdefault(name, _version(place))
    return {"callboard.callboard": inventory_service.__version__, **found}


def _search_path(source: Path) -> list[Path]:
    """Beside the playbooks, then what the source's ansible.cfg says or else the system's, then Python's own path."""
    own = [source / "collections", source / "playbooks" / "collections"]
    python = [Path(entry) for entry in sys.path if entry]
    return [*own, *(_configured(source) or [Path(_SYSTEM)]), *python]


def _configured(source: Path) -> list[Path]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(_text(source / "ansible.cfg"))
    except configparser.Error:
        return []
    defaults = parser["defaults"] if parser.has_section("defaults") else {}
    text = defaults.get("collections_path") or defaults.get("collections_paths") or ""
    return [source / os.path.expanduser(entry.strip()) for entry in text.split(":") if entry.strip()]  # noqa: PTH111


def _collections_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """(namespace.name, folder) of each collection below `ansible_collections`."""
    for namespace in _folders(folder / "ansible_collections"):
        for place in _folders(namespace):
            yield f"{namespace.name}.{place.name}", place


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name.isidentifier())
    except OSError:
        return []


def _version(place: Path) -> str:
    """From the manifest of an installed collection, else from the galaxy.yml of a checked-out one."""
    manifest = _parsed(place / "MANIFEST.json", json.loads)
    galaxy = _parsed(place / "galaxy.yml", yaml.safe_load)
    about = manifest.get("collection_info") if isinstance(manifest, dict) else galaxy
    version = about.get("version") if isinstance(about, dict) else None
    return version[:_LONGEST] if isinstance(version, str) and version else UNKNOWN


def required(source: Path) -> dict[str, str]:
    """Version by name of each collection that the work tree's requirements name; `*` where any will do."""
    found: dict[str, str] = {}
    for name in _REQUIREMENTS:
        content = _parsed(source / name, yaml.safe_load)
        listed = content.get("collections") if isinstance(content, dict) else None
        for entry in listed if isinstance(listed, list) else []:
            found |= _requirement(entry) if len(found) < _MOST else {}
    return found


def _requirement(entry: Any) -> dict[str, str]:
    if isinstance(entry, str):
        name, _, wanted = entry.partition(":")
        return {name[:_LONGEST]: wanted[:_LONGEST] or "*"}
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        version = entry.get("version")
        return {entry["name"][:_LONGEST]: str(version)[:_LONGEST] if isinstance(version, str | float | int) else "*"}
    return {}


def _parsed(file: Path, parse: Any) -> Any:
    """The content, None where there is none that can be read: a source may hold anything."""
    try:
        return parse(_text(file))
    except (ValueError, RecursionError, yaml.YAMLError):
        return None


def _text(file: Path) -> str:
    """The file's text, empty where it is missing, too large or no plain file."""
    try:
        if not file.is_file() or file.stat().st_size > _LARGEST_FILE:
            return ""
        return file.read_text(errors="replace")
    except OSError:
        return ""
