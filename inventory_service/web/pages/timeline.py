"""Who was in a stage when: a picture of its hosts' spans, and who was there at one moment."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from typing import Any

from flask import Response, make_response, render_template, request

from inventory_service.errors import InvalidError
from inventory_service.models import Host, Stage
from inventory_service.registry import liveness, past
from inventory_service.text import natural
from inventory_service.web import answers, auth, context, problems
from inventory_service.web.pages.common import pages
from inventory_service.web.pages.template_filters import moment as exact

_DAY = 24
# Hours that the picture can show, with the seconds between two ticks of its axis.
_TICKS = {1: 600, 6: 3600, _DAY: 3 * 3600, 7 * _DAY: 86400}
_MOST_LINES, _MOST_BARS = 2000, 200  # of the table, and of one host drawn one by one
_EDGE = 7  # per cent, within which a tick's label would pass the picture's edge
_SMALLEST = 0.2  # per cent: what an eye still finds


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """The time that the picture shows."""

    since: dt.datetime
    until: dt.datetime

    def percent(self, moment: dt.datetime) -> float:
        """Where the moment lies between the left edge and the right one."""
        return round((moment - self.since) / (self.until - self.since) * 100, 3)


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One span of one host: a bar of the picture, `x` and `width` in per cent, and a line of the table."""

    host: Host
    state: str
    since: str
    until: str
    x: float
    width: float


@dataclasses.dataclass(frozen=True, slots=True)
class Tick:
    """A mark of the axis. `side` is where its label stands: start, middle or end of the text at the mark."""

    x: float
    label: str
    side: str


@pages.get("/stages/<project>/<stage>/timeline")
def timeline(project: str, stage: str) -> Response:
    """?hours= how much of the past; ?at= asks who was there at that moment."""
    row = auth.reach_stage(project, stage)
    hours = request.args.get("hours", type=int)
    hours = hours if hours in _TICKS else _DAY
    frame = Frame(context.now() - dt.timedelta(hours=hours), context.now())
    asked = request.args.get("at", "").strip()[:40]
    facts = {"stage": answers.Stage.of(row), "hours": hours, "choices": tuple(_TICKS), "asked": asked}
    answer, status = _answer(row, asked, frame) if asked else ({}, 200)
    page = render_template("timeline.html", **facts, **_picture(row, frame, _TICKS[hours]), **answer)
    return make_response(page, status)


def _answer(stage: Stage, asked: str, frame: Frame) -> tuple[dict[str, Any], int]:
    """What the page shows beside the question, and the page's status."""
    moment = None
    try:
        moment = _parse(asked)
        then, apart = context.states_at(stage, moment), past.conflicts_at(stage, moment)
        there = {host: past.CONFLICT if host.id in apart else state for host, state in then.items()}
    except InvalidError as error:
        return {"field": moment, "error": error.detail}, problems.status_of(error)
    mark = frame.percent(moment) if moment >= frame.since else None
    by_name = sorted(there.items(), key=lambda one: natural(one[0].name))
    found = {"moment": moment, "mark": mark, "there": by_name, "counts": Counter(there.values())}
    return {"field": moment, **found}, 200


def _parse(text: str) -> dt.datetime:
    """The field of the page names no zone: it means UTC, as everything here."""
    try:
        moment = dt.datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise InvalidError.at("at", f"{text!r} is no time. Write it like 2026-11-23T14:03:00Z.") from None


def _picture(stage: Stage, frame: Frame, step: int) -> dict[str, Any]:
    spans = past.timeline(stage, since=frame.since, until=frame.until)
    lines = {host: [_line(host, span, frame) for span in found] for host, found in spans.items()}
    newest_first = [line for host in reversed(lines) for line in reversed(lines[host])]
    return {
        "frame": frame,
        "rows": [(host, _visible(found)) for host, found in lines.items()],
        "lines": newest_first[:_MOST_LINES],
        "lines_in_all": len(newest_first),
        "ticks": _ticks(frame, step),
        "joined": sum(host.enrolled_at >= frame.since for host in spans),
        "left": sum(host.gone_at is not None for host in spans),
    }


def _line(host: Host, span: past.Span, frame: Frame) -> Line:
    began = f"before {exact(span.since)}" if span.since == frame.since else exact(span.since)
    x = min(frame.percent(span.since), 100 - _SMALLEST)
    width = max(round(frame.percent(span.until or frame.until) - x, 3), _SMALLEST)
    return Line(host, span.state, began, exact(span.until) if span.until else "now", x, width)


def _visible(lines: list[Line]) -> list[Line]:
    """The bars to draw, live ones first, so that a short silence lies on top of them.

    For a host that flaps all the time, without what would lie on the same pixel as the bar before it.
    """
    lines = sorted(lines, key=lambda line: line.state != liveness.LIVE)
    if len(lines) <= _MOST_BARS:
        return lines
    kept: list[Line] = []
    for line in lines:
        if not kept or line.width > _SMALLEST or abs(line.x - kept[-1].x) > _SMALLEST:
            kept.append(line)
    return kept


def _ticks(frame: Frame, step: int) -> list[Tick]:
    first = int(frame.since.timestamp()) // step * step + step
    moments = [dt.datetime.fromtimestamp(at, dt.UTC) for at in range(first, int(frame.until.timestamp()) + 1, step)]
    layout = "%d %b" if step >= max(_TICKS.values()) else "%H:%M"
    return [Tick(frame.percent(at), at.strftime(layout), _side(frame.percent(at))) for at in moments]


def _side(x: float) -> str:
    return "start" if x < _EDGE else "end" if x > 100 - _EDGE else "middle"
