"""What a secret can be, and which values each kind takes."""

from __future__ import annotations

import re

from inventory_service.adapters import ssh_agent
from inventory_service.errors import InvalidError

VARIABLE, FILE = "variable", "file"
VAULT_PASSWORD, BECOME_PASSWORD = "vault_password", "become_password"
SSH_KEY, GIT_TOKEN, GIT_KEY = "ssh_key", "git_token", "git_key"
KINDS = (VARIABLE, FILE, VAULT_PASSWORD, BECOME_PASSWORD, SSH_KEY, GIT_TOKEN, GIT_KEY)
SINGLE = {BECOME_PASSWORD: (BECOME_PASSWORD,), GIT_TOKEN: (GIT_TOKEN, GIT_KEY), GIT_KEY: (GIT_TOKEN, GIT_KEY)}
OF_PROJECTS = (GIT_TOKEN, GIT_KEY)
SHORTEST = 4
LARGEST = 65536
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TOKEN = re.compile(r"[!-~]+")


def check_name(name: str, kind: str) -> None:
    """Names are those of Ansible variables. Raises InvalidError."""
    if not _NAME.fullmatch(name):
        raise InvalidError.at("name", f"{name[:60]!r} is no name for a secret: letters, digits and _, at most 64.")
    if kind in (VARIABLE, FILE) and name.startswith("callboard_"):
        raise InvalidError.at("name", f"{name!r} can't be a variable's name: callboard_… are the service's own.")


def check_value(value: bytes, kind: str) -> None:
    """Raises InvalidError, which never holds the value."""
    if len(value) > LARGEST:
        raise InvalidError.at("value", f"The value is larger than {LARGEST} bytes.")
    if len(value.strip()) < SHORTEST:
        raise InvalidError.at("value", f"The value is shorter than {SHORTEST} characters; it could not be masked.")
    if kind != FILE and (b"\0" in value or not _is_text(value)):
        raise InvalidError.at("value", f"A {kind} is text in UTF-8 without NUL; only files may hold other bytes.")
    if kind in (VAULT_PASSWORD, BECOME_PASSWORD) and b"\n" in value.strip(b"\n"):
        raise InvalidError.at("value", f"A {kind} is one line.")
    if kind == GIT_TOKEN and not _TOKEN.fullmatch(value.decode()):
        raise InvalidError.at("value", "A git_token is the token alone, or user:token, in printable characters.")
    if kind in (SSH_KEY, GIT_KEY):
        _check_key(value, kind)


def _check_key(value: bytes, kind: str) -> None:
    try:
        ssh_agent.public_line(value)
    except ValueError as error:
        raise InvalidError.at(
            "value", f"A {kind} is a private key in OpenSSH's or PEM form (-----BEGIN …) without a passphrase."
        ) from error


def shown_parts(kind: str, value: bytes) -> list[bytes]:
    """The parts of a value that must be masked wherever they appear: of user:token, the token alone too."""
    user, colon, token = value.partition(b":")
    parts = [value, token or user] if kind == GIT_TOKEN and colon else [value]
    return [part for part in parts if len(part.strip()) >= SHORTEST]


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
