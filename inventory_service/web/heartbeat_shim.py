"""The short way for heartbeats: a WSGI layer in front of Flask for this one route.

Flask costs more than the database here. What is well-formed and renews a lease is answered at once; everything else,
each error among them, goes through Flask with the same body, so that there is one place that words answers.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from peewee import OperationalError
from pydantic import ValidationError

from inventory_service.errors import CallboardError
from inventory_service.records.heartbeat import Heartbeat
from inventory_service.registry import liveness
from inventory_service.web.answers import Renewed
from inventory_service.web.api.hosts import HEARTBEAT_LIMIT
from inventory_service.web.context import Services

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH = "/api/v1/heartbeat"
_JSON = "application/json"
_HEADERS = [("Content-Type", _JSON), ("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")]


class HeartbeatShim:
    """Wraps the application; `services` are the application's own."""

    def __init__(self, application: WSGIApplication, services: Services) -> None:
        self._application = application
        self._services = services

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a plain heartbeat here, everything else by the application."""
        if environ.get("PATH_INFO") != _PATH or not _is_plain(environ):
            return self._application(environ, start_response)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        try:
            return self._renew(environ, body, start_response)
        except (ValidationError, CallboardError, OperationalError):
            environ["wsgi.input"] = io.BytesIO(body)
            return self._application(environ, start_response)

    def _renew(self, environ: WSGIEnvironment, body: bytes, start_response: StartResponse) -> list[bytes]:
        token = environ["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
        renewal = self._services.heartbeats.submit((token, Heartbeat.model_validate_json(body).checked()))
        is_pending = renewal.state == liveness.PENDING
        data = Renewed.of(renewal).model_dump_json(by_alias=True).encode()
        start_response("202 Accepted" if is_pending else "200 OK", [*_HEADERS, ("Content-Length", str(len(data)))])
        return [data]


def _is_plain(environ: dict[str, Any]) -> bool:
    """Whether the request looks as the agent sends it; anything else is Flask's to expiry."""
    length = environ.get("CONTENT_LENGTH", "")
    return (
        environ.get("REQUEST_METHOD") == "POST"
        and environ.get("CONTENT_TYPE", "").startswith(_JSON)
        and environ.get("HTTP_AUTHORIZATION", "").startswith("Bearer cbh_")
        and length.isdecimal()
        and 0 < int(length) <= HEARTBEAT_LIMIT
    )
