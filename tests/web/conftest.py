from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from inventory_service.models import Run, Stage
from inventory_service.registry import join_tokens
from tests.support import ADA, Caller, FakeClock, Machine


@dataclass
class Route:
    """One method of one rule of the API, with its values filled in."""

    method: str
    rule: str
    access: str
    arguments: dict[str, str] = field(default_factory=dict)
    schema: dict[str, Any] | None = None
    queries: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.method} {self.rule}"

    def url(self, **other: str) -> str:
        values = {**self.arguments, **other}
        return re.sub(r"<(?:int:)?(\w+)>", lambda match: values[match[1]], self.rule)


@functools.cache
def walk(app: Flask) -> list[Route]:
    document = app.test_client().get("/openapi/openapi.json").json
    schemas = document["components"]["schemas"]
    found = []
    for rule in app.url_map.iter_rules():
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}) if rule.rule.startswith("/api/v1/") else []:
            path = re.sub(r"<(?:int:)?(\w+)>", r"{\1}", rule.rule)
            described = document["paths"][path][method.lower()]
            queries = frozenset(one["name"] for one in described.get("parameters", []) if one["in"] == "query")
            body = described.get("requestBody")
            name = body and body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            access = getattr(app.view_functions[rule.endpoint], "callboard_access", "")
            found.append(Route(method, rule.rule, access, schema=schemas[name] if name else None, queries=queries))
    return found


@pytest.fixture
def run(stage: Stage, clock: FakeClock) -> Run:
    return Run.create(
        stage=stage,
        kind="deploy",
        status="queued",
        playbook="deploy.yml",
        exclude=[],
        tags=[],
        skip_tags=[],
        extra_vars={},
        created_by="ada",
        created_by_kind="person",
        created_at=clock.now(),
        sent_at=clock.now(),
    )


@pytest.fixture
def join_token(stage: Stage, clock: FakeClock) -> str:
    return join_tokens.create(stage, actor=ADA, at=clock.now())[1]


@pytest.fixture
def routes(app: Flask, web_1: Machine, run: Run) -> list[Route]:
    """Every route of the API, about things that exist."""
    known = {
        "project": "shop",
        "stage": "production",
        "host": web_1.host_id,
        "address": "10.0.0.9",
        "run": str(run.id),
        "other": str(run.id),
        "token": "abcdefghijkl",
        "user": "grace",
        "name": "db_password",
        "schedule": "nightly",
        "webhook": "nothing",
        "notification": "nothing",
        "metric": "load1_per_cpu",
    }
    return [dataclasses.replace(route, arguments=known) for route in walk(app)]


@pytest.fixture
def callers(
    *, client: FlaskClient, admin: Caller, operator: Caller, viewer: Caller, web_1: Machine, join_token: str
) -> dict[str, Caller]:
    """Who each kind of access is meant for."""
    return {
        "public": Caller(client, None),
        "signed": Caller(client, None),
        "host": Caller(client, web_1.token),
        "beat": Caller(client, web_1.token),
        "join": Caller(client, join_token),
        "agentless": operator,
        "viewer": viewer,
        "operator": operator,
        "admin": admin,
    }


@pytest.fixture
def launch(operator: Caller, stage: Stage) -> Callable[..., Any]:
    """Launch a run over the API: launch(kind="deploy", **body) → the response."""

    def ask(kind: str = "deploy", headers: dict[str, str] | None = None, **body: Any) -> Any:
        return operator.post("/api/v1/runs", {"stage": "shop/production", "kind": kind, **body}, headers=headers or {})

    return ask
