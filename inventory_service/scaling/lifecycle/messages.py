"""What a queue's message says: an Auto Scaling group waits, or waited, for an answer about an instance."""

from __future__ import annotations

import dataclasses
import json
import re

LAUNCHING, TERMINATING = "launching", "terminating"
_TRANSITIONS = {"autoscaling:EC2_INSTANCE_LAUNCHING": LAUNCHING, "autoscaling:EC2_INSTANCE_TERMINATING": TERMINATING}
_FIELDS = (
    "AutoScalingGroupName",
    "LifecycleHookName",
    "EC2InstanceId",
    "LifecycleTransition",
    "LifecycleActionToken",
)
_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")
_TOKEN = re.compile(r"[0-9a-fA-F-]{36}")
_LARGEST = 65536


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A lifecycle action of a group. `transition`: LAUNCHING or TERMINATING."""

    group: str
    hook: str
    instance: str
    transition: str
    token: str


def read(body: str) -> Message | None:
    """From EventBridge, or of the hook itself; None for anything else."""
    try:
        content = json.loads(body) if len(body) <= _LARGEST else None
    except (ValueError, RecursionError):
        return None
    detail = content.get("detail", content) if isinstance(content, dict) else None
    if not isinstance(detail, dict):
        return None
    values = [detail.get(name) for name in _FIELDS]
    if not all(isinstance(value, str) for value in values):
        return None
    group, hook, instance, transition, token = (str(value) for value in values)
    if transition not in _TRANSITIONS or not _INSTANCE.fullmatch(instance) or not _TOKEN.fullmatch(token):
        return None
    return Message(group, hook, instance, _TRANSITIONS[transition], token)
