"""The job beside the loop that answers lifecycle hooks: take the queues' messages in, then each stage's actions on."""

from __future__ import annotations

import datetime as dt
import logging

from inventory_service.adapters.ec2 import Cloud
from inventory_service.errors import CallboardError
from inventory_service.models import Stage, StageScaling
from inventory_service.registry import liveness, stages
from inventory_service.registry.stages import stage_name
from inventory_service.scaling import fleet as fleets
from inventory_service.scaling.lifecycle import actions
from inventory_service.scaling.lifecycle.answering import Tending
from inventory_service.scaling.lifecycle.messages import read_event
from inventory_service.scaling.loop import CloudOf
from inventory_service.scaling.settings import Actuator, Scaling, find, parse

log = logging.getLogger(__name__)

Hooked = tuple[Stage, StageScaling, Scaling, Actuator]


def tend_all(cloud_of: CloudOf, *, expiry: liveness.Expiry) -> list[int]:
    """Answer the hooks of each stage that has some; returns the numbers of the drain runs that it queued.

    A stage whose turn fails says why, and the others go on.
    """
    found = _hooked()
    actions.forget_unanswered([one[0].id for one in found], at=expiry.at)
    problems: dict[int, str] = {}
    for region, queue in sorted({(one[3].region, one[3].queue_url) for one in found if one[3].queue_url}):
        listeners = [one for one in found if (one[3].region, one[3].queue_url) == (region, queue)]
        try:
            _listen(cloud_of(region), queue, listeners, at=expiry.at)
        except CallboardError as error:
            problems |= {one[0].id: error.detail for one in listeners}
    runs: list[int] = []
    for stage, row, scaling, actuator in found:
        try:
            runs += _tend(stage, scaling, actuator, cloud_of(actuator.region), expiry=expiry)
        except CallboardError as error:
            problems[stage.id] = error.detail
        except Exception as error:
            log.exception("the hooks of %s failed in a way that nobody foresaw", stage_name(stage))
            problems[stage.id] = f"Unexpected: {type(error).__name__}: {error}. See the service's log."
        _tell(stage, row, problems.get(stage.id))
    return runs


def _hooked() -> list[Hooked]:
    """The stages that scale by a group with a hook of ours. One that can't be parsed says so in the loop."""
    found: list[Hooked] = []
    for stage in stages.list_stages():
        row = find(stage)
        if row is None or not row.is_enabled:
            continue
        try:
            scaling = parse(row)
        except CallboardError:
            continue
        actuator = scaling.actuator
        if actuator is not None and (actuator.launching_hook or actuator.terminating_hook):
            found.append((stage, row, scaling, actuator))
    return found


def _listen(cloud: Cloud, queue: str, listeners: list[Hooked], *, at: dt.datetime) -> None:
    """Each message is deleted after it was written down; so is what is no event of a group of ours, else it would
    come for ever. Where that was wrong, the group's own list still tells who waits.
    """
    by_group = {actuator.group: (stage, actuator) for stage, _, _, actuator in listeners}
    for message in cloud.receive(queue):
        event = read_event(message.body)
        if event is not None and event.group in by_group:
            stage, actuator = by_group[event.group]
            actions.notice_event(stage, actuator, event, at=at)
        else:
            log.warning("%s held a message that is no lifecycle event of a group here: %.200r", queue, message.body)
        cloud.delete(queue, message)


def _tend(stage: Stage, scaling: Scaling, actuator: Actuator, cloud: Cloud, *, expiry: liveness.Expiry) -> list[int]:
    """Without a queue the group is asked each time; with one, only while something waits: the loop looks, too."""
    if actuator.queue_url and not actions.waiting(stage):
        return []
    fleet = fleets.observe(stage, actuator, cloud, at=expiry.at)
    actions.notice_fleet(stage, actuator, fleet, at=expiry.at)
    return Tending(stage, scaling, cloud, fleet, expiry=expiry).tend()


def _tell(stage: Stage, row: StageScaling, words: str | None) -> None:
    told = words[:500] if words else None
    if told != row.hook_problem:
        if told:
            log.warning("hooks of %s: %s", stage_name(stage), told)
        StageScaling.update(hook_problem=told).where(StageScaling.id == row.id).execute()
