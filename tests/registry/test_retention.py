from __future__ import annotations

from inventory_service.models import Host, Transition
from inventory_service.registry import hosts
from inventory_service.registry.retention import prune
from tests.support import FakeClock, Machine

DAY = 86400


def forget(clock: FakeClock) -> int:
    return prune(at=clock.now(), transition_days=93, gone_days=30)


def test_it_keeps_what_is_young(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.advance(92 * DAY))
    hosts.goodbye(web_1.row, at=clock.now())
    clock.advance(29 * DAY)
    forget(clock)
    assert Host.select().count() == 1


def test_it_forgets_old_transitions_but_the_last_of_a_present_host(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.advance(900))
    clock.advance(94 * DAY)
    forget(clock)
    assert web_1.history() == [("stale", "live", 900)]


def test_it_forgets_a_host_that_has_gone_with_its_history(web_1: Machine, clock: FakeClock) -> None:
    hosts.goodbye(web_1.row, at=clock.now())
    clock.advance(31 * DAY)
    assert forget(clock) > 0
    assert (Host.select().count(), Transition.select().count()) == (0, 0)
