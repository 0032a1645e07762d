"""References to secrets in variables: `{"$secret": "NAME"}` in the place of a value. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_KEY = "$secret"
VARIABLE = "callboard_secrets"


def to(name: str) -> dict[str, str]:
    """The reference to that secret."""
    return {_KEY: name}


def names(value: Any) -> set[str]:
    """The secrets that a JSON value refers to, wherever in it."""
    return set(_walk(value))


def _walk(value: Any) -> Iterator[str]:
    name = _name(value)
    if name is not None:
        yield name
        return
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(item)


def _name(value: Any) -> str | None:
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_KEY), str):
        return str(value[_KEY])
    return None


def replace(value: Any, by: Callable[[str], Any]) -> Any:
    """The same value with `by(name)` in the place of each reference."""
    name = _name(value)
    if name is not None:
        return by(name)
    if isinstance(value, dict):
        return {key: replace(item, by) for key, item in value.items()}
    return [replace(item, by) for item in value] if isinstance(value, list) else value


def as_template(name: str) -> str:
    """What stands for a secret in an inventory on disk: the value itself comes as an extra var."""
    return f"{{{{ {VARIABLE}[{name!r}] }}}}"
