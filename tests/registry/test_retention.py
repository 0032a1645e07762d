from __future__ import annotations

import datetime as dt

import peewee as pw
import pytest

from inventory_service.deployments.runs import history
from inventory_service.errors import ConflictError
from inventory_service.models import Conflict, Event, Host, Stage, Transition
from inventory_service.registry import hosts, past
from inventory_service.registry.retention import prune
from tests.support import FakeClock, Machine, expiry

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


def test_it_strips_a_host_that_has_gone_of_what_it_said(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now(), facts={"zone": "a"}, metrics={"load": 1.0})
    hosts.goodbye(web_1.row, at=clock.now())
    clock.advance(31 * DAY)
    assert (forget(clock), forget(clock)) == (1, 0)
    row = web_1.row
    assert (row.facts, row.metrics, row.host_keys, row.secret_sha256) == ({}, {}, [], None)
    assert history.all_hosts(row.stage, gone_since=clock.now() - dt.timedelta(days=30)) == []


def test_it_knows_who_was_there_as_long_as_it_keeps_transitions(web_1: Machine, clock: FakeClock) -> None:
    hosts.goodbye(web_1.row, at=clock.advance(60))
    clock.advance(80 * DAY)
    forget(clock)
    moment = clock.now() - dt.timedelta(days=80, seconds=1)
    then = past.states_at(web_1.row.stage, moment, expiry=expiry(clock.now()), kept_days=93)
    assert {host.name: state for host, state in then.items()} == {"web-1": "live"}


def test_it_forgets_a_host_that_has_gone_with_its_history(web_1: Machine, web_2: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now())
    Machine(web_1.stage, "twin", boot_id="twin", token=web_1.token).beat(clock.advance(60))
    with pytest.raises(ConflictError):
        web_1.beat(clock.advance(61))
    hosts.goodbye(web_1.row, at=clock.now())
    clock.advance(94 * DAY)
    assert forget(clock) > 0
    assert (Host.select().count(), Transition.select().count(), Conflict.select().count()) == (1, 1, 0)


def test_it_takes_a_small_batch_at_a_time(stage: Stage, clock: FakeClock) -> None:
    """1,100 of each kind: no statement takes more than 500 rows, and the next ticks take the rest."""
    old = clock.now()
    names = [f"web-{number}" for number in range(1100)]
    rows = [
        {"id": name, "stage": stage, "name": name, "address": "10.0.0.1", "groups": [], "host_keys": [], "facts": {}}
        | {"enrolled_at": old, "last_seen_at": old, "recorded_state": "gone", "gone_at": old, "metrics": {}}
        for name in names
    ]
    for batch in pw.chunked(rows, 100):
        Host.insert_many(batch).execute()
    step = {
        "stage": stage,
        "at": old,
        "from_state": "live",
        "to_state": "gone",
        "reason_code": "heartbeat",
        "reason_params": {},
    }
    for batch in pw.chunked([step | {"host": name} for name in names for _ in range(2)], 100):
        Transition.insert_many(batch).execute()
    Event.delete().execute()
    who = {"actor_kind": "person", "actor_name": "ada"}
    entry = {
        "at": old,
        "name": "test",
        "target_kind": "stage",
        "target_path": "test",
        "changes": {},
        "details": {},
        **who,
    }
    for batch in pw.chunked([entry] * 1100, 100):
        Event.insert_many(batch).execute()
    clock.advance(94 * DAY)
    left = []
    for _ in range(4):
        forget(clock)
        left.append((Host.select().count(), Event.select().count()))
    assert left == [(600, 600), (100, 100), (0, 0), (0, 0)]
    assert Transition.select().count() == 0
