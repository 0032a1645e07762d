"""The JSON API under /api/v1, one module per noun."""

from __future__ import annotations

from flask_openapi import OpenAPI

from inventory_service.web import auth
from inventory_service.web.api import accounts, hosts, inventory, projects, runs, stages


def register(app: OpenAPI) -> None:
    """Add every blueprint of the API, each behind the access check."""
    for module in (hosts, inventory, projects, stages, runs, accounts):
        module.api.before_request(auth.check_request)
        app.register_api(module.api)
