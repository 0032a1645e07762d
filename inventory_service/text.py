"""Text for people: other machines' words made harmless, values in one line."""

from __future__ import annotations

import json
import re
from typing import Any

# All escape sequences but colours (SGR): others move the cursor, set titles, or make links of javascript:.
_ESCAPES = re.compile(r"\x1b\[[0-9;:]*m|(\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b\[[0-?]*[ -/]*[@-~]|\x1b.?)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


def harmless(text: str, *, colours: bool) -> str:
    """The text without control characters and escape sequences; colours stay where they are wanted."""
    kept = _ESCAPES.sub(lambda match: "" if match[1] is not None else match[0], text)
    kept = _CONTROLS.sub("", kept)
    return kept if colours else _COLOURS.sub("", kept)


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts web-2 before web-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def secret_named(value: Any) -> str | None:
    """The name of the secret that a variable's value stands for; None for every other value."""
    return str(value["$secret"]) if isinstance(value, dict) and list(value) == ["$secret"] else None


def shown_value(value: Any) -> str:
    """A variable's value in one line: text as it is, a secret by its name, everything else as JSON."""
    if isinstance(value, str):
        return value
    name = secret_named(value)
    return json.dumps(value, ensure_ascii=False) if name is None else f"secret {name}"


MASKED = "…"  # a secret, wherever what changed is told
_LONGEST_VALUE = 120


def shown_change(field: str, old: Any, new: Any) -> list[str]:
    """What changed, as `role: viewer → admin`; of two mappings a line for each part that differs."""
    if MASKED in (old, new):
        return [f"{field}: {'set' if old is None else 'changed'}"]
    if isinstance(old, dict) and isinstance(new, dict) and not secret_named(old) and not secret_named(new):
        parts = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        return [line for name in parts for line in shown_change(f"{field}.{name}", old.get(name), new.get(name))]
    return [f"{field}: {shown_detail(old)} → {shown_detail(new)}"]


def shown_detail(value: Any) -> str:
    """A value among others in a line, cut where it is long; lists without brackets, nothing as `none`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], {}):
        return "none"
    is_plain = isinstance(value, list) and all(isinstance(one, str | int | float) for one in value)
    text = ", ".join(map(str, value)) if is_plain else shown_value(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
