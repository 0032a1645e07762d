"""The README's commands work when they are pasted, beside a demo that was left running as it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory_service.demo.processes import command_line
from inventory_service.demo.service import free_port
from tests.e2e.conftest import ROOT

_WAYS = ("Plain Ansible", "A heartbeat from each machine", "Runs: by HTTP")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout whose demo runs; `.demo/env` is there to be sourced."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("ansible.cfg", "deploy.yml", "playbooks", "plugins", "roles"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "registry.yml", folder)
    port = str(free_port())
    played = _callboard(folder, "demo", "--port", port)
    try:
        assert played.returncode == 0, played.stdout + played.stderr
        yield folder
    finally:  # a demo that failed on its way leaves machines, too
        stopped = _callboard(folder, "demo", "--stop").stdout
    assert "Stopped" in stopped
    assert not (folder / ".demo").exists()
    commands = {entry.name: command_line(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    assert [command for command in commands.values() if str(folder) in command] == []


def _callboard(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "inventory_service.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


def _blocks(heading: str) -> str:
    """The shell commands below a heading of the README that begins with these words."""
    text = (ROOT / "README.md").read_text()
    section = re.split(r"^#{2,3} ", text[text.index(heading) :], maxsplit=1, flags=re.MULTILINE)[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL))


@pytest.mark.parametrize("way", _WAYS)
def test_it_works_as_the_readme_says(demo: Path, way: str) -> None:
    script = f"set -e\n. .demo/env\n{_blocks(way)}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=demo,
        env={**os.environ, "XDG_CACHE_HOME": str(demo / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert script.count("\n") > 3
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
