"""The templates' filters: times, revisions, links to static files that change with their content."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import peewee as pw
from flask import Flask, url_for
from flask_login import current_user

import inventory_service
import inventory_service.wording.run
from inventory_service.accounts.roles import ADMIN, OPERATOR, Principal
from inventory_service.clock import iso
from inventory_service.text import secret_named, shown_value
from inventory_service.web import context
from inventory_service.web.answers import Run
from inventory_service.web.templating import LineBreaks

_STATIC = Path(__file__).parents[1] / "static"
_COMMIT = re.compile(r"[0-9a-f]{12,64}")
_LONGEST_LINE = 60
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def install(app: Flask) -> None:
    """Add filters and globals to the application's templates."""
    app.jinja_env.add_extension(LineBreaks)
    app.add_template_filter(iso, "iso")
    for function in (ago, moment, duration, took, short, shown, seconds, secret_named):
        app.add_template_filter(function, function.__name__)
    app.context_processor(_for_every_page)


def _for_every_page() -> dict[str, Any]:
    principal = _principal()
    return {
        "asset": asset,
        "link": stage_link,
        "now": context.now(),
        "principal": principal,
        "may_audit": principal is not None and principal.may(ADMIN) and principal.projects is None,
        "may_operate": principal is not None and principal.may(OPERATOR),
        "service_url": context.services().settings.url,
        "version": inventory_service.__version__,
    }


def _principal() -> Principal | None:
    """Who is signed in, also for error pages outside the blueprint; nobody when the database can't say."""
    try:
        found: Principal | None = current_user.principal if current_user.is_authenticated else None
    except pw.OperationalError:
        return None
    return found


def asset(name: str) -> str:
    """The address of a static file; it changes with the file's content, so browsers may keep it for ever."""
    return url_for("static", filename=name, v=_fingerprint(name))


@functools.cache
def _fingerprint(name: str) -> str:
    return hashlib.sha256((_STATIC / name).read_bytes()).hexdigest()[:10]


def stage_link(path: str, **query: Any) -> str:
    """The address of a stage's page; `path` is project/stage."""
    project, _, stage = path.partition("/")
    return url_for("pages.stage", project=project, stage=stage, **query)


def ago(at: dt.datetime | None) -> str:
    """`12 s ago`, as the page's script goes on writing it."""
    return "never" if at is None else f"{duration((context.now() - at).total_seconds())} ago"


def moment(at: dt.datetime | None) -> str:
    """The exact time, for titles."""
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(seconds: float) -> str:
    """`9 s`, `4 min 05 s`, `2 h 10 min`, `3 d 4 h`."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min" + (f" {whole % _MINUTE:02} s" if whole < 10 * _MINUTE else "")
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def took(run: Run) -> str:
    """From the run's start to its end or to now; empty before it started."""
    if run.started_at is None:
        return ""
    return duration(((run.ended_at or context.now()) - run.started_at).total_seconds())


def short(revision: str | None) -> str:
    """A commit's first eight characters; any other name as it is."""
    if revision is None:
        return ""
    return revision[:8] if _COMMIT.fullmatch(revision) else revision


def shown(value: Any) -> str:
    """A variable's value: text as it is, JSON in one line where that is short, else indented."""
    line = shown_value(value)
    is_long = isinstance(value, dict | list) and len(line) > _LONGEST_LINE and secret_named(value) is None
    return json.dumps(value, ensure_ascii=False, indent=2) if is_long else line


def seconds(value: float | None) -> str:
    """`0.42 s`, `12.5 s`, `4 min 05 s`: what one task took."""
    if value is None:
        return ""
    if value >= _MINUTE:
        return duration(value)
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"  # noqa: PLR2004
