"""EC2 and Auto Scaling, by boto3: what there is, and the few calls that change it.

boto3 takes half a second to import, so it is imported when a stage that scales is first looked at. Credentials come
from boto3's own chain (instance profile, environment, …), never from Callboard's settings. Every call is safe to
repeat: amounts are absolute, launches carry a client token, and ends name their instance.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from inventory_service.codes.scaling import Failure
from inventory_service.errors import CallboardError
from inventory_service.reasons import Reason, because
from inventory_service.wording import scaling as wording

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
NO_CAPACITY = ("InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity")
# Refusals after which the same call may well succeed; so may every answer of 500 and above, and none at all.
_PASSING = {
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "EC2ThrottledException",
    "RequestThrottled",
    "SlowDown",
    "ScalingActivityInProgress",
    "ResourceContention",
}
_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "AuthFailure",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
}
CONTINUE, ABANDON = "CONTINUE", "ABANDON"
_MOST_RECEIVES, _MOST_MESSAGES = 20, 10
STAGE_TAG, DECISION_TAG = "callboard:stage", "callboard:decision"
_BATCH = 100
_SERVICES = ("ec2", "autoscaling", "sqs", "cloudwatch")
_MOST_QUERIES = 500  # of one GetMetricData
_SERVER_ERROR = 500
_LONGEST_TEXT = 400


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


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A message of a queue. `receipt` deletes it."""

    body: str
    receipt: str


@dataclasses.dataclass(frozen=True, slots=True)
class MetricQuery:
    """A metric of CloudWatch: what GetMetricData is asked for. `period` in seconds."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str
    period: int


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """Values by the beginning of their periods. `problem`: why there are not all of them, in CloudWatch's words."""

    points: tuple[tuple[dt.datetime, float], ...] = ()
    problem: str = ""


class CloudError(CallboardError):
    """AWS refused a call, or could not be asked: `reason` is a Failure. `code` is AWS's own for it, "" when it said
    none; `is_passing`: the same call may well succeed later (throttled, overloaded, out of reach, credentials that are
    renewed).
    """

    title = "AWS refused"

    def __init__(self, reason: Reason, *, code: str = "", is_passing: bool = False) -> None:
        super().__init__(wording.failure(reason.code, reason.params))
        self.reason = reason
        self.code = code
        self.is_passing = is_passing


class Cloud:
    """One region. Raises CloudError, which has AWS's own code, for everything that AWS refuses.

    Credentials that AWS does not take are forgotten, so that the next call looks for new ones.
    """

    def __init__(self, region: str, *, timeout_seconds: float = 20, attempts: int = 4) -> None:
        self.region = region
        self._patience = {"connect_timeout": min(5.0, timeout_seconds), "read_timeout": timeout_seconds}
        self._attempts = attempts
        self._made: dict[str, Any] = {}

    def _client(self, service: str) -> Any:
        import boto3  # noqa: PLC0415 - half a second
        from botocore.config import Config  # noqa: PLC0415

        if not self._made:
            retries = {"mode": "standard", "total_max_attempts": self._attempts}
            config = Config(region_name=self.region, retries=retries, **self._patience)
            session = boto3.session.Session()
            self._made |= {name: session.client(name, config=config) for name in _SERVICES}
        return self._made[service]

    @property
    def _ec2(self) -> Any:
        return self._client("ec2")

    @property
    def _groups(self) -> Any:
        return self._client("autoscaling")

    def _caught_errors(self, about: str) -> _Translated:
        return _Translated(about, self._made.clear)

    def group(self, name: str) -> Group:
        """The group as it is. Raises CloudError when there is none of that name."""
        with self._caught_errors(f"the group {name!r}"):
            found = self._groups.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        if not found:
            raise CloudError(because(Failure.NO_GROUP, group=name, region=self.region))
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

    def instances_tagged(self, tags: Mapping[str, str]) -> list[Instance]:
        """Every instance with all of these tags, ended ones too for as long as AWS remembers them."""
        return list(self._describe([{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]))

    def _describe(self, filters: list[dict[str, Any]]) -> Iterator[Instance]:
        with self._caught_errors("instances"):
            for page in self._ec2.get_paginator("describe_instances").paginate(Filters=filters):
                for reservation in page["Reservations"]:
                    yield from map(_instance, reservation["Instances"])

    def set_desired(self, name: str, count: int) -> None:
        """The group is to have so many instances. The same number twice is no change."""
        with self._caught_errors(f"the group {name!r}"):
            self._groups.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=count, HonorCooldown=False)

    def end_in_group(self, instance_id: str) -> None:
        """End this very instance and let the group want one less."""
        with self._caught_errors(f"the instance {instance_id}"):
            self._groups.terminate_instance_in_auto_scaling_group(
                InstanceId=instance_id, ShouldDecrementDesiredCapacity=True
            )

    def hook_timeouts(self, group: str) -> dict[str, int]:
        """The group's lifecycle hooks, each with the seconds for which it waits without a heartbeat."""
        with self._caught_errors(f"the hooks of {group!r}"):
            found = self._groups.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]
        return {hook["LifecycleHookName"]: int(hook.get("HeartbeatTimeout", 3600)) for hook in found}

    def complete(self, group: str, hook: str, instance_id: str, result: str, *, token: str | None) -> bool:
        """Say CONTINUE or ABANDON to a hook; False when the group does not wait for that (any more)."""
        named = _action(group, hook, instance_id, token)
        return self._call_hook(f"the hook {hook!r}", "complete_lifecycle_action", LifecycleActionResult=result, **named)

    def record_heartbeat(self, group: str, hook: str, instance_id: str, *, token: str | None) -> bool:
        """Ask the group to wait for as long again; False when it does not wait (any more)."""
        named = _action(group, hook, instance_id, token)
        return self._call_hook(f"the hook {hook!r}", "record_lifecycle_action_heartbeat", **named)

    def _call_hook(self, about: str, call: str, **named: str) -> bool:
        try:
            with self._caught_errors(about):
                getattr(self._groups, call)(**named)
        except CloudError as error:
            if error.code == "ValidationError" and "No active Lifecycle Action" in error.detail:
                return False
            raise
        return True

    def receive(self, queue: str) -> Iterator[Message]:
        """The messages that are in the queue now, 200 at most. Each comes again until it is deleted."""
        for _ in range(_MOST_RECEIVES):
            with self._caught_errors(f"the queue {queue}"):
                answer = self._client("sqs").receive_message(
                    QueueUrl=queue, MaxNumberOfMessages=_MOST_MESSAGES, WaitTimeSeconds=1
                )
            found = answer.get("Messages", [])
            if not found:
                return
            yield from (Message(one["Body"], one["ReceiptHandle"]) for one in found)

    def delete(self, queue: str, message: Message) -> None:
        """Take a message out of the queue."""
        with self._caught_errors(f"the queue {queue}"):
            self._client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message.receipt)

    def metric_data(
        self, queries: Iterable[MetricQuery], *, since: dt.datetime, until: dt.datetime
    ) -> dict[MetricQuery, Measured]:
        """What CloudWatch has of each metric; one that it does not know has no points."""
        wanted = sorted(queries, key=repr)
        found: dict[MetricQuery, Measured] = {}
        for start in range(0, len(wanted), _MOST_QUERIES):
            chunk = wanted[start : start + _MOST_QUERIES]
            span = {"StartTime": since, "EndTime": until, "ScanBy": "TimestampAscending"}
            asked = [_query(f"m{number}", query) for number, query in enumerate(chunk)]
            with self._caught_errors("metrics of CloudWatch"):
                pages = (
                    self._client("cloudwatch")
                    .get_paginator("get_metric_data")
                    .paginate(MetricDataQueries=asked, **span)
                )
                results = [result for page in pages for result in page["MetricDataResults"]]
            found |= {query: _measured(f"m{number}", results) for number, query in enumerate(chunk)}
        return found

    def launch(
        self, *, template: str, version: str, count: int, subnet: str, token: str, tags: dict[str, str]
    ) -> list[str]:
        """Launch instances; their ids. The same token again answers the same instances. `subnet` "": the template's."""
        placed: dict[str, Any] = {"SubnetId": subnet} if subnet else {}
        named = [{"Key": key, "Value": value} for key, value in tags.items()]
        with self._caught_errors(f"the launch template {template}"):
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
        with self._caught_errors(f"the instances {', '.join(ids)}"):
            self._ec2.terminate_instances(InstanceIds=list(ids))


class _Translated:
    """Turns what boto3 raises into CloudError, once. `forget`: called when the credentials were no good."""

    def __init__(self, about: str, forget: Callable[[], None]) -> None:
        self._about = about
        self._forget = forget

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415
        from botocore.parsers import ResponseParserError  # noqa: PLC0415

        if isinstance(error, ClientError):
            raise self._refused(error.response) from error
        if isinstance(error, BotoCoreError | ResponseParserError):
            if isinstance(error, NoCredentialsError):
                self._forget()
            reason = because(Failure.AWS_UNREACHABLE, about=self._about, text=str(error)[:_LONGEST_TEXT])
            raise CloudError(reason, is_passing=True) from error

    def _refused(self, response: dict[str, Any]) -> CloudError:
        refusal, status = response.get("Error", {}), response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code, message = str(refusal.get("Code", "Unknown")), refusal.get("Message", "")
        if code in _CREDENTIALS:
            self._forget()
        is_passing = code in _PASSING | _CREDENTIALS or (status >= _SERVER_ERROR and code not in NO_CAPACITY)
        text = str(message)[:_LONGEST_TEXT]
        reason = because(Failure.AWS_REFUSED, about=self._about, error=code, text=text)
        return CloudError(reason, code=code, is_passing=is_passing)


def _action(group: str, hook: str, instance_id: str, token: str | None) -> dict[str, str]:
    named = {"AutoScalingGroupName": group, "LifecycleHookName": hook, "InstanceId": instance_id}
    return {**named, "LifecycleActionToken": token} if token else named


def _query(name: str, query: MetricQuery) -> dict[str, Any]:
    dimensions = [{"Name": key, "Value": value} for key, value in query.dimensions]
    metric = {"Namespace": query.namespace, "MetricName": query.name, "Dimensions": dimensions}
    return {"Id": name, "MetricStat": {"Metric": metric, "Period": query.period, "Stat": query.statistic}}


def _measured(name: str, results: Sequence[dict[str, Any]]) -> Measured:
    """A result may come in several pages, each but the last of them with the status PartialData."""
    parts = [result for result in results if result["Id"] == name]
    points = tuple(
        (moment.astimezone(dt.UTC), float(value))
        for part in parts
        for moment, value in zip(part["Timestamps"], part["Values"], strict=True)
    )
    status = str(parts[-1].get("StatusCode", "Complete")) if parts else "Complete"
    if status == "Complete":
        return Measured(points)
    messages = "; ".join(str(message.get("Value", "")) for message in parts[-1].get("Messages", []))
    return Measured(points, f"{status} {messages}".strip()[:200])


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
