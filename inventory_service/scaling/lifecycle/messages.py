"""The queue's messages: EventBridge's, or those that a hook sends itself. They may say anything."""

from __future__ import annotations

import dataclasses
import json
import re

LAUNCHING, TERMINATING = "launching", "terminating"
_TRANSITIONS = {"autoscaling:EC2_INSTANCE_LAUNCHING": LAUNCHING, "autoscaling:EC2_INSTANCE_TERMINATING": TERMINATING}
_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")
_TOKEN = re.compile(r"[0-9a-fA-F-]{36}")
_LARGEST_MESSAGE = 65536


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A message that we understand: the group waits (or waited) for our word on the instance."""

    group: str
    hook: str
    instance: str
    transition: str
    token: str


def read_event(body: str) -> Event | None:
    """The event of a message, EventBridge's or the hook's own; None for anything else."""
    try:
        told = json.loads(body) if len(body) <= _LARGEST_MESSAGE else None
    except (ValueError, RecursionError):
        return None
    detail = told.get("detail", told) if isinstance(told, dict) else None
    if not isinstance(detail, dict):
        return None
    names = (
        "AutoScalingGroupName",
        "LifecycleHookName",
        "EC2InstanceId",
        "LifecycleTransition",
        "LifecycleActionToken",
    )
    words = [detail.get(name) for name in names]
    if not all(isinstance(word, str) for word in words):
        return None
    group, hook, instance, transition, token = (str(word) for word in words)
    if transition not in _TRANSITIONS or not _INSTANCE.fullmatch(instance) or not _TOKEN.fullmatch(token):
        return None
    return Event(group, hook, instance, _TRANSITIONS[transition], token)
