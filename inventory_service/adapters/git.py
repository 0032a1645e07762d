"""git, called so that no URL, revision or repository content becomes a command.

`--upload-pack=cmd` in place of a URL or a revision is executed by git; `ext::` URLs are commands; a repository's
symlink may point anywhere. So: allowed protocols only, `--` and `--end-of-options` before every value, no prompts,
revisions resolved to a full SHA before use.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from inventory_service.adapters import ssh_agent
from inventory_service.errors import CallboardError, SourceError

_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
FETCH_SECONDS = 300.0
_LOCAL_SECONDS = 120
_LOOK_SECONDS = 20


# gc.pruneExpire: releases and repeats may need commits of branches that were deleted or overwritten since.
_SETTINGS = (
    ("core.hooksPath", "/dev/null"),
    ("safe.directory", "*"),
    ("protocol.file.allow", "always"),
    ("gc.pruneExpire", "never"),
)
_HELPER = '!f() { test "$1" = get && cat /dev/fd/%d; }; f'


@dataclasses.dataclass(frozen=True, slots=True)
class Credential:
    """What opens a private source: `token` (alone, or user:token) over http(s), or a private `key` over ssh."""

    token: str = dataclasses.field(default="", repr=False)
    key: bytes = dataclasses.field(default=b"", repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """How to reach one source. `known_hosts`: a file beside ssh's own habit, empty for that alone."""

    credential: Credential = dataclasses.field(default_factory=Credential)
    known_hosts: str = ""
    agent_socket: str = ""
    identity: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class _Remote:
    """A source's address with the access to it."""

    address: str
    access: Access


def _environment(remote: _Remote | None = None, pipe: int | None = None) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "SSH_AUTH_SOCK", "LANG") if key in os.environ}
    chosen = [*_SETTINGS, *(_helper(remote, pipe) if remote is not None and pipe is not None else [])]
    numbered = {f"GIT_CONFIG_KEY_{number}": key for number, (key, _) in enumerate(chosen)}
    numbered |= {f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in enumerate(chosen)}
    return kept | {
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_SSH_COMMAND": _ssh_command(remote.access if remote else Access()),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": str(len(chosen)),
        **numbered,
    }


def _helper(remote: _Remote, pipe: int) -> list[tuple[str, str]]:
    """A credential helper for this one server that reads from a pipe. The user's own helpers, which might write the
    token to disk, are switched off.
    """
    parts = urlsplit(remote.address)
    server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return [("credential.helper", ""), (f"credential.{server}.helper", _HELPER % pipe)]


def _ssh_command(access: Access) -> str:
    options = ["BatchMode=yes"]
    if access.identity:
        options += [f"IdentityAgent={access.agent_socket}", "IdentitiesOnly=yes", f"IdentityFile={access.identity}"]
    if access.known_hosts:
        options += [f'UserKnownHostsFile="{access.known_hosts}"']
    return shlex.join(["ssh", *(part for option in options for part in ("-o", option))])


@contextlib.contextmanager
def _token_pipe(credential: Credential) -> Iterator[int | None]:
    """The reading end of a pipe that holds the credential once, as git's credential helpers write it."""
    if not credential.token:
        yield None
        return
    user, colon, token = credential.token.partition(":")
    credentials = f"username={user}\npassword={token}\n" if colon else f"username=x-access-token\npassword={user}\n"
    reading, writing = os.pipe()
    try:
        os.write(writing, credentials.encode())
        os.close(writing)
        yield reading
    finally:
        os.close(reading)


def _git(
    *arguments: str, seconds: float = _LOCAL_SECONDS, remote: _Remote | None = None, given: str | None = None
) -> str:
    if shutil.which("git") is None:
        raise SourceError("git is not installed on the service's machine; install the package git.")
    with _token_pipe(remote.access.credential if remote else Credential()) as pipe:
        return _run(arguments, seconds, _environment(remote, pipe), () if pipe is None else (pipe,), given)


def _run(
    arguments: tuple[str, ...], seconds: float, environment: dict[str, str], pipes: tuple[int, ...], given: str | None
) -> str:
    with subprocess.Popen(
        ["git", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        pass_fds=pipes,
        process_group=0,
    ) as git:
        try:
            output, errors = git.communicate(given, timeout=max(0.0, seconds))
        except subprocess.TimeoutExpired as error:
            os.killpg(git.pid, signal.SIGKILL)  # with what it has started: that is what waits for the server
            raise SourceError("git did not finish in time; is the source reachable?") from error
    if git.returncode != 0:
        raise SourceError(_last_lines(errors))
    return output.strip()


def _last_lines(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return " ".join(lines[-3:])[:500] or "git failed without a word."


def fetch(source: str, mirror: Path, access: Access | None = None, *, seconds: float = FETCH_SECONDS) -> None:
    """Bring the bare mirror of `source` up to date; make it when it is missing. Raises SourceError, also when it takes
    longer than `seconds`.
    """
    try:
        with _opened(access or Access()) as opened:
            _fetch(_Remote(source, opened), mirror, until=time.monotonic() + seconds)
    except CallboardError as error:
        raise SourceError(f"The project's source could not be fetched: {_without_secrets(error.detail)}") from error


@contextlib.contextmanager
def _opened(access: Access) -> Iterator[Access]:
    """With the private key in an agent of its own for as long as git works."""
    if not access.credential.key:
        yield access
        return
    with tempfile.TemporaryDirectory(prefix="cb-") as folder:
        socket, identity = Path(folder) / "agent", Path(folder) / "key.pub"
        identity.write_text(f"{ssh_agent.public_line(access.credential.key)}\n")
        with ssh_agent.holding([access.credential.key], socket):
            yield dataclasses.replace(access, agent_socket=str(socket), identity=str(identity))


def _fetch(remote: _Remote, mirror: Path, *, until: float) -> None:
    if not (mirror / "HEAD").exists():
        _clone(remote, mirror, until - time.monotonic())
        return
    place = ("-C", str(mirror))
    _git(*place, "remote", "set-url", "--", "origin", remote.address)
    options = ("--quiet", "--prune", "--tags", "--force")
    _git(*place, "fetch", *options, "origin", seconds=until - time.monotonic(), remote=remote)
    _follow_head(remote, mirror, until - time.monotonic())


def _without_secrets(text: str) -> str:
    """Git names addresses in its messages, with the password or token in them."""
    return re.sub(r"(https?://)[^/@\s]*@", r"\1…@", text)


def _clone(remote: _Remote, mirror: Path, seconds: float) -> None:
    """Clone beside and rename, so that an interrupted clone never looks like a mirror."""
    mirror.parent.mkdir(parents=True, exist_ok=True)
    partial = mirror.with_name(f"{mirror.name}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)
    options = ("--quiet", "--mirror")
    _git("clone", *options, "--", remote.address, str(partial), seconds=seconds, remote=remote)
    partial.rename(mirror)


def _follow_head(remote: _Remote, mirror: Path, seconds: float) -> None:
    """The source may have changed its default branch since the clone."""
    asked = ("ls-remote", "--symref", "origin", "HEAD")
    output = _git("-C", str(mirror), *asked, seconds=seconds, remote=remote)
    for line in output.splitlines():
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


def read_file(mirror: Path, sha: str, path: str) -> bytes | None:
    """The content of one file of a commit, links inside the tree followed; None where there is none."""
    if "\n" in path:
        return None
    output = _git("-C", str(mirror), "cat-file", "--batch", "--follow-symlinks", given=f"{sha}:{path}\n")
    head, _, content = output.partition("\n")
    return content.encode("utf-8", "replace") if re.fullmatch(r"[0-9a-f]+ blob [0-9]+", head) else None


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
    options = ("--left-right", f"--max-count={most}", "--format=%m%x00%H%x00%an%x00%aI%x00%s")
    text = _git("-C", str(mirror), "log", *options, _between(older, newer, dots="..."), "--", seconds=_LOOK_SECONDS)
    rows = (line.split("\0", 4) for line in text.split("\n") if line.count("\0") >= 4)  # noqa: PLR2004
    return [Commit(sha, author, at, subject, side == ">") for side, sha, author, at, subject in rows]


def changes_between(mirror: Path, older: str, newer: str) -> list[FileChange]:
    """What `git diff --stat` counts, by path. Raises SourceError."""
    options = ("--numstat", "-z", "--no-renames", "--no-ext-diff", "--no-textconv")
    text = _git("-C", str(mirror), "diff", *options, _between(older, newer, dots=".."), "--", seconds=_LOOK_SECONDS)
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
