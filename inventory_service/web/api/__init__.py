"""The JSON API under /api/v1, one module per noun."""

from __future__ import annotations

from flask_openapi import OpenAPI

from inventory_service.web.api import (
    accounts,
    audit,
    automation,
    hosts,
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
    for module in (hosts, inventory, projects, stages, secrets, runs, recorded, automation, scaling, accounts, audit):
        app.register_api(module.api)
