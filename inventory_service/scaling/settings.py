"""How a stage scales: its limits, its policies, and what carries decisions out. Set by people, read by the loop."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

from inventory_service import events
from inventory_service.database import database
from inventory_service.errors import InvalidError, NotFoundError
from inventory_service.events import Actor, EventName
from inventory_service.models import ScalingDecision, Stage, StageScaling
from inventory_service.registry.stage_settings import check_playbook
from inventory_service.registry.stages import stage_name
from inventory_service.scaling import policies
from inventory_service.scaling.policies import Limits, Parts, Policy

GROUP, TEMPLATE = "auto_scaling_group", "launch_template"
_REGION = re.compile(r"[a-z]{2,5}(-[a-z]+)+-[0-9]{1,2}")
_GROUP_NAME = re.compile(r"[A-Za-z0-9_.:/#= @+-]{1,255}")
_TEMPLATE_ID = re.compile(r"lt-[0-9a-f]{8,17}")
_VERSION = re.compile(r"[0-9]{1,9}|\$Latest|\$Default")
_SUBNET = re.compile(r"subnet-[0-9a-f]{8,17}")
_MOST_SUBNETS = 16
_TAG = re.compile(r"[A-Za-z0-9 _.:/=+@-]{1,128}")
_MOST_TAGS = 20
GROUPS_TAG = "callboard:groups"
_HOOK = re.compile(r"[A-Za-z0-9_/-]{1,255}")
_QUEUE = re.compile(r"(https://[a-z0-9.-]{1,200}|http://127\.0\.0\.1)(:[0-9]{1,5})?/[0-9]{12}/[A-Za-z0-9_-]{1,80}")


@dataclasses.dataclass(frozen=True, slots=True)
class Tags:
    """What EC2's tags of an instance mean. `match`: all of these say that it is of the stage, beside the actuator's own
    instances; empty: the tag `callboard:stage` does. `groups`: tags whose values, with commas between, are groups.
    """

    match: tuple[tuple[str, str], ...] = ()
    groups: tuple[str, ...] = (GROUPS_TAG,)


@dataclasses.dataclass(frozen=True, slots=True)
class Actuator:
    """What makes and ends machines: an Auto Scaling group by name, or EC2 itself by a launch template.

    The group's hooks that we answer, and the queue with their events; each "" where there is none.
    """

    kind: str
    region: str
    group: str = ""
    template: str = ""
    version: str = "$Default"
    subnets: tuple[str, ...] = ()
    launching_hook: str = ""
    terminating_hook: str = ""
    queue_url: str = ""
    tags: Tags = Tags()


@dataclasses.dataclass(frozen=True, slots=True)
class Scaling:
    """A stage's scaling as the loop uses it. `actuator` None: nothing is carried out, decisions are only recorded."""

    limits: Limits
    policies: tuple[Policy, ...]
    actuator: Actuator | None
    is_enabled: bool
    is_dry_run: bool
    drain_playbook: str | None = None


def configure(
    stage: Stage,
    *,
    limits: Mapping[str, Any],
    policy_texts: list[Mapping[str, Any]],
    actuator: Mapping[str, Any] | None,
    is_enabled: bool,
    is_dry_run: bool,
    drain_playbook: str | None = None,
    actor: Actor,
    at: dt.datetime,
) -> StageScaling:
    """Set how the stage scales, as a whole. Raises InvalidError; nothing is changed then."""
    check(limits, policy_texts, actuator, drain_playbook)
    fields = {
        "drain_playbook": drain_playbook,
        "limits": dict(limits),
        "policies": [dict(text) for text in policy_texts],
        "actuator": None if actuator is None else dict(actuator),
        "is_enabled": is_enabled,
        "is_dry_run": is_dry_run,
    }
    with database.atomic():
        row = find(stage)
        changes = events.changed({name: getattr(row, name) for name in fields} if row else {}, fields)
        written = {**fields, "updated_by": actor.name, "updated_at": at}
        if StageScaling.update(**written).where(StageScaling.stage == stage).execute() == 0:
            StageScaling.create(stage=stage, **written)
        changes = {name.removeprefix("is_"): pair for name, pair in changes.items()}  # as people know them
        details = {"enabled": is_enabled, "dry_run": is_dry_run}
        events.record(
            EventName.SCALING_CONFIGURE, events.target(stage), actor=actor, at=at, changes=changes, details=details
        )
    return StageScaling.get(StageScaling.stage == stage)


def check(
    limits: Mapping[str, Any],
    policy_texts: list[Mapping[str, Any]],
    actuator: Mapping[str, Any] | None,
    drain_playbook: str | None,
) -> None:
    """Raises InvalidError with every wrong field and its place, such as ["policies", 0, "target"]."""
    with Parts() as parts:
        parts.add(policies.parse_limits, limits, "limits")
        parts.add(policies.parse_all, policy_texts)
        if actuator is not None:
            parts.add(parse_actuator, actuator, "actuator")
        if drain_playbook is not None:
            parts.add(lambda name: check_playbook(name, "drain_playbook"), drain_playbook)


def find(stage: Stage) -> StageScaling | None:
    """The stage's row; None where nobody has set it."""
    return StageScaling.get_or_none(StageScaling.stage == stage)


def get(stage: Stage) -> StageScaling:
    """The stage's row. Raises NotFoundError."""
    row = find(stage)
    if row is None:
        raise NotFoundError(f"{stage_name(stage)} has no scaling yet; set it first.")
    return row


def remove(stage: Stage, *, actor: Actor, at: dt.datetime) -> None:
    """The stage scales no more; its decisions stay."""
    with database.atomic():
        StageScaling.delete().where(StageScaling.stage == stage).execute()
        events.record(EventName.SCALING_REMOVE, events.target(stage), actor=actor, at=at)


def parse(row: StageScaling) -> Scaling:
    """The row as the loop uses it. Raises InvalidError where a newer version left something that is not understood."""
    return Scaling(
        limits=policies.parse_limits(row.limits),
        policies=policies.parse_all(row.policies),
        actuator=None if row.actuator is None else parse_actuator(row.actuator),
        is_enabled=row.is_enabled,
        is_dry_run=row.is_dry_run,
        drain_playbook=row.drain_playbook,
    )


def parse_actuator(text: Mapping[str, Any]) -> Actuator:
    """An actuator from its JSON object. Raises InvalidError that names the field."""
    kind = text.get("type")
    known = {GROUP: {"name", "launching_hook", "terminating_hook", "queue_url"}, TEMPLATE: {"id", "version", "subnets"}}
    if kind not in known:
        raise InvalidError.at("type", f"An actuator's type is {GROUP} or {TEMPLATE}.")
    extra = set(text) - known[kind] - {"type", "region", "tags"}
    if extra:
        name = str(min(extra))[:60]
        raise InvalidError.at(name, f"The actuator has no field {name!r}.")
    region = _match(text.get("region"), _REGION, "region", "an AWS region such as eu-central-1")
    made = _group(text, region) if kind == GROUP else _template(text, region)
    return made if text.get("tags") is None else dataclasses.replace(made, tags=_tags(text["tags"]))


def _tags(text: Any) -> Tags:
    if not isinstance(text, dict) or set(text) - {"match", "groups"}:
        raise InvalidError.at("tags", "The actuator's tags are a mapping with match and groups.")
    match, groups = text.get("match", {}), text.get("groups", [GROUPS_TAG])
    is_right = isinstance(match, dict) and isinstance(groups, list) and len(match) + len(groups) <= _MOST_TAGS
    texts = [*match, *match.values(), *groups] if is_right else [None]
    if not all(isinstance(text, str) and _TAG.fullmatch(text) for text in texts):
        raise InvalidError.at(
            "tags", f"tags.match is a mapping of EC2 tags, tags.groups a list of tag names; {_MOST_TAGS} at most."
        )
    return Tags(tuple(match.items()), tuple(groups))


def _group(text: Mapping[str, Any], region: str) -> Actuator:
    optional = {
        "launching_hook": (_HOOK, "the name of a lifecycle hook"),
        "terminating_hook": (_HOOK, "the name of a lifecycle hook"),
        "queue_url": (_QUEUE, "the URL of an SQS queue, https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"),
    }
    more = {
        name: _match(text[name], pattern, name, meaning)
        for name, (pattern, meaning) in optional.items()
        if text.get(name) is not None
    }
    if "queue_url" in more and len(more) == 1:
        raise InvalidError.at(
            "queue_url", "A queue_url brings events of hooks; name launching_hook or terminating_hook."
        )
    return Actuator(
        GROUP,
        region,
        group=_match(text.get("name"), _GROUP_NAME, "name", "the group's name"),
        launching_hook=more.get("launching_hook", ""),
        terminating_hook=more.get("terminating_hook", ""),
        queue_url=more.get("queue_url", ""),
    )


def _template(text: Mapping[str, Any], region: str) -> Actuator:
    subnets = text.get("subnets", [])
    if not isinstance(subnets, list) or len(subnets) > _MOST_SUBNETS:
        raise InvalidError.at("subnets", f"An actuator has at most {_MOST_SUBNETS} subnets.")
    return Actuator(
        TEMPLATE,
        region,
        template=_match(text.get("id"), _TEMPLATE_ID, "id", "the launch template's id, lt-…"),
        version=_match(text.get("version", "$Default"), _VERSION, "version", "a number, $Latest or $Default"),
        subnets=tuple(_match(subnet, _SUBNET, "subnets", "ids like subnet-…") for subnet in subnets),
    )


def _match(value: Any, pattern: re.Pattern[str], name: str, meaning: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidError.at(name, f"The actuator needs {name!r}: {meaning}.")
    return value


def decisions(stage: Stage, *, limit: int = 100, is_change: bool = False) -> list[ScalingDecision]:
    """The newest decisions first; `is_change`: without those that change nothing."""
    query = ScalingDecision.select().where(ScalingDecision.stage == stage)
    query = query.where(ScalingDecision.action != "hold") if is_change else query
    return list(query.order_by(ScalingDecision.id.desc()).limit(limit))
