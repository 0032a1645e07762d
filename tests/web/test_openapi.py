from __future__ import annotations

import re
import sys
from collections import Counter
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from tests.support import Caller


@pytest.fixture
def document(nobody: Caller) -> dict[str, Any]:
    return nobody.get("/openapi/openapi.json").json


def test_it_is_valid_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_it_lists_every_route_of_the_api(document: dict[str, Any], app: Flask) -> None:
    listed = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    routes = {
        (method, re.sub(r"<(?:int:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert listed == routes


def test_it_describes_every_call(document: dict[str, Any]) -> None:
    calls = [call for item in document["paths"].values() for call in item.values()]
    assert all(call["summary"] and call["tags"] for call in calls)
    assert len({call["operationId"] for call in calls}) == len(calls)


def test_it_describes_problems_and_the_token(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]["Problem"]["required"] == ["type", "title", "status", "detail"]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    refused = document["paths"]["/api/v1/runs"]["post"]["responses"]["422"]["content"]
    assert "application/problem+json" in refused


@pytest.mark.parametrize("body", ["RunBody", "RepeatBody"])
def test_it_calls_a_former_name_deprecated_and_the_new_one_not(document: dict[str, Any], body: str) -> None:
    told = document["components"]["schemas"][body]["properties"]
    assert told["allow_frozen"].get("deprecated") is True, told["allow_frozen"]
    assert "deprecated" not in told["allow_paused_expiry"]


def test_it_describes_each_parameter_of_a_path(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for call in item.values():
            told = {entry["name"] for entry in call.get("parameters", []) if entry["in"] == "path"}
            assert told == set(re.findall(r"\{(\w+)\}", path)), path


def test_it_describes_what_each_call_answers(document: dict[str, Any]) -> None:
    """How: `responses={"200": answers.Something}` in the route's decorator; tests/documented.py compares."""
    for path, item in document["paths"].items():
        for method, call in item.items():
            good = [answer for status, answer in call["responses"].items() if status.startswith("2")]
            assert good, f"{method} {path}"
            assert all("content" in answer or method == "delete" for answer in good), f"{method} {path}"


def test_it_gives_no_name_to_two_schemas() -> None:
    """The document has one place for all: the second of a name would take the first one's."""
    modules = [module for name, module in sys.modules.items() if name.startswith("inventory_service.web.api")]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    models = {value for value in found if issubclass(value, BaseModel)}
    names = Counter(model.__name__ for model in models)
    assert [name for name, count in names.items() if count > 1] == []
