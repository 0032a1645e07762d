"""A run on nobody tells beforehand what a run would run into."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from inventory_service.adapters import runner
from inventory_service.adapters.trial_run import try_ansible
from inventory_service.content import content_dir
from inventory_service.errors import SourceError

BROKEN = "import ansible.plugins.strategy as s; del s.StrategyBase._process_pending_results"


def test_it_tells_the_version_that_runs_use() -> None:
    assert try_ansible(content_dir()) == metadata.version("ansible-core")


def test_it_says_what_a_run_would_say_on_a_core_of_another_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ansible-playbook"
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    program.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {runner.find_program("ansible-playbook")} "$@"\n')
    program.chmod(0o700)
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    with pytest.raises(SourceError) as caught:
        try_ansible(content_dir())
    assert "the limits of a run can't be applied: ansible-core 2." in str(caught.value)
    assert "there is no StrategyBase._process_pending_results" in str(caught.value)


def test_it_says_that_parts_of_the_plugins_are_missing(tmp_path: Path) -> None:
    content = tmp_path / "content"
    (content / "plugins").mkdir(parents=True)
    (content / "plugins" / "inventory").symlink_to(content_dir() / "plugins" / "inventory")
    with pytest.raises(SourceError, match=r"No module named|can't be loaded"):
        try_ansible(content)
