"""Limits: which of a stage's hosts a run is for.

Ansible's own `--limit` reads files (`@/etc/passwd`), runs regular expressions (`~(a+)+$`) and takes an empty text
for everybody. So a limit is parsed here, against the inventory, into plain host names.
"""

from __future__ import annotations

import fnmatch
import re
from typing import Any

from inventory_service.errors import InvalidError
from inventory_service.registry.names import is_ip_literal

_TERM = re.compile(r"[!&]?[A-Za-z0-9*?][A-Za-z0-9_.*?-]{0,252}")
_MOST_TERMS = 1000


def parse(limit: str) -> list[str]:
    """The terms of a limit like `web,!web-3` or `web:&out_of_date`. Raises InvalidError."""
    terms = [term.strip() for part in limit.split(",") for term in _split(part.strip())]
    if not limit.strip() or len(terms) > _MOST_TERMS:
        raise InvalidError.at("limit", "The limit is empty. Leave it out to mean every live host of the stage.")
    for term in terms:
        if not _TERM.fullmatch(term) and not is_ip_literal(term.lstrip("!&")):
            raise InvalidError.at(
                "limit",
                f"{term[:60]!r} is not accepted in a limit: use names of hosts and groups, *, and ! or & in front.",
            )
    return terms


def names(limit: str | None) -> set[str]:
    """The terms of a run's limit, so that a host can be told that it names from one that a group or * takes in."""
    return set(parse(limit)) if limit else set()


def _split(part: str) -> list[str]:
    """Ansible also joins terms with colons; an IPv6 address is one term."""
    return [part] if is_ip_literal(part.lstrip("!&")) else part.split(":")


def resolve(
    inventory: dict[str, Any], *, limit: str | None, exclude: list[str], departed: set[str] | None = None
) -> list[str]:
    """The chosen hosts' names, sorted. Each term must match something, or name one of the `departed` hosts.

    An excluded host may have left meanwhile.
    """
    everybody = set(inventory["_meta"]["hostvars"])
    chosen = _chosen(inventory, everybody, parse(limit), departed or set()) if limit else everybody
    return sorted(chosen - set(exclude))


def _chosen(inventory: dict[str, Any], everybody: set[str], terms: list[str], departed: set[str]) -> set[str]:
    matches = [(_sign(term), _match(inventory, everybody, term.lstrip("!&"), departed)) for term in terms]
    added = [names for sign, names in matches if sign == ""]
    chosen = set().union(*added) if added else set(everybody)
    for sign, names in matches:
        if sign == "&":
            chosen &= names
        elif sign == "!":
            chosen -= names
    return chosen


def _sign(term: str) -> str:
    return term[0] if term[0] in "!&" else ""


def _match(inventory: dict[str, Any], everybody: set[str], term: str, departed: set[str]) -> set[str]:
    if term == "all":
        return everybody
    groups = {name: set(group.get("hosts", [])) for name, group in inventory.items() if name not in ("_meta", "all")}
    found = set(fnmatch.filter(everybody, term))
    for name in fnmatch.filter(groups, term):
        found |= groups[name]
    if not found and term not in departed:
        raise InvalidError.at("limit", f"{term!r} matches no live host and no group of the stage.")
    return found
