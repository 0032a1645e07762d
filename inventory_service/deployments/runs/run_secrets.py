"""The secrets of one run: opened in its executor, handed to Ansible, masked in what comes out, and taken back."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from inventory_service.adapters import ssh_agent
from inventory_service.errors import CallboardError
from inventory_service.models import Run, Stage
from inventory_service.registry.stages import stage_name
from inventory_service.settings import Settings
from inventory_service.vault import keyring, kinds, references, sealed_vars, store
from inventory_service.vault.masking import Masker
from inventory_service.vault.store import Opened

WORK, RESERVE, CONTROL = "work", "reserve", "control"  # in a run's folder; the last one a link in its work
LEFTOVERS = (WORK, RESERVE)
CONTROL_PREFIX = "cb-"


@dataclasses.dataclass(frozen=True, slots=True)
class RunSecrets:
    """Everything secret that a run gets, decrypted. `launched`: its secret extra vars."""

    stage: Stage
    stored: dict[str, Opened] = dataclasses.field(repr=False)
    launched: dict[str, Any] = dataclasses.field(repr=False)
    own_key: bytes = dataclasses.field(repr=False)

    def masker(self) -> Masker:
        """Hides every value of them."""
        parts = [part for one in self.stored.values() for part in kinds.shown_parts(one.kind, one.value)]
        return Masker([*parts, *sealed_vars.texts(self.launched), *([self.own_key] if self.own_key else [])])

    def of_kind(self, *wanted: str) -> list[Opened]:
        """Those of a kind, by name."""
        return [one for _, one in sorted(self.stored.items()) if one.kind in wanted]

    def resolve(self, extra_vars: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Extra vars with values in the place of references, and all values beside them under one name.

        Raises CallboardError for a reference to what there is not.
        """
        values = self._values(folder)
        resolved = references.replace(extra_vars, self._lookup(values))
        return {**resolved, references.VARIABLE: values} if values else resolved

    def templated(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Inventory variables with templates in the place of references. Raises CallboardError, as `resolve`."""
        known = self._values(Path())

        def template(name: str) -> str:
            self._lookup(known)(name)
            return references.as_template(name)

        replaced: dict[str, Any] = references.replace(variables, template)
        return replaced

    def _values(self, folder: Path) -> dict[str, Any]:
        stored = {
            one.name: str(_file(folder, one)) if one.kind == kinds.FILE else one.text
            for one in self.of_kind(*store.IN_VARIABLES)
        }
        return stored | self.launched

    def _lookup(self, values: dict[str, Any]) -> Callable[[str], Any]:
        def look(name: str) -> Any:
            if name in values:
                return values[name]
            if name in self.stored:
                raise CallboardError(f"The secret {name} is a {self.stored[name].kind}; a variable can't hold it.")
            raise CallboardError(
                f"A variable refers to the secret {name}, which {stage_name(self.stage)} does not have. Set it: "
                f"callboard secret set {stage_name(self.stage)} {name}. If it was given at an earlier launch, it was "
                "not kept: give it again."
            )

        return look

    @contextlib.contextmanager
    def laid_out(self, folder: Path, socket: Path) -> Iterator[LaidOut]:
        """Files and vault passwords in `folder` (0700), keys in an agent at `socket`; all taken back at the end."""
        folder.mkdir(mode=0o700)
        keys = [one.value for one in self.of_kind(kinds.SSH_KEY)] + ([self.own_key] if self.own_key else [])
        try:
            for one in self.of_kind(kinds.FILE):
                _write(_file(folder, one), one.value)
            vault_ids = tuple((one.name, _vault_file(folder, one)) for one in self.of_kind(kinds.VAULT_PASSWORD))
            identities = tuple(_identity(folder, number, key) for number, key in enumerate(keys))
            with ssh_agent.holding(keys, socket):
                yield LaidOut(vault_ids, identities, socket)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@dataclasses.dataclass(frozen=True, slots=True)
class LaidOut:
    """Where Ansible finds them: (vault id, file with its password), and the public halves of the agent's keys."""

    vault_ids: tuple[tuple[str, Path], ...]
    identities: tuple[Path, ...]
    agent_socket: Path


def open_for(run: Run, settings: Settings) -> RunSecrets:
    """Decrypt what the run gets. Raises SealError."""
    keys = keyring.load(settings)
    own_key = settings.ssh_key_path.read_bytes() if settings.ssh_key_path.exists() else b""
    return RunSecrets(run.stage, store.open_for_stage(run.stage, keys), sealed_vars.open_for(run, keys), own_key)


def masker_of(stage: Stage, settings: Settings) -> Masker:
    """Hides every stored secret that a run of the stage would get. Raises SealError."""
    own_key = settings.ssh_key_path.read_bytes() if settings.ssh_key_path.exists() else b""
    return RunSecrets(stage, store.open_for_stage(stage, keyring.load(settings)), {}, own_key).masker()


def erase_leftovers(settings: Settings, ended: Callable[[int], bool]) -> int:
    """Delete what ended runs left on this machine, since their executors died; returns how many runs."""
    found = {path.parent for name in LEFTOVERS for path in (settings.data_dir / "runs").glob(f"*/{name}")}
    left = [folder for folder in found if folder.name.isdecimal() and ended(int(folder.name))]
    for folder in left:
        _erase_control(folder / WORK / CONTROL)
        shutil.rmtree(folder / WORK, ignore_errors=True)
        (folder / RESERVE).unlink(missing_ok=True)
    return len(left)


def _erase_control(link: Path) -> None:
    """The folder of a run's sockets, which lies elsewhere: a socket's path must be short."""
    with contextlib.suppress(OSError):
        folder = link.readlink()
        if folder.name.startswith(CONTROL_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)


def _file(folder: Path, one: Opened) -> Path:
    return folder / one.name


def _vault_file(folder: Path, one: Opened) -> Path:
    return _write(folder / f"vault-{one.name}", one.value.strip(b"\n") + b"\n")


def _identity(folder: Path, number: int, key: bytes) -> Path:
    """For ssh the public key is the name of a key in its agent."""
    return _write(folder / f"identity-{number}.pub", f"{ssh_agent.public_line(key)}\n".encode())


def _write(path: Path, content: bytes) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path
