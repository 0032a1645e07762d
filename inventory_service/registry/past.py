"""Who was in the stage at 14:03? Answered from recorded transitions, exact to the moment at which they took effect."""

from __future__ import annotations

import dataclasses
import datetime as dt

from peewee import fn

from inventory_service.clock import iso
from inventory_service.errors import InvalidError
from inventory_service.models import Host, Stage, Transition
from inventory_service.registry import liveness


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """A time during which a host had one state; `until` None means: still."""

    state: str
    since: dt.datetime
    until: dt.datetime | None


def states_at(stage: Stage, moment: dt.datetime, *, judge: liveness.Judge, kept_days: int) -> dict[Host, str]:
    """Each host that the stage had at that moment, with its state then; hosts gone by then are left out.

    Raises InvalidError for the future, and for a time of which the history is no longer kept.
    """
    if moment > judge.at:
        raise InvalidError.at("at", f"{iso(moment)} lies in the future; now is {iso(judge.at)}.")
    if moment < judge.at - dt.timedelta(days=kept_days):
        raise InvalidError.at("at", f"{iso(moment)} is too long ago: transitions are kept for {kept_days} days.")
    last = Transition.select(fn.MAX(Transition.id)).where((Transition.stage == stage) & (Transition.at <= moment))
    rows = Transition.select(Transition, Host).join(Host).where(Transition.id.in_(last.group_by(Transition.host)))
    states = {row.host: _unswept(row.host, row.to_state, stage, moment, judge) for row in rows.order_by(Host.name)}
    return {host: state for host, state in states.items() if state != liveness.GONE}


def _unswept(host: Host, state: str, stage: Stage, moment: dt.datetime, judge: liveness.Judge) -> str:
    """A lease that has run out meanwhile counts, though no sweep has recorded it yet."""
    is_open = state == liveness.LIVE and host.recorded_state == liveness.LIVE and host.gone_at is None
    has_run_out = is_open and judge.state(host, stage) == liveness.STALE and moment >= judge.expires_at(host, stage)
    return liveness.STALE if has_run_out else state


def timeline(stage: Stage, *, since: dt.datetime, until: dt.datetime) -> dict[Host, list[Span]]:
    """For each host of the stage that was there in that time, its spans in order, cut to the time. By enrolment."""
    rows = Transition.select(Transition, Host).join(Host).where((Transition.stage == stage) & (Transition.at < until))
    found: dict[Host, list[Span]] = {}
    for row in rows.order_by(Host.enrolled_at, Host.name, Transition.id):
        spans = found.setdefault(row.host, [])
        if spans:
            spans[-1] = dataclasses.replace(spans[-1], until=row.at)
        spans.append(Span(row.to_state, row.at, None))
    cut = {host: [_cut(span, since) for span in spans if _is_in(span, since)] for host, spans in found.items()}
    return {host: spans for host, spans in cut.items() if spans}


def _is_in(span: Span, since: dt.datetime) -> bool:
    return span.state != liveness.GONE and (span.until is None or span.until > since)


def _cut(span: Span, since: dt.datetime) -> Span:
    return dataclasses.replace(span, since=max(span.since, since))
