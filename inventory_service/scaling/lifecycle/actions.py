"""The actions of hooks as they are kept: written down once, however often and from wherever one hears of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import peewee as pw

from inventory_service.database import database
from inventory_service.models import LifecycleAction, Stage
from inventory_service.scaling.fleet import Fleet
from inventory_service.scaling.lifecycle.messages import LAUNCHING, TERMINATING, Event
from inventory_service.scaling.settings import Actuator

WAITING, CONTINUED, ABANDONED, OVER = "waiting", "continued", "abandoned", "over"
TRANSITIONS = {"Pending:Wait": LAUNCHING, "Terminating:Wait": TERMINATING}  # by the state in which an instance waits
_ANEW = dt.timedelta(minutes=10)  # an instance that waits again so long after our word waits for another one
_BATCH = 500


def notice_event(stage: Stage, actuator: Actuator, event: Event, *, at: dt.datetime) -> None:
    """Write down what a message says, once however often it comes; another hook than ours is not for us."""
    if hook_of(actuator, event.transition) != event.hook:
        return
    if LifecycleAction.select().where(LifecycleAction.token == event.token).exists():
        return
    with database.atomic():
        same = _open(stage) & (LifecycleAction.instance == event.instance)
        mine = same & (LifecycleAction.transition == event.transition)
        if LifecycleAction.update(token=event.token).where(mine).execute() == 0:
            _create(stage, event.instance, event.transition, event.hook, at=at, token=event.token)


def notice_fleet(stage: Stage, actuator: Actuator, fleet: Fleet, *, at: dt.datetime) -> None:
    """Write down whoever waits by the group's own list."""
    for instance in (pair.instance for pair in fleet.pairs if pair.instance is not None):
        transition = TRANSITIONS.get(instance.lifecycle)
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
    """The actions that wait for our word, oldest first."""
    return list(LifecycleAction.select().where(_open(stage)).order_by(LifecycleAction.id))


def recent(stage: Stage, *, limit: int = 100) -> list[LifecycleAction]:
    """The stage's actions, newest first."""
    query = LifecycleAction.select().where(LifecycleAction.stage == stage)
    return list(query.order_by(LifecycleAction.id.desc()).limit(limit))


def forget_unanswered(answered: Iterable[int], *, at: dt.datetime) -> None:
    """Of all stages but these (by id) no hook is answered: what waits there is over for us."""
    open_elsewhere = LifecycleAction.ended_at.is_null() & LifecycleAction.stage.not_in(list(answered))
    told = {"status": OVER, "reason": "The stage answers no hooks now.", "ended_at": at}
    LifecycleAction.update(**told).where(open_elsewhere).execute()


def prune(*, at: dt.datetime, days: int) -> int:
    """Forget actions that ended more than `days` ago, a batch at a time; returns how many."""
    old: pw.Expression = LifecycleAction.ended_at < at - dt.timedelta(days=days)
    some = LifecycleAction.select(LifecycleAction.id).where(old).limit(_BATCH)
    return int(LifecycleAction.delete().where(LifecycleAction.id.in_(list(some))).execute())
