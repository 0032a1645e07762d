"""From an error to an answer, once: RFC 9457 problems for the API, the same words on a page for people."""

from __future__ import annotations

import logging
from typing import Any

import peewee as pw
from flask import Flask, Response, jsonify, make_response, redirect, render_template, request, url_for
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from inventory_service import errors

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[errors.CallboardError], int], ...] = (
    (errors.NotFoundError, 404),
    (errors.InvalidError, 422),
    (errors.UnauthorizedError, 401),
    (errors.ForbiddenError, 403),
    (errors.GoneError, 410),
    (errors.ConflictError, 409),
    (errors.SourceError, 422),
    (errors.TooManyError, 429),
    (errors.BusyError, 503),
)
_RETRY_AFTER_SECONDS = 2


def problem(status: int, title: str, detail: str, *, fields: list[dict[str, Any]] | None = None) -> Response:
    """A problem document; `fields` is the `errors` member with `loc` and `msg`."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if fields:
        body["errors"] = fields
    response = jsonify(body)
    response.status_code = status
    response.content_type = "application/problem+json"
    if status == 401:  # noqa: PLR2004
        response.headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        response.headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    return response


def status_of(error: errors.CallboardError) -> int:
    """The HTTP status for a domain error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 400)


def on_validation_error(error: ValidationError) -> Response:
    """What flask-openapi calls when a path, query or body does not fit its model."""
    fields = [
        {"loc": list(item["loc"]), "msg": item["msg"].removeprefix("Value error, ")}
        for item in error.errors(include_url=False)
    ]
    first = fields[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return problem(422, "Invalid value", f"{where}: {first['msg']}.", fields=fields)


def wants_page() -> bool:
    """Whether a person's browser asked, and not the API."""
    return not request.path.startswith(("/api/", "/agent", "/healthz", "/readyz", "/metrics"))


def install(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(errors.CallboardError, _on_domain_error)
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(pw.OperationalError, _on_busy_database)
    app.register_error_handler(pw.DataError, _on_unfit_value)
    app.register_error_handler(Exception, _on_surprise)


def _answer(status: int, title: str, detail: str, fields: list[dict[str, Any]] | None = None) -> Response:
    if not wants_page():
        return problem(status, title, detail, fields=fields)
    if status == 401:  # noqa: PLR2004
        return make_response(redirect(url_for("pages.sign_in", next=request.full_path.rstrip("?"))))
    return make_response(render_template("error.html", status=status, title=title, detail=detail), status)


def _on_domain_error(error: errors.CallboardError) -> Response:
    return _answer(status_of(error), error.title, error.detail, error.errors)


def _on_http_error(error: HTTPException) -> Response:
    if error.response is not None:
        return make_response(error.response)
    answer = _answer(error.code or 500, error.name, _detail(error))
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after"):
            answer.headers[name] = value
    return answer


def _detail(error: HTTPException) -> str:
    if error.code == 404:  # noqa: PLR2004
        there = "The stages and the runs have links to all pages" if wants_page() else "/openapi/ lists what there is"
        return f"There is nothing at {request.path[:200]}. {there}."
    return error.description or error.name


def _on_busy_database(error: pw.OperationalError) -> Response:
    log.warning("the database did not answer: %s", error)
    return _answer(503, "Busy", "The database is busy or full; nothing was changed. Try again in a moment.")


def _on_unfit_value(error: pw.DataError) -> Response:
    """PostgreSQL takes no NUL in a text and no number beyond its column's; SQLite takes both and finds nothing."""
    log.info("a value does not fit: %s", error)
    detail = "A value is too large, or holds a character that can't be stored; nothing was changed."
    return _answer(422, "Invalid value", detail)


def _on_surprise(error: Exception) -> Response:
    log.error("unexpected error on %s %s", request.method, request.path, exc_info=error)
    return _answer(500, "Internal error", "Callboard failed to answer this; its log has the details.")
