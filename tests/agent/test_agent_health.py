"""The health check that a host was given: its word rides on each heartbeat."""

import time

import pytest
from agent_peer import Peer, after, answer, dripping, renewed
from conftest import Agent, wait_for

HEARTBEAT = "/api/v1/heartbeat"


def health_told(agent: Agent, peer: Peer, *words: str) -> dict[str, object] | None:
    assert agent.enrol(peer.url, *words).returncode == 0
    assert agent.run("beat").returncode == 0
    return peer.heartbeats[-1].body.get("health")


def test_it_says_nothing_about_health_without_a_check(agent: Agent, peer: Peer):
    assert health_told(agent, peer) is None


def test_it_asks_a_url(agent: Agent, peer: Peer):
    peer.order("/health?deep=1", answer(204, b""))
    assert health_told(agent, peer, "--health-url", f"{peer.url}/health?deep=1") == {"healthy": True, "reason": None}
    assert agent.run("beat").returncode == 0
    assert peer.heartbeats[-1].body["health"] == {
        "healthy": False,
        "reason": f"{peer.url}/health?deep=1: it answered 404",
    }
    assert "Authorization" not in peer.at("/health?deep=1")[0].headers


def test_it_follows_no_redirect_to_a_healthy_page(one_agent: Agent, peer: Peer):
    peer.usual |= {"/a": answer(302, b"", headers={"Location": "/b"}), "/b": answer(200, b"")}
    told = health_told(one_agent, peer, "--health-url", f"{peer.url}/a")
    assert told == {"healthy": False, "reason": f"{peer.url}/a: it answered 302"}


def test_it_waits_five_seconds_for_a_url(one_agent: Agent, peer: Peer):
    peer.usual["/slow"] = dripping
    begun = time.monotonic()
    told = health_told(one_agent, peer, "--health-url", f"{peer.url}/slow")
    assert told == {"healthy": False, "reason": f"{peer.url}/slow: no complete answer within 5 s"}
    assert time.monotonic() - begun > 4


def test_it_takes_a_closed_port_for_unhealthy(one_agent: Agent, peer: Peer):
    told = health_told(one_agent, peer, "--health-url", "http://127.0.0.1:1/")
    assert told == {"healthy": False, "reason": "http://127.0.0.1:1/: Connection refused"}


@pytest.mark.parametrize(
    ("command", "is_healthy", "words"),
    [
        ("true", True, None),
        ("sh -c 'exit 3'", False, "ended with 3"),
        ("no-such-program", False, "no-such-program: No such file or directory"),
        ("sh -c \"echo 'it is\nfine'; exit 0\"", True, None),
        ("sh -c 'unbalanced", False, "No closing quotation"),
    ],
)
def test_it_runs_a_command(one_agent: Agent, peer: Peer, command: str, is_healthy: bool, words: str | None):
    told = health_told(one_agent, peer, "--health-command", command)
    assert told is not None
    assert told["healthy"] is is_healthy
    assert (words or "None") in str(told["reason"])


def test_it_keeps_and_forgets_the_check(one_agent: Agent, peer: Peer):
    assert health_told(one_agent, peer, "--health-command", "false")
    assert "options are changed" in one_agent.enrol(peer.url, "--no-health").stdout
    one_agent.run("beat")
    assert "health" not in peer.heartbeats[-1].body


@pytest.mark.parametrize("url", ["ftp://a/", "file:///etc/passwd", "http://[", "http://a b/", "/health"])
def test_it_rejects_a_health_url_that_is_none(one_agent: Agent, peer: Peer, url: str):
    assert one_agent.enrol(peer.url, "--health-url", url).returncode == 2


def test_it_beats_after_the_beat_that_is_under_way_when_told_to(one_host: Agent, peer: Peer):
    peer.order(HEARTBEAT, after(1.5, renewed()))
    first = one_host.start("beat")
    wait_for(lambda: peer.heartbeats)
    assert "renewed" in one_host.run("beat", "--now").stdout
    assert first.wait(10) == 0
    assert len(peer.heartbeats) == 2
