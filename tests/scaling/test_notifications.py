"""What people hear of scaling, from what really happens to the message that they get."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from inventory_service.automation import notifications
from inventory_service.codes.host import Quarantine
from inventory_service.reasons import because
from inventory_service.records import hosts as records
from inventory_service.settings import Settings
from tests.automation.conftest import Inbox
from tests.fixtures.aws import Aws
from tests.scaling.conftest import World
from tests.scaling.test_lifecycle import Hooked
from tests.support import ADA


@pytest.fixture
def inbox(world: World, settings: Settings) -> Iterator[Inbox]:
    """Hears of scaling, from now on."""
    made = Inbox()
    notifications.create(
        world.stage,
        url=made.url,
        events=["scaling"],
        description="",
        settings=settings,
        actor=ADA,
        at=world.clock.now(),
    )
    notifications.tell(settings=settings, at=world.clock.advance(2))
    yield made
    made.close()


@pytest.fixture
def messages(world: World, inbox: Inbox, settings: Settings) -> Callable[[], list[tuple[str, str]]]:
    """(title, first line) of each message since the last time."""

    def read() -> list[tuple[str, str]]:
        inbox.messages.clear()
        notifications.tell(settings=settings, at=world.clock.advance(2))
        return [(message["title"], message["message"].split("\n")[0]) for message in inbox.messages]

    return read


Messages = Callable[[], list[tuple[str, str]]]


def test_it_tells_of_machines_that_come_and_go(messages: Messages, group: World) -> None:
    group.minute(0.9)
    more = "cpu: avg load1_per_cpu over 60 s is 0.9, the target 0.6: 3 hosts."
    assert messages() == [("shop/production: more machines", more)]
    group.enrol_all()
    group.minute(0.1)
    group.minute(0.1)
    fewer = "cpu: avg load1_per_cpu over 60 s is 0.1, the target 0.6: 1 host is enough."
    assert messages() == [("shop/production: fewer machines", fewer)]


def test_it_tells_once_that_a_stage_can_not_be_scaled(messages: Messages, group: World) -> None:
    group.aws.groups.delete_auto_scaling_group(AutoScalingGroupName="shop-web", ForceDelete=True)
    group.minute(0.9)
    group.minute(0.9)
    why = "AWS has no Auto Scaling group 'shop-web' in eu-central-1; was it deleted or renamed?"
    assert messages() == [("shop/production: scaling failed", why)]


def test_it_tells_of_an_instance_that_is_abandoned(messages: Messages, world: World, played: Aws) -> None:
    hooked = Hooked(world, played)
    (member,) = hooked.launch()
    (machine,) = hooked.enrol()
    records.quarantine(machine.row, because(Quarantine.PERSON, text="a bad disk"), actor=ADA, at=world.clock.now())
    hooked.answer()
    assert messages() == [("shop/production: an instance was abandoned", f"{member.id} (launching): a bad disk")]
