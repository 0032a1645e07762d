"""The form of a stage's scaling: its fields, to and from the JSON that the API takes."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from werkzeug.datastructures import MultiDict

from inventory_service.models import StageScaling
from inventory_service.scaling import policies, settings
from inventory_service.scaling.policies import SCHEDULE, STATISTICS, STEP, TARGET, Limits

KINDS = (TARGET, STEP, SCHEDULE)
MOST_POLICIES = 20
_SIGNAL = ("name", "metric", "statistic", "window_seconds")
_FIELDS = {
    TARGET: (*_SIGNAL, "target"),
    STEP: (*_SIGNAL, "threshold", "adjustment_type"),
    SCHEDULE: ("name", "cron", "timezone", "minimum", "maximum", "desired"),
}
_STEP_FIELDS = ("lower", "upper", "adjustment")
_TEXTS = {"name", "metric", "statistic", "adjustment_type", "cron", "timezone"}
# The fields of each kind of actuator; what may be left out, and what else there may be, is handed through.
_ACTUATORS = {
    settings.GROUP: ("region", "name", "launching_hook", "terminating_hook", "queue_url"),
    settings.TEMPLATE: ("region", "id", "version"),
}
_NEEDED = {"region", "name", "id"}
_NEW = {
    TARGET: {"type": TARGET, "name": "load", "metric": "load1_per_cpu", "target": 0.6},
    STEP: {
        "type": STEP,
        "name": "queue",
        "metric": "queue_depth",
        "statistic": "sum",
        "threshold": 100,
        "steps": [{"upper": 0, "adjustment": 0}, {"lower": 0, "adjustment": 1}],
    },
    SCHEDULE: {"type": SCHEDULE, "name": "morning", "cron": "30 7 * * mon-fri", "timezone": "UTC", "minimum": 2},
}
CHOICES = {"statistic": STATISTICS, "adjustment_type": (policies.CHANGE, policies.PERCENT, policies.EXACT)}
LIMITS = tuple(field.name for field in dataclasses.fields(Limits))


def from_row(row: StageScaling | None) -> dict[str, Any]:
    """What is set, with every limit; one target policy to begin with where nothing is."""
    if row is None:
        first = {"limits": dataclasses.asdict(Limits()), "policies": [_NEW[TARGET]], "actuator": None}
        return {**first, "enabled": False, "dry_run": True, "drain_playbook": None}
    return {
        "limits": {**dataclasses.asdict(Limits()), **row.limits},
        "policies": list(row.policies),
        "actuator": row.actuator,
        "enabled": row.is_enabled,
        "dry_run": row.is_dry_run,
        "drain_playbook": row.drain_playbook,
    }


def from_fields(fields: MultiDict[str, str]) -> dict[str, Any]:
    """What was typed. A number that is none stays text, for the domain to refuse it in its own words."""
    count = min(int(fields.get("count", "0")) if fields.get("count", "").isdecimal() else 0, MOST_POLICIES)
    limits = {name: _typed(name, fields.get(f"limits.{name}", "")) for name in LIMITS}
    return {
        "limits": {name: value for name, value in limits.items() if value is not None},
        "policies": [_policy(fields, f"policies.{number}") for number in range(count)],
        "actuator": _actuator(fields),
        "enabled": fields.get("enabled") == "on",
        "dry_run": fields.get("dry_run") == "on",
        "drain_playbook": fields.get("drain_playbook", "").strip() or None,
    }


def add(body: dict[str, Any], kind: str) -> None:
    """Put a new policy of this kind at the end, under a name of its own."""
    taken = {policy.get("name") for policy in body["policies"]}
    fresh = dict(_NEW.get(kind, _NEW[TARGET]))
    names = (f"{fresh['name']}-{number}" if number else fresh["name"] for number in range(MOST_POLICIES + 1))
    fresh["name"] = next(name for name in names if name not in taken)
    if len(body["policies"]) < MOST_POLICIES:
        body["policies"].append(fresh)


def _policy(fields: Mapping[str, str], place: str) -> dict[str, Any]:
    kind = fields.get(f"{place}.type", TARGET)
    kind = kind if kind in KINDS else TARGET
    typed = {name: _typed(name, fields.get(f"{place}.{name}", "")) for name in _FIELDS[kind]}
    found = {"type": kind, **{name: value for name, value in typed.items() if value is not None}}
    if kind == TARGET and fields.get(f"{place}.disable_scale_in") == "on":
        found["disable_scale_in"] = True
    if kind != SCHEDULE and (source := _cloudwatch(fields, f"{place}.cloudwatch")):
        found["cloudwatch"] = source
    if kind == STEP:
        found["steps"] = _steps(fields, place)
    return found


def _cloudwatch(fields: Mapping[str, str], place: str) -> dict[str, Any]:
    """Nothing where no namespace, name or dimension was typed."""
    found: dict[str, Any] = {name: fields.get(f"{place}.{name}", "").strip()[:300] for name in ("namespace", "name")}
    lines = [line for line in fields.get(f"{place}.dimensions", "").splitlines()[:50] if line.strip()]
    if not any(found.values()) and not lines:
        return {}
    parts = [line.partition("=") for line in lines]
    found["dimensions"] = {name.strip()[:300]: value.strip()[:300] for name, _, value in parts}
    others = {name: _typed(name, fields.get(f"{place}.{name}", "")) for name in ("statistic", "period")}
    return found | {name: value for name, value in others.items() if value is not None}


def _steps(fields: Mapping[str, str], place: str) -> list[dict[str, Any]]:
    """Rows in which nothing was typed are no steps."""
    found = []
    for number in range(MOST_POLICIES + 1):
        typed = {name: _typed(name, fields.get(f"{place}.steps.{number}.{name}", "")) for name in _STEP_FIELDS}
        step = {name: value for name, value in typed.items() if value is not None}
        found += [step] if step else []
    return found


def _actuator(fields: Mapping[str, str]) -> dict[str, Any] | None:
    kind = fields.get("actuator.type", "")
    if kind not in _ACTUATORS:
        return None
    typed = {name: fields.get(f"actuator.{name}", "").strip()[:300] for name in _ACTUATORS[kind]}
    found: dict[str, Any] = {"type": kind, **{name: text for name, text in typed.items() if text or name in _NEEDED}}
    subnets = fields.get("actuator.subnets", "").replace(",", " ").split()[:64]
    if kind == settings.TEMPLATE and subnets:
        found["subnets"] = subnets
    if tags := _tags(fields):
        found["tags"] = tags
    return {**_json(fields.get("actuator.more", "")), **found}


def _tags(fields: Mapping[str, str]) -> dict[str, Any]:
    """Nothing where nothing was typed; `none` for groups is the empty list."""
    lines = [line.partition("=") for line in fields.get("actuator.tags.match", "").splitlines()[:50] if line.strip()]
    match = {name.strip()[:300]: value.strip()[:300] for name, _, value in lines}
    names = [word.strip()[:300] for word in fields.get("actuator.tags.groups", "").split(",")[:50] if word.strip()]
    groups = {"groups": [] if names == ["none"] else names} if names else {}
    return ({"match": match} if match else {}) | groups


def more_of(actuator: Mapping[str, Any] | None) -> str:
    """The parts of an actuator that have no field in the form, as JSON that comes back with it."""
    shown = {"type", "subnets", "tags", *(name for names in _ACTUATORS.values() for name in names)}
    return json.dumps({name: value for name, value in (actuator or {}).items() if name not in shown})


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text[:20_000])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _typed(name: str, text: str) -> Any:
    """None for nothing; a number where the text is one and the field takes numbers."""
    text = text.strip()[:300]
    if not text:
        return None
    if name in _TEXTS:
        return text
    if re.fullmatch(r"-?[0-9]{1,15}", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?[0-9]{0,15}\.[0-9]{1,15}|-?[0-9]{1,15}\.", text) else text
