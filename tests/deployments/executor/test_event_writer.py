from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peewee
import pytest

from inventory_service.codes.run import End
from inventory_service.database import from_microseconds
from inventory_service.deployments.executor import event_writer, host_keys
from inventory_service.deployments.executor.event_writer import EventWriter, to_row
from inventory_service.deployments.runs import history
from inventory_service.deployments.runs.history import EventFilter
from inventory_service.deployments.runs.logs import RunLog
from inventory_service.deployments.runs.outcome import HostCount
from inventory_service.models import Run, RunEvent, RunLogChunk, Stage
from inventory_service.reasons import because
from inventory_service.vault.masking import MASK, Masker
from tests.support import START, FakeClock, wait_for

pytestmark = pytest.mark.each_database


def event(name: str = "runner_on_ok", counter: int = 1, stdout: str = "", **data: Any) -> dict[str, Any]:
    given = {"host": "web-1", "play": "all", "task": "Say", "task_action": "debug", "res": {}, **data}
    return {"event": name, "counter": counter, "stdout": stdout, "event_data": given, "created": "2026-11-23T14:03:00Z"}


def row(*args: Any, **fields: Any) -> dict[str, Any]:
    return to_row(1, event(*args, **fields), Masker(), log_start=0, log_end=9, at=START)


# one event


CHANGED = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\n…\r\nHost key verification failed."
UNKNOWN = (
    "No ED25519 host key is known for 10.0.0.1 and you have requested strict checking.\r\nHost key verification failed."
)


@pytest.mark.parametrize(
    ("name", "said", "is_mismatch"),
    [
        ("runner_on_unreachable", CHANGED, True),
        ("runner_on_unreachable", UNKNOWN, True),
        ("runner_on_unreachable", "Permission denied (publickey).", False),
        ("runner_on_failed", CHANGED, False),
    ],
)
def test_it_knows_a_host_key_mismatch_by_what_ssh_says(name: str, said: str, is_mismatch: bool) -> None:
    assert (
        host_keys.is_mismatch(event(name, res={"msg": f"Failed to connect to the host via ssh: {said}"})) is is_mismatch
    )


def test_it_takes_names_and_numbers_of_an_event() -> None:
    taken = row("runner_on_ok", 7, res={"changed": True, "secret": "hunter2"}, duration=1.5)
    assert (taken["run_id"], taken["counter"], taken["host"], taken["task"]) == (1, 7, "web-1", "Say")
    assert (taken["status"], taken["is_changed"], taken["duration_seconds"]) == ("changed", True, 1.5)
    assert from_microseconds(taken["at"]).isoformat() == "2026-11-23T14:03:00+00:00"
    assert "hunter2" not in str(taken)


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [
        ("runner_on_ok", {}, "ok"),
        ("runner_on_ok", {"res": {"changed": True}}, "changed"),
        ("runner_on_ok", {"res": {"changed": "yes"}}, "ok"),
        ("runner_on_failed", {}, "failed"),
        ("runner_on_failed", {"ignore_errors": True}, "ignored"),
        ("runner_on_unreachable", {}, "unreachable"),
        ("runner_on_skipped", {}, "skipped"),
        ("playbook_on_start", {}, None),
    ],
)
def test_it_has_one_word_for_an_event(name: str, data: dict[str, Any], status: str | None) -> None:
    assert row(name, **data)["status"] == status


def test_it_keeps_a_message_of_what_went_wrong_only() -> None:
    result = {"msg": "no such file", "stderr": "cat: x"}
    assert row("runner_on_failed", res=result)["message"] == "no such file\ncat: x"
    assert row("runner_on_ok", res=result)["message"] is None


def test_it_cuts_a_huge_message_and_says_so() -> None:
    message = row("runner_on_failed", res={"msg": "x" * 100_000})["message"]
    assert (len(message) < 4100, message.endswith("… [cut, 100000 characters]")) == (True, True)


def test_it_cuts_huge_names() -> None:
    assert len(row(task="x" * 10_000, host="y" * 10_000)["task"]) < 1100


@pytest.mark.parametrize("data", [{"res": None}, {"res": "text"}, {"res": ["a"]}, {"duration": "long"}, {"host": 5}])
def test_it_takes_an_event_of_an_unexpected_shape(data: dict[str, Any]) -> None:
    assert row("runner_on_failed", **data)["status"] == "failed"


@pytest.mark.parametrize("created", [None, "", "yesterday", "2026-11-23T14:03:00", 17])
def test_it_takes_the_time_of_arrival_where_an_event_has_none(created: object) -> None:
    taken = to_row(1, {**event(), "created": created, "event_data": None}, Masker(), log_start=0, log_end=0, at=START)
    assert from_microseconds(taken["at"]) == START


def test_it_masks_names_and_messages_but_no_host() -> None:
    given = event("runner_on_failed", host="web-s3cret", task="Say s3cret", res={"msg": "x" * 3998 + "s3cret"})
    taken = to_row(1, given, Masker(["s3cret"]), log_start=0, log_end=0, at=START)
    assert (taken["host"], taken["task"]) == ("web-s3cret", f"Say {MASK}")
    assert "s3" not in taken["message"]


# many events


@pytest.fixture
def run(stage: Stage, queue: Callable[..., Run]) -> Run:
    return queue(stage)


@pytest.fixture
def write(run: Run, tmp_path: Path, clock: FakeClock) -> Callable[..., EventWriter]:
    """Write these events and close."""

    def write_all(*given: dict[str, Any], has_copy: bool = False) -> EventWriter:
        writer = EventWriter(run.id, tmp_path / "log", clock, has_copy=has_copy)
        for item in given:
            writer.handle(item)
        writer.close()
        return writer

    return write_all


def log(tmp_path: Path) -> str:
    return (tmp_path / "log").read_bytes().decode("utf-8")


def test_it_writes_events_and_log(write: Callable[..., EventWriter], run: Run, tmp_path: Path) -> None:
    write(event(counter=1, stdout="TASK"), event("verbose", 2, "grüß"), event("runner_on_failed", 3, "fatal"))
    assert log(tmp_path) == "TASK\ngrüß\nfatal\n"
    assert [(item.counter, item.log_start, item.log_end) for item in RunEvent.select()] == [(1, 0, 5), (3, 12, 18)]
    assert (Run.get().log_bytes, Run.get().is_log_cut) == (18, False)


def test_it_writes_thousands_of_events_in_order(write: Callable[..., EventWriter], run: Run) -> None:
    write(*[event(counter=number, stdout=f"line {number}") for number in range(1, 2001)])
    assert [item.counter for item in RunEvent.select().order_by(RunEvent.counter)] == list(range(1, 2001))


def test_it_finds_an_events_lines_in_the_log(write: Callable[..., EventWriter], tmp_path: Path) -> None:
    write(event(counter=1, stdout="ü" * 10), event(counter=2, stdout="second"))
    second = RunEvent.get(RunEvent.counter == 2)
    assert (tmp_path / "log").read_bytes()[second.log_start : second.log_end] == b"second\n"


ODD = ["\ud800 half a pair", "\udcff not utf-8", "nul \x00", "\x1b[31mred\x1b[0m", "\u202e", "😀"]


@pytest.mark.parametrize("text", ODD)
def test_it_survives_text_of_any_kind(write: Callable[..., EventWriter], run: Run, tmp_path: Path, text: str) -> None:
    failed = {"host": text, "task": text, "play": text, "res": {"msg": text, "stderr": text}}
    writer = write(event("runner_on_failed", 1, text, **failed), event(counter=2, stdout="and on"))
    assert log(tmp_path).endswith("and on\n")
    assert [item.counter for item in RunEvent.select().order_by(RunEvent.counter)] == [1, 2]
    assert writer.counts["web-1"].ok == 1


@pytest.mark.parametrize("data", [{"host": ["web-1"]}, {"host": "web-\ud800", "task": "x"}, "text"])
def test_it_goes_on_behind_an_event_that_it_can_not_take(
    write: Callable[..., EventWriter], run: Run, tmp_path: Path, data: Any
) -> None:
    odd = {**event("runner_on_start"), "counter": 1, "event_data": data, "stdout": "odd"}
    writer = write(odd, *({**event(), "counter": number, "stdout": f"{number}"} for number in (2, 3)))
    assert log(tmp_path) == "odd\n2\n3\n"
    assert [row.counter for row in RunEvent.select().order_by(RunEvent.counter)][-2:] == [2, 3]
    assert writer.counts["web-1"].ok == 2


def test_it_cuts_one_huge_text_and_goes_on(write: Callable[..., EventWriter], tmp_path: Path) -> None:
    write(event(counter=1, stdout="x" * 5_000_000), event(counter=2, stdout="and on"))
    assert len(log(tmp_path)) < 300_000
    assert log(tmp_path).endswith("[cut, 5000000 characters]\nand on\n")


def test_it_ends_a_huge_log_and_counts_on(
    write: Callable[..., EventWriter], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_writer, "_LARGEST_LOG", 1000)
    writer = write(*[event(counter=number, stdout="x" * 100) for number in range(1, 21)])
    assert (tmp_path / "log").stat().st_size < 1200
    assert log(tmp_path).endswith("has reached its largest size. The run goes on.]\n")
    assert (Run.get().is_log_cut, writer.counts["web-1"].ok, RunEvent.select().count()) == (True, 20, 20)


def test_it_counts_by_itself_until_ansible_tells(write: Callable[..., EventWriter]) -> None:
    changed, failed = {"res": {"changed": True}}, {"ignore_errors": True}
    told = [event(counter=1, **changed), event("runner_on_failed", 2, **failed), event("runner_on_unreachable", 3)]
    assert write(*told).counts == {"web-1": HostCount(ok=1, changed=1, ignored=1, unreachable=1)}


def test_it_believes_ansibles_own_final_count(write: Callable[..., EventWriter]) -> None:
    stats = {"event": "playbook_on_stats", "counter": 2, "event_data": {"ok": {"web-1": 5}, "failures": {"web-1": 1}}}
    assert write(event(counter=1), stats, event(counter=3)).counts == {"web-1": HostCount(ok=5, failed=1)}


def test_it_keeps_a_host_key_mismatch_in_the_final_counters(write: Callable[..., EventWriter]) -> None:
    refused = event("runner_on_unreachable", res={"msg": CHANGED})
    stats = {"event": "playbook_on_stats", "counter": 2, "event_data": {"dark": {"web-1": 1}}}
    assert "host_key_mismatch" in str(write(refused, stats).counts["web-1"].note)


def test_it_knows_who_was_being_worked_on(write: Callable[..., EventWriter]) -> None:
    writer = write(
        event("runner_on_start", 1), event("runner_on_start", 2, host="web-2"), event("runner_on_ok", 3, host="web-2")
    )
    assert writer.in_flight == {"web-1": "Say"}


def test_it_keeps_an_event_that_comes_twice_once(write: Callable[..., EventWriter]) -> None:
    write(event(counter=1), event(counter=1))
    assert RunEvent.select().count() == 1


@pytest.mark.sqlite
def test_it_tries_again_when_the_database_did_not_answer(
    run: Run, tmp_path: Path, clock: FakeClock, database: peewee.Database
) -> None:
    database.execute_sql("ALTER TABLE run_event RENAME TO away")
    writer = EventWriter(run.id, tmp_path / "log", clock)
    writer.handle(event(counter=1, stdout="one"))
    wait_for(lambda: (tmp_path / "log").read_text() == "one\n")
    database.execute_sql("ALTER TABLE away RENAME TO run_event")
    writer.handle(event(counter=2))
    writer.close()
    assert ([item.counter for item in RunEvent.select()], writer.counts["web-1"].ok) == ([1, 2], 2)


def test_it_says_something_of_its_own(run: Run, tmp_path: Path, clock: FakeClock) -> None:
    writer = EventWriter(run.id, tmp_path / "log", clock)
    writer.say("No hosts matched.")
    writer.close()
    writer.close()
    assert log(tmp_path) == "callboard: No hosts matched.\n"


def test_it_goes_on_with_a_log_that_was_begun(write: Callable[..., EventWriter], tmp_path: Path) -> None:
    write(event(counter=1, stdout="one"))
    write(event(counter=2, stdout="two"))
    assert log(tmp_path) == "one\ntwo\n"
    assert RunEvent.get(RunEvent.counter == 2).log_start == 4


def test_it_copies_the_log_into_the_database(
    write: Callable[..., EventWriter], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_writer, "_CHUNK", 10)
    write(event(counter=1, stdout="grüß" * 6), event(counter=2, stdout="second"), has_copy=True)
    write(event(counter=3, stdout="later"), has_copy=True)
    chunks = list(RunLogChunk.select().order_by(RunLogChunk.start))
    assert b"".join(bytes(chunk.data) for chunk in chunks) == (tmp_path / "log").read_bytes()
    assert all(one.start + len(one.data) == other.start for one, other in itertools.pairwise(chunks))


@pytest.mark.sqlite
def test_it_copies_what_was_written_while_the_database_did_not_answer(
    run: Run, tmp_path: Path, clock: FakeClock, database: peewee.Database
) -> None:
    database.execute_sql("ALTER TABLE run_log_chunk RENAME TO away")
    writer = EventWriter(run.id, tmp_path / "log", clock, has_copy=True)
    writer.handle(event(counter=1, stdout="one"))
    wait_for(lambda: (tmp_path / "log").read_text() == "one\n")
    database.execute_sql("ALTER TABLE away RENAME TO run_log_chunk")
    writer.handle(event(counter=2, stdout="two"))
    writer.close()
    assert b"".join(bytes(chunk.data) for chunk in RunLogChunk.select()) == b"one\ntwo\n"


# finding them again


@pytest.mark.parametrize(
    ("fields", "counters"),
    [
        ({}, [1, 2, 3]),
        ({"after": 1}, [2, 3]),
        ({"limit": 1}, [1]),
        ({"host": "web-2"}, [3]),
        ({"host": "web"}, []),
        ({"task": "sa"}, [1, 2, 3]),
        ({"task": "S%y"}, []),
        ({"status": "unreachable"}, [3]),
        ({"is_failed": True}, [2, 3]),
        ({"text": "GRÜSSE"}, [1]),
        ({"text": "no such FILE"}, [2]),
        ({"text": "is red"}, [3]),
        ({"text": "e", "limit": 2}, [1, 2]),
        ({"text": "e", "after": 1}, [2, 3]),
        ({"text": "e", "host": "web-2"}, [3]),
        ({"text": "%"}, []),
        ({"text": "between"}, []),
    ],
)
@pytest.mark.parametrize("has_copy", [False, True])
def test_it_finds_events(
    write: Callable[..., EventWriter],
    run: Run,
    *,
    tmp_path: Path,
    fields: dict[str, Any],
    counters: list[int],
    has_copy: bool,
) -> None:
    write(
        event(counter=1, stdout="viele grüsse"),
        event("verbose", 9, "in between"),
        event("runner_on_failed", 2, res={"msg": "No such file"}),
        event("runner_on_unreachable", 3, "is \x1b[31mred\x1b[0m", host="web-2"),
        has_copy=has_copy,
    )
    if has_copy:
        (tmp_path / "log").unlink()
    page = {"after": 0, "limit": 9} | {name: fields[name] for name in ("after", "limit") if name in fields}
    wanted = EventFilter(**{name: value for name, value in fields.items() if name not in page})
    found = history.list_events(run, log=RunLog(run.id, tmp_path / "log"), wanted=wanted, **page)
    assert [item.counter for item in found] == counters


def test_it_ends_the_log_and_not_the_run_where_the_disk_is_full(run: Run, tmp_path: Path, clock: FakeClock) -> None:
    """/dev/full answers every write as a full disk does."""
    (tmp_path / "full").symlink_to("/dev/full")
    writer = EventWriter(run.id, tmp_path / "full", clock)
    writer.handle(event("runner_on_ok", 1, "said"))
    writer.handle(event("runner_on_failed", 2, "said"))
    writer.close()
    assert writer.problem == because(End.LOG_INCOMPLETE, text="No space left on device")
    assert writer.counts["web-1"] == HostCount(ok=1, failed=1)
    assert (Run.get().is_log_cut, RunEvent.select().count()) == (True, 2)


def test_it_writes_down_who_is_being_worked_on(write: Callable[..., EventWriter]) -> None:
    write(event("runner_on_start", 1))
    assert Run.get().in_flight == {"web-1": "Say"}
