"""Other machines' text, made harmless."""

from __future__ import annotations

import re

# All escape sequences but colours (SGR): others move the cursor, set titles, or make links of javascript:.
_ESCAPES = re.compile(r"\x1b\[[0-9;:]*m|(\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b\[[0-?]*[ -/]*[@-~]|\x1b.?)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


def harmless(text: str, *, colours: bool) -> str:
    """The text without control characters and escape sequences; colours stay where they are wanted."""
    kept = _ESCAPES.sub(lambda match: "" if match[1] is not None else match[0], text)
    kept = _CONTROLS.sub("", kept)
    return kept if colours else _COLOURS.sub("", kept)
