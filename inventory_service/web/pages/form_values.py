"""Values that people type into forms."""

from __future__ import annotations

import json
from typing import Any

import yaml

from inventory_service.errors import InvalidError


def variables_in(text: str, field: str) -> dict[str, Any]:
    """The names and values in YAML or JSON that somebody typed; none in an empty text.

    Raises InvalidError for `field`, which holds nothing of the text.
    """
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise InvalidError.at(field, "Anchors and aliases are not taken here.")
        found = json.loads(json.dumps(yaml.safe_load(text) or {}, default=str, allow_nan=False))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise InvalidError.at(field, "It is neither YAML nor JSON; write name: value, one on each line.") from error
    if not isinstance(found, dict):
        raise InvalidError.at(field, "It holds no names with values; write name: value, one on each line.")
    return found


def number_in(text: str, field: str) -> int:
    """A whole number that is not negative. Raises InvalidError for `field`."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):  # noqa: PLR2004
        raise InvalidError.at(field, f"{text[:20]!r} is no number.")
    return int(text)
