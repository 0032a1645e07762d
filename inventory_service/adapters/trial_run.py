"""A run on nobody, which shows whether the Ansible at hand takes the plugins and the limits of a run."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from inventory_service.adapters import line_server, runner
from inventory_service.errors import SourceError

_SECONDS = 60
_HOST = "doctor"
_GROUP = "stage_callboard_doctor"
_SNAPSHOT = {
    "_meta": {"hostvars": {_HOST: {}}, "callboard": {"stage": "callboard/doctor"}},
    _GROUP: {"hosts": [_HOST]},
}
_PLAYBOOK = [
    {
        "hosts": "all",
        "gather_facts": False,
        "connection": "local",
        "tasks": [{"ansible.builtin.debug": {"msg": "core {{ ansible_version.full }}"}}],
    }
]


def try_ansible(content_dir: Path) -> str:
    """The version of the ansible-core that runs use. Raises SourceError, in its own words, where runs would end early.

    Takes a second or two: it plays a playbook as a run would, with the inventory plugin and all limits.
    """
    with tempfile.TemporaryDirectory(prefix="cb-") as name:
        folder = Path(name)
        for file, content in {"play.yml": _PLAYBOOK, "snapshot.json": _SNAPSHOT, "registry.yml": _inventory()}.items():
            (folder / file).write_text(json.dumps(content))
        with line_server.answering(folder / "exclusion", lambda _question: {"leave_out": {}, "stop": None}):
            done = _play(folder, content_dir)
        is_limited = (folder / runner.IN_PLACE).exists()
    said = done.stdout + done.stderr
    found = re.search(r"core (\d[\w.]*)", done.stdout)
    if done.returncode == 0 and is_limited and found is not None:
        return found[1]
    raise SourceError(_complaint(said) or f"ansible-playbook ended with code {done.returncode}, without a word.")


def _inventory() -> dict[str, Any]:
    return {"plugin": "registry", "snapshot": "snapshot.json"}


def _play(folder: Path, content_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [
        str(runner.find_program("ansible-playbook")),
        "-i",
        str(folder / "registry.yml"),
        str(folder / "play.yml"),
    ]
    surroundings = runner.trial_environment(folder, content_dir)
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SourceError(f"ansible-playbook did not end within {_SECONDS} s.") from None


def _complaint(said: str) -> str:
    """Ansible's first error, else its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("[ERROR]: ") for line in lines if line.startswith("[ERROR]: ")]
    return (errors or lines[-1:] or [""])[0]
