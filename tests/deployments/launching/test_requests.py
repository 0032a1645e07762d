from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from inventory_service.deployments import locks, releases
from inventory_service.deployments.executor import execution
from inventory_service.deployments.launching import launch, requests
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.errors import ConflictError, InvalidError, LockedError, NotFoundError
from inventory_service.models import Event, Release, Run, Stage
from inventory_service.registry import hosts
from inventory_service.settings import Settings
from inventory_service.vault import keyring
from tests.support import ADA, FakeClock, Machine, at_once, expiry, why

Queue = Callable[..., Run]


def test_it_queues_a_run_with_who_and_why(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    run = queue(stage, comment=" because ", revision="main")
    assert (run.status, run.kind, run.created_by, run.created_at) == ("queued", "deploy", "ada", clock.now())
    assert (run.comment, run.revision, run.playbook) == ("because", "main", "deploy.yml")
    event = Event.get(Event.name == "run.deploy")
    assert (event.target_kind, event.target_id, event.stage_id) == ("run", str(run.id), stage.id)
    assert (run.created_by_kind, event.actor_kind, event.details) == ("person", "person", {})


@pytest.mark.parametrize("name", ["web-9", "web", "", "*"])
def test_it_rejects_to_leave_out_a_host_that_the_stage_does_not_have(web_1: Machine, queue: Queue, name: str) -> None:
    with pytest.raises(InvalidError, match="has no host"):
        queue(web_1.stage, exclude=("web-1", name))


def test_it_takes_everything_that_a_run_can_be_told(web_1: Machine, web_2: Machine, queue: Queue) -> None:
    run = queue(
        web_1.stage,
        "playbook",
        playbook="ops/restart.yml",
        limit="web,!web-3",
        exclude=("web-2", "web-1", "web-2"),
        tags=("a", "b:c"),
        skip_tags=("d",),
        is_check=True,
        is_diff=True,
        extra_vars={"size": 3, "names": ["a"]},
    )
    stored = requests.get(run.id)
    assert (stored.playbook, stored.limit, stored.exclude) == ("ops/restart.yml", "web,!web-3", ["web-1", "web-2"])
    assert (stored.tags, stored.skip_tags, stored.is_check, stored.is_diff) == (["a", "b:c"], ["d"], True, True)
    assert stored.extra_vars == {"size": 3, "names": ["a"]}


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "playbook"},
        {"kind": "playbook", "playbook": "../deploy.yml"},
        {"kind": "playbook", "playbook": "/etc/passwd"},
        {"kind": "playbook", "playbook": "--version"},
        {"kind": "playbook", "playbook": "a/../../b.yml"},
        {"kind": "deploy", "playbook": "deploy.yml"},
        {"kind": "rollback", "playbook": "deploy.yml"},
        {"kind": "deploy", "revision": "-x"},
        {"kind": "deploy", "revision": "--upload-pack=id"},
        {"kind": "deploy", "revision": ""},
        {"kind": "rollback", "revision": "main"},
        {"kind": "converge", "revision": "main"},
        {"kind": "deploy", "release": 1},
        {"kind": "playbook", "playbook": "x.yml", "release": 1},
        {"kind": "deploy", "limit": ""},
        {"kind": "deploy", "limit": "@/etc/passwd"},
        {"kind": "deploy", "limit": "~(a+)+$"},
        {"kind": "deploy", "tags": ("-x",)},
        {"kind": "deploy", "tags": ("a,b",)},
        {"kind": "deploy", "tags": ("",)},
        {"kind": "deploy", "skip_tags": ("a\n",)},
        {"kind": "deploy", "extra_vars": {"ansible_connection": "local"}},
        {"kind": "deploy", "extra_vars": {"ansible_ssh_common_args": "-oProxyCommand=id"}},
        {"kind": "deploy", "extra_vars": {"callboard_release": 1}},
        {"kind": "deploy", "extra_vars": {"a b": 1}},
        {"kind": "deploy", "extra_vars": {"a": "x" * 65536}},
    ],
)
def test_it_rejects_a_request(stage: Stage, queue: Queue, release: Callable[..., Release], fields: Any) -> None:
    release(stage)
    with pytest.raises(InvalidError):
        queue(stage, **fields)
    assert Run.select().count() == 0


# idempotency


def test_it_makes_one_run_for_one_key(stage: Stage, settings: Settings, clock: FakeClock) -> None:
    ask = RunRequest(kind="deploy", idempotency_key="token:ci:42")
    named = {"actor": ADA, "expiry": expiry(clock.now()), "settings": settings}
    first, second = (launch.launch(stage, ask, **named) for _ in range(2))
    assert (first.id, Run.select().count()) == (second.id, 1)


@pytest.mark.each_database
def test_it_makes_one_run_for_one_key_of_callers_at_the_same_time(
    stage: Stage, settings: Settings, clock: FakeClock
) -> None:
    ask = RunRequest(kind="deploy", idempotency_key="token:ci:42")
    named = {"actor": ADA, "expiry": expiry(clock.now()), "settings": settings}
    results = at_once(lambda _: launch.launch(stage, ask, **named), 8)
    assert {getattr(one, "id", one) for one in results} == {Run.get().id}
    assert (Run.select().count(), Event.select().where(Event.name == "run.deploy").count()) == (1, 1)


@pytest.mark.each_database
def test_it_gives_a_key_to_one_of_two_stages_at_the_same_time(
    stage: Stage, make_stage: Callable[..., Stage], settings: Settings, clock: FakeClock
) -> None:
    ask, asked = RunRequest(kind="deploy", idempotency_key="k"), [stage, make_stage("staging")]
    named = {"actor": ADA, "expiry": expiry(clock.now()), "settings": settings}
    results = at_once(lambda number: launch.launch(asked[number % 2], ask, **named), 6)
    (run,) = Run.select()
    for number, one in enumerate(results):
        assert one == run if asked[number % 2].id == run.stage_id else isinstance(one, ConflictError), results


def test_it_answers_a_repeated_key_although_it_would_refuse_the_request_by_now(
    web_1: Machine, stage: Stage, queue: Queue, release: Callable[..., Release], clock: FakeClock
) -> None:
    for _ in range(2):
        second = release(stage)
    back = queue(stage, "rollback", idempotency_key="back")
    without = queue(stage, exclude=("web-1",), idempotency_key="without")
    releases.make_desired(stage, releases.before(stage, second.number), at=clock.now())
    hosts.goodbye(web_1.row, at=clock.now())
    assert queue(stage, "rollback", idempotency_key="back") == back
    assert queue(stage, exclude=("web-1",), idempotency_key="without") == without


def test_it_rejects_a_key_that_was_used_for_something_else(
    stage: Stage, make_stage: Callable[..., Stage], queue: Queue
) -> None:
    queue(stage, idempotency_key="k")
    for other, kind in ((make_stage("staging"), "deploy"), (stage, "playbook")):
        with pytest.raises(ConflictError, match="belongs to run 1"):
            queue(other, kind, idempotency_key="k", playbook="x.yml" if kind == "playbook" else None)


@pytest.mark.parametrize("fields", [{"revision": "v2"}, {"limit": "web"}, {"extra_vars": {"a": 1}}, {"is_check": True}])
def test_it_rejects_a_key_with_another_body(stage: Stage, queue: Queue, fields: dict[str, object]) -> None:
    queue(stage, idempotency_key="k")
    with pytest.raises(ConflictError, match="belongs to run 1, which asked for something else"):
        queue(stage, idempotency_key="k", **fields)


def test_it_tells_requests_apart_by_a_key_of_its_own(stage: Stage, settings: Settings) -> None:
    def hash_of(pin: str, known: Settings = settings) -> str | None:
        ask = RunRequest(kind="deploy", idempotency_key="k", secret_vars={"pin": pin})
        return keyring.fingerprint(ask.to_fingerprint(), known)

    other = dataclasses.replace(settings, secret_key="another-secret-key-of-40-characters-long")
    hashes = [hash_of("4711"), hash_of("4711"), hash_of("4712"), hash_of("4711", other)]
    assert [one == hashes[0] for one in hashes] == [True, True, False, False]


# a stage that is held


def test_it_keeps_an_override_in_the_audit_log(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    locks.lock(stage, reason="Black Friday", actor=ADA, at=clock.now())
    run = queue(stage, override_lock=" the shop is down ", if_locked="refuse")
    entry = Event.get(Event.name == "stage.override_lock")
    assert run.override_lock == "the shop is down"
    assert entry.details == {
        "run": run.id, "reason": "the shop is down", "locked_by": "ada",
        "lock": [{"code": "person", "text": "Black Friday"}],
    }  # fmt: skip


def test_it_overrides_no_lock_that_is_not_there(stage: Stage, queue: Queue) -> None:
    assert queue(stage, override_lock="in case").status == "queued"
    assert not Event.select().where(Event.name == "stage.override_lock").exists()


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_it_rejects_an_override_without_a_reason(stage: Stage, queue: Queue, reason: str) -> None:
    with pytest.raises(InvalidError, match="why the lock does not count"):
        queue(stage, override_lock=reason)


def test_it_waits_for_a_lock_unless_told_otherwise(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    locks.lock(stage, reason="Black Friday", actor=ADA, at=clock.now())
    assert queue(stage).status == "queued"
    with pytest.raises(LockedError, match="locked by ada: Black Friday"):
        queue(stage, if_locked="refuse")


def test_it_refuses_behind_another_run_when_told_to(
    stage: Stage, queue: Queue, release: Callable[..., Release], clock: FakeClock
) -> None:
    queue(stage)
    with pytest.raises(LockedError, match=r"busy: run 1 \(deploy\) is queued"):
        queue(stage, if_locked="refuse")
    execution.claim(queue(stage, "rollback", release=release(stage).number).id, at=clock.now())
    with pytest.raises(LockedError, match=r"busy: run 2 \(rollback\) is running"):
        queue(stage, if_locked="refuse")


def test_it_does_not_mind_a_run_that_has_ended_or_another_stage(
    stage: Stage, make_stage: Callable[..., Stage], queue: Queue, clock: FakeClock
) -> None:
    requests.cancel(queue(stage), actor=ADA, at=clock.now())
    queue(make_stage("staging"))
    assert queue(stage, if_locked="refuse").status == "queued"


# where a rollback goes


@pytest.mark.parametrize(
    ("goods", "wanted", "number"),
    [
        ((True, True), None, 1),
        ((True, True, True), None, 2),
        ((True, False, True), None, 1),
        ((True, True, False), None, 1),
        ((True, True, True), 1, 1),
        ((True, True), 2, 2),
    ],
)
def test_it_rolls_back_to_a_release_that_was_good(
    *,
    stage: Stage,
    queue: Queue,
    release: Callable[..., Release],
    goods: tuple[bool, ...],
    wanted: int | None,
    number: int,
) -> None:
    for is_good in goods:
        release(stage, is_good=is_good)
    assert queue(stage, "rollback", release=wanted).release_number == number


@pytest.mark.parametrize(("goods", "wanted"), [((), None), ((True,), None), ((False, True), None), ((True, False), 2)])
def test_it_rejects_to_roll_back_to_nothing_good(
    stage: Stage, queue: Queue, release: Callable[..., Release], goods: tuple[bool, ...], wanted: int | None
) -> None:
    for is_good in goods:
        release(stage, is_good=is_good)
    with pytest.raises(ConflictError):
        queue(stage, "rollback", release=wanted)


def test_it_rejects_a_release_that_there_is_not(stage: Stage, queue: Queue) -> None:
    with pytest.raises(NotFoundError, match="has no release 9"):
        queue(stage, "rollback", release=9)


def test_it_converges_to_the_desired_release(stage: Stage, queue: Queue, release: Callable[..., Release]) -> None:
    with pytest.raises(ConflictError, match="deploy first"):
        queue(stage, "converge")
    release(stage)
    assert queue(stage, "converge").release_number == 1


# cancel


@pytest.mark.each_database
def test_it_ends_a_queued_run_at_once(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    run = requests.cancel(queue(stage), actor=ADA, at=clock.now())
    assert (run.status, run.ended_at, run.cancel_requested_by) == ("canceled", clock.now(), "ada")
    assert why(run) == "Canceled by ada before it started."


def test_it_asks_a_running_one_to_end_and_remembers_who_asked_first(
    stage: Stage, queue: Queue, clock: FakeClock
) -> None:
    run = queue(stage)
    Run.update(status="running").execute()
    for _ in range(2):
        asked = requests.cancel(requests.get(run.id), actor=ADA, at=clock.advance(1))
    assert (asked.status, asked.cancel_requested_at) == ("running", clock.jump(-1))


def test_it_rejects_to_cancel_what_has_ended(stage: Stage, queue: Queue, clock: FakeClock) -> None:
    run = requests.cancel(queue(stage), actor=ADA, at=clock.now())
    with pytest.raises(ConflictError, match="ended already: it was canceled"):
        requests.cancel(run, actor=ADA, at=clock.now())


# looking


@pytest.mark.parametrize("number", [0, -1, 99, 2**62, 2**63, 10**30])
def test_it_finds_no_run_of_a_number_that_there_is_not(stage: Stage, number: int) -> None:
    with pytest.raises(NotFoundError):
        requests.get(number)


@pytest.mark.each_database
def test_it_lists_runs_newest_first_and_page_by_page(stage: Stage, queue: Queue) -> None:
    for _ in range(5):
        queue(stage)
    assert [run.id for run in requests.list_runs(limit=2)] == [5, 4]
    assert [run.id for run in requests.list_runs(limit=2, before=4)] == [3, 2]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"status": "queued"}, [2, 1]),
        ({"kind": "playbook"}, [2]),
        ({"user": "ada"}, [2, 1]),
        ({"user": "grace"}, []),
        ({"text": "urgent"}, [1]),
        ({"text": "v1"}, [1]),
        ({"text": "X.YML"}, [2]),
        ({"text": "%"}, []),
        ({"projects": ("shop",)}, [2, 1]),
        ({"projects": ("blog",)}, []),
        ({"projects": ()}, []),
    ],
)
def test_it_finds_runs(stage: Stage, queue: Queue, fields: dict[str, Any], found: list[int]) -> None:
    queue(stage, comment="an urgent one", revision="v1")
    queue(stage, "playbook", playbook="x.yml")
    assert [run.id for run in requests.list_runs(**fields)] == found


def test_it_runs_on_a_frozen_stage_only_when_told_so(web_1: Machine, queue: Queue, clock: FakeClock) -> None:
    Stage.update(expiry_paused_at=clock.now(), expiry_pause_code="many_silent").execute()
    with pytest.raises(ConflictError, match="paused"):
        queue(web_1.stage)
    assert queue(web_1.stage, allows_paused_expiry=True).status == "queued"
