"""The JSON API under /api/v1, one module per noun."""

from __future__ import annotations

from flask_openapi import OpenAPI

from inventory_service.web.api import (
    accounts,
    agentless,
    audit,
    automation,
    inventory,
    projects,
    recorded,
    runs,
    scaling,
    secrets,
    stages,
)


def register(app: OpenAPI) -> None:
    """Add every blueprint of the API."""
    nouns = (agentless, inventory, projects, stages, secrets, runs, recorded, automation, scaling, accounts, audit)
    for module in nouns:
        app.register_api(module.api)
