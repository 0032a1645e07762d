"""What a host says about itself is data. This module decides what of it is kept, and refuses the rest."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import unicodedata
from typing import Any

from inventory_service.errors import InvalidError

_KEY = re.compile(r"[a-z][a-z0-9_]{0,31}")
_LONGEST_VALUE = 256
_LARGEST_FACTS = 4096
_MOST_METRICS = 64
_BIDI = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)}
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/@+:-]{0,127}")
# How many length-prefixed strings a key of each type consists of, its own name among them (RFC 4253, 5656, 8709).
_KEY_TYPES = {
    "ssh-ed25519": 2,
    "ssh-rsa": 3,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
    "sk-ssh-ed25519@openssh.com": 3,
    "sk-ecdsa-sha2-nistp256@openssh.com": 4,
}
_MOST_KEYS = 16
_LONGEST_KEY = 4096

Scalar = str | int | float | bool | None


def is_plain_text(text: str) -> bool:
    """No control, surrogate or bidirectional-override characters: safe to show and to log on one line."""
    return not any(char in _BIDI or unicodedata.category(char) in {"Cc", "Cs", "Cf", "Zl", "Zp"} for char in text)


def check_facts(facts: dict[str, Any], loc: str = "facts") -> dict[str, Scalar]:
    """Facts as they may be kept: `[a-z][a-z0-9_]{0,31}` to scalars of at most 256 characters, 4 KB in all."""
    for key, value in facts.items():
        if not _KEY.fullmatch(key):
            raise InvalidError.at(loc, f"The fact name {key[:40]!r} is not accepted: use a-z, 0-9 and _.")
        _check_scalar(key, value, loc)
    if len(json.dumps(facts, separators=(",", ":"))) > _LARGEST_FACTS:  # as the agent counts them
        raise InvalidError.at(loc, f"The facts are larger than {_LARGEST_FACTS} bytes; report fewer of them.")
    return facts


def _check_scalar(key: str, value: Any, loc: str) -> None:
    if isinstance(value, str):
        if len(value) > _LONGEST_VALUE or not is_plain_text(value):
            raise InvalidError.at(loc, f"The fact {key!r} is longer than 256 characters or holds control characters.")
    elif isinstance(value, bool) or value is None:
        return
    elif not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 2**63:
        raise InvalidError.at(loc, f"The fact {key!r} must be text, a finite number, true, false or null.")


def check_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """Gauges by name: finite numbers, at most 64 of them."""
    if len(metrics) > _MOST_METRICS:
        raise InvalidError.at("metrics", f"More than {_MOST_METRICS} metrics; report fewer of them.")
    for key, value in metrics.items():
        if not _KEY.fullmatch(key) or not math.isfinite(value):
            raise InvalidError.at(
                "metrics", f"The metric {key[:40]!r} needs a name of a-z, 0-9, _ and a finite number."
            )
    return metrics


def check_revision(revision: str, loc: str = "release") -> str:
    """A revision as a host reports it from its REVISION file: a commit, or what other tools write, as main@0f3c."""
    if not _REVISION.fullmatch(revision):
        raise InvalidError.at(loc, "The reported revision holds characters that no revision has.")
    return revision


def check_line(text: str | None, loc: str) -> str | None:
    """A host's own words, such as why it is not healthy: one plain line, shown to people."""
    if text is not None and (len(text) > _LONGEST_VALUE or not is_plain_text(text)):
        raise InvalidError.at(loc, "The text is longer than 256 characters or holds control characters.")
    return text


def check_host_keys(lines: list[str]) -> list[str]:
    """SSH host keys as `type base64`, rebuilt from their parts.

    A reported key with a newline and `* key` after it would vouch for every host there is, so a line is never
    passed through: its type must be known, its blob must be base64 that names the same type.
    """
    if len(lines) > _MOST_KEYS:
        raise InvalidError.at("host_keys", f"More than {_MOST_KEYS} host keys.")
    return sorted({_rebuild_key(line) for line in lines})


def _rebuild_key(line: str) -> str:
    parts = line.split(" ")
    has_both_parts = len(parts) >= 2  # noqa: PLR2004 - type and key; a comment may follow
    if len(line) > _LONGEST_KEY or not has_both_parts or parts[0] not in _KEY_TYPES or not is_plain_text(line):
        raise InvalidError.at("host_keys", "An SSH host key is not of the form 'type base64' with a known type.")
    kind, blob = parts[0], _decode(parts[1])
    fields = _fields(blob)
    if len(fields) != _KEY_TYPES[kind] or fields[0] != kind.encode():
        raise InvalidError.at("host_keys", f"An SSH host key says {kind} but its data is of another type.")
    return f"{kind} {base64.b64encode(blob).decode()}"


def _fields(blob: bytes) -> list[bytes]:
    """The length-prefixed strings that make up the blob; none when anything is left over."""
    fields, position = [], 0
    while position < len(blob):
        size = int.from_bytes(blob[position : position + 4], "big")
        fields.append(blob[position + 4 : position + 4 + size])
        position += 4 + size
    return fields if position == len(blob) else []


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidError.at("host_keys", "An SSH host key's data is not base64.") from error
