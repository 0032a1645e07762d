"""Notifications: word of what happens on a stage, by Apprise, to wherever people read.

What happened is read from the audit log, which every change writes within its own transaction: so nothing that was
committed is missed, and nothing is told that was rolled back. Each message is a row until it was taken.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import peewee as pw

from inventory_service import credentials
from inventory_service.adapters import notify
from inventory_service.database import database
from inventory_service.errors import InvalidError, NotFoundError
from inventory_service.events import ALIASES, NOTIFIED, Actor, ActorKind, EventName, TargetKind, record, target
from inventory_service.models import Event, Notice, Notification, Project, Run, ServiceState, Stage
from inventory_service.registry import liveness
from inventory_service.registry.stages import stage_name
from inventory_service.settings import Settings
from inventory_service.vault import keyring
from inventory_service.wording import event as wording
from inventory_service.wording import run as run_wording

_NAMES = tuple(one.word for one in NOTIFIED)
_USUAL = tuple(one.word for one in NOTIFIED if one.is_usual)
_NAME_OF: dict[str, str] = {str(event): one.word for one in NOTIFIED for event in one.events}
_CURSOR = "notifications_told_until"
_SETTLED = dt.timedelta(seconds=1)
_MOST_ENTRIES, _MOST_SENT = 500, 20
_FIRST_PAUSE_SECONDS, _MOST_ATTEMPTS = 15, 8
_TEST = "test"


def create(
    stage: Stage,
    *,
    url: str,
    events: list[str],
    description: str,
    settings: Settings,
    actor: Actor,
    at: dt.datetime,
) -> Notification:
    """Tell this Apprise URL of these events. Raises InvalidError."""
    events = [ALIASES.get(event, event) for event in events]
    for event in events:
        if event not in _NAMES:
            raise InvalidError.at("events", f"{event[:40]!r} is no event; there are {', '.join(_NAMES)}.")
    service = notify.check_url(url)
    own = credentials.new_id()
    with database.atomic():
        row = Notification.create(
            id=own,
            stage=stage,
            description=description or service,
            events=sorted(set(events or _USUAL)),
            sealed_url=keyring.load(settings).seal(url, context=_context(own)),
            created_by=actor.name,
            created_at=at,
        )
        details = {"id": own, "service": service, "events": row.events}
        record(EventName.NOTIFICATION_CREATE, target(stage), actor=actor, at=at, details=details)
    return row


def _context(notification_id: str) -> str:
    return f"the notification {notification_id}"


def list_of(stage: Stage) -> list[Notification]:
    """The stage's notifications, oldest first."""
    return list(Notification.select().where(Notification.stage == stage).order_by(Notification.created_at))


def find(stage: Stage, notification_id: str) -> Notification:
    """The stage's notification of that id. Raises NotFoundError."""
    row = Notification.get_or_none((Notification.stage == stage) & (Notification.id == notification_id))
    if row is None:
        raise NotFoundError(f"{stage_name(stage)} has no notification {notification_id[:40]!r}.")
    return row


def remove(row: Notification, *, actor: Actor, at: dt.datetime) -> None:
    """Tell it no more."""
    with database.atomic():
        Notification.delete().where(Notification.id == row.id).execute()
        record(EventName.NOTIFICATION_REMOVE, target(row.stage), actor=actor, at=at, details={"id": row.id})


def last_notice(row: Notification) -> Notice | None:
    """The newest message to this place, sent or not."""
    found: Notice | None = Notice.select().where(Notice.notification == row).order_by(Notice.id.desc()).first()
    return found


def test(row: Notification, *, settings: Settings) -> str | None:
    """Send a test message now; what went wrong, None when it was taken."""
    url = keyring.load(settings).open(row.sealed_url, context=_context(row.id))
    return notify.send(url, title=f"Callboard: {stage_name(row.stage)}", body="This is a test: word comes through.")


def tell(*, settings: Settings, at: dt.datetime) -> int:
    """Write and send what is due; returns how many messages were taken. Safe on several machines at once."""
    _write(settings, at=at)
    return _send(settings, at=at)


def _write(settings: Settings, *, at: dt.datetime) -> None:
    """Make a message of each audit entry that somebody wants to hear of. Entries rest for a second first: a
    transaction that began earlier may commit later.
    """
    with database.atomic():
        since = _cursor()
        query = Event.select().where((Event.id > since) & (Event.at <= at - _SETTLED))
        entries = list(query.order_by(Event.id).limit(_MOST_ENTRIES))
        if not entries:
            return
        wanted = list(Notification.select(Notification, Stage, Project).join(Stage).join(Project))
        for entry in entries if wanted else []:
            _write_entry(entry, wanted, settings, at=at)
        liveness.remember(_CURSOR, entries[-1].id)


def _cursor() -> int:
    """The last entry that was read; the newest one at the first time, since nobody waits for old news."""
    row = ServiceState.get_or_none(ServiceState.key == _CURSOR)
    if row is None:
        newest = Event.select(pw.fn.MAX(Event.id)).scalar() or 0
        liveness.remember(_CURSOR, newest)
        return int(newest)
    return int(row.value)


def _write_entry(entry: Event, wanted: list[Notification], settings: Settings, *, at: dt.datetime) -> None:
    word = _NAME_OF.get(entry.name)
    hear = [row for row in wanted if word in row.events and _is_about(entry, row.stage)]
    subject = _subject(entry) if hear else None
    if subject is None:
        return
    for row in hear:
        fields = {"event": word, "title": subject.title, "body": subject.body(settings.url)}
        Notice.insert(
            notification=row, entry_id=entry.id, created_at=at, next_at=at, **fields
        ).on_conflict_ignore().execute()


def _is_about(entry: Event, stage: Stage) -> bool:
    """Whether it happened on this stage, or to all of them."""
    return bool(entry.target_kind == TargetKind.SERVICE or entry.stage_id == stage.id)


@dataclasses.dataclass(frozen=True, slots=True)
class _Subject:
    """What is told of an event. `path`: of the page with more of it."""

    title: str
    lines: tuple[str, ...]
    path: str

    def body(self, url: str) -> str:
        return "\n".join([*(line for line in self.lines if line), f"{url}{self.path}"])


def _subject(entry: Event) -> _Subject | None:
    """None for a run that is not there any more."""
    if entry.target_kind == TargetKind.RUN and entry.target_id is not None:
        return _about_run(entry, int(entry.target_id))
    who = "" if entry.actor_kind == ActorKind.SERVICE else f" by {entry.actor_name}"
    what, why = f"{wording.what(entry.name)}{who}", wording.reason(entry.name, entry.reason_code, entry.details)
    if entry.target_kind == TargetKind.SERVICE:
        return _Subject(f"{entry.target_path}: {what}", (why,), "/")
    project, stage, *host = entry.target_path.split("/")
    name = f"{project}/{stage}"
    return _Subject(f"{name}: {what}", (": ".join([*host, why]),), f"/stages/{name}")


def _about_run(entry: Event, number: int) -> _Subject | None:
    run = Run.select(Run, Stage, Project).join(Stage).join(Project).where(Run.id == number).first()
    if run is None:
        return None
    word = "started" if _NAME_OF[entry.name] == "run.started" else entry.name.removeprefix("run.")
    release = f" of release {run.release_number}" if run.release_number else ""
    title = f"{stage_name(run.stage)}: {run.kind} {number}{release} {word}"
    why = run_wording.ended(run.end_reasons) if word != "started" else None
    return _Subject(title, (f"by {run.created_by}", run.comment, why or ""), f"/runs/{number}")


def _send(settings: Settings, *, at: dt.datetime) -> int:
    query = Notice.select(Notice, Notification).join(Notification).where(Notice.next_at <= at)
    due = list(query.order_by(Notice.id).limit(_MOST_SENT))
    return sum(_send_one(notice, settings, at=at) for notice in due if _claim(notice, at=at))


def _claim(notice: Notice, *, at: dt.datetime) -> bool:
    """Count the attempt before it is made: True for one worker, and a crash in between only delays."""
    pause = dt.timedelta(seconds=_FIRST_PAUSE_SECONDS * 2**notice.attempts)
    following = at + pause if notice.attempts + 1 < _MOST_ATTEMPTS else None
    same = (Notice.id == notice.id) & (Notice.next_at == notice.next_at)
    return bool(Notice.update(attempts=notice.attempts + 1, next_at=following).where(same).execute() == 1)


def _send_one(notice: Notice, settings: Settings, *, at: dt.datetime) -> bool:
    url = keyring.load(settings).open(notice.notification.sealed_url, context=_context(notice.notification_id))
    error = notify.send(url, title=notice.title, body=notice.body)
    fields: dict[str, Any] = {"error": error} if error else {"error": None, "sent_at": at, "next_at": None}
    Notice.update(**fields).where(Notice.id == notice.id).execute()
    return error is None


def prune(*, at: dt.datetime, days: int) -> int:
    """Forget messages made longer ago than that; returns how many."""
    return int(Notice.delete().where(Notice.created_at < at - dt.timedelta(days=days)).execute())
