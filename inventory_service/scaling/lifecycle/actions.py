"""The lifecycle actions that are written down: who waits for an answer, and what was answered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import peewee as pw

from inventory_service import events
from inventory_service.codes.scaling import Lifecycle
from inventory_service.database import database
from inventory_service.events import SERVICE, EventName
from inventory_service.models import LifecycleAction, Stage
from inventory_service.reasons import Reason, because, columns
from inventory_service.scaling.fleet import Fleet
from inventory_service.scaling.lifecycle.messages import LAUNCHING, TERMINATING, Message
from inventory_service.scaling.settings import Actuator

WAITING, CONTINUED, ABANDONED, OVER = "waiting", "continued", "abandoned", "over"
# What the group says of an instance that waits.
WAITS = {"Pending:Wait": LAUNCHING, "Terminating:Wait": TERMINATING}
_EVENTS = {CONTINUED: EventName.SCALING_CONTINUE, ABANDONED: EventName.SCALING_ABANDON}
_ANEW = dt.timedelta(minutes=10)  # an instance that waits again so long after our answer waits for another one
_BATCH = 500


def notice_message(stage: Stage, actuator: Actuator, message: Message, *, at: dt.datetime) -> None:
    """Write down what a message says, once however often it comes; another hook than ours is not for us."""
    if hook_of(actuator, message.transition) != message.hook:
        return
    if LifecycleAction.select().where(LifecycleAction.token == message.token).exists():
        return
    with database.atomic():
        same = _open(stage) & (LifecycleAction.instance == message.instance)
        mine = same & (LifecycleAction.transition == message.transition)
        if LifecycleAction.update(token=message.token).where(mine).execute() == 0:
            _create(stage, message.instance, message.transition, message.hook, at=at, token=message.token)


def notice_fleet(stage: Stage, actuator: Actuator, fleet: Fleet, *, at: dt.datetime) -> None:
    """Write down whoever waits by the group's own list."""
    for instance in (pair.instance for pair in fleet.pairs if pair.instance is not None):
        transition = WAITS.get(instance.lifecycle)
        if transition is None or not (hook := hook_of(actuator, transition)):
            continue
        mine = (LifecycleAction.stage == stage) & (LifecycleAction.instance == instance.id)
        mine &= LifecycleAction.transition == transition
        answered = LifecycleAction.status.in_((CONTINUED, ABANDONED)) & (LifecycleAction.ended_at > at - _ANEW)
        recent = LifecycleAction.ended_at.is_null() | answered
        if not LifecycleAction.select().where(mine & recent).exists():
            _create(stage, instance.id, transition, hook, at=at)


def _create(stage: Stage, instance: str, transition: str, hook: str, *, at: dt.datetime, **more: Any) -> None:
    row = {"stage": stage, "instance": instance, "transition": transition, "hook": hook, "status": WAITING, "at": at}
    LifecycleAction.insert(**row, **more).on_conflict_ignore().execute()


def hook_of(actuator: Actuator, transition: str) -> str:
    """The name of our hook for that transition; "" where there is none."""
    return actuator.launching_hook if transition == LAUNCHING else actuator.terminating_hook


def _open(stage: Stage) -> Any:
    return (LifecycleAction.stage == stage) & LifecycleAction.ended_at.is_null()


def waiting(stage: Stage) -> list[LifecycleAction]:
    """The actions that wait for an answer, oldest first."""
    return list(LifecycleAction.select().where(_open(stage)).order_by(LifecycleAction.id))


def recent(stage: Stage, *, limit: int = 100) -> list[LifecycleAction]:
    """The stage's actions, newest first."""
    query = LifecycleAction.select().where(LifecycleAction.stage == stage)
    return list(query.order_by(LifecycleAction.id.desc()).limit(limit))


def change(action: LifecycleAction, **fields: Any) -> None:
    """Write these fields, and set them on the row at hand."""
    LifecycleAction.update(**fields).where(LifecycleAction.id == action.id).execute()
    for name, value in fields.items():
        setattr(action, name, value)


def end(action: LifecycleAction, stage: Stage, status: str, reason: Reason, *, at: dt.datetime) -> None:
    """It waits no more; twice is no error. An answer leaves an event."""
    still = (LifecycleAction.id == action.id) & LifecycleAction.ended_at.is_null()
    with database.atomic():
        fields = {"status": status, "ended_at": at, **columns("reason", reason)}
        if LifecycleAction.update(**fields).where(still).execute() and status in _EVENTS:
            about = {"instance": action.instance, "transition": action.transition}
            events.record(_EVENTS[status], events.target(stage), actor=SERVICE, at=at, reason=reason, details=about)


def forget_unanswered(answered: Iterable[int], *, at: dt.datetime) -> None:
    """Of all stages but these (by id) no hook is answered: what waits there is over for us."""
    open_elsewhere = LifecycleAction.ended_at.is_null() & LifecycleAction.stage.not_in(list(answered))
    fields = {"status": OVER, "ended_at": at, **columns("reason", because(Lifecycle.NOT_ANSWERED))}
    LifecycleAction.update(**fields).where(open_elsewhere).execute()


def prune(*, at: dt.datetime, days: int) -> int:
    """Forget actions that ended more than `days` ago, a batch at a time; returns how many."""
    old: pw.Expression = LifecycleAction.ended_at < at - dt.timedelta(days=days)
    some = LifecycleAction.select(LifecycleAction.id).where(old).limit(_BATCH)
    return int(LifecycleAction.delete().where(LifecycleAction.id.in_(list(some))).execute())
