from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import pytest
from pydantic import ValidationError

from inventory_service.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    NotFoundError,
    UnauthorizedError,
)
from inventory_service.models import TABLES, Event, Host, JoinToken, Stage
from inventory_service.records.heartbeat import Heartbeat
from inventory_service.registry import agentless, enrolment, heartbeats, hosts, join_tokens, liveness
from inventory_service.registry.stage_settings import StageChange
from inventory_service.registry.stages import archive_stage, update_stage
from tests.support import ADA, START, FakeClock, Machine, at_once, expiry, key_line, words_of

pytestmark = pytest.mark.each_database

OTHER_KEY = (key_line(seed=2),)


def put(stage: Stage, address: str, clock: FakeClock, **more: Any) -> tuple[Host, bool]:
    given = {"groups": [], "port": None, **more}
    return agentless.put(stage, address, actor=ADA, expiry=expiry(clock.now()), **given)


def another(machine: Machine, **marks: Any) -> Machine:
    """A machine of the same stage that differs in these marks."""
    return dataclasses.replace(machine, **{"host_id": "", "token": "", **marks})


# enrol


def test_it_lets_a_machine_in(web_1: Machine, clock: FakeClock) -> None:
    row = web_1.row
    assert (row.name, row.address, row.port) == ("web-1", "10.0.0.1", 22)
    assert row.host_keys == [key_line()]
    assert row.last_seen_at == clock.now()
    assert web_1.history() == [(None, "live", 0)]


def test_it_gives_a_host_the_groups_of_its_join_token(stage: Stage, clock: FakeClock) -> None:
    assert Machine(stage, groups=("web", "app")).enrol(clock.now()).row.groups == ["app", "web"]


def test_it_keeps_only_the_digest_of_a_hosts_token(web_1: Machine) -> None:
    assert web_1.token.split(".")[1] not in str(web_1.row.__data__)


def test_it_knows_the_same_machine_again(web_1: Machine, clock: FakeClock) -> None:
    clock.advance(60)
    again = another(web_1).enrol(clock.now())
    assert again.host_id == web_1.host_id
    assert Host.select().count() == 1


def test_it_ends_the_old_token_when_the_new_one_is_used(web_1: Machine, clock: FakeClock) -> None:
    again = another(web_1).enrol(clock.now())
    web_1.beat(clock.now())
    again.beat(clock.now())
    with pytest.raises(UnauthorizedError):
        web_1.beat(clock.now())
    assert again.beat(clock.now()).state == "live"


@pytest.mark.parametrize("which", [0, 1, 2])
def test_it_takes_no_token_that_a_machine_may_have_heard(web_1: Machine, clock: FakeClock, which: int) -> None:
    answered = [another(web_1).enrol(clock.now()) for _ in range(3)]
    assert answered[which].beat(clock.now()).state == "live"
    another(web_1).enrol(clock.now())  # on its way for long: nobody reads the answer
    assert answered[which].beat(clock.now(), seq=99_000).state == "live"


def ask(machine: Machine, clock: FakeClock, token: str, **said: Any) -> tuple[str, str]:
    """An enrolment with a nonce; returns the host's id and token."""
    said = {"host_keys": machine.keys, "nonce": "n" * 32, **said}
    request = enrolment.Enrolment(machine.name, boot_id=machine.boot_id, **said)
    host, own = enrolment.enrol(token, request, peer=machine.address, expiry=expiry(clock.now()), token_key="k")
    return host.id, own


@pytest.mark.parametrize("keys", [(), (key_line(),)])
def test_it_gives_the_same_answer_to_the_same_request(stage: Stage, clock: FakeClock, keys: tuple[str, ...]) -> None:
    machine = Machine(stage, keys=keys)
    row, token = join_tokens.create(stage, actor=ADA, at=clock.now(), maximum_uses=1)
    first = ask(machine, clock, token)
    clock.advance(400)
    assert ask(machine, clock, token) == first
    assert (JoinToken.get_by_id(row.id).uses, Host.get().last_seen_at) == (1, START)
    with pytest.raises(UnauthorizedError):
        ask(machine, clock, token, nonce="m" * 32)


def test_it_gives_another_answer_to_another_request(stage: Stage, clock: FakeClock) -> None:
    token = join_tokens.create(stage, actor=ADA, at=clock.now())[1]
    first = ask(Machine(stage), clock, token)
    second = ask(Machine(stage), clock, token, nonce="m" * 32)
    assert (first[0], first[1] != second[1]) == (second[0], True)


def test_it_tells_no_token_to_another_machine_with_the_same_nonce(stage: Stage, clock: FakeClock) -> None:
    token = join_tokens.create(stage, actor=ADA, at=clock.now())[1]
    own = ask(Machine(stage), clock, token)[1]
    other = ask(Machine(stage, "web-2", "10.0.0.2", OTHER_KEY), clock, token)[1]
    assert own.partition(".")[2] != other.partition(".")[2]


def test_it_takes_the_first_heartbeat_after_a_machine_enrolled_again(web_1: Machine, clock: FakeClock) -> None:
    web_1.sequence = 50_000
    web_1.beat(clock.now())
    assert not another(web_1, sequence=0).enrol(clock.now()).beat(clock.now()).is_duplicate


def test_it_revives_a_stale_machine_that_enrols_again(web_1: Machine, clock: FakeClock) -> None:
    another(web_1).enrol(clock.advance(1000))
    assert web_1.history() == [(None, "live", 0), ("live", "stale", 300), ("stale", "live", 1000)]


@pytest.mark.parametrize("marks", [{"address": "10.0.0.9"}, {"keys": OTHER_KEY}, {"keys": ()}])
def test_it_rejects_the_name_of_a_live_host(web_1: Machine, clock: FakeClock, marks: dict[str, Any]) -> None:
    with pytest.raises(ConflictError, match="live host named 'web-1'"):
        another(web_1, **marks).enrol(clock.now())
    assert web_1.beat(clock.now()).state == "live"


def test_it_rejects_a_second_machine_without_keys(stage: Stage, clock: FakeClock) -> None:
    keyless = Machine(stage, keys=()).enrol(clock.now())
    with pytest.raises(ConflictError):
        another(keyless).enrol(clock.now())


def test_it_rejects_the_address_of_a_live_host(web_1: Machine, clock: FakeClock) -> None:
    with pytest.raises(ConflictError, match="the same address as the live host"):
        another(web_1, name="web-9", keys=OTHER_KEY).enrol(clock.now())


def test_it_takes_the_address_of_a_stale_host(web_1: Machine, stage: Stage, clock: FakeClock) -> None:
    another(web_1, name="web-9", keys=OTHER_KEY).enrol(clock.advance(301))
    assert [row.name for row in hosts.live_hosts(stage, expiry=expiry(clock.now()))] == ["web-9"]


def test_it_replaces_a_stale_host_and_keeps_its_history(web_1: Machine, clock: FakeClock) -> None:
    new = another(web_1, address="10.0.0.9", keys=OTHER_KEY).enrol(clock.advance(301))
    assert new.host_id != web_1.host_id
    assert web_1.why["gone"] == "replaced by a new machine of that name"
    assert web_1.history()[-1][1:] == ("gone", 301)


def test_it_takes_the_name_of_a_host_that_has_left(web_1: Machine, clock: FakeClock) -> None:
    hosts.goodbye(web_1.row, at=clock.now())
    assert another(web_1).enrol(clock.now()).host_id != web_1.host_id


def test_it_takes_the_same_name_and_address_in_another_stage(web_1: Machine, make_stage: Any, clock: FakeClock) -> None:
    assert another(web_1, stage=make_stage("staging")).enrol(clock.now()).row.stage.name == "staging"


def test_it_lets_one_of_many_machines_have_a_name(stage: Stage, clock: FakeClock) -> None:
    _, token = join_tokens.create(stage, actor=ADA, at=clock.now())
    machines = [Machine(stage, address=f"10.0.1.{n}", keys=(key_line(seed=n),)) for n in range(8)]
    results = at_once(lambda number: machines[number].enrol(clock.now(), token), 8)
    assert sum(isinstance(result, Machine) for result in results) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 7


def test_it_rejects_an_address_outside_the_join_tokens_networks(stage: Stage, clock: FakeClock) -> None:
    _, token = join_tokens.create(stage, actor=ADA, at=clock.now(), networks=["10.0.0.0/8"])
    claims = enrolment.Enrolment(name="web-1", address="172.16.0.1")
    with pytest.raises(ForbiddenError, match=r"claims the address 172\.16\.0\.1"):
        enrolment.enrol(token, claims, peer="10.0.0.1", expiry=expiry(clock.now()))


def test_it_takes_an_address_inside_the_join_tokens_networks(stage: Stage, clock: FakeClock) -> None:
    _, token = join_tokens.create(stage, actor=ADA, at=clock.now(), networks=["10.0.0.0/8"])
    claims = enrolment.Enrolment(name="web-1", address="10.2.0.1")
    assert enrolment.enrol(token, claims, peer="10.0.0.1", expiry=expiry(clock.now()))[0].address == "10.2.0.1"


def test_it_rejects_a_claimed_address_where_the_token_names_no_network(stage: Stage, clock: FakeClock) -> None:
    _, token = join_tokens.create(stage, actor=ADA, at=clock.now())
    with pytest.raises(ForbiddenError):
        enrolment.enrol(token, enrolment.Enrolment("web-1", "10.2.0.1"), peer="10.0.0.1", expiry=expiry(clock.now()))


def test_it_rejects_a_host_named_like_a_group_of_its_stage(stage: Stage, clock: FakeClock) -> None:
    with pytest.raises(ConflictError, match="group named 'db'"):
        Machine(stage, name="db", groups=("db",)).enrol(clock.now())


def test_it_spends_no_use_of_the_token_on_a_machine_that_is_refused(web_1: Machine, clock: FakeClock) -> None:
    _, token = join_tokens.create(web_1.stage, actor=ADA, at=clock.now(), maximum_uses=1)
    with pytest.raises(ConflictError):
        another(web_1, keys=OTHER_KEY).enrol(clock.now(), token)
    assert join_tokens.find(token, at=clock.now()).uses == 0


# heartbeat


def test_it_renews_the_lease(web_1: Machine, clock: FakeClock) -> None:
    renewal = web_1.beat(clock.advance(250))
    assert (renewal.state, renewal.is_duplicate) == ("live", False)
    assert web_1.row.last_seen_at == clock.now()


def test_it_writes_no_transition_for_a_host_that_stays_live(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.advance(250))
    web_1.beat(clock.advance(250))
    assert web_1.history() == [(None, "live", 0)]


def test_it_writes_no_row_for_a_heartbeat(web_1: Machine, clock: FakeClock) -> None:
    def count() -> dict[str, int]:
        return {table.__name__: table.select().count() for table in TABLES}

    before = count()
    for number in range(30):
        web_1.beat(clock.advance(60), metrics={"load_1": number}, facts={"number": number}, revision=f"{number:07}")
    assert count() == before


def test_it_revives_a_stale_host_and_writes_both_transitions(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.advance(900))
    assert web_1.history() == [(None, "live", 0), ("live", "stale", 300), ("stale", "live", 900)]


def test_it_rejects_a_heartbeat_that_a_goodbye_overtook(web_1: Machine, clock: FakeClock) -> None:
    hosts.goodbye(web_1.row, at=clock.advance(1))
    with pytest.raises(GoneError):
        web_1.beat(clock.now())
    assert web_1.row.recorded_state == "gone"
    assert web_1.history() == [(None, "live", 0), ("live", "gone", 1)]


@pytest.mark.parametrize("seq", [0, 999, 1000])
def test_it_does_not_renew_by_a_heartbeat_that_is_not_newer(web_1: Machine, clock: FakeClock, seq: int) -> None:
    web_1.beat(clock.now())
    renewal = web_1.beat(clock.advance(100), seq=seq)
    assert renewal.is_duplicate
    assert web_1.row.last_seen_at == clock.jump(-100)


def test_it_does_not_revive_by_a_replayed_heartbeat(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now())
    assert web_1.beat(clock.advance(900), seq=1000).state == "stale"


def test_it_takes_a_straggler_of_an_earlier_boot_for_a_duplicate(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now(), seq=50_000)
    web_1.beat(clock.advance(30), boot_id="b008", seq=1)
    late = web_1.beat(clock.advance(40), seq=60_000)
    assert (late.is_duplicate, late.state, web_1.row.boot_id) == (True, "live", "b008")
    assert web_1.row.last_seen_at == clock.jump(-40)


def test_it_takes_a_replay_of_an_earlier_boot_for_a_duplicate_however_late(web_1: Machine, clock: FakeClock) -> None:
    for number in range(4):
        web_1.beat(clock.advance(90), boot_id=f"b00{number}", seq=50_000)
    clock.advance(250)
    for number in range(3):
        assert web_1.beat(clock.now(), boot_id=f"b00{number}", seq=50_000).is_duplicate
    assert (web_1.row.boot_id, web_1.row.conflict_code) == ("b003", None)


def test_it_takes_two_boots_that_both_go_on_for_a_clone(web_1: Machine, clock: FakeClock) -> None:
    for minute in range(2):
        web_1.beat(clock.advance(30), seq=minute * 60_000 + 1)
        web_1.beat(clock.advance(30), boot_id="b008", seq=minute * 60_000 + 1)
    with pytest.raises(ConflictError, match="two machines beat"):
        web_1.beat(clock.advance(61), seq=150_000)
    assert [entry.target_path for entry in Event.select().where(Event.name == "host.conflict")] == [
        "shop/production/web-1"
    ]
    assert hosts.live_hosts(web_1.stage, expiry=expiry(clock.now())) == []


def test_it_takes_two_boots_for_a_clone_that_both_beat_in_one_transaction(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now())
    web_1.beat(clock.advance(60), boot_id="b008")
    beats = [Heartbeat(boot_id=boot_id, seq=10_000) for boot_id in ("b008", "b007")]
    clock.advance(70)
    heartbeats.renew_many([(web_1.token, beat) for beat in beats], expiry=expiry(clock.now()))
    assert web_1.row.conflict_code == "cloned"


def test_it_believes_the_machine_of_a_clone_that_enrols_again(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now(), boot_id="b008")
    with pytest.raises(ConflictError):
        web_1.beat(clock.advance(70))
    again = another(web_1, boot_id="b009").enrol(clock.now())
    web_1.beat(clock.now(), boot_id="b008")  # its clone, with the old token
    assert again.beat(clock.now()).state == "live"
    with pytest.raises(UnauthorizedError):
        web_1.beat(clock.now(), boot_id="b008")
    assert again.beat(clock.advance(60)).state == "live"


# rotation


def rotated(machine: Machine, clock: FakeClock) -> Machine:
    return dataclasses.replace(machine, token=hosts.rotate(machine.token, at=clock.now())[1])


def test_it_rotates_a_token_and_loses_nothing_with_a_lost_answer(web_1: Machine, clock: FakeClock) -> None:
    rotated(web_1, clock)
    web_1.beat(clock.advance(60))
    fresh = rotated(web_1, clock)
    web_1.beat(clock.advance(60))
    assert fresh.beat(clock.advance(60), seq=900_000).state == "live"
    with pytest.raises(UnauthorizedError):
        web_1.beat(clock.now(), seq=901_000)


def test_it_takes_no_token_by_a_rotation_that_was_late(web_1: Machine, clock: FakeClock) -> None:
    """The machine gave up on its first request, and got a token by a second one; then the first one arrives."""
    fresh = rotated(web_1, clock)
    rotated(web_1, clock)
    assert fresh.beat(clock.advance(60), seq=900_000).state == "live"
    newest = rotated(fresh, clock)
    assert newest.beat(clock.advance(60), seq=900_100).state == "live"
    for ended in (web_1, fresh):
        with pytest.raises(UnauthorizedError):
            ended.beat(clock.now(), seq=901_000)


def test_it_asks_for_a_new_token_when_the_old_one_is_due(web_1: Machine, web_2: Machine, clock: FakeClock) -> None:
    def is_asked(machine: Machine, token: str) -> bool:
        machine.sequence += 1
        beat = Heartbeat(boot_id="b007", seq=machine.sequence)
        after = dt.timedelta(days=30)
        return heartbeats.renew(token, beat, expiry=expiry(clock.now()), rotate_after=after).wants_rotation

    clock.advance(26.9 * 86400)
    assert [is_asked(machine, machine.token) for machine in (web_1, web_2)] == [False, False]
    clock.advance(3.1 * 86400)
    assert [is_asked(machine, machine.token) for machine in (web_1, web_2)] == [True, True]
    fresh = rotated(web_1, clock)
    assert is_asked(web_1, web_1.token)  # the answer was lost, perhaps
    assert not is_asked(web_1, fresh.token)


def test_it_keeps_the_token_that_asks_for_a_new_one(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now())
    another(web_1).enrol(clock.now())
    rotated(web_1, clock)
    assert web_1.beat(clock.now()).state == "live"


def test_it_takes_no_token_by_rotations_at_the_same_time(web_1: Machine, clock: FakeClock) -> None:
    for _ in range(10):
        heard = at_once(lambda _: rotated(web_1, clock), 3)
        secrets = [machine.token.partition(".")[2] for machine in (web_1, *heard)]
        assert [hosts.accepts_secret(web_1.row, secret) for secret in secrets] == [True] * 4


def test_it_rotates_no_token_that_two_machines_have(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now(), boot_id="b008")
    with pytest.raises(ConflictError):
        web_1.beat(clock.advance(70))
    with pytest.raises(ConflictError, match="no new token"):
        hosts.rotate(web_1.token, at=clock.now())


# order


def test_it_takes_a_low_sequence_of_a_new_boot(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now(), seq=10**9)
    assert not web_1.beat(clock.now(), boot_id="b008", seq=1).is_duplicate


def test_it_takes_what_the_host_reports(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now(), metrics={"load_1": 0.5}, facts={"zone": "a"}, revision="3f2c1d0", release_number=7)
    row = web_1.row
    assert (row.metrics, row.facts, row.facts_hash) == ({"load_1": 0.5}, {"zone": "a"}, hosts.facts_hash({"zone": "a"}))
    assert (row.revision, row.release_number, row.release_reported_at) == ("3f2c1d0", 7, clock.now())


def test_it_keeps_the_last_run_that_a_host_acknowledged(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.advance(60), run=17)
    web_1.beat(clock.advance(60))
    assert web_1.row.acknowledged_run == 17
    web_1.beat(clock.advance(60), run=18)
    assert web_1.row.acknowledged_run == 18


def test_it_keeps_facts_and_release_that_a_heartbeat_leaves_out(web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now(), facts={"zone": "a"}, revision="3f2c1d0", release_number=7)
    web_1.beat(clock.now())
    assert (web_1.row.facts, web_1.row.release_number) == ({"zone": "a"}, 7)


def test_it_renews_nothing_by_a_heartbeat_with_a_bad_value(web_1: Machine, clock: FakeClock) -> None:
    with pytest.raises(InvalidError):
        web_1.beat(clock.advance(100), facts={"zone": "a\nb"})
    assert web_1.row.last_seen_at == clock.jump(-100)


def test_it_asks_for_facts_only_when_their_hash_differs(web_1: Machine, clock: FakeClock) -> None:
    assert web_1.beat(clock.now(), facts_hash="0" * 64).wants_facts
    assert not web_1.beat(clock.now(), facts_hash=hosts.facts_hash({})).wants_facts
    assert not web_1.beat(clock.now()).wants_facts


@pytest.mark.parametrize(
    ("interval", "ttl", "least", "most"), [(60, 300, 54, 60), (60, 120, 40, 40), (1, 2, 0.6, 0.67)]
)
def test_it_spreads_heartbeats_and_stays_below_a_third_of_the_ttl(
    interval: int, ttl: int, least: float, most: float
) -> None:
    stage = Stage(interval_seconds=interval, ttl_seconds=ttl)
    assert all(least <= liveness.next_beat_seconds(stage) <= most for _ in range(200))


@pytest.mark.parametrize("token", ["", "cbh_", "cbh_abcdefghijkl." + "x" * 43, "\x00", "cbh_é.x"])
def test_it_rejects_a_token_of_no_host(web_1: Machine, token: str) -> None:
    with pytest.raises(UnauthorizedError):
        hosts.authenticate(token)


def test_it_rejects_another_secret_of_the_same_host(web_1: Machine) -> None:
    with pytest.raises(UnauthorizedError):
        hosts.authenticate(web_1.token[:-43] + "A" * 43)


def test_it_rejects_a_join_token_as_a_hosts_token(web_1: Machine, clock: FakeClock) -> None:
    _, token = join_tokens.create(web_1.stage, actor=ADA, at=clock.now())
    with pytest.raises(UnauthorizedError):
        hosts.authenticate(token)


def test_it_sends_hosts_of_an_archived_stage_away(web_1: Machine, clock: FakeClock) -> None:
    archive_stage(web_1.row.stage, actor=ADA, at=clock.now())
    with pytest.raises(GoneError, match="is archived"):
        hosts.authenticate(web_1.token)


# goodbye


def test_it_lets_a_host_leave_at_once(web_1: Machine, stage: Stage, clock: FakeClock) -> None:
    hosts.goodbye(web_1.row, at=clock.advance(5))
    assert hosts.list_hosts(stage) == []
    assert web_1.history()[-1] == ("live", "gone", 5)


def test_it_takes_a_second_goodbye_for_no_error(web_1: Machine, clock: FakeClock) -> None:
    row = web_1.row
    hosts.goodbye(row, at=clock.now())
    hosts.goodbye(row, at=clock.now())
    assert len(web_1.history()) == 2


def test_it_tells_a_host_that_has_left_to_enrol_again(web_1: Machine, clock: FakeClock) -> None:
    hosts.goodbye(web_1.row, at=clock.now())
    with pytest.raises(GoneError, match="said goodbye"):
        hosts.authenticate(web_1.token)


# agentless heartbeats


def test_it_adds_an_address_and_then_renews_it(stage: Stage, clock: FakeClock) -> None:
    first, is_new = put(stage, "10.0.0.5", clock, groups=["web"], port=2222)
    second, is_new_again = put(stage, "10.0.0.5", clock)
    assert (is_new, is_new_again) == (True, False)
    assert (second.id, second.groups, second.port) == (first.id, ["web"], 2222)


def test_it_renews_an_address_however_it_is_written(stage: Stage, clock: FakeClock) -> None:
    first, _ = put(stage, "2001:db8::5", clock)
    second, is_new = put(stage, "2001:DB8:0::5", clock)
    assert (second.id, is_new) == (first.id, False)


def test_it_adds_an_address_once_for_callers_at_the_same_time(stage: Stage, clock: FakeClock) -> None:
    results = at_once(lambda _: put(stage, "10.0.0.5", clock)[1], 8)
    assert sorted(results) == [False] * 7 + [True]


def test_it_rejects_to_add_the_address_of_a_live_host(web_1: Machine, clock: FakeClock) -> None:
    with pytest.raises(ConflictError, match="same address as the live host 'web-1'"):
        put(web_1.stage, "10.0.0.1", clock)


@pytest.mark.parametrize("groups", [["db"], []])
def test_it_rejects_to_add_a_host_named_like_a_group(stage: Stage, clock: FakeClock, groups: list[str]) -> None:
    put(stage, "10.0.0.5", clock, groups=["db"])
    with pytest.raises(ConflictError, match="'db'"):
        put(stage, "db", clock, groups=groups)


def test_it_rejects_to_add_a_host_into_a_group_of_its_own_name(stage: Stage, clock: FakeClock) -> None:
    with pytest.raises(ConflictError, match="'db'"):
        put(stage, "db", clock, groups=["db"])


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "::1", "all", "../x", "-oProxyCommand=id", "behind"])
def test_it_rejects_to_add_what_ansible_would_take_for_something_else(
    stage: Stage, clock: FakeClock, address: str
) -> None:
    with pytest.raises(InvalidError):
        put(stage, address, clock)


def test_it_takes_an_address_out_and_says_nothing_the_second_time(stage: Stage, clock: FakeClock) -> None:
    row, _ = put(stage, "10.0.0.5", clock)
    for _ in range(2):
        agentless.remove(stage, "10.0.0.5", actor=ADA, at=clock.now())
    assert words_of(hosts.get_host(row.id))["gone"] == "removed by ada"
    assert hosts.list_hosts(stage) == []


# what people do


def test_it_changes_what_is_given_and_nothing_else(web_1: Machine, clock: FakeClock) -> None:
    changed = hosts.change(web_1.row, actor=ADA, at=clock.now(), is_draining=True, groups=["web", "app", "web"])
    assert (changed.is_draining, changed.groups, changed.quarantine_code) == (True, ["app", "web"], None)
    (updated,) = Event.select().where(Event.name == "host.update")
    assert (updated.changes, updated.target_path) == ({"groups": [[], ["app", "web"]]}, "shop/production/web-1")
    assert Event.select().where(Event.name == "host.drain").count() == 1


def test_it_gives_a_host_new_attempts_when_it_leaves_quarantine(web_1: Machine, clock: FakeClock) -> None:
    Host.update(quarantine_code="person", quarantine_params={"text": "slow"}, converge_attempts=4).execute()
    changed = hosts.change(web_1.row, actor=ADA, at=clock.now(), is_quarantined=False)
    assert (changed.quarantine_code, changed.quarantine_params, changed.converge_attempts) == (None, None, 0)


def test_it_rejects_a_group_named_like_a_host(web_1: Machine, stage: Stage, clock: FakeClock) -> None:
    put(stage, "db", clock)
    with pytest.raises(ConflictError, match="host named 'db'"):
        hosts.change(web_1.row, actor=ADA, at=clock.now(), groups=["db"])
    with pytest.raises(ConflictError, match="host named 'db'"):
        join_tokens.create(stage, actor=ADA, at=clock.now(), groups=["db"])


def test_it_finds_no_host_by_an_id_that_none_has(web_1: Machine) -> None:
    with pytest.raises(NotFoundError):
        hosts.get_host("x" * 5000)


def test_it_lists_hosts_with_changed_timings_at_once(web_1: Machine, stage: Stage, clock: FakeClock) -> None:
    clock.advance(100)
    faster = StageChange(interval_seconds=10, ttl_seconds=30)
    changed = update_stage(stage, change=faster, actor=ADA, at=clock.now())
    assert hosts.live_hosts(changed, expiry=expiry(clock.now())) == []


# health


def test_it_keeps_the_last_word_on_health(web_1: Machine, clock: FakeClock) -> None:
    assert web_1.row.is_healthy is None
    web_1.beat(clock.now(), is_healthy=False, health_reason="/health answered 500")
    assert (web_1.row.is_healthy, web_1.row.health_reason) == (False, "/health answered 500")
    web_1.beat(clock.now(), is_healthy=True)
    assert (web_1.row.is_healthy, web_1.row.health_reason) == (True, None)
    web_1.beat(clock.now())
    assert web_1.row.is_healthy is None


@pytest.mark.parametrize("reason", ["x" * 257, "two\nlines", "\u202eevil"])
def test_it_rejects_a_reason_that_is_no_plain_line(web_1: Machine, clock: FakeClock, reason: str) -> None:
    with pytest.raises((InvalidError, ValidationError)):
        web_1.beat(clock.now(), is_healthy=False, health_reason=reason)
    assert web_1.row.is_healthy is None


def test_it_rejects_to_change_a_host_that_has_gone(web_1: Machine, clock: FakeClock) -> None:
    hosts.goodbye(web_1.row, at=clock.advance(60))
    for change in (lambda: hosts.approve(web_1.row, actor=ADA, at=clock.now()), lambda: drain(web_1, clock)):
        with pytest.raises(GoneError, match=r"web-1.*said goodbye"):
            change()
    assert not Event.select().where(Event.name == "host.update").exists()


def drain(machine: Machine, clock: FakeClock) -> Host:
    return hosts.change(machine.row, actor=ADA, at=clock.now(), is_draining=True)


# taking out


def test_it_takes_out_a_host_by_its_name_or_its_address(web_1: Machine, web_2: Machine, clock: FakeClock) -> None:
    agentless.remove(web_1.stage, "WEB-1", actor=ADA, at=clock.now())
    agentless.remove(web_1.stage, web_2.row.address, actor=ADA, at=clock.now())
    assert [machine.why["gone"] for machine in (web_1, web_2)] == ["removed by ada"] * 2


def test_it_takes_out_nobody_when_several_have_the_address(stage: Stage, clock: FakeClock) -> None:
    for port, name in ((22, "web-1"), (23, "web-2")):
        token = join_tokens.create(stage, actor=ADA, at=clock.now())[1]
        request = enrolment.Enrolment(name=name, ssh_port=port)
        enrolment.enrol(token, request, peer="10.0.0.1", expiry=expiry(clock.now()))
    with pytest.raises(ConflictError, match="web-1, web-2"):
        agentless.remove(stage, "10.0.0.1", actor=ADA, at=clock.now())
    assert len(hosts.list_hosts(stage)) == 2
