"""Secrets of the form `<prefix><id>.<secret>`: random, shown once, stored as SHA-256, compared in constant time."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import re
import secrets

_TOKEN = re.compile(r"(cb[ujh]_)([a-z0-9]{12,16})\.([A-Za-z0-9_-]{43})")
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_ID_LENGTH = 14


@dataclasses.dataclass(frozen=True, slots=True)
class Minted:
    """A new secret: `token` goes to its owner once; `id` and `secret_sha256` are kept."""

    id: str
    secret_sha256: str
    token: str


def new_id() -> str:
    """A random id that can stand in URLs and be read aloud."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))


def mint(prefix: str, *, for_id: str | None = None) -> Minted:
    """Make a token. `prefix` is `cbu_`, `cbj_` or `cbh_`."""
    owner, secret = for_id or new_id(), secrets.token_urlsafe(32)
    return Minted(owner, digest(secret), f"{prefix}{owner}.{secret}")


def derive(prefix: str, *, for_id: str, key: str, nonce: str) -> Minted:
    """The token that belongs to a request with this nonce: for the same request again the same token.

    `key` is the service's own secret, so that a nonce which somebody else guesses gives nothing away.
    """
    secret = hmac.digest(key.encode(), f"{prefix}{for_id}/{nonce}".encode(), "sha256")
    text = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    return Minted(for_id, digest(text), f"{prefix}{for_id}.{text}")


def digest(secret: str) -> str:
    """SHA-256 in hex. A fast hash is right here: the secret has 256 bits of its own."""
    return hashlib.sha256(secret.encode()).hexdigest()


def split(token: str) -> tuple[str, str, str] | None:
    """(prefix, id, secret), or None for anything that is no token."""
    match = _TOKEN.fullmatch(token)
    return (match[1], match[2], match[3]) if match else None


def matches(secret: str, secret_sha256: str | None) -> bool:
    """Whether the secret is the one whose digest was stored."""
    return hmac.compare_digest(digest(secret), secret_sha256 or "")
