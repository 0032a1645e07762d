# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's answer about one stage, checked: whatever the contract does not name is refused."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ansible_collections.callboard.callboard.plugins.plugin_utils.options import GROUP_NAME, STAGE, stage_group
from ansible_collections.callboard.callboard.plugins.plugin_utils.problems import (
    CHECK_URL,
    CHECK_VERSIONS,
    Problem,
    plain,
    working_on,
)
from ansible_collections.callboard.callboard.plugins.plugin_utils.service import (
    PendingRequest,
    fetch_text,
    path_with,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ansible_collections.callboard.callboard.plugins.plugin_utils.options import Query

HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
DNS_NAME = re.compile(rf"(?=.{{1,253}}\Z){LABEL}(?:\.{LABEL})*")
DATA_KEY = re.compile(r"callboard_[a-z0-9_]{1,64}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?=\d)|\Z)){4}", re.ASCII)
NESTED = frozenset({dict, list})
RESERVED_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "all", "ungrouped", "_meta"})
RESERVED_GROUPS = frozenset({"all", "ungrouped", "localhost", "_meta"})


class Source(NamedTuple):
    """One stage's answer as text. `stage` and `at` are None where any will do, `known_hosts` where not wanted.

    `known_hosts` waits for the text where it is still on its way, and raises the Problem that it met.
    """

    stage: str | None
    inventory: str
    known_hosts: Callable[[], str] | None = None
    at: str | None = None


class Plan(NamedTuple):
    """What one checked answer adds to the inventory."""

    stage: str
    group: str
    hosts: dict[str, dict[str, Any]]
    groups: dict[str, list[str]]
    variables: dict[str, Any]
    is_expiry_paused: bool


def fetch_stage(query: Query, stage: str) -> Source:
    """One stage's inventory and, if asked for, its known hosts: begun after it, so that no listed host is missing in
    them, and on their way while the inventory is read.
    """
    chosen = ("group", ",".join(query.groups))
    path = f"/api/v1/stages/{stage}"
    with working_on(stage):
        inventory = fetch_text(
            query.service, path_with(f"{path}/inventory", ("state", ",".join(query.states)), ("at", query.at), chosen)
        )
    keys = PendingRequest(query.service, path_with(f"{path}/known_hosts", chosen)) if query.known_hosts else None
    return Source(stage, inventory, keys and keys.text, query.at)


def malformed(reason: str) -> Problem:
    """The answer is not what the contract says."""
    return Problem(f"the answer is not acceptable: {reason}", CHECK_VERSIONS)


def check_source(source: Source) -> Plan:
    """Turn one answer into a plan; refuse whatever the contract does not name."""
    answer = parse_json(source.inventory)
    meta = mapping(mapping(answer, "the answer").pop("_meta", None), "_meta")
    stage = check_stage(mapping(meta.get("callboard"), "_meta.callboard"), source.stage)
    check_time(meta["callboard"].get("as_of"), source.at)
    group = stage_group(stage)
    groups = {name: check_group(name, value, group) for name, value in answer.items() if name != "all"}
    check_all(answer.get("all", {}), groups)
    hosts = check_hosts(mapping(meta.get("hostvars"), "_meta.hostvars"), groups)
    check_members(hosts, groups, group)
    is_expiry_paused = bool(meta["callboard"].get("expiry_paused", meta["callboard"].get("frozen")))  # as before 0.2
    return Plan(stage, group, hosts, groups, check_variables(answer[group]), is_expiry_paused)


def parse_json(text: str) -> Any:
    """JSON as RFC 8259 has it: no NaN, no half characters, no abyss of brackets."""
    try:
        value = json.loads(text, parse_constant=refuse_constant)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Problem("the answer is not JSON", CHECK_URL) from None
    return value


def refuse_constant(name: str) -> NoReturn:
    """NaN and Infinity, which Python takes for JSON."""
    raise ValueError(name)


def mapping(value: Any, what: str) -> dict[str, Any]:
    """The value, if it is an object."""
    if not isinstance(value, dict):
        raise malformed(f"{what} is not an object")
    return value


def names(value: Any, what: str) -> list[str]:
    """The value, if it is a list of strings."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise malformed(f"{what} is not a list of names")
    return value


def check_stage(about: dict[str, Any], asked: str | None) -> str:
    """The stage that the answer is about, which must be the one asked for."""
    stage = about.get("stage")
    if not isinstance(stage, str) or not STAGE.fullmatch(stage):
        raise malformed("_meta.callboard.stage does not name a stage")
    if asked not in (None, stage):
        raise Problem(f"the answer is about stage {plain(stage)}", "correct 'stages', 'snapshot' or 'url'")
    return stage


def check_time(as_of: Any, asked: str | None) -> None:
    """The time that the answer is about: a service that passes over `at` would give today for yesterday."""
    try:
        is_right = asked is None or dt.datetime.fromisoformat(as_of) == dt.datetime.fromisoformat(asked)
    except (TypeError, ValueError):
        is_right = False
    if not is_right:
        raise Problem(f"the answer is about {plain(as_of)}, not {asked}", "leave out 'at', or update the service")


def check_group(name: str, value: Any, own: str) -> list[str]:
    """A group's hosts. Only the stage's own group has variables, and no group has children."""
    if name in RESERVED_GROUPS or not GROUP_NAME.fullmatch(name):
        raise malformed(f"{plain(name)} is not a name for a group")
    if name.startswith("stage_") and name != own:
        raise malformed(f"the group {name} belongs to another stage")
    for key in mapping(value, f"the group {name}"):
        if key != "hosts" and (key != "vars" or (name != own and value[key])):
            raise malformed(f"the group {name} has {plain(key)}, which only the stage's own group could have")
    return names(value.get("hosts", []), f"hosts of the group {name}")


def check_all(value: Any, groups: dict[str, list[str]]) -> None:
    """`all` lists the other groups and has nothing of its own."""
    if set(mapping(value, "the group all")) - {"children"}:
        raise malformed("the group all has more than children")
    for child in names(value.get("children", []), "children of the group all"):
        if child not in groups and child != "ungrouped":
            raise malformed(f"the group {plain(child)} is listed but not defined")


def check_hosts(hostvars: dict[str, Any], groups: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Every host's name and variables against the allow-list."""
    known_keys: set[tuple[str, ...]] = set()
    for name, values in hostvars.items():
        check_host_name(name, groups)
        keys = tuple(mapping(values, f"what is said of host {name}"))
        if keys not in known_keys:  # hosts have the same variables, but for a few
            check_keys(name, keys)
            known_keys.add(keys)
        for key in CHECKED & values.keys():
            if not CHECKS[key](values[key]):
                raise not_allowed(name, key)
    return hostvars


def check_keys(name: str, keys: Iterable[str]) -> None:
    """The allow-list of host variables: Ansible obeys a connection variable whoever set it."""
    for key in keys:
        if key not in CHECKS and not DATA_KEY.fullmatch(key):
            raise not_allowed(name, key)


def not_allowed(name: str, key: str) -> Problem:
    """A host has what the allow-list does not name."""
    return malformed(f"host {name} has a variable or value that is not allowed: {plain(key)}")


def check_host_name(name: str, groups: Iterable[str]) -> None:
    """A name that Ansible's patterns, ssh and file names take for a host and for nothing else."""
    if name.lower() in RESERVED_HOSTS or name in groups:
        raise malformed(f"a host is named {plain(name)}, which has another meaning in Ansible or is a group's name")
    if not HOST_NAME.fullmatch(name) and not is_ip(name):
        raise malformed(f"{plain(name)} is not a name for a host")


def is_ip(text: str) -> bool:
    """Whether the text is an IP address, without a zone: Python takes any text for a zone."""
    if IPV4.fullmatch(text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def is_address(value: Any) -> bool:
    """An IP address or a DNS name, so nothing that ssh could take for an option."""
    if not isinstance(value, str):
        return False
    return is_ip(value) or bool(DNS_NAME.fullmatch(value) and not value.replace(".", "").isdigit())


def is_port(value: Any) -> bool:
    """A TCP port as a whole number."""
    return type(value) is int and 0 < value < 65536  # noqa: PLR2004


def is_reported(value: Any) -> bool:
    """What a host says about itself: scalars by name."""
    return value is None or (isinstance(value, dict) and NESTED.isdisjoint(map(type, value.values())))


CHECKS: dict[str, Callable[[Any], bool]] = {
    "ansible_host": is_address,
    "ansible_port": is_port,
    "callboard_reported": is_reported,
}
CHECKED = CHECKS.keys()


def check_members(hosts: dict[str, Any], groups: dict[str, list[str]], own: str) -> None:
    """Groups hold described hosts, and the stage's group all of them: its variables secure the connection."""
    if own not in groups:
        raise malformed(f"the group {own} is missing")
    for group, members in groups.items():
        if unknown := set(members) - hosts.keys():
            raise malformed(f"host {plain(min(unknown))} is in the group {group} but not described")
    if outside := hosts.keys() - set(groups[own]):
        raise malformed(f"host {plain(min(outside))} is not in the group {own}")


def check_variables(group: dict[str, Any]) -> dict[str, Any]:
    """The stage's variables, whose names Ansible must be able to take."""
    variables = mapping(group.get("vars", {}), "vars of the stage's group")
    for key in variables:
        if not VARIABLE.fullmatch(key):
            raise malformed(f"{plain(key)} is not a name for a stage variable")
    return variables


def check_between(plans: list[Plan]) -> None:
    """One name means one host, also across stages, and never a host here and a group there."""
    seen: dict[str, tuple[Any, str]] = {}
    groups = {group for plan in plans for group in plan.groups}
    for plan in plans:
        for name, values in plan.hosts.items():
            if name in groups:
                raise Problem(f"a host of {plan.stage} is named {name} like a group", "rename the host or the group")
            identity, stage = seen.setdefault(name, (values.get("callboard_host_id"), plan.stage))
            if stage != plan.stage and identity != values.get("callboard_host_id"):
                raise Problem(
                    f"the name {name} means one host in {stage} and another in {plan.stage}",
                    "rename one of them, or list the stages in separate commands",
                )


def check_against(inventory: Any, plan: Plan) -> None:
    """A host that enrolled under a name from another inventory source must not take that host's place."""
    for name, values in plan.hosts.items():
        if name in inventory.groups:
            raise Problem(
                f"a host is named {name} like a group of another inventory source",
                "rename the host or the group",
            )
        known = inventory.hosts[name].vars if name in inventory.hosts else {}
        for key in ("ansible_host", "callboard_host_id"):
            if key in known and known[key] != values.get(key):
                raise Problem(f"host {name} is another host in another inventory source", "rename one of them")
    if clash := plan.groups.keys() & inventory.hosts.keys():
        raise Problem(f"the group {min(clash)} is a host of another inventory source", "rename the host or the group")
