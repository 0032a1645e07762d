"""The job beside the loop that answers lifecycle hooks: it reads the queues, then goes through each stage's actions."""

from __future__ import annotations

import datetime as dt
import logging

from inventory_service.adapters.ec2 import Cloud
from inventory_service.errors import CallboardError
from inventory_service.models import Stage, StageScaling
from inventory_service.reasons import Reason, columns
from inventory_service.registry import liveness, stages
from inventory_service.registry.stages import stage_name
from inventory_service.scaling import failures
from inventory_service.scaling import fleet as fleets
from inventory_service.scaling.fleet import CloudOf
from inventory_service.scaling.lifecycle import actions, messages
from inventory_service.scaling.lifecycle.answering import HookRound
from inventory_service.scaling.settings import Actuator, Scaling, find, parse
from inventory_service.wording import scaling as wording

log = logging.getLogger(__name__)

Hooked = tuple[Stage, StageScaling, Scaling, Actuator]


def answer_all(cloud_of: CloudOf, *, expiry: liveness.Expiry) -> list[int]:
    """Answer the hooks of each stage that has some; returns the numbers of the drain runs that it queued.

    A stage whose turn fails says why, and the others go on.
    """
    found = _hooked()
    actions.forget_unanswered([one[0].id for one in found], at=expiry.at)
    problems: dict[int, Reason] = {}
    for region, queue in sorted({(one[3].region, one[3].queue_url) for one in found if one[3].queue_url}):
        listeners = [one for one in found if (one[3].region, one[3].queue_url) == (region, queue)]
        try:
            _read_queue(cloud_of(region), queue, listeners, at=expiry.at)
        except CallboardError as error:
            problems |= {one[0].id: failures.reason_of(error) for one in listeners}
    runs: list[int] = []
    for stage, row, scaling, actuator in found:
        try:
            runs += _answer(stage, scaling, actuator, cloud_of(actuator.region), expiry=expiry)
        except CallboardError as error:
            problems[stage.id] = failures.reason_of(error)
        except Exception as error:
            log.exception("the hooks of %s failed in a way that nobody foresaw", stage_name(stage))
            problems[stage.id] = failures.reason_of(error)
        _keep_problem(stage, row, problems.get(stage.id))
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


def _read_queue(cloud: Cloud, queue: str, listeners: list[Hooked], *, at: dt.datetime) -> None:
    """Each message is deleted after it was written down; so is what is no lifecycle action of a group of ours, else it
    would come for ever. Where that was wrong, the group's own list still tells who waits.
    """
    by_group = {actuator.group: (stage, actuator) for stage, _, _, actuator in listeners}
    for received in cloud.receive(queue):
        message = messages.read(received.body)
        if message is not None and message.group in by_group:
            stage, actuator = by_group[message.group]
            actions.notice_message(stage, actuator, message, at=at)
        else:
            log.warning("%s had a message that is no lifecycle action of a group here: %.200r", queue, received.body)
        cloud.delete(queue, received)


def _answer(stage: Stage, scaling: Scaling, actuator: Actuator, cloud: Cloud, *, expiry: liveness.Expiry) -> list[int]:
    """Without a queue the group is asked each time; with one, only while something waits: the loop looks, too."""
    if actuator.queue_url and not actions.waiting(stage):
        return []
    fleet = fleets.observe(stage, actuator, cloud, at=expiry.at)
    actions.notice_fleet(stage, actuator, fleet, at=expiry.at)
    return HookRound(stage, scaling, cloud, fleet, expiry=expiry).run()


def _keep_problem(stage: Stage, row: StageScaling, problem: Reason | None) -> None:
    kept = columns("hook_problem", problem)
    if kept != {name: getattr(row, name) for name in kept}:
        if problem:
            log.warning("hooks of %s: %s", stage_name(stage), wording.failure(problem.code, problem.params))
        StageScaling.update(**kept).where(StageScaling.id == row.id).execute()
