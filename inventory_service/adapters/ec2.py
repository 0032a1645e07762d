"""EC2 and Auto Scaling, by boto3: what there is, and the few calls that change it.

boto3 takes half a second to import, so it is imported when a stage that scales is first looked at. Credentials come
from boto3's own chain (instance profile, environment, …), never from Callboard's settings. Every call is safe to
repeat: amounts are absolute, launches carry a client token, and ends name their instance.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from inventory_service.errors import CloudError

RUNNING, PENDING, STOPPED, ENDED = "running", "pending", "stopped", "terminated"
_STATES = {
    "pending": PENDING,
    "running": RUNNING,
    "stopping": STOPPED,
    "stopped": STOPPED,
    "shutting-down": ENDED,
    "terminated": ENDED,
}
_LEAVING = ("Terminating", "Terminated", "Detaching", "Detached")
STAGE_TAG, DECISION_TAG = "callboard:stage", "callboard:decision"
_BATCH = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Instance:
    """One EC2 instance. `state`: PENDING, RUNNING, STOPPED or ENDED; `lifecycle`: its word in the group, "" outside."""

    id: str
    state: str
    address: str
    zone: str
    launched_at: dt.datetime
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    lifecycle: str = ""
    template_version: int = 0
    is_protected: bool = False

    @property
    def is_leaving(self) -> bool:
        """Whether its end has begun."""
        return self.state in (STOPPED, ENDED) or self.lifecycle.startswith(_LEAVING)


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """An Auto Scaling group: its own bounds, what it should have, and its instances' words (lifecycle, protection)."""

    name: str
    minimum: int
    maximum: int
    desired: int
    instances: tuple[dict[str, Any], ...]


class Cloud:
    """One region. Raises CloudError, whose words name AWS's own code, for everything that AWS refuses."""

    def __init__(self, region: str) -> None:
        import boto3  # noqa: PLC0415 - half a second
        from botocore.config import Config  # noqa: PLC0415

        config = Config(
            region_name=region, retries={"mode": "adaptive", "max_attempts": 4}, connect_timeout=5, read_timeout=20
        )
        session = boto3.session.Session()
        self.region = region
        self._ec2 = session.client("ec2", config=config)
        self._groups = session.client("autoscaling", config=config)

    def group(self, name: str) -> Group:
        """The group as it is. Raises CloudError when there is none of that name."""
        with _translated(f"the group {name!r}"):
            found = self._groups.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        if not found:
            raise CloudError(f"AWS has no Auto Scaling group {name!r} in {self.region}; was it deleted or renamed?")
        one = found[0]
        return Group(name, one["MinSize"], one["MaxSize"], one["DesiredCapacity"], tuple(one.get("Instances", [])))

    def instances_of(self, group: Group) -> list[Instance]:
        """The group's instances, also those that are on their way in or out."""
        known = {member["InstanceId"]: member for member in group.instances}
        return [_with_member(instance, known[instance.id]) for instance in self.instances(known)]

    def instances(self, ids: Iterable[str]) -> list[Instance]:
        """These instances; those that AWS no longer (or not yet) knows are left out."""
        wanted, found = sorted(set(ids)), []
        for start in range(0, len(wanted), _BATCH):
            chunk = [{"Name": "instance-id", "Values": wanted[start : start + _BATCH]}]
            found += list(self._describe(chunk))
        return found

    def instances_tagged(self, key: str, value: str) -> list[Instance]:
        """Every instance with this tag, ended ones too for as long as AWS remembers them."""
        return list(self._describe([{"Name": f"tag:{key}", "Values": [value]}]))

    def _describe(self, filters: list[dict[str, Any]]) -> Iterator[Instance]:
        with _translated("instances"):
            for page in self._ec2.get_paginator("describe_instances").paginate(Filters=filters):
                for reservation in page["Reservations"]:
                    yield from map(_instance, reservation["Instances"])

    def set_desired(self, name: str, count: int) -> None:
        """The group is to have so many instances. The same number twice is no change."""
        with _translated(f"the group {name!r}"):
            self._groups.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=count, HonorCooldown=False)

    def end_in_group(self, instance_id: str) -> None:
        """End this very instance and let the group want one less."""
        with _translated(f"the instance {instance_id}"):
            self._groups.terminate_instance_in_auto_scaling_group(
                InstanceId=instance_id, ShouldDecrementDesiredCapacity=True
            )

    def launch(
        self, *, template: str, version: str, count: int, subnet: str, token: str, tags: dict[str, str]
    ) -> list[str]:
        """Launch instances; their ids. The same token again answers the same instances. `subnet` "": the template's."""
        placed: dict[str, Any] = {"SubnetId": subnet} if subnet else {}
        named = [{"Key": key, "Value": value} for key, value in tags.items()]
        with _translated(f"the launch template {template}"):
            answer = self._ec2.run_instances(
                LaunchTemplate={"LaunchTemplateId": template, "Version": version},
                MinCount=1,
                MaxCount=count,
                ClientToken=token,
                TagSpecifications=[{"ResourceType": "instance", "Tags": named}],
                **placed,
            )
        return [one["InstanceId"] for one in answer["Instances"]]

    def end(self, ids: Sequence[str]) -> None:
        """End instances; ended ones again is no error."""
        with _translated(f"the instances {', '.join(ids)}"):
            self._ec2.terminate_instances(InstanceIds=list(ids))


class _translated:  # noqa: N801 - reads as a word: `with _translated(…)`
    """Turns what boto3 raises into CloudError, once."""

    def __init__(self, about: str) -> None:
        self._about = about

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        if isinstance(error, ClientError):
            told = error.response.get("Error", {})
            code, message = told.get("Code", "Unknown"), told.get("Message", "")
            raise CloudError(f"AWS refused a call about {self._about}: {code}. {message}"[:500], code=code) from error
        if isinstance(error, BotoCoreError):
            raise CloudError(f"AWS could not be asked about {self._about}: {error}"[:500]) from error


def _instance(one: dict[str, Any]) -> Instance:
    return Instance(
        id=one["InstanceId"],
        state=_STATES.get(one["State"]["Name"], ENDED),
        address=one.get("PrivateIpAddress", ""),
        zone=one.get("Placement", {}).get("AvailabilityZone", ""),
        launched_at=one["LaunchTime"].astimezone(dt.UTC),
        tags={tag["Key"]: tag["Value"] for tag in one.get("Tags", [])},
        template_version=_version(one),
    )


def _version(one: dict[str, Any]) -> int:
    """Instances from a template carry its version as a tag of AWS's own."""
    tags = {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}
    text = tags.get("aws:ec2launchtemplate:version", "0")
    return int(text) if text.isdecimal() else 0


def _with_member(instance: Instance, member: dict[str, Any]) -> Instance:
    version = str(member.get("LaunchTemplate", {}).get("Version", ""))
    return dataclasses.replace(
        instance,
        lifecycle=member.get("LifecycleState", ""),
        is_protected=bool(member.get("ProtectedFromScaleIn", False)),
        template_version=int(version) if version.isdecimal() else instance.template_version,
    )
