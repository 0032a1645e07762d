"""Effective variables: what a playbook sees, and where each value comes from.

A run's variables lie in layers; a later layer beats an earlier one. A release brings the variables with which it was
made in the place of today's project and stage. Secrets stand in the values by reference: `{"$secret": "NAME"}`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from inventory_service.deployments import releases
from inventory_service.models import Release, Run, Stage
from inventory_service.registry import hosts
from inventory_service.registry import inventory as rendering
from inventory_service.vault import store

PROJECT, STAGE, RELEASE, SECRET, SERVER, RUN = "project", "stage", "release", "secret", "server", "run"
ABOUT_THE_RUN = ("run", "kind", "project", "stage", "release", "revision")  # with callboard_ in front

# {"from": one of the words above, "values": {name: value}}, as a snapshot keeps it.
Layer = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Variable:
    """One effective value. `overridden` holds (source, value) of the layers that it beats, the nearest first."""

    name: str
    value: Any
    source: str
    overridden: tuple[tuple[str, Any], ...]


def of_group(stage: Stage, named: dict[str, Any] | None, *, release: Release | None = None) -> list[Layer]:
    """The layers of the stage's group in an inventory.

    `named`: number and revision of the release that the service's own variables name. `release`: one made earlier,
    which brings its variables.
    """
    layers = [_layer(PROJECT, stage.project.variables), _layer(STAGE, stage.variables)]
    layers += [_layer(RELEASE, release.variables)] if release is not None else []
    layers += [_layer(SECRET, secrets)] if (secrets := store.as_variables(store.list_for_stage(stage))) else []
    return [*layers, _layer(SERVER, rendering.server_variables(stage, named))]


def of_stage(stage: Stage) -> list[Layer]:
    """What a run of the stage would see now; a deploy of now makes its release of the same."""
    return of_group(stage, hosts.desired_release(stage))


def of_extra_vars(run: Run, own: dict[str, Any]) -> list[Layer]:
    """The layers of a run's extra vars: those that were asked for, then the service's own, which beat everything."""
    return [_layer(RUN, run.extra_vars), _layer(SERVER, own)]


def _layer(source: str, values: dict[str, Any]) -> Layer:
    return {"from": source, "values": values}


def merged(layers: Iterable[Layer]) -> dict[str, Any]:
    """The effective values by name."""
    return {one.name: one.value for one in effective(layers)}


def effective(layers: Iterable[Layer]) -> list[Variable]:
    """Each variable with its source and what it beats, by name."""
    values: dict[str, list[tuple[str, Any]]] = {}
    present: set[str] = set()
    for layer in layers:
        present = set() if layer["from"] == RELEASE else present
        present |= layer["values"].keys()
        for name, value in layer["values"].items():
            values.setdefault(name, []).insert(0, (layer["from"], value))
    return [_variable(name, values[name]) for name in sorted(present)]


def _variable(name: str, found: list[tuple[str, Any]]) -> Variable:
    """The service says some values twice, in the group and as extra vars: that beats nothing."""
    (source, value), *overridden = found
    return Variable(name, value, source, tuple(one for one in overridden if one != (source, value)))


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One variable that differs; the source is None on the side where there is none of that name."""

    name: str
    before: Any
    after: Any
    from_before: str | None
    from_after: str | None

    @property
    def kind(self) -> str:
        """`added`, `removed` or `changed`."""
        if self.from_before is None:
            return "added"
        return "removed" if self.from_after is None else "changed"

    def to_json(self) -> dict[str, Any]:
        """As the API shows it; the side without such a variable has null for value and source."""
        before = {"value": self.before, "from": self.from_before}
        return {
            "name": self.name,
            "change": self.kind,
            "before": before,
            "after": {"value": self.after, "from": self.from_after},
        }


def compare(before: Iterable[Variable], after: Iterable[Variable]) -> list[Change]:
    """What differs between two sets of effective variables, by name."""
    old, new = {one.name: one for one in before}, {one.name: one for one in after}
    nothing = Variable("", None, "", ())
    return [
        Change(name, a.value, b.value, a.source or None, b.source or None)
        for name in sorted(old.keys() | new.keys())
        if not _is_same(a := old.get(name, nothing), b := new.get(name, nothing))
    ]


def _is_same(a: Variable, b: Variable) -> bool:
    """1, 1.0 and true are three values."""
    return bool(a.source) == bool(b.source) and json.dumps(a.value, sort_keys=True) == json.dumps(
        b.value, sort_keys=True
    )


def changed_since_release(stage: Stage) -> list[Change]:
    """What the desired release was made with, against project and stage of now; empty before the first release."""
    if stage.desired_release_number is None:
        return []
    release = releases.get(stage, stage.desired_release_number)
    now = [_layer(PROJECT, stage.project.variables), _layer(STAGE, stage.variables)]
    return compare(effective([_layer(RELEASE, release.variables)]), effective(now))


def to_json(variable: Variable) -> dict[str, Any]:
    """As the API and the command line show it."""
    overridden = [{"from": source, "value": value} for source, value in variable.overridden]
    return {"name": variable.name, "value": variable.value, "from": variable.source, "overridden": overridden}
