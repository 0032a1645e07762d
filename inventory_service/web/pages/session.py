"""Signing in and out. A session names the user and the nonce of that moment; a new nonce ends it."""

from __future__ import annotations

import logging

from flask import Flask, Response, make_response, redirect, render_template, request, url_for
from flask import session as cookie
from flask_limiter import Limiter
from flask_login import LoginManager, current_user, login_user, logout_user
from flask_wtf import CSRFProtect

from inventory_service.accounts import users
from inventory_service.accounts.roles import Principal
from inventory_service.errors import UnauthorizedError
from inventory_service.models import User
from inventory_service.web import context
from inventory_service.web.pages.common import is_own_path, pages

log = logging.getLogger(__name__)

_ATTEMPTS = "10/minute"
_TOO_MANY = "Too many attempts to sign in from your address. Wait a minute, then try again."


class SignedIn:
    """A user as Flask-Login wants to see it."""

    is_authenticated = True
    is_active = True
    is_anonymous = False

    def __init__(self, user: User) -> None:
        self.user = user

    def get_id(self) -> str:
        """What the session keeps."""
        return f"{self.user.id}:{self.user.session_nonce}"

    @property
    def principal(self) -> Principal:
        """What this person may do."""
        return users.principal_of(self.user, peer=context.peer())


def install(app: Flask) -> None:
    """Sessions, and forgery protection that the pages' blueprint asks for itself."""
    app.config.setdefault("WTF_CSRF_CHECK_DEFAULT", False)
    CSRFProtect(app)
    LoginManager(app).user_loader(_load)


def limit_sign_in(app: Flask) -> None:
    """A limit per address; each application counts for itself."""
    limiter = Limiter(context.peer, app=app, storage_uri="memory://")
    limited = limiter.limit(_ATTEMPTS, methods=["POST"], error_message=_TOO_MANY)
    app.view_functions["pages.sign_in"] = limited(sign_in)


def _load(user_id: str) -> SignedIn | None:
    number, _, nonce = user_id.partition(":")
    row = User.get_or_none(User.id == int(number)) if number.isdecimal() else None
    return SignedIn(row) if row is not None and not row.is_disabled and row.session_nonce == nonce else None


@pages.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> Response:
    """The form; with a right name and password, back to where the person wanted to go."""
    wanted = request.values.get("next", "")
    target = wanted if is_own_path(wanted) else url_for("pages.dashboard")
    if request.method == "POST":
        return _try(target)
    if current_user.is_authenticated:
        return make_response(redirect(target))
    return make_response(render_template("sign_in.html", target=target))


def _try(target: str) -> Response:
    name = request.form.get("name", "").strip()
    try:
        user = users.sign_in(name, request.form.get("password", ""))
    except UnauthorizedError as error:
        log.warning("sign-in refused for %r from %s", name[:64], context.peer())
        return make_response(render_template("sign_in.html", target=target, name=name, error=error.detail), 401)
    cookie.clear()
    cookie.permanent = True
    login_user(SignedIn(user))
    return make_response(redirect(target, 303))


@pages.post("/sign-out")
def sign_out() -> Response:
    """End this browser's session."""
    logout_user()
    cookie.clear()
    return make_response(redirect(url_for("pages.sign_in"), 303))
