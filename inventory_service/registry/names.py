"""Which names and addresses are acceptable, checked once at the boundary.

A name travels into Ansible patterns, file names and ssh arguments. A host named `db` makes `hosts: db`
run on it alone, one named `localhost` runs on the controller, one that begins with `-` becomes an option.
"""

from __future__ import annotations

import ipaddress
import re

from inventory_service.errors import InvalidError

_SLUG = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_GROUP = re.compile(r"[a-z][a-z0-9_]{0,62}")
_DNS_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?)*"
)
_USER = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
_RESERVED_HOSTS = frozenset({"localhost", "all", "ungrouped", "127.0.0.1", "::1"})
OUT_OF_DATE, BEHIND = "out_of_date", "behind"  # one group with two names: playbooks may use the former one
_RESERVED_GROUPS = frozenset({"all", "ungrouped", OUT_OF_DATE, BEHIND, "draining", "serving", "localhost"})
_RESERVED_PREFIXES = ("stage_", "release_")
_LONGEST_SLUG = 40


def check_slug(name: str, loc: str) -> str:
    """A project's or stage's name: lower-case words joined by single hyphens, at most 40 characters."""
    if len(name) > _LONGEST_SLUG or not _SLUG.fullmatch(name):
        raise InvalidError.at(
            loc, f"{name[:60]!r} is no valid name: use a-z, 0-9 and single hyphens, begin with a letter."
        )
    return name


def check_group(name: str, loc: str = "groups") -> str:
    """A host group's name, as Ansible accepts it without transforming it, and not one that the service makes."""
    if not _GROUP.fullmatch(name):
        raise InvalidError.at(loc, f"{name[:60]!r} is no valid group: use a-z, 0-9 and _, begin with a letter.")
    if name in _RESERVED_GROUPS or name.startswith(_RESERVED_PREFIXES):
        raise InvalidError.at(loc, f"The group name {name!r} is kept for groups that Callboard makes itself.")
    return name


def check_host_name(name: str, *, address: str, loc: str = "name") -> str:
    """A host's name in lower case. One that looks like an IP address must be the host's own address."""
    lowered = name.lower()
    if lowered in _RESERVED_HOSTS:
        raise InvalidError.at(loc, f"A host can't be named {name!r}: Ansible gives that name a meaning of its own.")
    if is_ip_literal(lowered):
        return _own_address(lowered, address, loc)
    if not _DNS_NAME.fullmatch(lowered):
        raise InvalidError.at(loc, f"{name[:60]!r} is no valid host name: use letters, digits, dots and hyphens.")
    if lowered in _RESERVED_GROUPS or lowered.startswith(_RESERVED_PREFIXES):
        raise InvalidError.at(loc, f"A host can't be named {name!r}: groups are named like that.")
    return lowered


def _own_address(name: str, address: str, loc: str) -> str:
    if name != address:
        raise InvalidError.at(loc, f"The host name {name!r} is an address, but the host's address is {address!r}.")
    return name


def is_ip_literal(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address without zone and brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def check_address(address: str, loc: str = "address") -> str:
    """An IP literal in its canonical spelling, or a DNS name in lower case: what `ansible_host` may hold."""
    if is_ip_literal(address):
        parsed = ipaddress.ip_address(address)
        if parsed.is_unspecified or parsed.is_multicast:
            raise InvalidError.at(loc, f"{address!r} is not the address of one machine.")
        return str(parsed)
    lowered = address.lower()
    if not _DNS_NAME.fullmatch(lowered) or lowered in _RESERVED_HOSTS or lowered.replace(".", "").isdigit():
        raise InvalidError.at(loc, f"{address[:60]!r} is neither an IP address nor a DNS name.")
    return lowered


def check_network(text: str, loc: str = "networks") -> str:
    """A network in CIDR notation, canonical."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise InvalidError.at(loc, f"{text[:60]!r} is no network; write it like 10.0.0.0/8.") from error


def is_in_networks(address: str, networks: list[str] | tuple[str, ...]) -> bool:
    """Whether an IP literal lies in one of the networks. DNS names lie in none."""
    if not is_ip_literal(address):
        return False
    parsed = ipaddress.ip_address(address)
    return any(parsed in ipaddress.ip_network(network) for network in networks)


def check_user(name: str, loc: str = "ansible_user") -> str:
    """A Unix login name."""
    if not _USER.fullmatch(name):
        raise InvalidError.at(loc, f"{name[:60]!r} is no valid login name.")
    return name


def stage_group(project: str, stage: str) -> str:
    """The Ansible group of a stage: `stage_shop_production`."""
    return f"stage_{project}_{stage}".replace("-", "_")
