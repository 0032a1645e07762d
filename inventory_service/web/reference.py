"""The API's reference: the OpenAPI document, and a page to browse it."""

from __future__ import annotations

import json
import re
from typing import Any

from flask import Flask, Response, jsonify, render_template
from flask_openapi import OpenAPI

from inventory_service.web import auth

_METHODS = ("get", "post", "put", "patch", "delete")


def register(app: OpenAPI) -> None:
    """Add /openapi/openapi.json and /openapi/."""

    def document() -> Response:
        return jsonify(app.api_doc)

    def browse() -> str:
        return render_template("reference.html", sections=sections(app.api_doc), info=app.api_doc["info"])

    app.add_url_rule("/openapi/openapi.json", "reference_document", document)
    app.add_url_rule("/openapi/", "reference", browse)


def refine(document: dict[str, Any], app: Flask) -> None:
    """Say in the document which calls need no token, and which bodies may be left out: those without needed fields."""
    for rule in app.url_map.iter_rules():
        item = document["paths"].get(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), {})
        for method in (rule.methods or set()) & {name.upper() for name in item}:
            operation = item[method.lower()]
            if getattr(app.view_functions[rule.endpoint], "callboard_access", None) == auth.PUBLIC:
                operation["security"] = []
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                operation["requestBody"]["required"] = bool(_resolve(document, schema)["required"])


def sections(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The document by tag: [{name, description, operations: [{method, path, summary, …}]}]."""
    operations = [
        _operation(document, path, method, item[method])
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]
    return [{**tag, "operations": [row for row in operations if row["tag"] == tag["name"]]} for tag in document["tags"]]


def _operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    return {
        "tag": operation["tags"][0],
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "parameters": operation.get("parameters", []),
        "body": json.dumps(_resolve(document, body), indent=2) if body else None,
        "responses": sorted(operation["responses"]),
    }


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A body's schema as properties, one reference deep: what a reader wants to see."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"].get(name, schema)
    return {"required": found.get("required", []), "properties": found.get("properties", {})}
