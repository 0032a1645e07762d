"""The sample project: a real git repository of a small web application, with the tags v1, v2 and v3, which is bad."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_TREE = Path(__file__).with_name("sample")
_IDENTITY = {
    "GIT_AUTHOR_NAME": "Callboard demo",
    "GIT_AUTHOR_EMAIL": "demo@callboard.example",
    "GIT_COMMITTER_NAME": "Callboard demo",
    "GIT_COMMITTER_EMAIL": "demo@callboard.example",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
}
# What the second revision changes in app.py.
_SECOND = (
    ('VERSION = "1"', 'VERSION = "2"'),
    ('GOODS = ["lantern", "rope", "ladder"]', 'GOODS = ["lantern", "rope", "ladder", "compass"]'),
)
# What the third one, on a branch of its own, breaks: it starts and says its revision, but its pages answer 500.
_THIRD = (('VERSION = "2"', 'VERSION = "3"'), ("SELECT name, sold FROM item", "SELECT name, sold, price FROM item"))


def make_repository(folder: Path) -> dict[str, str]:
    """Make the repository at `folder`, with `main` at v2; returns the full SHA of each tag."""
    shutil.copytree(_TREE, folder)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    shas = {"v1": commit(folder, "Open the shop", tag="v1")}
    _edit(folder / "app.py", _SECOND)
    shas["v2"] = commit(folder, "Sell compasses", tag="v2")
    _git(folder, "checkout", "--quiet", "-b", "prices")
    _edit(folder / "app.py", _THIRD)
    shas["v3"] = commit(folder, "Show prices", tag="v3")
    _git(folder, "checkout", "--quiet", "main")
    return shas


def _edit(file: Path, changes: tuple[tuple[str, str], ...]) -> None:
    text = file.read_text()
    for old, new in changes:
        text = text.replace(old, new)
    file.write_text(text)


def commit(folder: Path, message: str, *, tag: str | None = None) -> str:
    """Commit everything in the work tree and tag it; returns the full SHA."""
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--no-gpg-sign", "-m", message)
    if tag is not None:
        _git(folder, "tag", tag)
    return _git(folder, "rev-parse", "HEAD")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={**_IDENTITY, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
