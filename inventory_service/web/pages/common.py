"""What holds for every page: who may see it, which forms are believed, what a browser may load."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, flash, g, make_response, redirect, request, url_for
from flask_login import current_user

from inventory_service.accounts.roles import OPERATOR
from inventory_service.models import Run, Stage
from inventory_service.web import answers, auth

pages = Blueprint("pages", __name__)

_OPEN = ("pages.sign_in",)
_LARGEST_ID = 2**62
_A_YEAR = "public, max-age=31536000, immutable"
# Tabler's stylesheet draws its check marks and arrows as data: images.
_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@pages.before_request
def guard() -> Response | None:
    """Only signed-in people, and no form that another site sent."""
    if request.endpoint not in _OPEN:
        if not current_user.is_authenticated:
            return _ask_to_sign_in()
        g.principal = current_user.principal
    current_app.extensions["csrf"].protect()
    return None


def _ask_to_sign_in() -> Response:
    if "HX-Request" in request.headers:  # a part of a page: the whole page has to go to the sign-in
        back = urlsplit(request.headers.get("HX-Current-URL", "/"))
        response = make_response("", 401)
        response.headers["HX-Redirect"] = url_for("pages.sign_in", next=f"{back.path}?{back.query}".rstrip("?"))
        return response
    wanted = request.full_path.rstrip("?") if request.method == "GET" else "/"
    return make_response(redirect(url_for("pages.sign_in", next=wanted)))


def is_own_path(text: str) -> bool:
    """Whether the text is a path of this site. Browsers take two slashes for another one, a backslash for a slash,
    and drop tabs and newlines before they look.
    """
    is_plain = not any(char == "\\" or ord(char) <= ord(" ") for char in text)
    return is_plain and text.startswith("/") and not text.startswith("//")


def usable_id(number: int | None) -> int | None:
    """The number of a row as an address gave it; None for what no database would take for one."""
    return number if number is not None and 0 < number < _LARGEST_ID else None


def back(endpoint: str, row: Stage, said: str = "") -> Response:
    """To a page of the stage after something was done there; the page tells it once."""
    if said:
        flash(said)
    return make_response(redirect(url_for(endpoint, project=row.project.name, stage=row.name), 303))


def running_of(stage: answers.Stage) -> answers.Run | None:
    """The run that works on the stage now."""
    found = Run.get_or_none(Run.id == stage.locked_by_run) if stage.locked_by_run else None
    return None if found is None else answers.Run.of(found)


def require_operator() -> None:
    """For everything that changes something."""
    auth.caller().require(OPERATOR)


@pages.after_app_request
def protect(response: Response) -> Response:
    """The content policy of pages, error pages among them; versioned static files may be kept for long."""
    if request.endpoint == "static" and "v" in request.args and response.status_code < 400:  # noqa: PLR2004
        response.headers["Cache-Control"] = _A_YEAR
    if response.mimetype == "text/html" and not request.path.startswith(("/api/", "/openapi")):
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Cache-Control"] = "no-store"
    return response
