"""What happened: one table of typed events, and its one writer.

Every change by a person, a token, a machine or the service itself leaves an event in the transaction that makes it. So
nothing that was committed is missing here, and nothing is here that was rolled back. The audit log, notifications and
questions about the past read it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping
from typing import Any, cast

from inventory_service.models import ApiToken, Event, Host, Project, Run, Stage, User
from inventory_service.reasons import Reason


class ActorKind(enum.StrEnum):
    """Who acts. A person's name is a free choice; the kind is not."""

    PERSON = "person"
    TOKEN = "token"  # noqa: S105 - a kind
    HOST = "host"
    JOIN_TOKEN = "join_token"  # noqa: S105 - a kind
    MACHINE = "machine"  # one that asks to enrol, known by its address only
    SCHEDULE = "schedule"
    WEBHOOK = "webhook"
    SCALING = "scaling"
    SERVICE = "service"


@dataclasses.dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: the name that people read, from which address, and which one of its kind (`id`: a user's number, a
    token's id, …; None where the kind has but one).
    """

    name: str
    peer: str | None = None
    kind: ActorKind = dataclasses.field(kw_only=True)
    id: str | None = None

    def is_same(self, kind: str, id_: str | None) -> bool:
        """Whether a row with this kind and id is of the same actor."""
        return str(self.kind) == kind and self.id == id_


SERVICE = Actor("callboard", kind=ActorKind.SERVICE)
SCALING = Actor("scaling", kind=ActorKind.SCALING)
ENROLMENT = Actor("enrolment", kind=ActorKind.MACHINE)
OWN_NAMES = tuple(actor.name for actor in (SERVICE, SCALING, ENROLMENT))  # no person can take them


class TargetKind(enum.StrEnum):
    """What something happened to."""

    SERVICE = "service"
    USER = "user"
    TOKEN = "token"  # noqa: S105 - a kind
    PROJECT = "project"
    STAGE = "stage"
    HOST = "host"
    RUN = "run"


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What an event is about. `path` is its name at that moment: `shop`, `shop/production`, `shop/production/web-1`,
    `run 17`, `ada`. `stage_id` is the stage that it is in, None for what is in none.
    """

    kind: TargetKind
    id: str | None
    path: str
    stage_id: int | None = None


ALL_STAGES = Target(TargetKind.SERVICE, None, "all stages")


def target(row: Project | Stage | Host | Run | User | ApiToken) -> Target:
    """The target that a row is. A host or run needs its stage and that one's project."""
    match row:
        case Stage():
            return Target(TargetKind.STAGE, str(row.id), f"{row.project.name}/{row.name}", row.id)
        case Host():
            return host_target(row.id, row.name, row.stage)
        case Run():
            return Target(TargetKind.RUN, str(row.id), f"run {row.id}", row.stage_id)
        case Project():
            return Target(TargetKind.PROJECT, str(row.id), row.name)
        case User():
            return Target(TargetKind.USER, str(row.id), row.name)
        case ApiToken():
            return Target(TargetKind.TOKEN, row.id, row.name)


def host_target(host_id: str | None, name: str, stage: Stage) -> Target:
    """The target of a host that is known by id and name; `host_id` None for a machine that was not let in."""
    return Target(TargetKind.HOST, host_id, f"{stage.project.name}/{stage.name}/{name}", stage.id)


class EventName(enum.StrEnum):
    """Everything that happens. The value is what is stored and what filters and notifications name."""

    USER_CREATE = "user.create"
    USER_UPDATE = "user.update"
    TOKEN_CREATE = "token.create"  # noqa: S105 - an event
    TOKEN_REVOKE = "token.revoke"  # noqa: S105 - an event
    PROJECT_CREATE = "project.create"
    PROJECT_UPDATE = "project.update"
    PROJECT_ARCHIVE = "project.archive"
    STAGE_CREATE = "stage.create"
    STAGE_UPDATE = "stage.update"
    STAGE_ARCHIVE = "stage.archive"
    STAGE_LOCK = "stage.lock"
    STAGE_UNLOCK = "stage.unlock"
    STAGE_OVERRIDE_LOCK = "stage.override_lock"
    STAGE_EXPIRE = "stage.expire"
    STAGE_RELEASE = "stage.release"
    EXPIRY_PAUSE = "expiry.pause"
    EXPIRY_RESUME = "expiry.resume"
    JOIN_TOKEN_CREATE = "join_token.create"  # noqa: S105 - an event
    JOIN_TOKEN_REVOKE = "join_token.revoke"  # noqa: S105 - an event
    SECRET_SET = "secret.set"  # noqa: S105 - an event
    SECRET_REMOVE = "secret.remove"  # noqa: S105 - an event
    HOST_ENROL = "host.enrol"
    HOST_REFUSE = "host.refuse"
    HOST_ADD = "host.add"
    HOST_APPROVE = "host.approve"
    HOST_RETURN = "host.return"
    HOST_STALE = "host.stale"
    HOST_GONE = "host.gone"
    HOST_REMOVE = "host.remove"
    HOST_ROTATE = "host.rotate"
    HOST_UPDATE = "host.update"
    HOST_DRAIN = "host.drain"
    HOST_UNDRAIN = "host.undrain"
    HOST_QUARANTINE = "host.quarantine"
    HOST_RELEASE = "host.release"
    HOST_CONFLICT = "host.conflict"
    HOST_CONFLICT_END = "host.conflict_end"
    HOST_KEY_MISMATCH = "host.key_mismatch"
    HOST_VOUCH = "host.vouch"
    RUN_DEPLOY = "run.deploy"
    RUN_ROLLBACK = "run.rollback"
    RUN_CONVERGE = "run.converge"
    RUN_PLAYBOOK = "run.playbook"
    RUN_RECORDED = "run.recorded"
    RUN_CANCEL = "run.cancel"
    RUN_SUCCESSFUL = "run.successful"
    RUN_FAILED = "run.failed"
    RUN_CANCELED = "run.canceled"
    RUN_TIMEOUT = "run.timeout"
    RUN_LOST = "run.lost"
    SCHEDULE_CREATE = "schedule.create"
    SCHEDULE_PAUSE = "schedule.pause"
    SCHEDULE_RESUME = "schedule.resume"
    SCHEDULE_REMOVE = "schedule.remove"
    SCHEDULE_FAIL = "schedule.fail"
    WEBHOOK_CREATE = "webhook.create"
    WEBHOOK_REMOVE = "webhook.remove"
    NOTIFICATION_CREATE = "notification.create"
    NOTIFICATION_REMOVE = "notification.remove"
    SCALING_CONFIGURE = "scaling.configure"
    SCALING_REMOVE = "scaling.remove"
    SCALING_OUT = "scaling.out"
    SCALING_IN = "scaling.in"
    SCALING_FAIL = "scaling.fail"
    SCALING_CONTINUE = "scaling.continue"
    SCALING_ABANDON = "scaling.abandon"


@dataclasses.dataclass(frozen=True, slots=True)
class Notified:
    """What people can have told to them: the word that they choose, when it is told, and the events that it stands for.
    `is_usual`: it calls for a person, so it is told where nothing was chosen.
    """

    word: str
    when: str
    events: tuple[EventName, ...]
    is_usual: bool = False


NOTIFIED = (
    Notified(
        "run.started",
        "a deploy, rollback or playbook was asked for",
        (EventName.RUN_DEPLOY, EventName.RUN_ROLLBACK, EventName.RUN_PLAYBOOK),
    ),
    Notified("run.successful", "it ended well", (EventName.RUN_SUCCESSFUL,)),
    Notified(
        "run.failed",
        "it failed, ran out of time or was lost; also on somebody's laptop",
        (EventName.RUN_FAILED, EventName.RUN_TIMEOUT, EventName.RUN_LOST),
        is_usual=True,
    ),
    Notified("run.canceled", "it was canceled, also before it began", (EventName.RUN_CANCELED,)),
    Notified(
        "expiry",
        "expiry of the stage, or of all, paused or went on",
        (EventName.EXPIRY_PAUSE, EventName.EXPIRY_RESUME),
        is_usual=True,
    ),
    Notified("lock", "somebody locked or unlocked the stage", (EventName.STAGE_LOCK, EventName.STAGE_UNLOCK)),
    Notified(
        "quarantine",
        "a host was quarantined (excluded from convergence)",
        (EventName.HOST_QUARANTINE,),
        is_usual=True,
    ),
    Notified(
        "conflict",
        "two hosts contradict each other",
        (EventName.HOST_CONFLICT, EventName.HOST_KEY_MISMATCH),
        is_usual=True,
    ),
    Notified("schedule.failed", "a schedule could not start its run", (EventName.SCHEDULE_FAIL,), is_usual=True),
    Notified(
        "scaling",
        "the number of machines is changed, or could not be",
        (EventName.SCALING_OUT, EventName.SCALING_IN, EventName.SCALING_FAIL, EventName.SCALING_ABANDON),
    ),
)

# What hosts do by themselves all day. The audit log shows it to who asks for it by name.
ROUTINE = (EventName.HOST_RETURN, EventName.HOST_STALE, EventName.HOST_GONE)
# How earlier versions named an event; who filters by the old name finds the new ones.
ALIASES = {"freeze.begin": EventName.EXPIRY_PAUSE, "freeze.end": EventName.EXPIRY_RESUME, "freeze": "expiry"}


def record(
    name: EventName,
    about: Target,
    *,
    actor: Actor,
    at: dt.datetime,
    changes: Mapping[str, tuple[Any, Any]] | None = None,
    reason: Reason | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write one event, inside the caller's transaction.

    `changes`: {field: (old, new)} of what changed, JSON, with secrets masked by the caller. `reason`: why, as a code.
    `details`: what else belongs to it, JSON, no secret.
    """
    Event.create(
        at=at,
        name=str(name),
        target_kind=str(about.kind),
        target_id=about.id,
        target_path=about.path,
        stage_id=about.stage_id,
        actor_kind=str(actor.kind),
        actor_id=actor.id,
        actor_name=actor.name,
        peer=actor.peer,
        changes={field: list(pair) for field, pair in (changes or {}).items()},
        reason_code=None if reason is None else str(reason.code),
        details={**({} if reason is None else reason.params), **(details or {})},
    )


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """{field: (old, new)} of the fields of `after` that differ from `before`."""
    return {field: (before.get(field), value) for field, value in after.items() if before.get(field) != value}


def filters() -> tuple[str, ...]:
    """What the audit log can be asked for: `stage`, all about stages, and each event by itself."""
    nouns = dict.fromkeys(name.partition(".")[0] for name in EventName)
    return (*nouns, *EventName)


def list_events(
    *,
    limit: int,
    before: int | None = None,
    name: str | None = None,
    actor: str | None = None,
    about: str | None = None,
) -> list[Event]:
    """The newest events first, below the id `before`. `name` and `about` (a target's path) also match what begins with
    them and goes on after a dot or a slash: `stage` finds `stage.lock`, `shop/production` finds
    `shop/production/web-1`, and that stage's runs. Without a `name`, routine events of hosts are left out.
    """
    wanted = str(ALIASES.get(name, name)) if name is not None else None
    tests: list[Any] = [Event.id < before] if before is not None else []
    tests += [] if actor is None else [Event.actor_name == actor]
    tests += [Event.name.not_in([str(one) for one in ROUTINE])] if wanted is None else []
    tests += [] if wanted is None else [_begins(Event.name, wanted, ".")]
    tests += [] if about is None else [_begins(Event.target_path, about, "/") | Event.stage_id.in_(_stage_of(about))]
    query = Event.select()
    chosen = query.where(*tests) if tests else query
    return list(cast("Any", chosen.order_by(Event.id.desc()).limit(limit)))


def _begins(field: Any, text: str, mark: str) -> Any:
    return (field == text) | field.startswith(f"{text}{mark}")


def _stage_of(path: str) -> Any:
    """The ids of the stages of that path: one, or none."""
    project, _, stage = path.partition("/")
    return Stage.select(Stage.id).join(Project).where((Project.name == project) & (Stage.name == stage))
