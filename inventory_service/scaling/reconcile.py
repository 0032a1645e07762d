"""EC2's list against the registry, both ways: what is mended at once, and what people have to see."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from inventory_service.adapters.ec2 import ENDED, PENDING, RUNNING, STOPPED, Cloud, Instance
from inventory_service.clock import iso
from inventory_service.codes import scaling as codes
from inventory_service.codes.host import Conflict, Gone
from inventory_service.database import database
from inventory_service.errors import CallboardError
from inventory_service.events import SCALING
from inventory_service.models import Host, Stage
from inventory_service.reasons import because
from inventory_service.records import hosts as records
from inventory_service.registry import liveness
from inventory_service.registry.groups import check_groups
from inventory_service.scaling.fleet import Fleet
from inventory_service.scaling.settings import Actuator, Tags

_BOOT = dt.timedelta(minutes=10)
_SHOWN, _REMEMBERED = dt.timedelta(hours=1), dt.timedelta(days=7)
_OVER = (ENDED, STOPPED)
_MOST_SHOWN = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Where EC2 and the registry differ, for people to see. `since`: when that began, ISO 8601."""

    code: codes.Finding
    instance: str
    host: str | None
    since: str | None = None
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As StageScaling.findings keeps it: code, instance, host, since, and the code's other parameters."""
        own = {"code": str(self.code), "instance": self.instance, "host": self.host, "since": self.since}
        return {**own, **self.params}


def reconcile(
    stage: Stage,
    actuator: Actuator,
    fleet: Fleet,
    cloud: Cloud,
    *,
    expiry: liveness.Expiry,
    before: Sequence[Mapping[str, Any]] = (),
) -> list[Finding]:
    """Hosts whose machines EC2 has ended or stopped become gone here at once; what else differs is returned.

    EC2's list lags, so an end is looked at twice. A machine that enrols again after EC2 has ended it is a contradiction
    for a person to see, and not listed meanwhile. `before`: the findings of the look before, for their `since`.
    """
    pairs = [(pair.instance, pair.host) for pair in fleet.pairs if pair.instance is not None]
    ended = {instance.id for instance, host in pairs if host and instance.state in _OVER}
    sure = {instance.id for instance in cloud.instances(ended) if instance.state in _OVER} if ended else set()
    found: list[Finding] = []
    for instance, host in pairs:
        if host is not None and instance.id in sure:
            found += _end(instance, host, at=expiry.at)
        elif instance.state in (RUNNING, PENDING):
            found += _compare(stage, instance, host, expiry=expiry)
            found += _place(stage, actuator.tags, fleet, instance, host, at=expiry.at)
    found += _lately_gone(stage, at=expiry.at)
    found += _beating_after_end(stage, at=expiry.at)
    known = {(row["code"], row["instance"]): row.get("since") for row in before}
    return [
        one if one.since else dataclasses.replace(one, since=known.get((one.code, one.instance)) or iso(expiry.at))
        for one in found
    ]


def _end(instance: Instance, host: Host, *, at: dt.datetime) -> list[Finding]:
    same = Host.instance == host.instance if host.instance else Host.address == host.address
    before = Host.select().where((Host.stage == host.stage_id) & same & (Host.gone_code == Gone.EC2_ENDED))
    with database.atomic():
        if not before.exists():
            reason = because(Gone.EC2_ENDED, instance=instance.id, state=instance.state)
            records.end(host, reason, actor=SCALING, at=at)
            return []
        conflict = because(Conflict.ENDED_BUT_BEATS, instance=instance.id, state=instance.state)
        records.mark_conflict(host, conflict, at=at)
    return [Finding(codes.Finding.BEATS_AFTER_END, instance.id, host.name, params={"state": instance.state})]


def _lately_gone(stage: Stage, *, at: dt.datetime) -> list[Finding]:
    """What was mended within the last hour, so that people see why a host went."""
    lately = (Host.gone_at > at - _SHOWN) & Host.conflict_code.is_null()
    return [_finding(codes.Finding.ENDED, row, since=iso(row.gone_at)) for row in _ended(stage, lately)]


def _beating_after_end(stage: Stage, *, at: dt.datetime) -> list[Finding]:
    """Gone since EC2 ended their machines, and beating with the old token."""
    beating = (Host.gone_at > at - _REMEMBERED) & Host.conflict_code.is_null(False)
    return [_finding(codes.Finding.BEATS_AFTER_END, row) for row in _ended(stage, beating)]


def _ended(stage: Stage, which: Any) -> list[Host]:
    mine = (Host.stage == stage) & (Host.gone_code == Gone.EC2_ENDED)
    return list(Host.select().where(mine & which).order_by(Host.gone_at.desc()).limit(_MOST_SHOWN))


def _finding(code: codes.Finding, row: Host, *, since: str | None = None) -> Finding:
    ended = row.gone_params
    return Finding(code, ended["instance"], row.name, since, {"state": ended["state"]})


def _compare(stage: Stage, instance: Instance, host: Host | None, *, expiry: liveness.Expiry) -> list[Finding]:
    if instance.state != RUNNING:
        return []
    if host is None:
        if expiry.at - instance.launched_at < _BOOT:
            return []
        return [Finding(codes.Finding.NOT_ENROLLED, instance.id, None, iso(instance.launched_at))]
    if host.conflict_code == Conflict.ENDED_BUT_BEATS:
        with database.atomic():
            records.end_conflict(host, at=expiry.at)
    if expiry.state(host, stage) == liveness.STALE:
        return [Finding(codes.Finding.AGENT_SILENT, instance.id, host.name, iso(host.last_seen_at))]
    return []


def _place(
    stage: Stage, tags: Tags, fleet: Fleet, instance: Instance, host: Host | None, *, at: dt.datetime
) -> list[Finding]:
    """Whether the host stands where its instance's tags say: stage and groups. Groups are set right."""
    if host is None:
        return []
    if instance.id not in fleet.of_stage:
        return [Finding(codes.Finding.OTHER_STAGE, instance.id, host.name)]
    wanted = groups_of(instance, tags)
    if not wanted and not host.tag_groups:
        return []
    try:
        checked = check_groups(stage, wanted)
    except CallboardError as error:
        return [Finding(codes.Finding.BAD_TAG, instance.id, host.name, params={"text": error.detail})]
    if checked != (host.tag_groups or []):
        with database.atomic():
            records.place_by_tags(host, checked, actor=SCALING, at=at)
    return []


def groups_of(instance: Instance, tags: Tags) -> list[str]:
    """The groups that the instance's tags name, as they stand there."""
    names = [name.strip() for tag in tags.groups for name in instance.tags.get(tag, "").split(",")]
    return sorted({name for name in names if name})


def expected(stage: Stage, actuator: Actuator, fleet: Fleet) -> dict[str, list[str]]:
    """The instances that run (or are about to) and have not enrolled, each with the groups of its tags."""
    missing = [pair.instance for pair in fleet.pairs if pair.instance is not None and pair.host is None]
    found = {}
    for instance in missing:
        if instance.is_leaving or instance.id not in fleet.of_stage:
            continue
        try:
            found[instance.id] = check_groups(stage, groups_of(instance, actuator.tags))
        except CallboardError:
            found[instance.id] = []
    return found
