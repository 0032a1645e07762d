"""git, called so that no URL, revision or repository content becomes a command.

`--upload-pack=cmd` in place of a URL or a revision is executed by git; `ext::` URLs are commands; a repository's
symlink may point anywhere. So: allowed protocols only, `--` and `--end-of-options` before every value, no prompts,
revisions resolved to a full SHA before use.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path

from inventory_service.errors import SourceError

_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_FETCH_SECONDS = 300
_LOCAL_SECONDS = 120
_LOOK_SECONDS = 20


def _environment() -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "SSH_AUTH_SOCK", "LANG") if key in os.environ}
    return kept | {
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "3",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": "/dev/null",
        "GIT_CONFIG_KEY_1": "safe.directory",
        "GIT_CONFIG_VALUE_1": "*",
        "GIT_CONFIG_KEY_2": "protocol.file.allow",
        "GIT_CONFIG_VALUE_2": "always",
    }


def _git(*arguments: str, seconds: float = _LOCAL_SECONDS) -> str:
    if shutil.which("git") is None:
        raise SourceError("git is not installed on the service's machine; install the package git.")
    try:
        done = subprocess.run(
            ["git", *arguments],
            env=_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"git did not finish within {seconds:.0f} s; is the source reachable?") from error
    if done.returncode != 0:
        raise SourceError(_last_words(done.stderr))
    return done.stdout.strip()


def _last_words(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return " ".join(lines[-3:])[:500] or "git failed without a word."


def fetch(source: str, mirror: Path) -> None:
    """Bring the bare mirror of `source` up to date; make it when it is missing. Raises SourceError."""
    try:
        if not (mirror / "HEAD").exists():
            _clone(source, mirror)
        else:
            _git("-C", str(mirror), "remote", "set-url", "--", "origin", source)
            _git(
                "-C", str(mirror), "fetch", "--quiet", "--prune", "--tags", "--force", "origin", seconds=_FETCH_SECONDS
            )
            _follow_head(mirror)
    except SourceError as error:
        raise SourceError(f"The project's source could not be fetched: {_without_secrets(error.detail)}") from error


def _without_secrets(words: str) -> str:
    """Git names addresses in its messages, with the password or token in them."""
    return re.sub(r"(https?://)[^/@\s]*@", r"\1…@", words)


def _clone(source: str, mirror: Path) -> None:
    """Clone beside and rename, so that an interrupted clone never looks like a mirror."""
    mirror.parent.mkdir(parents=True, exist_ok=True)
    partial = mirror.with_name(f"{mirror.name}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)
    _git("clone", "--quiet", "--mirror", "--", source, str(partial), seconds=_FETCH_SECONDS)
    partial.rename(mirror)


def _follow_head(mirror: Path) -> None:
    """The source may have changed its default branch since the clone."""
    for line in _git("-C", str(mirror), "ls-remote", "--symref", "origin", "HEAD", seconds=_FETCH_SECONDS).splitlines():
        if line.startswith("ref: "):
            _git("-C", str(mirror), "symbolic-ref", "HEAD", line.split()[1])


def is_present(mirror: Path, revision: str) -> bool:
    """Whether the mirror holds this very commit already, so that nothing need be fetched."""
    if not _SHA.fullmatch(revision) or not (mirror / "HEAD").exists():
        return False
    try:
        return _git("-C", str(mirror), "cat-file", "-t", revision) == "commit"
    except SourceError:
        return False


def resolve(mirror: Path, revision: str) -> str:
    """The full SHA of the commit that a branch, tag or commit names. Raises SourceError."""
    try:
        sha = _git("-C", str(mirror), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except SourceError as error:
        raise SourceError(
            f"The source has no revision {revision!r}; push it first, or name a branch, tag or commit."
        ) from error
    if not _SHA.fullmatch(sha):
        raise SourceError(f"git resolved {revision!r} to {sha[:60]!r}, which is no commit.")
    return sha


def checkout(mirror: Path, sha: str, target: Path) -> None:
    """A fresh work tree of that commit at `target`, which must not exist."""
    _git("clone", "--quiet", "--no-checkout", "--shared", "--", str(mirror), str(target))
    _git("-C", str(target), "-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", sha)


def archive(mirror: Path, sha: str, target: Path) -> None:
    """The commit's tree as a .tar.gz at `target`; honours export-ignore."""
    _git("-C", str(mirror), "archive", "--format=tar.gz", "-o", str(target), sha)


@dataclasses.dataclass(frozen=True, slots=True)
class Commit:
    """One commit that only one of two revisions has; `is_newer`: the second one. Texts are whoever's who committed."""

    sha: str
    author: str
    at: str
    subject: str
    is_newer: bool


@dataclasses.dataclass(frozen=True, slots=True)
class FileChange:
    """One file that differs between two commits; the numbers of lines are None where they were not counted."""

    path: str
    added: int | None
    removed: int | None


def log_between(mirror: Path, older: str, newer: str, *, most: int) -> list[Commit]:
    """The commits that one of two commits (full SHAs) has and the other has not, newest first. Raises SourceError."""
    words = ("--left-right", f"--max-count={most}", "--format=%m%x00%H%x00%an%x00%aI%x00%s")
    text = _git("-C", str(mirror), "log", *words, _between(older, newer, dots="..."), "--", seconds=_LOOK_SECONDS)
    rows = (line.split("\0", 4) for line in text.split("\n") if line.count("\0") >= 4)  # noqa: PLR2004
    return [Commit(sha, author, at, subject, side == ">") for side, sha, author, at, subject in rows]


def changes_between(mirror: Path, older: str, newer: str) -> list[FileChange]:
    """What `git diff --stat` counts, by path. Raises SourceError."""
    words = ("--numstat", "-z", "--no-renames", "--no-ext-diff", "--no-textconv")
    text = _git("-C", str(mirror), "diff", *words, _between(older, newer, dots=".."), "--", seconds=_LOOK_SECONDS)
    rows = (entry.split("\t", 2) for entry in text.split("\0") if entry.count("\t") >= 2)  # noqa: PLR2004
    return [FileChange(path, _lines(added), _lines(removed)) for added, removed, path in rows]


def _between(older: str, newer: str, *, dots: str) -> str:
    for sha in (older, newer):
        if not _SHA.fullmatch(sha):
            raise SourceError(f"{sha[:60]!r} is no commit.")
    return f"{older}{dots}{newer}"


def _lines(text: str) -> int | None:
    """Git writes - for files that are not text."""
    return int(text) if text.isdecimal() else None
