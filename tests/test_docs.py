"""The documentation says what the product does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from inventory_service import settings
from inventory_service.codes import statuses
from inventory_service.registry import liveness

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_it_keeps_the_generated_pages_true() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_it_links_to_files_that_exist(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_it_links_from_the_readme_to_files_that_exist() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("word", [*liveness.STATES, *statuses.STATUSES, *statuses.KINDS])
def test_it_explains_every_state_and_status(word: str) -> None:
    assert re.search(rf"\b{word}\b", (DOCS / "vocabulary.md").read_text())


def test_it_reads_every_setting_into_a_field() -> None:
    assert [row.name for row in settings.TABLE] == list(settings.Settings.__dataclass_fields__)


def test_it_documents_every_page_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert [page.name for page in DOCS.glob("*.md") if f"docs/{page.name}" not in text] == []


def test_it_names_files_that_exist_to_who_contributes() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:inventory_service|tests|tools|plugins|roles|docs)/[^` ]*)`", text)
    assert "inventory_service/records/heartbeat.py" in named
    assert [file for file in named if not (ROOT / file).exists()] == []
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [link for link in links if not (ROOT / link).exists()] == []
