from __future__ import annotations

import datetime as dt
import gzip
import json
import sqlite3

import peewee
import pytest

from inventory_service.errors import ConflictError
from inventory_service.models import Run, Stage
from inventory_service.registry import hosts
from tests.support import START, Caller, FakeClock, Machine, key_line

INVENTORY = "/api/v1/stages/shop/production/inventory"
ABOUT = {"stage": "shop/production", "expiry_paused": False, "frozen": False, "generation": 0}
KNOWN_HOSTS = "/api/v1/stages/shop/production/known_hosts"


def test_it_gives_ansibles_json(viewer: Caller, web_1: Machine) -> None:
    answer = viewer.get(INVENTORY)
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert answer.json["stage_shop_production"]["hosts"] == ["web-1"]
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert "Authorization" in answer.headers["Vary"]


def test_it_answers_304_while_nothing_changed(viewer: Caller, web_1: Machine, clock: FakeClock) -> None:
    tag = viewer.get(INVENTORY).headers["ETag"]
    clock.advance(30)
    again = viewer.get(INVENTORY, headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")
    web_1.beat(clock.now(), facts={"zone": "a"})
    assert viewer.get(INVENTORY, headers={"If-None-Match": tag}).status_code == 200


def test_it_compresses_for_who_takes_it(viewer: Caller, web_1: Machine, clock: FakeClock) -> None:
    web_1.beat(clock.now(), facts={f"fact_{number}": "x" * 100 for number in range(9)})
    plain = viewer.get(INVENTORY)
    packed = viewer.get(INVENTORY, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed.data)) == plain.json
    assert plain.headers["ETag"] == packed.headers["ETag"]


@pytest.mark.sqlite  # other databases lock otherwise
def test_it_keeps_hosts_listed_while_heartbeats_can_not_be_written(
    *, viewer: Caller, web_1: Machine, clock: FakeClock, database: peewee.Database
) -> None:
    database.pragma("busy_timeout", 0, permanent=True)
    with sqlite3.connect(str(database.database), isolation_level=None) as locker:
        locker.execute("BEGIN IMMEDIATE")
        for _ in range(7):
            answer = Caller(viewer.client, web_1.token).post("/api/v1/heartbeat", {"boot_id": "b007", "seq": 5000})
            assert answer.status_code == 503
            assert "Retry-After" in answer.headers
            clock.advance(60)
        shown = viewer.get(INVENTORY).json["_meta"]
        stage = viewer.get("/api/v1/stages/shop/production").json
        locker.execute("ROLLBACK")
    assert (shown["callboard"]["expiry_paused"], shown["hostvars"]["web-1"]["callboard_suspect"]) == (True, True)
    assert "heartbeats can't be written" in stage["expiry_paused"]["reason"]
    assert (
        Caller(viewer.client, web_1.token).post("/api/v1/heartbeat", {"boot_id": "b007", "seq": 5000}).status_code
        == 200
    )
    assert viewer.get(INVENTORY).json["_meta"]["callboard"]["expiry_paused"] is False


def test_it_chooses_hosts_by_group(viewer: Caller, web_1: Machine, stage: Stage, clock: FakeClock) -> None:
    for number, groups in enumerate((("web", "db"), ("webs",), ("db",)), 2):
        machine = Machine(stage, name=f"web-{number}", address=f"10.0.0.{number}", groups=groups).enrol(clock.now())
        machine.beat(clock.now(), release_number=1, revision="a" * 40)
    listing = viewer.get(f"{INVENTORY}?group=web,cache").json
    assert set(listing["_meta"]["hostvars"]) == {"web-2"}
    assert listing["all"]["children"] == ["db", "release_1", "stage_shop_production", "web"]
    assert [line.split()[0] for line in viewer.get(f"{KNOWN_HOSTS}?group=web").text.splitlines()] == ["10.0.0.2"]


@pytest.mark.parametrize("query", ["group=release_1", "group=web,", "group=%25", "group=web&at=2026-11-23T14:00:00Z"])
def test_it_rejects_a_choice_of_groups_that_cannot_be_made(viewer: Caller, web_1: Machine, query: str) -> None:
    assert viewer.get(f"{INVENTORY}?{query}").status_code == 422


@pytest.mark.parametrize(
    ("state", "found"), [("live", ["web-2"]), ("stale", ["web-1"]), ("live,stale", ["web-1", "web-2"])]
)
def test_it_lists_states_when_asked(
    *, viewer: Caller, web_1: Machine, web_2: Machine, clock: FakeClock, state: str, found: list[str]
) -> None:
    web_2.beat(clock.advance(301))
    assert viewer.get(f"{INVENTORY}?state={state}").json["stage_shop_production"]["hosts"] == found


@pytest.mark.parametrize("state", ["x", "live,x", "Live", ","])
def test_it_rejects_a_state_that_there_is_not(viewer: Caller, stage: Stage, state: str) -> None:
    assert viewer.get(f"{INVENTORY}?state={state}").status_code == 422


def test_it_gives_known_hosts_of_live_hosts(viewer: Caller, web_1: Machine, web_2: Machine, clock: FakeClock) -> None:
    hosts.goodbye(web_2.row, at=clock.now())
    answer = viewer.get(KNOWN_HOSTS)
    assert (answer.mimetype, answer.text) == ("text/plain", f"10.0.0.1 {key_line()}\n")


def test_it_gives_the_inventory_of_the_past_to_the_second(
    viewer: Caller, web_1: Machine, web_2: Machine, clock: FakeClock
) -> None:
    """web-1 falls silent, comes back, and is cloned; web-2 leaves."""
    for seconds in (60, 240):
        web_2.beat(clock.advance(seconds))
    hosts.goodbye(web_2.row, at=clock.advance(50))
    web_1.beat(clock.advance(50))
    Machine(web_1.stage, boot_id="twin", token=web_1.token).beat(clock.advance(60))
    with pytest.raises(ConflictError):
        web_1.beat(clock.advance(61))
    clock.advance(3600)
    listed = {0: {"web-1", "web-2"}, 299: {"web-1", "web-2"}, 300: {"web-2"}, 349: {"web-2"}, 350: set(), 399: set()}
    listed |= {400: {"web-1"}, 520: {"web-1"}, 521: set()}
    for seconds, names in listed.items():
        moment = (START + dt.timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
        answer = viewer.get(f"/api/v1/stages/shop/production/inventory?at={moment}").json
        assert set(answer["_meta"]["hostvars"]) == names, seconds
        assert answer["_meta"]["callboard"] | {"generation": 0} == ABOUT | {"as_of": moment}, seconds
    then = viewer.get("/api/v1/stages/shop/production/hosts?at=2026-11-23T14:08:41Z").json["items"]
    assert [(row["name"], row["state"], row["conflict"] is None) for row in then] == [("web-1", "live", False)]


def test_it_rejects_an_inventory_of_hosts_that_have_gone(viewer: Caller, stage: Stage) -> None:
    answer = viewer.get("/api/v1/stages/shop/production/inventory?state=live,gone")
    assert answer.status_code == 422
    assert "in no inventory" in answer.json["detail"]


def test_it_gives_the_inventory_that_a_run_froze(viewer: Caller, run: Run) -> None:
    assert viewer.get(f"/api/v1/runs/{run.id}/inventory").status_code == 404
    Run.update(snapshot={"inventory": {"_meta": {}}}).execute()
    assert viewer.get(f"/api/v1/runs/{run.id}/inventory").json == {"_meta": {}}
