"""The action wait_for_heartbeat: its pure parts by tables, the rest by ansible-playbook against a small service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.callboard.callboard.plugins.action import wait_for_heartbeat
from tests.plugins.conftest import ROOT, TOKEN, Answer, Controller, Service, answer, problem

HEARTBEATS = "/api/v1/stages/shop/production/heartbeats"
BEFORE, SINCE, AFTER = (f"2026-11-23T14:03:{second:02}Z" for second in (9, 10, 11))
GOOD = {"id": "id-of-web-1", "agent": "1", "state": "live", "reported_at": AFTER, "last_seen_at": AFTER}
GOOD |= {"release": 3, "revision": "abc", "healthy": True, "reason": None}
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - wait_for_heartbeat: {revision: abc, timeout: 1, poll: 0.1, beat_command: ""}
      register: waited
    - debug: {var: waited}
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"healthy": None}, None),
        ({"reported_at": SINCE}, "no heartbeat that tells its release came after 2026-11-23T14:03:10Z"),
        ({"reported_at": BEFORE, "last_seen_at": AFTER}, "the last heartbeat: 2026-11-23T14:03:11Z"),
        ({"reported_at": None, "last_seen_at": None}, "the last heartbeat: never"),
        ({"revision": "abd"}, "it reports release 3 revision abd, not release 3 revision abc"),
        ({"release": 2}, "it reports release 2 revision abc, not release 3 revision abc"),
        ({"release": None}, "it reports release None"),
        ({"healthy": False, "reason": "/ answered 500"}, "it is not healthy: / answered 500"),
        ({"healthy": False}, "it is not healthy: its health check fails"),
    ],
)
def test_it_judges_what_a_host_said(change: dict[str, Any], words: str | None) -> None:
    why = wait_for_heartbeat.complaint({**GOOD, **change}, since=SINCE, revision="abc", release="3")
    assert why is None if words is None else words in why


def test_it_asks_for_no_release_where_none_is_wanted() -> None:
    assert wait_for_heartbeat.complaint(GOOD, since=SINCE, revision="", release="") is None


@pytest.mark.parametrize(
    ("word", "is_left"),
    [({"state": "gone"}, True), ({"state": "live", "id": "h2"}, True), ({"state": "stale", "id": "h1"}, False)],
)
def test_it_knows_a_machine_that_left_from_another_of_its_name(word: Any, is_left: bool) -> None:
    assert wait_for_heartbeat.is_left(word, "h1") is is_left


def test_it_gives_a_batch_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait_for_heartbeat.C, "DEFAULT_LOCAL_TMP", str(tmp_path))
    assert [wait_for_heartbeat.shared_moment(key, now) for key, now in [("a", "1"), ("a", "2"), ("b", "3")]] == [
        "1",
        "1",
        "3",
    ]
    assert len(list(tmp_path.iterdir())) == 2


# with Ansible


@pytest.fixture
def laptop(controller: Controller, service: Service) -> Controller:
    """A controller that has the action, and an inventory of local machines."""
    controller.env |= {
        "ANSIBLE_ACTION_PLUGINS": str(ROOT / "plugins" / "action"),
        "ANSIBLE_LIBRARY": str(ROOT / "plugins" / "modules"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    }
    service.stage(answer(variables={"callboard_stage": "shop/production"}))
    return controller


def say(service: Service, server_time: str = SINCE, **words: dict[str, Any]) -> None:
    """What the service knows of its hosts' last words."""
    told = {name.replace("_", "-"): {**GOOD, **word} for name, word in words.items()}
    body = {"stage": "shop/production", "server_time": server_time, "ttl_seconds": 1, "hosts": told}
    service.answers[HEARTBEATS] = Answer(json.dumps(body).encode())


def test_it_goes_on_when_the_host_has_said_it(laptop: Controller, service: Service) -> None:
    say(service, web_1={})
    done = laptop.play(PLAY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"healthy": true' in done.stdout
    assert set(service.asked) >= {(f"{HEARTBEATS}?hosts=web-1", f"Bearer {TOKEN}")}


def test_it_fails_a_host_that_stays_unhealthy(laptop: Controller, service: Service) -> None:
    say(service, web_1={"healthy": False, "reason": "/ answered 500"})
    done = laptop.play(PLAY)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "web-1: it is not healthy: / answered 500. Waited 1 s." in done.stdout


@pytest.mark.parametrize(
    ("word", "words"),
    [({"state": "gone"}, "has left its stage"), ({"agent": None, "reported_at": None}, "has no agent")],
)
def test_it_skips_a_host_that_cannot_say_it(laptop: Controller, service: Service, word: Any, words: str) -> None:
    say(service, web_1=word)
    done = laptop.play(PLAY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped=1" in done.stdout
    assert words in done.stdout


def test_it_is_skipped_in_check_mode(laptop: Controller, service: Service) -> None:
    done = laptop.play(PLAY, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped=1" in done.stdout
    assert not any(path.startswith(HEARTBEATS) for path, _ in service.asked)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (problem(401, "That token does not hold."), "That token does not hold"),
        (Answer(b"<html>"), "the answer is not JSON"),
        (Answer(b"{}"), "are plugin and service of one version?"),
        (Answer(status=404), "404"),
    ],
)
def test_it_fails_with_the_reason_when_the_service_does_not_tell(
    laptop: Controller, service: Service, told: Answer, words: str
) -> None:
    service.answers[HEARTBEATS] = told
    done = laptop.play(PLAY)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stdout, done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr


def test_it_takes_url_and_token_from_the_inventory_file(laptop: Controller, service: Service) -> None:
    (laptop.folder / "token").write_text(f"{TOKEN}\n")
    laptop.configure(url=service.url, token_file="token")
    del laptop.env["CALLBOARD_TOKEN"]
    say(service, web_1={})
    done = laptop.play(PLAY, CALLBOARD_URL="http://127.0.0.1:1")
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_fails_for_a_host_of_another_inventory(laptop: Controller) -> None:
    (laptop.folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"web-1": {}}}}))
    (laptop.folder / "x.yml").write_text(PLAY)
    done = laptop.run("ansible-playbook", "-i", "hosts.yml", "x.yml")
    assert "does not come from a Callboard inventory" in done.stdout
    assert done.returncode == 2, done.stdout + done.stderr


def test_it_asks_the_gate_of_a_run_and_no_service(laptop: Controller, service: Service, tmp_path: Path) -> None:
    done = laptop.play(PLAY, "-e", f"callboard_heartbeat_socket={tmp_path}/nothing")
    assert "the run's executor does not answer (" in done.stdout
    assert not any(path.startswith(HEARTBEATS) for path, _ in service.asked)
