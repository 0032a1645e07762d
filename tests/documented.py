"""Holds every answer that a test gets from the API to what the OpenAPI document says of it."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import jsonschema
from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse


def check(app: Flask, method: str, answer: TestResponse) -> None:
    """Fail when the answer's status, content type or body is not documented for its operation."""
    path = answer.request.path
    if not path.startswith("/api/v1/") or method in {"HEAD", "OPTIONS"}:
        return
    try:
        rule, _ = app.url_map.bind("localhost").match(path, method=method, return_rule=True)
    except HTTPException:  # no route: nothing is documented about it
        return
    about = f"{method} {rule.rule}: {answer.status_code} {answer.mimetype}"
    documented = _document(app)["paths"][re.sub(r"<(?:int:)?(\w+)>", r"{\1}", rule.rule)][method.lower()]["responses"]
    if not any(status.startswith("2") for status in documented):
        return  # nothing is said about its answers yet
    assert str(answer.status_code) in documented, f"{about}: this status is not documented; add it to `responses`"
    content = documented[str(answer.status_code)].get("content")
    if not answer.data or not content:
        assert not answer.data, f"{about}: a body, and none is documented"
        return
    assert answer.mimetype in content, f"{about}: this content type is not documented"
    if answer.is_json and not answer.content_encoding:
        _check_body(app, json.dumps(content[answer.mimetype]["schema"]), answer.json, about)


def _check_body(app: Flask, schema: str, body: Any, about: str) -> None:
    wrong = jsonschema.exceptions.best_match(_validator(app, schema).iter_errors(body))
    where = wrong and "/".join(map(str, wrong.absolute_path))
    assert wrong is None, f"{about}: {where}: {wrong.message}; put it right in web/api/answers.py"


@functools.cache
def _document(app: Flask) -> Any:
    return app.test_client().get("/openapi/openapi.json").json


@functools.cache
def _validator(app: Flask, schema: str) -> Any:
    components = {"components": _document(app)["components"]}
    return jsonschema.Draft202012Validator(json.loads(schema) | components)
