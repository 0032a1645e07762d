"""Responses that are no JSON object of ours, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

_TEXT_SCHEMA: dict[str, Any] = {"schema": {"type": "string"}}
_INVENTORY_SCHEMA = {"schema": {"type": "object", "required": ["_meta"], "additionalProperties": {"type": "object"}}}


def text(description: str, *others: str) -> dict[str, Any]:
    """A response of plain text, or of one of the other content types."""
    return {"description": description, "content": dict.fromkeys(("text/plain", *others), _TEXT_SCHEMA)}


INVENTORY: Any = {"description": "Ansible's --list JSON", "content": {"application/json": _INVENTORY_SCHEMA}}
EXPORT: Any = {
    "description": "The run as a folder, or as JUnit XML",
    "content": {"application/gzip": _TEXT_SCHEMA, "application/xml": {}},
}
TOO_MANY: Any = {
    "description": "Refused too often; try again after Retry-After seconds",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
NOT_MODIFIED: Any = {"description": "The inventory is the one that If-None-Match names"}
