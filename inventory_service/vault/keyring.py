"""The keys that encrypt secrets. The first one encrypts, every one decrypts.

Where the setting `keyring` names keys, those hold. Else the file `keyring` of the data folder does, which the first
rotation makes; until then there is one key, derived from the secret key.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from inventory_service.errors import CallboardError
from inventory_service.settings import Settings

_FILE = "keyring"


class SealError(CallboardError):
    """Something sealed does not open with the keys at hand."""

    title = "Secret not readable"


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Keyring:
    """Key texts, newest first. Made by `load`; texts of any form, from which the real keys are derived."""

    texts: tuple[str, ...]

    def seal(self, value: Any, *, context: str) -> str:
        """Encrypt a JSON value. `context` says what it belongs to: moved to another row it no longer opens."""
        content = json.dumps({"context": context, "value": value}).encode()
        return self._first.encrypt(content).decode()

    def open(self, sealed: str, *, context: str) -> Any:
        """The value. Raises SealError when no key fits, and when it belongs to something else."""
        try:
            content = json.loads(MultiFernet([_fernet(text) for text in self.texts]).decrypt(sealed.encode()))
        except InvalidToken as error:
            raise SealError(
                f"What is stored for {context} can't be decrypted with the present keys. Bring back the secret key or "
                "keyring with which it was stored, or set it again."
            ) from error
        if content["context"] != context:
            raise SealError(f"What is stored for {context} was stored for something else; set it again.")
        return content["value"]

    def is_current(self, sealed: str) -> bool:
        """Whether it is encrypted with the first key."""
        try:
            self._first.decrypt(sealed.encode())
        except InvalidToken:
            return False
        return True

    def reseal(self, sealed: str) -> str:
        """The same, encrypted with the first key. Raises SealError when no key fits."""
        try:
            return MultiFernet([_fernet(text) for text in self.texts]).rotate(sealed.encode()).decode()
        except InvalidToken as error:
            raise SealError("No key of the keyring fits; nothing was changed here.") from error

    @property
    def _first(self) -> Fernet:
        return _fernet(self.texts[0])


def _fernet(text: str) -> Fernet:
    """Keys are long and random already, so a fast derivation (HKDF, RFC 5869) is right."""
    derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"callboard secrets")
    return Fernet(base64.urlsafe_b64encode(derive.derive(text.encode())))


def load(settings: Settings) -> Keyring:
    """The keys that hold now. Read at each use: a rotation in another process counts at once."""
    if settings.keyring:
        return Keyring(settings.keyring)
    try:
        return Keyring(tuple((settings.data_dir / _FILE).read_text().split()))
    except FileNotFoundError:
        return Keyring((settings.secret_key,))


def fingerprint(value: Any, settings: Settings) -> str:
    """Tells a JSON value from others and gives nothing of it away: HMAC-SHA-256 under the service's secret key.

    A plain hash of a short secret could be guessed. Rotations of the keyring leave it as it is.
    """
    key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"callboard fingerprints")
    content = json.dumps(value, sort_keys=True).encode()
    return hmac.new(key.derive(settings.secret_key.encode()), content, hashlib.sha256).hexdigest()


def add_key(settings: Settings) -> Keyring:
    """Put a new random key in front of the data folder's keyring."""
    return _store(settings, (secrets.token_urlsafe(48), *load(settings).texts))


def keep_first(settings: Settings) -> Keyring:
    """Forget every key but the first."""
    return _store(settings, load(settings).texts[:1])


def _store(settings: Settings, texts: tuple[str, ...]) -> Keyring:
    """Replace the file at once and for good: no moment at which a key that is in use is on no disk."""
    path = settings.data_dir / _FILE
    partial = path.with_name(f"{_FILE}.{os.getpid()}.part")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join(texts) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _sync_folder(path.parent)
    return Keyring(texts)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
