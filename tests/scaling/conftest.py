"""AWS as moto's server plays it, over HTTP, and machines that enrol as its instances."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import os
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from inventory_service.adapters.ec2 import Cloud
from inventory_service.models import Host, Stage
from inventory_service.scaling import loop, settings, windows
from tests.fixtures.aws import Aws as Played
from tests.support import ADA, FakeClock, Machine, expiry

REGION = "eu-central-1"
TARGET = {"type": "target", "name": "cpu", "metric": "load1_per_cpu", "target": 0.6, "window_seconds": 60}
LIMITS = {"minimum": 1, "maximum": 6, "scale_in_cooldown_seconds": 0, "warmup_seconds": 0}


def crash_once(owner: Any, step: str, error: type[BaseException], *, is_after: bool) -> tuple[Any, list[str]]:
    """(a stand-in for the owner's function that crashes in its first call, before or after its work; its calls)."""
    real, calls = getattr(owner, step), []

    def crash(*args: Any, **more: Any) -> Any:
        calls.append(step)
        if len(calls) > 1:
            return real(*args, **more)
        if is_after:
            real(*args, **more)
        raise error

    return crash, calls


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """A fresh account with a launch template, two subnets and the group `shop-web` of two instances."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    return Aws(moto)


@functools.cache
def _clients(url: str) -> tuple[Any, Any]:
    """boto3 takes its time to make them."""
    session = boto3.session.Session(region_name=REGION)
    return session.client("ec2", endpoint_url=url), session.client("autoscaling", endpoint_url=url)


@functools.cache
def _image(url: str) -> str:
    """moto's list of them is long."""
    return str(_clients(url)[0].describe_images(Owners=["amazon"])["Images"][0]["ImageId"])


class Aws:
    """The account's own view, past the product."""

    def __init__(self, url: str) -> None:
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"))
        self.ec2, self.groups = _clients(url)
        data = {"ImageId": _image(url), "InstanceType": "t3.micro"}
        made = self.ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
        self.template = made["LaunchTemplate"]["LaunchTemplateId"]
        self.subnets = [subnet["SubnetId"] for subnet in self.ec2.describe_subnets()["Subnets"][:2]]

    def make_group(self, desired: int = 2, maximum: int = 6) -> None:
        self.groups.create_auto_scaling_group(
            AutoScalingGroupName="shop-web",
            LaunchTemplate={"LaunchTemplateId": self.template, "Version": "$Default"},
            MinSize=0,
            MaxSize=maximum,
            DesiredCapacity=desired,
            VPCZoneIdentifier=",".join(self.subnets),
        )

    @property
    def desired(self) -> int:
        return int(self.group()["DesiredCapacity"])

    def group(self) -> dict[str, Any]:
        found = self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=["shop-web"])
        return dict(found["AutoScalingGroups"][0])

    def running(self) -> list[dict[str, Any]]:
        """Instances that run, oldest first."""
        pages = self.ec2.get_paginator("describe_instances").paginate()
        every = [one for page in pages for found in page["Reservations"] for one in found["Instances"]]
        return sorted((one for one in every if one["State"]["Name"] == "running"), key=lambda one: one["InstanceId"])


@functools.cache
def _cloud(region: str, url: str) -> Cloud:
    """boto3 takes its time to make one. No second tries: tests order one fault, and want to see it."""
    return Cloud(region, attempts=1)


@dataclasses.dataclass
class World:
    """A stage that scales, its account, and its machines: each enrols as one instance and beats each minute."""

    stage: Stage
    aws: Aws
    clock: FakeClock
    machines: dict[str, Machine] = dataclasses.field(default_factory=dict)
    cloud_of: Callable[[str], Cloud] = lambda region: _cloud(region, os.environ["AWS_ENDPOINT_URL"])

    def configure(self, actuator: dict[str, Any], **more: Any) -> None:
        fields = {"limits": LIMITS, "policy_texts": [TARGET], "is_enabled": True, "is_dry_run": False, **more}
        settings.configure(self.stage, actuator=actuator, actor=ADA, at=self.clock.now(), **fields)

    def enrol_all(self) -> None:
        """Every instance that runs and has not enrolled does so, with AWS's word."""
        for number, one in enumerate(self.aws.running(), start=len(self.machines) + 1):
            if one["InstanceId"] in self.machines:
                continue
            machine = Machine(self.stage, name=one["InstanceId"], address=f"10.1.0.{number}").enrol(self.clock.now())
            key = f"123456789012/{REGION}/{one['InstanceId']}"
            Host.update(instance=key).where(Host.id == machine.host_id).execute()
            self.machines[one["InstanceId"]] = machine

    def beat_all(self, load: float) -> None:
        for machine in self.machines.values():
            if machine.row.gone_at is None:
                machine.beat(self.clock.now(), metrics={"load1_per_cpu": load})

    def minute(self, load: float) -> list[int]:
        """A minute under this load per machine; then the sampler and the loop have a look."""
        self.clock.advance(30)
        self.beat_all(load)
        self.clock.advance(30)
        windows.sample(expiry=expiry(self.clock.now()))
        return self.look()

    def look(self) -> list[int]:
        return loop.scale_all(self.cloud_of, expiry=expiry(self.clock.now()))


@pytest.fixture
def world(stage: Stage, aws: Aws, clock: FakeClock) -> World:
    clock.jump((dt.datetime.now(dt.UTC) - clock.now()).total_seconds())  # moto's instances are launched now
    return World(stage, aws, clock)


@pytest.fixture(scope="session")
def played_server(moto: str) -> Iterator[Played]:
    server = Played(moto, REGION)
    yield server
    server.stop()


@pytest.fixture
def played(world: World, played_server: Played, monkeypatch: pytest.MonkeyPatch) -> Played:
    """The account behind tests/fixtures/aws.py: Auto Scaling groups with lifecycle hooks, and faults on demand."""
    played_server.reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL", played_server.url)
    return played_server


@pytest.fixture
def group(world: World) -> World:
    """With the group `shop-web` of two."""
    world.aws.make_group()
    world.configure({"type": settings.GROUP, "region": REGION, "name": "shop-web"})
    world.enrol_all()
    return world


@pytest.fixture
def template(world: World) -> World:
    """Without a group: EC2 itself, two instances of the launch template, three subnets wide."""
    actuator = {"type": settings.TEMPLATE, "region": REGION, "id": world.aws.template, "subnets": world.aws.subnets}
    world.configure(actuator, limits={**LIMITS, "minimum": 2})
    world.look()
    world.enrol_all()
    return world
