from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inventory_service.deployments import variables
from inventory_service.models import Project, Release, Stage
from inventory_service.registry import stages


def layer(source: str, **values: Any) -> variables.Layer:
    return {"from": source, "values": values}


def seen(*layers: variables.Layer) -> dict[str, tuple[Any, ...]]:
    return {one.name: (one.value, one.source, *one.overridden) for one in variables.effective(layers)}


def test_it_takes_the_last_layer_and_tells_what_that_beats() -> None:
    found = seen(layer("project", a=1, b=1), layer("stage", a=2), layer("run", a=3))
    assert found == {"a": (3, "run", ("stage", 2), ("project", 1)), "b": (1, "project")}


def test_it_lets_a_release_stand_in_the_place_of_project_and_stage() -> None:
    found = seen(layer("project", a=1, new=1), layer("stage", a=2), layer("release", a=0), layer("server", s=1))
    assert found == {"a": (0, "release", ("stage", 2), ("project", 1)), "s": (1, "server")}


def test_it_passes_over_what_one_source_says_twice() -> None:
    assert seen(layer("server", a=1), layer("server", a=1)) == {"a": (1, "server")}


def test_it_merges_into_the_values_alone() -> None:
    assert variables.merged([layer("project", a=1, b=2), layer("stage", a={"$secret": "key"})]) == {
        "a": {"$secret": "key"},
        "b": 2,
    }


def test_it_gives_a_stage_what_an_inventory_has(make_stage: Callable[..., Stage]) -> None:
    Project.update(variables={"colour": "blue", "size": 1}).execute()
    make_stage("test", variables={"colour": "red"}, ansible_user="deploy")
    stage = stages.get_stage("shop", "test")
    found = seen(*variables.of_stage(stage))
    assert found["colour"] == ("red", "stage", ("project", "blue"))
    assert (found["size"], found["ansible_user"]) == ((1, "project"), ("deploy", "server"))
    assert found["callboard_stage"] == ("shop/test", "server")


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", "changed", 1, 2)]),
        ({}, {"a": None}, [("a", "added", None, None)]),
        ({"a": None}, {}, [("a", "removed", None, None)]),
        ({"a": 1}, {"a": True}, [("a", "changed", 1, True)]),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}, []),
    ],
)
def test_it_compares(before: dict[str, Any], after: dict[str, Any], changes: list[Any]) -> None:
    old, new = (variables.effective([layer("stage", **values)]) for values in (before, after))
    assert [(one.name, one.kind, one.before, one.after) for one in variables.compare(old, new)] == changes


def test_it_tells_what_has_changed_since_the_release(stage: Stage, release: Callable[..., Release]) -> None:
    assert variables.changed_since_release(stage) == []
    release(stage)
    Stage.update(variables={"colour": "red"}).execute()
    (change,) = variables.changed_since_release(stages.get_stage("shop", "production"))
    assert change.to_json() == {
        "name": "colour",
        "change": "added",
        "before": {"value": None, "from": None},
        "after": {"value": "red", "from": "stage"},
    }
