"""Where the Ansible content that ships with Callboard lies: the collection callboard.callboard, beside the package.

An installed Callboard brings it along as Ansible's own package brings its collections, and a checkout sees itself as it
(ansible_collections/callboard/callboard is a link to the root), so that an Ansible of the same Python finds it by name.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def content_dir() -> Path:
    """The folder that holds `plugins/`, `roles/` and `playbooks/`."""
    return (_PACKAGE.parent / "ansible_collections" / "callboard" / "callboard").resolve()


def agent_path() -> Path:
    """The agent's one file, as `GET /agent` serves it."""
    return _PACKAGE / "agent" / "callboard_agent.py"
