"""Amounts of hosts as people write them: a number like `3` or a share like `75%`."""

from __future__ import annotations

import re
from collections.abc import Callable

from inventory_service.errors import InvalidError

_AMOUNT = re.compile(r"([0-9]{1,6})(%?)", re.ASCII)
_WHOLE = 100


def check_amount(text: str, loc: str) -> str:
    """A number, a share of at most 100%, or nothing. Raises InvalidError that points at `loc`."""
    found = _AMOUNT.fullmatch(text.strip())
    if text.strip() and (found is None or (found[2] and int(found[1]) > _WHOLE)):
        raise InvalidError.at(loc, f"{text[:40]!r} is no amount of hosts; write 3 or 75%, or nothing for no bound.")
    return text.strip()


def hosts_in(amount: str, of: int, *, rounded: Callable[[float], int]) -> int:
    """The hosts that a checked amount stands for; a share is taken of `of` and rounded."""
    return rounded(int(amount[:-1]) * of / _WHOLE) if amount.endswith("%") else int(amount)
