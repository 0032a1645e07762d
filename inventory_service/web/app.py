"""Building the Flask application."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import mimetypes
from pathlib import Path
from typing import Any

import peewee
from flask import Response
from flask_openapi import OpenAPI
from flask_openapi.models import Info, SecurityScheme
from pydantic import BaseModel

import inventory_service
from inventory_service import settings as settings_module
from inventory_service.adapters import processes
from inventory_service.adapters.group_commit import GroupCommit
from inventory_service.clock import Clock, SystemClock
from inventory_service.content import agent_path
from inventory_service.database import database, open_database, release_connection
from inventory_service.registry import instance_identity, liveness
from inventory_service.registry.enrolment import IdentityRules
from inventory_service.registry.heartbeat_intake import HeartbeatIntake
from inventory_service.settings import Settings
from inventory_service.web import api, metrics, pages, problems, reference
from inventory_service.web.api.common import Problem
from inventory_service.web.context import Services
from inventory_service.web.heartbeat_shim import HeartbeatShim
from inventory_service.web.log_stream import Streams
from inventory_service.web.refusals import Refusals
from inventory_service.web.shedding import ReadLimiter
from inventory_service.web.strict_json import StrictRequest

log = logging.getLogger(__name__)

_BESIDE_REQUESTS = 2  # the writer of heartbeats, and one to spare
_LARGEST_BODY = 1024 * 1024
_REFUSALS_A_MINUTE = 30


class _Application(OpenAPI):
    request_class = StrictRequest

    def make_response(self, rv: Any) -> Response:
        """Answers become JSON here and nowhere else; a route may give a status beside one."""
        answer, *more = rv if isinstance(rv, tuple) else (rv,)
        if isinstance(answer, BaseModel):
            answer = Response(answer.model_dump_json(by_alias=True), mimetype="application/json")
        return super().make_response((answer, *more) if more else answer)

    def generate_spec_json(self) -> None:
        """The document, with what only this application knows about its routes."""
        super().generate_spec_json()  # type: ignore[no-untyped-call]
        reference.refine(self.spec_json, self)


def create_app(settings: Settings, clock: Clock | None = None) -> OpenAPI:
    """The application over an opened database. Settings and clock are given; nothing is read from outside."""
    app = _Application(
        "inventory_service.web",
        info=Info(title="Callboard", version=inventory_service.__version__),
        security_schemes={"token": SecurityScheme(type="http", scheme="bearer")},
        validation_error_callback=problems.on_validation_error,
        validation_error_model=Problem,
        doc_ui=False,
    )
    app.openapi_version = "3.1.0"
    app.config.update(
        SECRET_KEY=settings.secret_key,
        MAX_CONTENT_LENGTH=_LARGEST_BODY,
        MAX_FORM_MEMORY_SIZE=_LARGEST_BODY,
        SESSION_COOKIE_NAME="callboard",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.secure_cookies,
        PERMANENT_SESSION_LIFETIME=dt.timedelta(days=7),
        WTF_CSRF_TIME_LIMIT=None,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["callboard"] = _services(settings, clock or SystemClock())
    problems.install(app)
    api.register(app)
    pages.register(app)
    metrics.register(app)
    reference.register(app)
    _serve_agent(app)
    app.after_request(_harden)
    app.teardown_request(lambda _: release_connection())
    return app


def _services(settings: Settings, clock: Clock) -> Services:
    rotate_after = dt.timedelta(days=settings.host_token_days)
    intake = HeartbeatIntake(clock, gone_after_seconds=settings.gone_after_seconds, rotate_after=rotate_after)
    heartbeats = GroupCommit(intake.renew, name="heartbeats")
    rules = _identity_rules(settings, at=clock.now())
    streams = Streams(settings.most_log_streams)
    refusals, audited = Refusals(most=_REFUSALS_A_MINUTE, seconds=60), Refusals(most=1, seconds=3600)
    return Services(settings, clock, intake, heartbeats, rules, streams, refusals, audited)


def _identity_rules(settings: Settings, *, at: dt.datetime) -> IdentityRules | None:
    """The rules for EC2 instances; None where no account is named. Raises SettingsError for a bad certificate."""
    if not settings.ec2_accounts:
        return None
    folder = Path(settings.ec2_certificates) if settings.ec2_certificates else None
    certificates = instance_identity.load_certificates(folder)
    instance_identity.check_certificate(settings.ec2_region, certificates, at=at)
    return IdentityRules(settings.ec2_region, settings.ec2_accounts, certificates)


def _serve_agent(app: OpenAPI) -> None:
    """The agent's one file, and its checksum for whoever installs it."""
    text = agent_path().read_bytes()
    checksum = hashlib.sha256(text).hexdigest()

    def agent() -> Response:
        response = Response(text, mimetype="text/x-python")
        response.headers["Content-Disposition"] = 'attachment; filename="callboard-agent"'
        return response

    def agent_checksum() -> Response:
        return Response(f"{checksum}  callboard-agent\n", mimetype="text/plain")

    app.add_url_rule("/agent", view_func=agent)
    app.add_url_rule("/agent.sha256", view_func=agent_checksum)


def _harden(response: Response) -> Response:
    """Security headers for everything; pages bring their own content policy."""
    defaults = {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    }
    for name, value in defaults.items():
        response.headers.setdefault(name, value)
    return response


def begin_to_hear(*, at: dt.datetime) -> None:
    """Take heartbeats from now on: what could not be heard while the process was loaded is no silence of hosts."""
    try:
        liveness.begin_grace(at=at)
    except peewee.PeeweeException:
        log.exception("the fresh lease could not be written; the intake of heartbeats gives it once it can write")


def from_environment() -> Any:
    """The WSGI application for granian and any other server: settings from CALLBOARD_*."""
    mimetypes.add_type("text/javascript", ".js")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = settings_module.load()
    open_database(settings.database_url, connections=settings.web_threads + _BESIDE_REQUESTS)
    app = create_app(settings)
    begin_to_hear(at=SystemClock().now())
    database.close()
    processes.spare_the_collector()
    services: Services = app.extensions["callboard"]
    services.streams.stop_with_process()
    return HeartbeatShim(ReadLimiter(app, threads=settings.web_threads), services)
