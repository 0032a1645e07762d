"""The pages for people: server-rendered, small, the same domain functions as the API behind them."""

from __future__ import annotations

from flask import Flask

from inventory_service.web.pages import (
    audit,
    automation,
    compare,
    dashboard,
    host,
    launch,
    metrics,
    run,
    run_events,
    runs,
    scaling,
    secrets,
    session,
    stage,
    stage_settings,
    template_filters,
    timeline,
)
from inventory_service.web.pages.common import pages

__all__ = ["register"]

# Importing a module of pages adds its routes to the blueprint.
_MODULES = (
    dashboard,
    stage,
    stage_settings,
    secrets,
    automation,
    timeline,
    metrics,
    scaling,
    launch,
    host,
    runs,
    run,
    run_events,
    compare,
    audit,
)


def register(app: Flask) -> None:
    """Add the pages, with sign-in and the templates' own words."""
    session.install(app)
    template_filters.install(app)
    app.register_blueprint(pages)
    session.limit_sign_in(app)
