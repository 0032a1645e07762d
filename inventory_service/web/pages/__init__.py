"""The pages for people."""

from __future__ import annotations

from flask import Blueprint, Flask
from flask_login import LoginManager


def register(app: Flask) -> None:
    """Add the pages."""
    LoginManager(app)
    app.register_blueprint(Blueprint("pages", __name__))
