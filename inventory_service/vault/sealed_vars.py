"""Secret extra vars of one launch: sealed in the run's row while it waits and works, erased when it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inventory_service.errors import InvalidError
from inventory_service.models import Run, Stage
from inventory_service.settings import Settings
from inventory_service.vault import keyring, kinds
from inventory_service.vault.keyring import Keyring


def seal(stage: Stage, values: Mapping[str, Any], settings: Settings) -> str | None:
    """The values as a run's row may keep them; None where there are none. Raises InvalidError without the value."""
    if not values:
        return None
    for name, value in values.items():
        if not all(len(text) >= kinds.SHORTEST for text in texts(value)):
            raise InvalidError.at(
                "extra_vars_secret",
                f"The value of {name[:60]!r} has no text of {kinds.SHORTEST} characters; it could not be masked.",
            )
    return keyring.load(settings).seal(dict(values), context=_context(stage))


def texts(value: Any) -> list[str]:
    """Every text and number in a value, as text; true, false and null count as empty."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else [str(value) if type(value) in (int, float) else ""]


def open_for(run: Run, keys: Keyring) -> dict[str, Any]:
    """The secret extra vars of a run that has not ended. Raises SealError."""
    if run.sealed_vars is None:
        return {}
    opened: dict[str, Any] = keys.open(run.sealed_vars, context=_context(run.stage))
    return opened


def _context(stage: Stage) -> str:
    return f"a launch on stage {stage.id}"
