from __future__ import annotations

import datetime as dt

import pytest

from inventory_service.errors import InvalidError, NotFoundError, RefusedError
from inventory_service.models import Event, Host, JoinToken, Stage
from inventory_service.registry import join_tokens
from inventory_service.registry.stages import archive_stage
from tests.support import ADA, START, FakeClock, Machine, at_once, key_line

HOUR = dt.timedelta(hours=1)


def make(stage: Stage, **fields: object) -> tuple[JoinToken, str]:
    return join_tokens.create(stage, actor=ADA, at=START, **fields)


def test_it_finds_the_token_that_it_made(stage: Stage) -> None:
    row, token = make(stage, groups=["web", "web", "app"], networks=["10.1.2.3/8"])
    assert join_tokens.find(token, at=START).id == row.id
    assert (row.groups, row.networks) == (["app", "web"], ["10.0.0.0/8"])


def test_it_keeps_no_secret(stage: Stage) -> None:
    row, token = make(stage)
    kept = f"{row.__data__} {[entry.__data__ for entry in Event.select()]}"
    assert token.split(".")[1] not in kept


def test_it_makes_no_token_that_has_ended(stage: Stage) -> None:
    with pytest.raises(InvalidError, match="passed already"):
        make(stage, expires_at=START - HOUR)
    assert JoinToken.select().count() == 0


def expired(stage: Stage) -> str:
    return make(stage, expires_at=START)[1]


def used_up(stage: Stage) -> str:
    row, token = make(stage, maximum_uses=1)
    join_tokens.spend(row)
    return token


def revoked(stage: Stage) -> str:
    row, token = make(stage)
    join_tokens.revoke(stage, row.id, actor=ADA, at=START)
    return token


def of_an_archived_stage(stage: Stage) -> str:
    _, token = make(stage)
    archive_stage(stage, actor=ADA, at=START)
    return token


def mistyped(stage: Stage) -> str:
    return make(stage)[1][:-1] + "_"


def unknown(stage: Stage) -> str:
    return "cbj_abcdefghijkl." + "x" * 43


def of_a_host(stage: Stage) -> str:
    return Machine(stage).enrol(START).token


def nonsense(stage: Stage) -> str:
    return "\x00é" * 5000


@pytest.mark.parametrize(
    "bad", [expired, used_up, revoked, of_an_archived_stage, mistyped, unknown, of_a_host, nonsense]
)
def test_it_rejects_each_bad_token_with_the_same_words(stage: Stage, bad: object) -> None:
    with pytest.raises(RefusedError) as caught:
        join_tokens.find(bad(stage), at=START)
    assert caught.value.detail == RefusedError("any").detail


def test_it_takes_a_token_until_the_moment_it_expires(stage: Stage) -> None:
    _, token = make(stage, expires_at=START + HOUR)
    assert join_tokens.find(token, at=START + HOUR - dt.timedelta(microseconds=1))


@pytest.mark.parametrize("peer", ["10.9.9.9", "2001:db8::1"])
def test_it_takes_a_caller_from_its_networks(stage: Stage, peer: str) -> None:
    join_tokens.check_peer(make(stage, networks=["10.0.0.0/8", "2001:db8::/32"])[0], peer)


@pytest.mark.parametrize("peer", ["11.0.0.1", "2001:db9::1", "web-1", ""])
def test_it_rejects_a_caller_from_elsewhere(stage: Stage, peer: str) -> None:
    with pytest.raises(RefusedError):
        join_tokens.check_peer(make(stage, networks=["10.0.0.0/8", "2001:db8::/32"])[0], peer)


def test_it_takes_any_caller_where_no_network_is_named(stage: Stage) -> None:
    join_tokens.check_peer(make(stage)[0], "203.0.113.9")


@pytest.mark.each_database
def test_it_lets_no_more_machines_in_than_it_may(stage: Stage) -> None:
    row, token = make(stage, maximum_uses=3)
    machines = [Machine(stage, f"web-{n}", f"10.0.1.{n}", keys=(key_line(seed=n),)) for n in range(10)]
    results = at_once(lambda number: machines[number].enrol(START, token), 10)
    assert sum(isinstance(result, Machine) for result in results) == 3
    assert sum(isinstance(result, RefusedError) for result in results) == 7
    assert (JoinToken.get_by_id(row.id).uses, Host.select().count()) == (3, 3)


def test_it_leaves_hosts_in_when_their_token_is_revoked(stage: Stage, clock: FakeClock) -> None:
    row, token = make(stage)
    machine = Machine(stage).enrol(START, token)
    join_tokens.revoke(stage, row.id, actor=ADA, at=START)
    assert machine.beat(START).state == "live"


def test_it_keeps_the_moment_of_the_first_revocation(stage: Stage) -> None:
    row, _ = make(stage)
    for later in (HOUR, 2 * HOUR):
        join_tokens.revoke(stage, row.id, actor=ADA, at=START + later)
    assert JoinToken.get_by_id(row.id).revoked_at == START + HOUR


def test_it_rejects_to_revoke_a_token_of_another_stage(stage: Stage, make_stage: object) -> None:
    row, _ = make(make_stage("staging"))
    with pytest.raises(NotFoundError):
        join_tokens.revoke(stage, row.id, actor=ADA, at=START)


@pytest.mark.parametrize("fields", [{"groups": ["all"]}, {"groups": ["Web"]}, {"networks": ["everybody"]}])
def test_it_rejects_bad_groups_and_networks(stage: Stage, fields: dict[str, object]) -> None:
    with pytest.raises(InvalidError):
        make(stage, **fields)
