"""Where the Ansible content that ships with Callboard lies: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def content_dir() -> Path:
    """The folder that holds `plugins/`, `roles/` and `playbooks/`."""
    packed = _PACKAGE / "_ansible"
    return packed if packed.is_dir() else _PACKAGE.parent


def agent_path() -> Path:
    """The agent's one file, as `GET /agent` serves it."""
    return _PACKAGE / "agent" / "callboard_agent.py"
