"""Who was in the stage at 14:03? Answered from recorded transitions, exact to the moment at which they took effect."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from peewee import fn

from inventory_service.clock import iso
from inventory_service.errors import InvalidError
from inventory_service.events import ALL_STAGES, EventName, Target, target
from inventory_service.models import Conflict, Event, Host, Stage, Transition
from inventory_service.registry import liveness
from inventory_service.registry.stages import stage_name
from inventory_service.wording import host as wording

CONFLICT = "conflict"


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """A time during which a host had one state, or CONFLICT; `until` None means: still."""

    state: str
    since: dt.datetime
    until: dt.datetime | None


def states_at(stage: Stage, moment: dt.datetime, *, expiry: liveness.Expiry, kept_days: int) -> dict[Host, str]:
    """Each host that the stage had at that moment, with its state then; hosts gone by then are left out.

    Raises InvalidError for the future, and for a time of which the history is no longer kept.
    """
    if moment > expiry.at:
        raise InvalidError.at("at", f"{iso(moment)} lies in the future; now is {iso(expiry.at)}.")
    if moment < expiry.at - dt.timedelta(days=kept_days):
        raise InvalidError.at("at", f"{iso(moment)} is too long ago: transitions are kept for {kept_days} days.")
    moment = _end_of(moment)
    last = Transition.select(fn.MAX(Transition.id)).where((Transition.stage == stage) & (Transition.at <= moment))
    rows = Transition.select(Transition, Host).join(Host).where(Transition.id.in_(last.group_by(Transition.host)))
    states = {row.host: _unswept(row.host, row.to_state, stage, moment, expiry) for row in rows.order_by(Host.name)}
    return {host: state for host, state in states.items() if state != liveness.GONE}


def _end_of(moment: dt.datetime) -> dt.datetime:
    """Times are shown cut to the millisecond: what happened in it has happened for who asks with what was shown."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000 + 999)


def _unswept(host: Host, state: str, stage: Stage, moment: dt.datetime, expiry: liveness.Expiry) -> str:
    """A lease that has run out meanwhile counts, though no sweep has recorded it yet."""
    is_open = state == liveness.LIVE and host.recorded_state == liveness.LIVE and host.gone_at is None
    if not is_open or expiry.state(host, stage) in liveness.LISTED or moment < expiry.expires_at(host, stage):
        return state
    return liveness.GONE if moment >= expiry.gone_at(host, stage) else liveness.STALE


def conflicts_at(stage: Stage, moment: dt.datetime) -> dict[str, str]:
    """Who was in conflict then, and so in no inventory: the reason by host id."""
    moment = _end_of(moment)
    began = (Conflict.stage == stage) & (Conflict.since <= moment)
    rows = Conflict.select().where(began & (Conflict.until.is_null() | (Conflict.until > moment)))
    return {row.host_id: str(wording.conflict(row.reason_code, row.reason_params)) for row in rows}


def about(stage: Stage, moment: dt.datetime) -> dict[str, Any]:
    """{stage, as_of, expiry_paused, frozen, generation} as an inventory of that moment said it."""
    later = Transition.select().where((Transition.stage == stage) & (Transition.at > _end_of(moment))).count()
    return {
        "stage": stage_name(stage),
        "as_of": iso(moment),
        "expiry_paused": (is_paused := any(_was_paused(about, moment) for about in (target(stage), ALL_STAGES))),
        "frozen": is_paused,
        "generation": stage.generation - later,
    }


def _was_paused(about: Target, moment: dt.datetime) -> bool:
    """Whether the last word on this pause of expiry before that moment was its begin."""
    ends = (EventName.EXPIRY_RESUME, EventName.STAGE_EXPIRE)
    named = Event.name.in_([str(name) for name in (EventName.EXPIRY_PAUSE, *ends)])
    same = (Event.target_kind == str(about.kind)) & (
        Event.target_id.is_null() if about.id is None else Event.target_id == about.id
    )
    row = Event.select().where(named & same & (Event.at <= _end_of(moment)))
    last = row.order_by(Event.at.desc(), Event.id.desc()).first()
    return last is not None and last.name == EventName.EXPIRY_PAUSE


def timeline(stage: Stage, *, since: dt.datetime, until: dt.datetime) -> dict[Host, list[Span]]:
    """For each host of the stage that was there in that time, its spans in order, cut to the time. By enrolment.

    Spans of conflict come after those of the states beside which they were.
    """
    rows = Transition.select(Transition, Host).join(Host).where((Transition.stage == stage) & (Transition.at < until))
    found: dict[Host, list[Span]] = {}
    for row in rows.order_by(Host.enrolled_at, Host.name, Transition.id):
        spans = found.setdefault(row.host, [])
        if spans:
            spans[-1] = dataclasses.replace(spans[-1], until=row.at)
        spans.append(Span(row.to_state, row.at, None))
    times = Conflict.select(Conflict, Host).join(Host).where((Conflict.stage == stage) & (Conflict.since < until))
    for time in times.order_by(Conflict.id):
        found.setdefault(time.host, []).append(Span(CONFLICT, time.since, _until(time)))
    cut = {host: [_cut(span, since) for span in spans if _is_in(span, since)] for host, spans in found.items()}
    return {host: spans for host, spans in cut.items() if spans}


def _until(conflict: Conflict) -> dt.datetime | None:
    """Its end, or that of its host; a host that beats although it has gone is in conflict from then on."""
    gone_at = conflict.host.gone_at
    is_after = gone_at is not None and gone_at <= conflict.since
    return min((one for one in (conflict.until, None if is_after else gone_at) if one is not None), default=None)


def _is_in(span: Span, since: dt.datetime) -> bool:
    return span.state != liveness.GONE and (span.until is None or span.until > since)


def _cut(span: Span, since: dt.datetime) -> Span:
    return dataclasses.replace(span, since=max(span.since, since))
