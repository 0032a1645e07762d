"""The record of a laptop's run: texts, sending, the spool and the recorder, against a small real service."""

from __future__ import annotations

import fcntl
import json
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultEditor, VaultLib, VaultSecret

from ansible_collections.callboard.callboard.plugins.plugin_utils import recorder
from ansible_collections.callboard.callboard.plugins.plugin_utils.options import options_for
from ansible_collections.callboard.callboard.plugins.plugin_utils.recorder import (
    Away,
    Recorder,
    Refused,
    Spool,
    send,
    send_spooled,
    spool_folder,
)
from ansible_collections.callboard.callboard.plugins.plugin_utils.service import Service as Where

from .conftest import ROOT, TOKEN, Answer, Controller, Service, answer, host, problem

RECORDED = "/api/v1/runs/recorded"
HEAD = {"id": "f" * 32, "stage": "shop/production", "playbook": "site.yml"}
TAKEN = {"id": 17, "page": "http://127.0.0.1/runs/17", "kind": "playbook"}
RESULT = {"host": "web-1", "play": "Work", "task": "Say", "action": "debug", "status": "ok", "changed": False}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for the spool."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(recorder, "FLUSH_SECONDS", 0.05)
    return tmp_path / "state" / "callboard" / "spool"


def where(service: Service, timeout: float = 5) -> Where:
    return Where(service.url, TOKEN, timeout)


def take(service: Service, **told: Any) -> None:
    """Let the service take batches."""
    service.answers[RECORDED] = Answer(json.dumps(TAKEN | told).encode(), status=201)


# ── texts


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"msg": "no route"}, "no route"),
        ({"msg": "it failed", "stderr": "sh: x", "stdout": "never"}, "it failed\nsh: x"),
        ({"module_stderr": "no python"}, "no python"),
        ({"censored": "hidden", "msg": "secret"}, "(hidden by no_log)"),
        ({"results": [{"failed": True, "msg": "one"}, {"msg": "fine"}, "odd"]}, "one"),
        ({"results": [{"failed": True, "censored": "x", "msg": "secret"}]}, "(hidden by no_log)"),
        ({"msg": "a\0b\ud800"}, "ab?"),
        ({}, None),
    ],
)
def test_it_tells_what_went_wrong_in_the_modules_words(result: dict[str, Any], words: str | None) -> None:
    assert recorder.message_of(result) == words


def test_it_keeps_a_message_short() -> None:
    told = recorder.message_of({"msg": "x" * 9000})
    assert (len(told), told[-1]) == (recorder.LONGEST_MESSAGE, "…")


@pytest.mark.parametrize(
    ("result", "words"),
    [({"msg": "hi"}, "hi"), ({"msg": {"a": 1}}, '{"a": 1}'), ({"censored": "x", "msg": "secret"}, None), ({}, None)],
)
def test_it_tells_what_debug_printed(result: dict[str, Any], words: str | None) -> None:
    assert recorder.debug_of(result) == words


@pytest.mark.parametrize(
    ("status", "message", "line"),
    [
        ("ok", None, "ok: [web-1]\n"),
        ("changed", None, "changed: [web-1]\n"),
        ("skipped", None, "skipping: [web-1]\n"),
        ("failed", "no route", "fatal: [web-1]: FAILED! => no route\n"),
        ("unreachable", "gone", "fatal: [web-1]: UNREACHABLE! => gone\n"),
        ("ignored", "so what", "fatal: [web-1]: FAILED! => so what\n...ignoring\n"),
    ],
)
def test_its_log_reads_as_ansibles(status: str, message: str | None, line: str) -> None:
    assert recorder.line_of("result", {**RESULT, "status": status, "message": message}) == line


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("ok", "runner_on_ok"),
        ("changed", "runner_on_ok"),
        ("ignored", "runner_on_failed"),
        ("skipped", "runner_on_skipped"),
    ],
)
def test_it_names_events_as_ansible_runner_does(status: str, event: str) -> None:
    told = recorder.event_of("result", {**RESULT, "status": status, "said": "hi"})
    assert told["event"] == event
    assert "said" not in told


def test_it_counts_by_the_services_names() -> None:
    names = ("ok", "changed", "failures", "dark", "skipped", "rescued", "ignored")
    stats = SimpleNamespace(**{name: {"web-1": number} for number, name in enumerate(names)})
    expected = {"ok": 0, "changed": 1, "failed": 2, "unreachable": 3, "skipped": 4, "rescued": 5, "ignored": 6}
    assert recorder.counts_of(stats, "web-1") == expected
    assert recorder.counts_of(stats, "web-2") == dict.fromkeys(expected, 0)


def test_a_playbook_elsewhere_is_told_by_its_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert recorder.short_path(str(tmp_path / "plays" / "site.yml")) == "plays/site.yml"
    assert recorder.short_path("/home/ada/secret-project/site.yml") == "site.yml"


# ── sending


def test_it_sends_a_batch_with_the_token_and_returns_the_answer(service: Service) -> None:
    take(service)
    assert send(where(service), b'{"a": 1}', 5) == TAKEN
    assert (service.posted, service.asked) == ([{"a": 1}], [(RECORDED, f"Bearer {TOKEN}")])
    assert service.headers[0]["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("told", "kind", "words"),
    [
        (problem(503, "the secrets can't be opened"), Away, "503: the secrets can't be opened"),
        (problem(429, "too many"), Away, "429: too many"),
        (problem(408, "slow"), Away, "408: slow"),
        (problem(401, f"not with {TOKEN}"), Refused, "401: not with …"),
        (problem(422, "odd\nbatch"), Refused, "422: odd?batch"),
        (Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}), Refused, "302: "),
        (Answer(b"<html>", status=200), Away, "the answer is not JSON"),
        (Answer(b"[]", status=200), Away, "the answer is not JSON"),
        (Answer(b"{}", cut=1), Away, "the answer ended too early"),
    ],
)
def test_it_knows_a_service_that_is_away_from_one_that_refuses(
    service: Service, told: Answer, kind: type[Exception], words: str
) -> None:
    service.answers[RECORDED] = told
    with pytest.raises(kind) as caught:
        send(where(service), b"{}", 5)
    assert str(caught.value) == words


def test_an_answer_that_drips_is_waited_for_no_longer_than_told(service: Service) -> None:
    service.answers[RECORDED] = Answer(b"{" + b" " * 1000, drip=0.05)
    began = time.monotonic()
    with pytest.raises(Away, match="no complete answer came in time"):
        send(where(service), b"{}", 0.5)
    assert time.monotonic() - began < 2


# ── the spool


def test_a_spooled_run_is_private_and_sent_in_order(service: Service, state: Path) -> None:
    spool = Spool("a" * 32, service.url)
    for number in range(3):
        spool.add(json.dumps({"n": number}).encode(), is_last=number == 2)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (state, spool.path)] == [0o700, 0o600]
    take(service)
    send_spooled(where(service), threading.Event())
    assert service.posted == [], "the run still writes it"
    spool._file.close()
    send_spooled(where(service), threading.Event())
    assert service.posted == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert list(state.iterdir()) == []


def test_a_spooled_run_of_another_service_stays(service: Service, state: Path) -> None:
    Spool("a" * 32, "https://other.example")._file.close()
    send_spooled(where(service), threading.Event())
    assert ([path.name for path in state.iterdir()], service.posted) == ([f"{'a' * 32}.jsonl"], [])


def test_a_spooled_run_that_is_refused_is_put_aside(service: Service, state: Path) -> None:
    spool = Spool("a" * 32, service.url)
    spool.add(b"{}", is_last=True)
    spool._file.close()
    service.answers[RECORDED] = problem(422, "no")
    send_spooled(where(service), threading.Event())
    assert [path.name for path in state.iterdir()] == [f"{'a' * 32}.refused"]


def test_a_full_spool_takes_the_end_of_a_run_and_no_more_runs(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "LARGEST_SPOOL", 50)
    monkeypatch.setattr(recorder, "MOST_SPOOLS", 1)
    spool = Spool("a" * 32, "x")
    spool.add(b"x" * 40, is_last=False)
    spool.add(b"end", is_last=True)
    assert spool.path.read_bytes().splitlines()[1:] == [b"end"]
    with pytest.raises(OSError, match="1 runs wait in"):
        Spool("b" * 32, "x")


# ── the recorder


def recording(service: Service, timeout: float = 5) -> Recorder:
    """A recorder at work, which has met a play, a task and a result."""
    begun = Recorder(where(service, timeout), dict(HEAD), "/")
    begun.start()
    for kind, fields in (("play", {"play": "Work"}), ("task", {"play": "Work", "task": "Grüß"}), ("result", RESULT)):
        begun.note(kind, 1.0, fields)
    return begun


def end(begun: Recorder, patience: float = 5) -> None:
    begun.note("end", 2.0, {"web-1": {"ok": 1}}, False)
    begun.finish(patience)


def lines(path: Path) -> list[dict[str, Any]]:
    """The batches of a spool file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()[1:]]


def joined(batches: list[dict[str, Any]]) -> str:
    """The log, whose pieces must follow each other byte by byte."""
    text = b""
    for batch in batches:
        assert batch["log_start"] == len(text), batches
        text += batch["log"].encode()
    return text.decode()


def test_it_sends_what_happened_in_batches_that_follow_each_other(service: Service, state: Path) -> None:
    take(service)
    begun = recording(service)
    time.sleep(0.3)
    begun.note("hosts", 1.0, ["web-1", "web-2"])
    end(begun)
    assert (begun.answer, begun.trouble, begun.spool) == (TAKEN, None, None)
    assert joined(service.posted).startswith("\nPLAY [Work]\n\nTASK [Grüß]\nok: [web-1]\n\nPLAY RECAP\n")
    events = [event for batch in service.posted for event in batch["events"]]
    assert [event["counter"] for event in events] == [1, 2, 3]
    assert {batch["id"] for batch in service.posted} == {HEAD["id"]}
    assert [name for batch in service.posted for name in batch["hosts"]] == ["web-1", "web-2"]
    ending = {"ended_at": "1970-01-01T00:00:02Z", "interrupted": False, "hosts": {"web-1": {"ok": 1}}}
    assert service.posted[-1]["ending"] == ending
    assert not state.exists()


def test_it_keeps_a_run_whose_service_is_away(service: Service) -> None:
    service.stop()
    begun = recording(service)
    end(begun)
    assert begun.trouble == f"the service at {service.url} is away (the connection was refused)"
    assert begun.spool is not None
    assert joined(lines(begun.spool.path)).endswith("web-1                      : ok=1\n")
    assert "ending" in lines(begun.spool.path)[-1]


def test_it_gives_up_where_the_service_refuses(service: Service, state: Path) -> None:
    service.answers[RECORDED] = problem(403, "not yours")
    begun = recording(service)
    end(begun)
    assert begun.trouble == "the service refused it (403: not yours)"
    assert (len(service.posted), state.exists()) == (1, False)


def test_it_loses_nothing_where_an_answer_hangs_at_the_end(service: Service) -> None:
    service.answers[RECORDED] = Answer(b"{}", delay=30)
    begun = recording(service, timeout=20)
    while not service.posted:
        time.sleep(0.01)
    begun.note("result", 1.5, {**RESULT, "host": "web-2"})
    began = time.monotonic()
    end(begun, patience=0.2)
    assert time.monotonic() - began < 3
    assert begun.spool is not None, begun.trouble
    kept = lines(begun.spool.path)
    assert "ok: [web-2]" in joined(kept), kept
    assert "ending" in kept[-1], kept


def test_it_sends_what_earlier_runs_kept(service: Service, state: Path) -> None:
    earlier = Spool("a" * 32, service.url)
    earlier.add(b'{"id": "earlier"}', is_last=True)
    earlier._file.close()
    take(service)
    begun = recording(service)
    deadline = time.monotonic() + 5
    while list(spool_folder().glob("*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    end(begun)
    assert {"id": "earlier"} in service.posted
    assert list(state.iterdir()) == []


def test_a_spool_that_cannot_be_written_is_said(service: Service, state: Path) -> None:
    service.stop()
    state.parent.mkdir(parents=True)
    state.write_text("a file in its place")
    begun = recording(service)
    end(begun)
    assert begun.trouble is not None
    assert "and it can't be kept" in begun.trouble


def test_the_spool_is_locked_while_a_run_writes_it(state: Path) -> None:
    spool = Spool("a" * 32, "x")
    with spool.path.open("rb") as file, pytest.raises(OSError, match="unavailable"):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# ── where the service is


def test_the_inventory_file_that_lists_the_stage_says_where_the_service_is(tmp_path: Path) -> None:
    for name, text in {
        "a.registry.yml": "{plugin: registry, stages: [shop/staging], url: 'http://a'}",
        "b.registry.yml": "{plugin: callboard.callboard.registry, stages: [shop/production], url: 'http://b'}",
        "c.registry.yml": "{plugin: other, stages: [shop/production], url: 'http://c'}",
        "hosts.yml": "{plugin: registry, stages: [shop/production], url: 'http://d'}",
    }.items():
        (tmp_path / name).write_text(text)
    files = [
        tmp_path / name for name in ("hosts.yml", "a.registry.yml", "c.registry.yml", "b.registry.yml", "none.yml")
    ]

    def url(stage: str | None, paths: list[Path]) -> Any:
        return options_for(stage, paths, DataLoader())[0].get("url")

    assert url("shop/production", files) == "http://b"
    assert url("shop/other", files) == "http://a"
    assert url(None, files[:1]) is None


# ── with Ansible

PLAY = """
- name: Work
  hosts: all
  connection: local
  gather_facts: false
  tasks:
    - debug: {msg: hi}
    - debug: {msg: never}
      when: false
    - fail: {msg: secret-1f2e}
      no_log: true
      ignore_errors: true
"""


@pytest.fixture
def laptop(controller: Controller, service: Service) -> Controller:
    """A controller that records its runs."""
    stage = {"callboard_stage": "shop/production"}
    service.stage(answer(hosts={"web-1": host(), "web-2": host("web-2")}, variables=stage))
    controller.env |= {
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "plugins" / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "callboard",
        "XDG_STATE_HOME": str(controller.folder / "state"),
    }
    take(service)
    return controller


def test_it_records_a_run(laptop: Controller, service: Service) -> None:
    done = laptop.play(PLAY, "-e", "colour=red", "--limit", "web-1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "callboard: recorded as run 17: http://127.0.0.1/runs/17" in done.stderr
    first = service.posted[0]
    told = {name: first[name] for name in ("stage", "playbook", "limit", "extra_vars", "check")}
    expected = {"stage": "shop/production", "playbook": "x.yml", "limit": "web-1", "extra_vars": ["colour"]}
    assert told == {**expected, "check": False}
    statuses = [event["status"] for batch in service.posted for event in batch["events"] if "status" in event]
    assert statuses == ["ok", "skipped", "ignored"]
    assert "secret-1f2e" not in json.dumps(service.posted)
    counts = service.posted[-1]["ending"]["hosts"]["web-1"]
    assert (counts["ok"], counts["skipped"], counts["ignored"]) == (2, 1, 1)


def test_it_takes_a_vaulted_token_from_the_inventory_file(laptop: Controller, service: Service) -> None:
    vault = VaultEditor(VaultLib([("default", VaultSecret(b"pass"))]))
    locked = vault.encrypt_bytes(TOKEN.encode(), VaultSecret(b"pass")).decode().replace("\n", "\n  ")
    (laptop.folder / "pass").write_text("pass")
    laptop.configure(url=service.url)
    with (laptop.folder / "registry.yml").open("a") as file:
        file.write(f"token: !vault |\n  {locked.rstrip()}\n")
    done = laptop.play(PLAY, CALLBOARD_TOKEN="", ANSIBLE_VAULT_PASSWORD_FILE=str(laptop.folder / "pass"))
    assert "recorded as run 17" in done.stderr, done.stdout + done.stderr
    assert (RECORDED, f"Bearer {TOKEN}") in service.asked


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda laptop: laptop.env.update(CALLBOARD_TOKEN=""), "there is no token; set CALLBOARD_TOKEN"),
        (lambda laptop: laptop.env.update(CALLBOARD_TOKEN="a b"), "the token holds blanks"),
    ],
)
def test_it_says_why_a_run_is_not_recorded(
    laptop: Controller, service: Service, change: Callable[[Controller], None], words: str
) -> None:
    (laptop.folder / "snap.json").write_text(json.dumps(answer(variables={"callboard_stage": "shop/production"})))
    laptop.configure(url=service.url, snapshot="snap.json")
    change(laptop)
    done = laptop.play(PLAY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"callboard: this run is not recorded: {words}" in done.stderr
    assert service.posted == []


def test_it_leaves_runs_of_the_service_alone(laptop: Controller, service: Service) -> None:
    assert laptop.play(PLAY, CALLBOARD_RUN="x").returncode == 0
    assert service.posted == []
