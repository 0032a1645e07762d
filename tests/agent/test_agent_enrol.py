"""`enrol`: first contact, and what is kept of it."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from agent_peer import HOST_TOKEN, JOIN_TOKEN, Peer, answer, enrolled, problem
from conftest import HOST_KEY, Agent

from inventory_service.agent.callboard_agent import __version__


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def assert_no_token(done: subprocess.CompletedProcess[str]) -> None:
    assert JOIN_TOKEN not in done.stdout + done.stderr
    assert HOST_TOKEN not in done.stdout + done.stderr


def test_it_sends_what_the_contract_says(agent: Agent, peer: Peer):
    done = agent.enrol(peer.url, "--address", "10.0.0.7", "--ssh-port", "2222")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "enrolled: web-1 in shop/production.\n"
    (seen,) = peer.enrolments
    assert seen.headers["Authorization"] == f"Bearer {JOIN_TOKEN}"
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["User-Agent"] == f"callboard-agent/{__version__}"
    assert seen.headers["X-Callboard-Agent"] == __version__
    facts = seen.body["facts"]
    assert re.fullmatch("[0-9a-f]{32}", seen.body["nonce"])
    assert {key: value for key, value in seen.body.items() if key not in ("facts", "nonce")} == {
        "name": "web-1",
        "address": "10.0.0.7",
        "ssh_port": 2222,
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "host_keys": [HOST_KEY],
        "agent_version": __version__,
    }
    assert set(facts) == {
        "hostname", "os", "os_version", "kernel", "architecture", "cpu_count", "memory_mb", "python",
    }  # fmt: skip
    assert facts["architecture"] == os.uname().machine
    assert facts["cpu_count"] == os.cpu_count()


def test_it_asks_with_the_same_nonce_until_it_has_its_answer(agent: Agent, peer: Peer):
    peer.order("/api/v1/enrol", lambda _: None, problem(409, "Taken."))
    assert agent.enrol(peer.url).returncode != 0
    assert agent.enrol(peer.url).returncode == 0
    assert agent.enrol(peer.url, "--force").returncode == 0
    lost, refused, accepted, forced = [seen.body["nonce"] for seen in peer.enrolments]
    assert (lost == refused == accepted, forced == accepted) == (True, False)


def test_it_leaves_the_address_to_the_service(one_agent: Agent, peer: Peer):
    one_agent.enrol(peer.url)
    assert peer.enrolments[0].body["address"] is None
    assert peer.enrolments[0].body["ssh_port"] == 22


def test_it_keeps_its_state_for_itself(agent: Agent, peer: Peer):
    done = agent.enrol(peer.url)
    assert_no_token(done)
    assert mode(agent.state) == 0o700
    assert {path.name: mode(path) for path in agent.state.iterdir()} == {
        "state.json": 0o600,
        "last.json": 0o600,
        "lock": 0o600,
    }
    state = json.loads((agent.state / "state.json").read_text())
    assert (state["host"], state["token"], state["stage"]) == ("h-1", HOST_TOKEN, "shop/production")
    assert JOIN_TOKEN not in (agent.state / "state.json").read_text()


@pytest.mark.parametrize("way", ["file", "stdin", "option"])
def test_it_takes_the_join_token(one_agent: Agent, peer: Peer, way: str):
    path = one_agent.folder / "token"
    path.write_text(JOIN_TOKEN + "\n")
    words = {
        "file": ["--token-file", str(path)],
        "stdin": ["--token-file", "-"],
        "option": ["--token", JOIN_TOKEN],
    }
    done = one_agent.run("enrol", "--url", peer.url, *words[way], text=JOIN_TOKEN + "\n")
    assert done.returncode == 0, done.stderr
    assert peer.enrolments[0].headers["Authorization"] == f"Bearer {JOIN_TOKEN}"


def test_it_is_named_after_its_hostname(one_agent: Agent, peer: Peer):
    one_agent.run("enrol", "--url", peer.url, CALLBOARD_JOIN_TOKEN=JOIN_TOKEN)
    assert peer.enrolments[0].body["name"] == os.uname().nodename


def test_it_enrols_only_once(host: Agent, peer: Peer):
    done = host.enrol(peer.url, CALLBOARD_JOIN_TOKEN="")
    assert (done.returncode, done.stdout) == (0, "already enrolled: web-1 in shop/production.\n")
    assert len(peer.enrolments) == 1


def test_it_enrols_again_by_force_with_the_options_it_has(host: Agent, peer: Peer):
    peer.order("/api/v1/enrol", enrolled(host="h-2", token="cbh_another"))
    done = host.run("enrol", "--force", CALLBOARD_JOIN_TOKEN=JOIN_TOKEN)
    assert done.returncode == 0, done.stderr
    assert peer.enrolments[1].body["host_keys"] == [HOST_KEY]
    host.run("beat")
    assert peer.heartbeats[0].headers["Authorization"] == "Bearer cbh_another"


def test_it_keeps_a_changed_option_without_asking_the_service(one_host: Agent, peer: Peer):
    done = one_host.run("enrol", "--gauge", "queue=echo 3", "--release-path", "/srv/other")
    assert done.stdout == "web-1 in shop/production was enrolled before; its options are changed.\n"
    again = one_host.run("enrol", "--gauge", "queue=echo 3", "--release-path", "/srv/other")
    assert again.stdout.startswith("already enrolled")
    one_host.run("beat")
    assert peer.heartbeats[0].body["metrics"]["queue"] == 3
    one_host.run("enrol", "--no-gauges")
    one_host.run("beat")
    assert "queue" not in peer.heartbeats[1].body["metrics"]
    assert len(peer.enrolments) == 1


@pytest.mark.parametrize(
    "words",
    [["--name", "web-2"], ["--address", "10.9.9.9"], ["--ssh-port", "2022"], ["--url", "http://other:1"]],
)
def test_it_wants_force_for_what_the_service_was_told(one_host: Agent, peer: Peer, words: list[str]):
    done = one_host.run("enrol", *words)
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert words[0].strip("-").replace("-", "_") in done.stderr
    assert len(peer.enrolments) == 1


def test_it_says_that_approval_is_pending(one_agent: Agent, peer: Peer):
    def pending(handler):
        enrolled_pending = {"host": 7, "name": "web-1", "stage": "shop/production", "token": HOST_TOKEN}
        answer(202, enrolled_pending)(handler)

    peer.order("/api/v1/enrol", pending)
    done = one_agent.enrol(peer.url)
    assert (done.returncode, done.stdout) == (
        0,
        "enrolled: web-1 in shop/production, waiting for approval.\n",
    )
    assert one_agent.run("beat").returncode == 0


@pytest.mark.parametrize(
    ("status", "code", "next_step"),
    [
        (401, 3, "Ask for a new join token"),
        (403, 3, "Leave --address out"),
        (409, 5, "choose another --name"),
        (422, 5, "Correct"),
    ],
)
def test_it_says_what_to_do_when_it_is_refused(one_agent: Agent, peer: Peer, status: int, code: int, next_step: str):
    peer.order(
        "/api/v1/enrol",
        problem(
            status,
            f"No \x1b[31mentry\u202e for {JOIN_TOKEN}.",
            errors=[{"loc": ["body", "name"], "msg": "is bad"}],
        ),
    )
    done = one_agent.enrol(peer.url)
    assert done.returncode == code
    assert f"{peer.url}/api/v1/enrol answered {status}: No [31mentry for [token].; body.name: is bad" in done.stderr
    assert next_step in done.stderr
    assert_no_token(done)
    assert len(peer.seen) == 1
    assert not (one_agent.state / "state.json").exists()


def test_it_tries_again_when_the_service_is_busy(one_agent: Agent, peer: Peer):
    peer.order("/api/v1/enrol", problem(503, "Busy."))
    assert one_agent.enrol(peer.url).returncode == 0
    assert len(peer.enrolments) == 2


def test_it_asks_for_a_join_token(one_agent: Agent, peer: Peer):
    done = one_agent.run("enrol", "--url", peer.url)
    assert done.returncode == 2
    assert "--token-file" in done.stderr


@pytest.mark.parametrize("token", ["cbh_of-a-host", "two words", "cbj_", "cbj_line\r\nX-Evil: 1", "cbj_ümlaut"])
def test_it_rejects_what_is_no_join_token(one_agent: Agent, peer: Peer, token: str):
    done = one_agent.enrol(peer.url, CALLBOARD_JOIN_TOKEN=token)
    assert done.returncode == 2
    assert token not in done.stderr or token == "cbj_"
    assert peer.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://x/",
        "callboard.example",
        "http://me:pw@x",
        "http://x/?a=1",
        "http://x:99999",
        "http://x y",
    ],
)
def test_it_rejects_what_is_no_url_of_a_service(one_agent: Agent, url: str):
    done = one_agent.enrol(url)
    assert done.returncode == 2
    assert "no URL of a service" in done.stderr


def test_it_rejects_a_folder_that_others_can_read(one_agent: Agent, peer: Peer):
    one_agent.state.mkdir(mode=0o755)
    done = one_agent.enrol(peer.url)
    assert done.returncode == 2
    assert f"chmod 700 {one_agent.state}" in done.stderr
    assert mode(one_agent.state) == 0o755
    assert peer.seen == []


def test_it_makes_no_credential_that_it_could_not_keep(one_agent: Agent, peer: Peer):
    one_agent.state.mkdir(mode=0o700)
    (one_agent.state / "last.json").mkdir()
    done = one_agent.enrol(peer.url)
    assert done.returncode == 2
    assert str(one_agent.state) in done.stderr
    assert peer.seen == []


@pytest.mark.parametrize(
    "said",
    [
        {"token": None},
        {"token": "cbu_of-a-person"},
        {"token": "cbh_two words"},
        {"host": None},
        {"host": ["h"]},
    ],
)
def test_it_rejects_an_answer_without_a_credential(one_agent: Agent, peer: Peer, said: dict[str, object]):
    peer.order("/api/v1/enrol", enrolled(**said))
    done = one_agent.enrol(peer.url)
    assert done.returncode in (2, 5)
    assert not (one_agent.state / "state.json").exists()


def test_it_survives_wild_numbers_in_the_answer(one_agent: Agent, peer: Peer):
    raw = b'{"host": 1, "token": "cbh_a", "interval_seconds": NaN, "ttl_seconds": 1%s}' % (b"0" * 400)
    peer.order("/api/v1/enrol", answer(201, raw))
    assert one_agent.enrol(peer.url).returncode == 0
    assert json.loads(one_agent.run("status", "--json").stdout)["interval_seconds"] == 60


def test_it_enrols_over_a_damaged_state_by_force_only(one_host: Agent, peer: Peer):
    (one_host.state / "state.json").write_text("{")
    refused = one_host.enrol(peer.url)
    assert refused.returncode == 2
    assert "enrol --force" in refused.stderr
    assert one_host.enrol(peer.url, "--force").returncode == 0
    assert one_host.run("beat").returncode == 0


def test_it_warns_when_there_is_no_host_key(one_agent: Agent, peer: Peer):
    done = one_agent.enrol(peer.url, "--host-key-glob", "/nowhere/*.pub")
    assert done.returncode == 0
    assert "--host-key-glob" in done.stderr
    assert peer.enrolments[0].body["host_keys"] == []


def test_it_shows_its_status(host: Agent, peer: Peer):
    host.run("beat")
    known = json.loads(host.run("status", "--json").stdout)
    assert (known["enrolled"], known["url"], known["name"]) == (True, peer.url, "web-1")
    assert (known["last_beat"]["ok"], known["last_beat"]["state"]) == (True, "live")
    done = host.run("status")
    assert "stage      shop/production" in done.stdout
    assert_no_token(done)


def test_it_shows_that_it_is_not_enrolled(agent: Agent):
    done = agent.run("status", "--json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["enrolled"] is False


def test_it_warns_of_tokens_on_an_open_line(one_agent: Agent):
    done = one_agent.enrol("http://192.0.2.1:9", "--give-up-seconds", "0.5")
    assert done.returncode == 1
    assert "http://192.0.2.1:9 is not encrypted" in done.stderr


@pytest.mark.parametrize("content", [None, "no PEM"])
def test_it_rejects_a_bad_ca_file(one_agent: Agent, peer: Peer, content: str | None):
    path = one_agent.folder / "ca.pem"
    if content:
        path.write_text(content)
    done = one_agent.enrol(peer.url, "--ca", str(path))
    assert done.returncode == 2
    assert f"the CA file {path} can't be used" in done.stderr
    assert peer.seen == []
