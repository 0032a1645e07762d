"""Why something is as it is: a code and its parameters. Sentences are made from them in `wording/`, and nowhere else.

A state is compared by its code. So a sentence can be reworded or translated without a change of behaviour, and what a
person types never counts as a state.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any


class Code(enum.StrEnum):
    """The base of every enumeration of codes. The value is what is stored; it never changes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """A code with its parameters: plain JSON, no secret. Which a code has stands beside it in its enumeration."""

    code: Code
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """`{"code": …, **params}`, for lists of reasons in one column."""
        return {"code": str(self.code), **self.params}


def because(code: Code, **params: Any) -> Reason:
    """A reason in one line: `because(Gone.REMOVED, by="ada")`."""
    return Reason(code, params)


def columns(name: str, reason: Reason | None) -> dict[str, Any]:
    """The two columns `<name>_code` and `<name>_params` of a row that keeps this reason; both null for none."""
    if reason is None:
        return {f"{name}_code": None, f"{name}_params": None}
    return {f"{name}_code": str(reason.code), f"{name}_params": dict(reason.params)}


def split(kept: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(code, parameters) of a reason as `to_json` keeps it."""
    return str(kept["code"]), {name: value for name, value in kept.items() if name != "code"}
