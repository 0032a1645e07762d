"""What the service needs once: its SSH key, the first admin, a token."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import os
import secrets

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from inventory_service.accounts import api_tokens, users
from inventory_service.accounts.roles import ADMIN
from inventory_service.errors import SettingsError
from inventory_service.events import SERVICE
from inventory_service.models import ServiceState, User
from inventory_service.settings import Settings


@dataclasses.dataclass(frozen=True, slots=True)
class FirstSignIn:
    """Shown once, at the very first start."""

    user: str
    password: str
    token: str


def make_first_admin(*, at: dt.datetime) -> FirstSignIn | None:
    """The user `admin` with a random password, and an admin token; None when there are users already."""
    if User.select().exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create("admin", password, role=ADMIN, projects=None, actor=SERVICE, at=at)
    _, token = api_tokens.create("first-start", role=ADMIN, projects=None, actor=SERVICE, at=at)
    return FirstSignIn("admin", password, token)


def check_keys(settings: Settings, *, takes_over: bool = False) -> None:
    """Machines that share a database must share their keys. Raises SettingsError that says what to copy.

    The first machine's count; `takes_over`: from now on this machine's do. The database holds fingerprints only.
    """
    public = settings.ssh_key_path.with_suffix(".pub").read_text().split()[1]
    keys = (
        ("secret_key", settings.secret_key, "sessions that one machine signs", f"{settings.data_dir}/secret_key"),
        ("ssh_key", public, "hosts that let one machine in", f"{settings.data_dir}/ssh/"),
    )
    for name, key, what, place in keys:
        fingerprint = hashlib.sha256(f"callboard {name} {key}".encode()).hexdigest()[:32]
        row = ServiceState.insert(key=f"fingerprint_{name}", value=fingerprint)
        if takes_over:
            row.on_conflict(conflict_target=[ServiceState.key], preserve=[ServiceState.value]).execute()
        else:
            row.on_conflict_ignore().execute()
        if ServiceState.get(ServiceState.key == f"fingerprint_{name}").value != fingerprint:
            raise SettingsError(
                f"This machine's {name} is not the one that other machines of this database have: {what} would be "
                f"refused by the others. Copy theirs to {place}; or, to have all use this machine's from now on, run "
                "`callboard init --take-keys` here and copy them to the others."
            )


def make_ssh_key(settings: Settings) -> None:
    """The Ed25519 key with which runs reach hosts, as OpenSSH writes it; kept when it exists."""
    path = settings.ssh_key_path
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    path.with_suffix(".pub").write_text(f"{public.decode()} callboard\n")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
