"""A day at EC2: load on real agents, decisions, instances (moto), and a real SSH host in the place of each of them."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from inventory_service.demo.machine import Machine
from inventory_service.demo.service import RunningService, free_port
from tests.e2e.conftest import APP_PORT, SETTINGS, SSH_PORT, Site, make_site, wait_for
from tests.fixtures.aws import LAUNCHING, TERMINATING, Aws, PlayedGroup
from tests.fixtures.imds import Imds
from tests.registry.test_instance_identity import ACCOUNT, REGION

LONG = 400  # the windows are of minutes, and the machine is perhaps busy
_addresses = (f"127.0.92.{number}" for number in itertools.count(11))


class Datacentre:
    """Boots a machine for each instance that runs, pulls the plug of those that ended, and spreads the load."""

    def __init__(self, site: Site, aws: Aws, imds: Imds) -> None:
        self.site, self.aws, self.imds = site, aws, imds
        self.demand = 0.3
        self.problem: BaseException | None = None
        self._load = site.folder / "load"
        self._key = site.client.text("/api/v1/ssh_key")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def group(self) -> PlayedGroup:
        return self.aws.groups["shop-web"]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    def _work(self) -> None:
        while not self._stop.wait(0.3):
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - the test shows it
                self.problem = error

    def _look(self) -> None:
        states = [member.state for member in list(self.group.members.values())]
        self._load.write_text(f"{self.demand / max(1, states.count('InService')):.3f}\n")
        for instance in self.instances():
            own, state = instance["InstanceId"], instance["State"]["Name"]
            if state == "running" and own not in self.site.machines:
                self._boot(instance)
            elif state == "terminated" and own in self.site.machines:
                self.site.machines[own].kill()

    def _boot(self, instance: dict[str, Any]) -> None:
        own = instance["InstanceId"]
        machine = Machine(
            own,
            next(_addresses),
            self.site.folder / own,
            service_url=self.site.service.url,
            authorized_key=self._key,
            ssh_port=SSH_PORT,
            app_port=APP_PORT,
            options=["--ec2", "--gauge-file", f"load={self._load}"],
            environment={"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.imds.endpoint(instance, REGION)},
        )
        self.site.machines[own] = machine
        machine.boot(self.site.join_token)

    def instances(self) -> list[dict[str, Any]]:
        pages = self.aws.ec2.get_paginator("describe_instances").paginate()
        return [one for page in pages for found in page["Reservations"] for one in found["Instances"]]

    def running(self) -> set[str]:
        return {one["InstanceId"] for one in self.instances() if one["State"]["Name"] == "running"}

    def wait(self, what: str, is_true: Any, seconds: float = LONG) -> Any:
        def look() -> Any:
            assert self.problem is None, self.problem
            return is_true()

        with contextlib.suppress(AssertionError):
            return wait_for(what, look, seconds)
        pytest.fail(f"waited for {what}, in vain: {self.problem}; {self.told()}")

    def told(self) -> dict[str, Any]:
        """What there is to see when something does not come about."""
        client, path = self.site.client, self.site.path
        return {
            "group": self.group,
            "hosts": {name: (row["state"], row["release"]) for name, row in self.site.hosts().items()},
            "scaling": client.get(f"{path}/scaling"),
            "lifecycle": client.get(f"{path}/scaling/lifecycle")["items"],
            "decisions": [row["reasons"] for row in client.get(f"{path}/scaling/decisions", limit=3)["items"]],
            "service": self.site.service.log.read_text()[-3000:],
        }


@pytest.fixture
def aws() -> Iterator[Aws]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST"))
    played = Aws(f"http://{host}:{port}", REGION)
    image = played.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    data = {"ImageId": image, "InstanceType": "t3.micro"}
    made = played.ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
    subnets = [subnet["SubnetId"] for subnet in played.ec2.describe_subnets()["Subnets"][:2]]
    queue = played.sqs.create_queue(QueueName="callboard")["QueueUrl"]
    group = PlayedGroup("shop-web", made["LaunchTemplate"]["LaunchTemplateId"], subnets, maximum=4, queue=queue)
    group.hooks, group.heartbeat_seconds = {LAUNCHING: "greet", TERMINATING: "farewell"}, 30
    played.groups["shop-web"] = group
    yield played
    played.stop()
    server.stop()


@pytest.fixture
def imds() -> Iterator[Imds]:
    served = Imds()
    yield served
    served.stop()


@pytest.fixture
def cloud_site(aws: Aws, imds: Imds, repository: tuple[Path, dict[str, str]], tmp_path: Path) -> Iterator[Site]:
    """A stage of a service that knows the region's certificate and asks every machine for its identity."""
    imds.write_certificate(tmp_path / "certificates", REGION)
    environment = {
        **SETTINGS,
        "CALLBOARD_SCALE_SECONDS": "2",
        "CALLBOARD_HOOK_SECONDS": "1",
        "CALLBOARD_EC2_ACCOUNTS": ACCOUNT,
        "CALLBOARD_EC2_REGION": REGION,
        "CALLBOARD_EC2_CERTIFICATES": str(tmp_path / "certificates"),
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    service = RunningService(tmp_path / "service", port=free_port(), environment=environment)
    service.start()
    site = make_site(service, repository, tmp_path)
    site.client.send("PATCH", site.path, {"interval_seconds": 4, "ttl_seconds": 30, "batches": [1]})
    yield site
    for machine in site.machines.values():
        machine.kill()
    service.stop()


@pytest.fixture
def centre(cloud_site: Site, aws: Aws, imds: Imds) -> Iterator[Datacentre]:
    running = Datacentre(cloud_site, aws, imds)
    yield running
    running.stop()


def scale(site: Site, minimum: int, queue: str) -> None:
    policy = {"type": "target", "name": "load", "metric": "load", "target": 0.6, "window_seconds": 60}
    actuator = {"type": "auto_scaling_group", "region": REGION, "name": "shop-web", "queue_url": queue}
    limits = {"minimum": minimum, "maximum": 3, "scale_out_cooldown_seconds": 0, "scale_in_cooldown_seconds": 0}
    body = {
        "limits": {**limits, "warmup_seconds": 0},
        "policies": [policy],
        "actuator": {**actuator, "launching_hook": "greet", "terminating_hook": "farewell"},
        "drain_playbook": "drain.yml",
        "enabled": True,
    }
    site.client.send("PUT", f"{site.path}/scaling", body)


@pytest.mark.timeout(1500)
@pytest.mark.skipif(os.uname().sysname != "Linux", reason="needs loopback addresses")
def test_a_day(centre: Datacentre, cloud_site: Site) -> None:
    site, group = cloud_site, centre.group
    scale(site, 1, group.queue)
    morning(site, centre)
    noon(site, centre)
    afternoon(site, centre)
    evening(site, centre)


def morning(site: Site, centre: Datacentre) -> None:
    """The first machine appears, since there is to be one; it gets the first release and is taken in."""
    centre.wait("one machine", lambda: len(site.listed()) == 1)
    (name,) = site.listed()
    host = site.client.get(f"/api/v1/hosts/{site.hosts()[name]['id']}")
    assert host["name"] in centre.group.members
    assert site.ended(site.launch("deploy", revision="v1"), seconds=LONG)["status"] == "successful"
    centre.wait("the group takes it in", lambda: states(centre) == ["InService"])


def noon(site: Site, centre: Datacentre) -> None:
    """The load rises: two more are launched, get the release without anyone asking, and only then serve."""
    centre.demand = 1.5
    centre.wait("three instances", lambda: len(centre.running()) == 3)
    centre.wait("all three taken in", lambda: states(centre) == ["InService"] * 3)
    hosts = site.hosts()
    assert {row["release"] for row in hosts.values()} == {1}
    assert {machine.deployed_revision() for machine in site.machines.values()} == {site.shas["v1"]}
    centre.wait("all three counted", lambda: newest(site)["serving"] == 3)
    answered = site.client.get(f"{site.path}/scaling/lifecycle")["items"]
    assert [(row["transition"], row["status"]) for row in answered] == [("launching", "continued")] * 3
    assert set(members(site, "serving")) == set(hosts)


def afternoon(site: Site, centre: Datacentre) -> None:
    """The load falls while a deploy works: nobody goes until it has ended, on all three."""
    scale(site, 3, centre.group.queue)
    centre.demand = 0.1
    centre.wait("the fall seen", lambda: newest(site)["reason_codes"][0].get("capacity") == 1)
    run = site.launch("deploy", revision="v2")
    centre.wait("the deploy at work", lambda: site.run(run)["hosts"])
    scale(site, 1, centre.group.queue)
    ended = site.ended(run, seconds=LONG)
    assert ended["status"] == "successful", site.log(run)
    assert {row["status"] for row in ended["hosts"]} == {"changed"}
    assert len(ended["hosts"]) == 3
    rows = site.client.get(f"{site.path}/scaling/decisions", limit=200)["items"]
    assert {"code": "run_active", "run": run} in [row["reason_codes"][-1] for row in rows]


def evening(site: Site, centre: Datacentre) -> None:
    """Two drain, end and are forgotten; the one that stays serves the second release."""
    centre.wait("one instance", lambda: len(centre.running()) == 1)
    centre.wait("the others gone from the inventory", lambda: site.listed() == centre.running())
    (stays,) = centre.running()
    centre.wait("the others gone from the group", lambda: set(centre.group.members) == {stays})
    assert centre.group.desired == 1
    assert site.machines[stays].deployed_revision() == site.shas["v2"]
    for name, machine in site.machines.items():
        assert (machine.host.home / "drained").exists() is (name != stays)
    assert members(site, "serving") == [stays]
    runs = site.client.get("/api/v1/runs", stage=site.stage, limit=50)["items"]
    assert {run["status"] for run in runs} == {"successful"}
    wanted = [(0, 1, "done"), (1, 3, "done"), (3, 2, "done"), (2, 1, "done")]
    centre.wait("every decision done", lambda: changes(site) == wanted)
    row = site.client.get(f"{site.path}/scaling")
    assert (row["problem"], row["hook_problem"]) == (None, None)


def states(centre: Datacentre) -> list[str]:
    return [member.state for member in centre.group.members.values()]


def newest(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = site.client.get(f"{site.path}/scaling/decisions", limit=1)["items"][0]
    return found


def changes(site: Site) -> list[tuple[int, int, str]]:
    rows = site.client.get(f"{site.path}/scaling/decisions", changes="true")["items"]
    return [(row["from_capacity"], row["to_capacity"], row["status"]) for row in reversed(rows)]


def members(site: Site, group: str) -> list[str]:
    found: list[str] = site.client.get(f"{site.path}/inventory").get(group, {}).get("hosts", [])
    return found
