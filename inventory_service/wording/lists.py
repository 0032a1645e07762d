"""How names stand in a sentence."""

from __future__ import annotations

from collections.abc import Sequence


def first(names: Sequence[str], most: int = 5) -> str:
    """The first names, with how many more there are."""
    return some(names[:most], more=max(0, len(names) - most))


def some(names: Sequence[str], *, more: int = 0) -> str:
    """`web-1, web-2 and 3 more`."""
    return ", ".join(names) + (f" and {more} more" if more else "")
