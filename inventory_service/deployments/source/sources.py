"""A project's source at one revision: a work tree for the playbooks, an archive for the release."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import gzip
import hashlib
import io
import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from inventory_service.adapters import git
from inventory_service.content import content_dir
from inventory_service.deployments.prompting.prompt_files import SUFFIX, Reader
from inventory_service.errors import SourceError
from inventory_service.models import Project
from inventory_service.registry.stages import FOLDER
from inventory_service.settings import Settings
from inventory_service.vault import keyring, kinds, store
from inventory_service.vault.masking import Masker

SHIPPED = ("deploy.yml", "rollback.yml")  # playbooks that a source need not bring itself
_SKIPPED = {".git"}
_PAUSE_SECONDS = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """One project's source on this machine, brought up to date when a revision is resolved.

    `patience_seconds`: how long the source's server, or another who fetches at the moment, may take.
    """

    project: Project
    settings: Settings
    patience_seconds: float = git.FETCH_SECONDS

    @property
    def _mirror(self) -> Path:
        return self.settings.data_dir / "sources" / f"{self.project.id}.git"

    def _kept_archive(self, revision: str) -> Path:
        return self.settings.data_dir / "sources" / f"{self.project.id}-archives" / f"{revision}.tar.gz"

    def resolve(self, revision_name: str) -> str:
        """The full revision that a branch, tag or commit names now. A folder's revision is a hash of its content."""
        if self.project.source_kind == FOLDER:
            return self._resolve_folder(revision_name)
        if not git.is_present(self._mirror, revision_name):
            until = time.monotonic() + self.patience_seconds
            with _alone(self._mirror, self.patience_seconds):
                self._fetch(until - time.monotonic())
        return git.resolve(self._mirror, revision_name)

    def _fetch(self, seconds: float) -> None:
        """With the project's git secret; what git says is masked."""
        secret = store.open_for_source(self.project, keyring.load(self.settings))
        access = git.Access(_credential(secret), known_hosts=self.settings.git_known_hosts)
        try:
            git.fetch(self.project.source, self._mirror, access, seconds=seconds)
        except SourceError as error:
            masker = Masker(kinds.shown_parts(secret.kind, secret.value) if secret else ())
            raise SourceError(masker.text(error.detail)) from None

    def _resolve_folder(self, revision_name: str) -> str:
        if self._kept_archive(revision_name).exists():
            return revision_name
        if revision_name != "HEAD":
            raise SourceError(f"The source is a folder without history; it has no revision {revision_name!r}.")
        content = _pack(Path(self.project.source))
        revision = hashlib.sha256(content).hexdigest()[:40]
        kept = self._kept_archive(revision)
        kept.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(kept, content)
        return revision

    def checkout(self, revision: str, target: Path) -> None:
        """A fresh work tree of the revision at `target`."""
        if self.project.source_kind == FOLDER:
            with tarfile.TarFile.gzopen(self._kept_archive(revision)) as archive:
                archive.extractall(target, filter="tar")
        else:
            git.checkout(self._mirror, revision, target)

    def reader(self, revision_name: str) -> Reader:
        """What reads single files of the revision that a branch, tag or commit names now. Raises SourceError."""
        if self.project.source_kind == FOLDER:
            return self._folder_reader(revision_name)
        sha = self.resolve(revision_name)
        return lambda path: git.read_file(self._mirror, sha, path)

    def _folder_reader(self, revision_name: str) -> Reader:
        if revision_name == "HEAD":
            return folder_reader(Path(self.project.source))
        kept = self._kept_archive(self._resolve_folder(revision_name))
        return lambda path: _archived(kept, path)

    def archive(self, revision: str, target: Path) -> None:
        """The revision's tree as a .tar.gz at `target`."""
        if self.project.source_kind == FOLDER:
            shutil.copyfile(self._kept_archive(revision), target)
        else:
            git.archive(self._mirror, revision, target)

    def log(self, older: str, newer: str, *, most: int) -> list[git.Commit]:
        """The commits that only one of two revisions has; a folder has no history. Raises SourceError."""
        if self.project.source_kind == FOLDER:
            return []
        return git.log_between(self._mirror, self.resolve(older), self.resolve(newer), most=most)

    def changes(self, older: str, newer: str) -> list[git.FileChange]:
        """The files that differ between two revisions, by path. Raises SourceError."""
        if self.project.source_kind == FOLDER:
            then, now = (_digests(self._kept_archive(self.resolve(revision))) for revision in (older, newer))
            names = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
            return [git.FileChange(name, None, None) for name in names]
        return git.changes_between(self._mirror, self.resolve(older), self.resolve(newer))


def _digests(kept: Path) -> dict[str, str]:
    """What tells each member of an archive from another of that name."""
    with tarfile.TarFile.gzopen(kept) as archive:
        return {member.name: _digest(archive, member) for member in archive if not member.isdir()}


def _digest(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = archive.extractfile(member) if member.isfile() else None
    content = file.read() if file is not None else member.linkname.encode()
    return f"{member.type!r} {member.mode:o} {hashlib.sha256(content).hexdigest()}"


def _credential(secret: store.Opened | None) -> git.Credential:
    if secret is None:
        return git.Credential()
    return git.Credential(key=secret.value) if secret.kind == kinds.GIT_KEY else git.Credential(token=secret.text)


def folder_reader(folder: Path) -> Reader:
    """What reads single files below the folder; what a link leads out of it counts as missing."""

    def read(path: str) -> bytes | None:
        real = (folder / path).resolve()
        try:
            return real.read_bytes() if real.is_relative_to(folder.resolve()) and real.is_file() else None
        except OSError as error:
            raise SourceError(f"{path} can't be read: {error.strerror}.") from error

    return read


def _archived(kept: Path, path: str) -> bytes | None:
    with tarfile.TarFile.gzopen(kept) as archive:
        try:
            file = archive.extractfile(path)
        except KeyError:
            return None
        return file.read() if file is not None else None


@contextlib.contextmanager
def _alone(mirror: Path, patience_seconds: float) -> Iterator[None]:
    """Two runs of one project fetch one after the other. Raises SourceError when the other takes too long."""
    mirror.parent.mkdir(parents=True, exist_ok=True)
    with mirror.with_suffix(".lock").open("w") as file:
        _lock(file.fileno(), patience_seconds)
        yield


def _lock(descriptor: int, patience_seconds: float) -> None:
    for _ in range(max(1, int(patience_seconds / _PAUSE_SECONDS))):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        else:
            return
    raise SourceError(f"The project's source is still being fetched for another run after {patience_seconds:.0f} s.")


def _pack(folder: Path) -> bytes:
    """The folder's content as a .tar.gz that depends on nothing but names, modes and bytes."""
    if not folder.is_dir():
        raise SourceError(f"The source folder {folder} does not exist on the service's machine.")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:") as archive:
        for path in sorted(_files(folder)):
            archive.add(path, arcname=str(path.relative_to(folder)), recursive=False, filter=_plain)
    return gzip.compress(buffer.getvalue(), mtime=0)


def _files(folder: Path) -> list[Path]:
    found = []
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        found += [Path(base) / name for name in (*folders, *files)]
    return found


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
    return member


def _write_whole(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_bytes(content)
    partial.replace(path)


def find_playbook(checkout: Path, playbook: str, *, shipped: tuple[str, ...]) -> Path:
    """The playbook's real path inside the checkout; one of `shipped` when the source has none of its own.

    Raises SourceError for a missing one, and for one that a link leads out of the source.
    """
    path = checkout / playbook
    if not path.exists():
        own = content_dir() / "playbooks" / playbook
        if playbook in shipped and own.is_file():
            return own
        raise SourceError(f"The source has no playbook {playbook!r} at this revision.")
    real = path.resolve()
    if not real.is_relative_to(checkout.resolve()) or not real.is_file():
        raise SourceError(f"The playbook {playbook!r} leads out of the source, or is no file.")
    return path


def list_playbooks(checkout: Path) -> list[dict[str, str]]:
    """The playbooks of a checkout's root and its `playbooks/`, with the first comment line as description."""
    folders = [checkout, checkout / "playbooks"]
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.y*ml"))]
    return [
        {"playbook": str(file.relative_to(checkout)), "description": _description(file)}
        for file in files
        if _is_playbook(file, checkout)
    ]


def _is_playbook(file: Path, checkout: Path) -> bool:
    is_inside = file.is_file() and file.resolve().is_relative_to(checkout.resolve())
    return is_inside and not file.name.endswith(SUFFIX) and any(line.startswith("- ") for line in _head(file))


def _description(file: Path) -> str:
    return next((line.lstrip("# ").strip() for line in _head(file) if line.startswith("#")), "")


def _head(file: Path) -> list[str]:
    with file.open(errors="replace") as text:
        return [line.rstrip("\n") for line in text.readlines(65536)]
