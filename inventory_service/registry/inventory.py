"""A stage's live hosts as Ansible's `--list` JSON.

Top-level host variables are the server's own, from an allow-list; whatever a host says about itself lies under
`callboard_reported`, because Ansible obeys connection variables whatever their origin.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from inventory_service.clock import iso
from inventory_service.models import Host, Stage
from inventory_service.registry import hosts, liveness, names
from inventory_service.registry.listing import ListedHost, host_variables, read_present
from inventory_service.registry.stages import GIT, shown_source, stage_name


def render(
    stage: Stage,
    *,
    expiry: liveness.Expiry,
    states: tuple[str, ...] = liveness.LISTED,
    groups: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """The inventory of the hosts whose state is one of `states`, with groups and `_meta.callboard` about itself.

    `groups`: only hosts that an operator or their join token put into one of these; empty: all.
    """
    present = [host for host in read_present(stage, groups=groups) if host.conflict_code is None]
    chosen = [
        (host, state, state == liveness.LATE and expiry.is_suspect(host, stage))
        for host in present
        if (state := expiry.state(host, stage)) in states
    ]
    return _render(stage, chosen, _about(stage, expiry))


def render_past(
    stage: Stage, then: dict[Host, str], *, about: dict[str, Any], states: tuple[str, ...] = liveness.LISTED
) -> dict[str, Any]:
    """The same for a moment of the past: `then` as `past.states_at` gives it, without who was in conflict; `about` as
    `past.about` does.

    Addresses and groups are those of the hosts' rows; what they ran then is not known, nor who was suspect.
    """
    chosen = [(host, state) for host, state in then.items() if state in states]
    for host, _ in chosen:
        host.release_number = host.revision = None
    return _render(stage, [(host, state, False) for host, state in chosen], about)


def _render(
    stage: Stage, chosen: Sequence[tuple[Host | ListedHost, str, bool]], about: dict[str, Any]
) -> dict[str, Any]:
    """`chosen`: each host with its state and whether it is suspect."""
    desired = hosts.desired_release(stage)
    groups = _groups(stage, [(host, state) for host, state, _ in chosen], desired)
    return {
        "_meta": {
            "hostvars": {
                host.name: {**host_variables(host, state), "callboard_suspect": is_suspect}
                for host, state, is_suspect in chosen
            },
            "callboard": about,
        },
        "all": {"children": sorted(groups)},
        **{name: groups[name] for name in sorted(groups)},
    }


def _about(stage: Stage, expiry: liveness.Expiry) -> dict[str, Any]:
    return {
        "stage": stage_name(stage),
        "as_of": iso(expiry.at),
        "expiry_paused": expiry.is_paused(stage),
        "frozen": expiry.is_paused(stage),  # as earlier versions name it
        "generation": stage.generation,
    }


def _groups(
    stage: Stage, chosen: Sequence[tuple[Host | ListedHost, str]], desired: dict[str, Any] | None
) -> dict[str, dict[str, Any]]:
    members: defaultdict[str, list[str]] = defaultdict(list)
    for host, state in chosen:
        for group in _groups_of(host, state, desired):
            members[group].append(host.name)
    groups: dict[str, dict[str, Any]] = {name: {"hosts": sorted(names_)} for name, names_ in members.items()}
    every = sorted(host.name for host, _ in chosen)
    groups[own_group(stage)] = {"hosts": every, "vars": stage_variables(stage, desired)}
    return groups


def _groups_of(host: Host | ListedHost, state: str, desired: dict[str, Any] | None) -> list[str]:
    groups = list(host.groups)
    is_up_to_date = hosts.is_up_to_date(host, desired)
    if host.release_number is not None:
        groups.append(f"release_{host.release_number}")
    if not is_up_to_date:
        groups += [names.OUT_OF_DATE, names.BEHIND]
    if host.is_draining:
        groups.append("draining")
    elif is_up_to_date and desired is not None and state in liveness.LISTED:
        groups.append("serving")
    return groups


def own_group(stage: Stage) -> str:
    """The group that holds every listed host of the stage, and its variables."""
    return names.stage_group(stage.project.name, stage.name)


def stage_variables(stage: Stage, desired: dict[str, Any] | None) -> dict[str, Any]:
    """What every host of the stage sees: the project's variables, then the stage's, then the server's own."""
    return {**stage.project.variables, **stage.variables, **server_variables(stage, desired)}


def server_variables(stage: Stage, desired: dict[str, Any] | None) -> dict[str, Any]:
    """The variables that the service itself gives; an operator's of the same name do not override them."""
    own: dict[str, Any] = {"callboard_project": stage.project.name, "callboard_stage": stage_name(stage)}
    if stage.ansible_user:
        own["ansible_user"] = stage.ansible_user
    if desired is not None:
        own |= {"callboard_release": desired["number"], "callboard_revision": desired["revision"]}
    if stage.project.source_kind == GIT and shown_source(stage.project.source) == stage.project.source:
        own["release_repository"] = stage.project.source
    return own


def to_text(inventory: dict[str, Any]) -> tuple[bytes, str]:
    """The inventory as JSON, and a tag of its content; the moment at which it was asked for does not count."""
    text = to_json(inventory)
    moment = f'"{inventory["_meta"]["callboard"]["as_of"]}"'.encode()
    return text, hashlib.sha256(text.replace(moment, b"")).hexdigest()[:32]
