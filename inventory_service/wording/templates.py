"""How a sentence is made: a code's template, filled in with its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def fill(templates: Mapping[Any, str], code: str, params: Mapping[str, Any] | None) -> str:
    """The sentence of that code. A code that a newer version wrote stands for itself."""
    return templates.get(code, code).format_map(_Known(params or {}))


class _Known(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"
