"""`beat` and `goodbye`: one renewal, and everything a service or a network may answer to it."""

import datetime as dt
import hashlib
import ipaddress
import json
import os
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from agent_peer import (
    HOST_TOKEN,
    JOIN_TOKEN,
    Peer,
    Reply,
    after,
    answer,
    dripping,
    endless,
    enrolled,
    problem,
    renewed,
)
from conftest import Agent, wait_for
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inventory_service.agent.callboard_agent import __version__

HEARTBEAT = "/api/v1/heartbeat"


def last_beat(agent: Agent) -> dict[str, object]:
    return json.loads((agent.state / "last.json").read_text())


def test_it_sends_what_the_contract_says(host: Agent, peer: Peer):
    done = host.run("beat")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "renewed: web-1 in shop/production is live; next in 58 s.\n"
    (seen,) = peer.heartbeats
    assert seen.headers["Authorization"] == f"Bearer {HOST_TOKEN}"
    assert seen.headers["X-Callboard-Agent"] == __version__
    assert set(seen.body) == {
        "boot_id", "seq", "agent_version", "release", "facts_hash", "metrics", "sent_at",
    }  # fmt: skip
    assert seen.body["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert isinstance(seen.body["seq"], int)
    assert seen.body["seq"] == pytest.approx(uptime * 1000, abs=5000)
    assert seen.body["release"] is None
    sent_at = dt.datetime.fromisoformat(seen.body["sent_at"])
    assert abs(dt.datetime.now(dt.UTC) - sent_at) < dt.timedelta(seconds=10)
    assert set(seen.body["metrics"]) == {"load1_per_cpu", "memory_used_ratio", "disk_used_ratio"}
    assert 0 < seen.body["metrics"]["memory_used_ratio"] < 1


def test_it_counts_up(one_host: Agent, peer: Peer):
    one_host.run("beat")
    one_host.run("beat", "--once")
    first, second = (seen.body["seq"] for seen in peer.heartbeats)
    assert first < second


def test_it_counts_up_between_tries(one_host: Agent, peer: Peer):
    peer.order(HEARTBEAT, problem(500, "Oops."), problem(502, "Oops."))
    assert one_host.run("beat").returncode == 0
    assert len({seen.body["seq"] for seen in peer.heartbeats}) == 3


def test_it_sends_facts_only_when_it_was_asked(host: Agent, peer: Peer):
    peer.order(HEARTBEAT, renewed(send_facts=True))
    for _ in range(3):
        host.run("beat")
    first, second, third = (seen.body for seen in peer.heartbeats)
    assert "facts" not in first
    assert "facts" not in third
    canonical = json.dumps(second["facts"], sort_keys=True, separators=(",", ":")).encode()
    assert second["facts_hash"] == first["facts_hash"] == hashlib.sha256(canonical).hexdigest()


def test_it_still_owes_the_facts_after_a_failure(one_host: Agent, peer: Peer):
    peer.order(HEARTBEAT, renewed(send_facts=True), problem(422, "No."))
    for _ in range(3):
        one_host.run("beat")
    assert ["facts" in seen.body for seen in peer.heartbeats] == [False, True, True]


def test_it_reports_the_release(host: Agent, peer: Peer):
    release = host.folder / "app" / "releases" / "20261123140300"
    release.mkdir(parents=True)
    (release / "REVISION").write_text("0f3c9d1\n")
    (host.folder / "app" / "current").symlink_to("releases/20261123140300")
    host.run("beat")
    assert peer.heartbeats[0].body["release"] == {
        "name": "20261123140300",
        "number": None,
        "revision": "0f3c9d1",
    }


@pytest.mark.parametrize(
    ("status", "code", "next_step"),
    [
        (401, 3, "get a join token and run `callboard-agent enrol --force`"),
        (403, 3, "get a join token and run `callboard-agent enrol --force`"),
        (409, 5, "cloned from another"),
        (410, 4, "has removed this host: get a join token"),
        (413, 5, "fewer gauges"),
        (422, 5, "install the agent that the service serves at /agent"),
        (418, 5, "See the service's log"),
    ],
)
def test_it_says_what_to_do_when_it_is_refused(host: Agent, peer: Peer, status: int, code: int, next_step: str):
    peer.order(HEARTBEAT, problem(status, f"Said the service to {HOST_TOKEN}."))
    done = host.run("beat")
    assert done.returncode == code
    assert f"{peer.url}{HEARTBEAT} answered {status}: Said the service to [token]." in done.stderr
    assert next_step in done.stderr
    assert HOST_TOKEN not in done.stdout + done.stderr
    assert len(peer.heartbeats) == 1
    assert (last_beat(host)["ok"], last_beat(host)["status"]) == (False, status)
    assert f"answered {status}" in host.run("status").stdout


def test_it_enrols_again_when_it_is_gone_and_kept_its_join_token(agent: Agent, peer: Peer):
    agent.enrol(peer.url, "--keep-join-token")
    assert (agent.state / "join-token").stat().st_mode & 0o777 == 0o600
    peer.order(HEARTBEAT, problem(410, "Gone."))
    peer.order("/api/v1/enrol", enrolled(token="cbh_second"))
    done = agent.run("beat")
    assert done.returncode == 0, done.stderr
    assert JOIN_TOKEN not in done.stdout + done.stderr
    assert peer.enrolments[1].headers["Authorization"] == f"Bearer {JOIN_TOKEN}"
    assert [seen.headers["Authorization"] for seen in peer.heartbeats] == [
        f"Bearer {HOST_TOKEN}",
        "Bearer cbh_second",
    ]


def test_it_honours_retry_after(one_host: Agent, peer: Peer):
    peer.order(HEARTBEAT, problem(503, "Busy.", headers={"Retry-After": "2"}))
    assert one_host.run("beat").returncode == 0
    first, second = peer.heartbeats
    assert second.at - first.at >= 2


def test_it_does_not_wait_longer_than_it_may(one_host: Agent, peer: Peer):
    peer.order(HEARTBEAT, problem(429, "Too many.", headers={"Retry-After": "3600"}))
    begun = time.monotonic()
    done = one_host.run("beat")
    assert time.monotonic() - begun < 5
    assert done.returncode == 1
    assert "answered 429: Too many. It is tried again. Gave up after 1 try." in done.stderr


def test_it_gives_up_in_time_when_nobody_answers(host: Agent, peer: Peer):
    peer.stop()
    begun = time.monotonic()
    done = host.run("beat", "--give-up-seconds", "2")
    assert time.monotonic() - begun < 4
    assert done.returncode == 1
    assert f"{peer.url}{HEARTBEAT} could not be reached (Connection refused)" in done.stderr
    assert "Check that the service runs" in done.stderr
    assert "Gave up after" in done.stderr
    peer.start()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (endless, "no JSON object of at most 65536 bytes"),
        (dripping, "no complete answer in time"),
        (after(8, renewed()), "no complete answer in time"),
    ],
    ids=["endless", "dripping", "late"],
)
def test_it_does_not_wait_for_ever(host: Agent, peer: Peer, reply: Reply, reason: str):
    peer.usual[HEARTBEAT] = reply
    begun = time.monotonic()
    done = host.run("beat", "--give-up-seconds", "1.5")
    assert time.monotonic() - begun < 4
    assert done.returncode == 1
    assert reason in done.stderr


@pytest.mark.parametrize(
    "raw", [b"<html>Welcome</html>", b"[]", b"\xff", b"[" * 60000, b'{"state": "' + b"x" * 65536 + b'"}']
)
def test_it_rejects_what_is_no_answer(one_host: Agent, peer: Peer, raw: bytes):
    peer.order(HEARTBEAT, *[answer(200, raw)] * 9)
    done = one_host.run("beat", "--give-up-seconds", "0.5")
    assert done.returncode == 1
    assert "no JSON object" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_survives_an_answer_of_the_wrong_types(one_host: Agent, peer: Peer):
    peer.order(
        HEARTBEAT,
        renewed(state={"a": 1}, next_in_seconds="soon", ttl_seconds=None, desired_release=[], generation="x"),
    )
    done = one_host.run("beat")
    assert (done.returncode, done.stderr) == (0, "")
    assert last_beat(one_host)["next_in_seconds"] == 60


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_it_follows_no_redirect(one_host: Agent, peer: Peer, status: int):
    thief = Peer()
    thief.start()
    peer.order(HEARTBEAT, answer(status, {}, headers={"Location": f"{thief.url}{HEARTBEAT}"}))
    done = one_host.run("beat")
    thief.stop()
    assert done.returncode == 5
    assert "redirects to" in done.stderr
    assert "not followed" in done.stderr
    assert thief.seen == []
    assert len(peer.heartbeats) == 1


def test_it_never_overlaps_with_itself(host: Agent, peer: Peer):
    peer.order(HEARTBEAT, after(1.5, renewed()))
    first = host.start("beat")
    wait_for(lambda: peer.heartbeats)
    second = host.run("beat")
    assert (second.returncode, second.stdout) == (
        0,
        "another beat of this host is under way; leaving it to that one.\n",
    )
    assert first.wait(10) == 0
    first.communicate()
    assert len(peer.heartbeats) == 1


def test_it_leaves_no_lock_behind_when_it_is_killed(one_host: Agent, peer: Peer):
    peer.order(HEARTBEAT, after(1.5, renewed()))
    with one_host.start("beat") as first:
        wait_for(lambda: peer.heartbeats)
        first.kill()
    assert "renewed" in one_host.run("beat").stdout


def test_its_lease_does_not_depend_on_a_writable_folder(one_host: Agent, peer: Peer):
    (one_host.state / "last.json").unlink()
    (one_host.state / "last.json").mkdir()
    done = one_host.run("beat")
    assert done.returncode == 0
    assert "can't be used" in done.stderr
    assert len(peer.heartbeats) == 1


def test_it_says_that_it_is_not_enrolled(agent: Agent):
    done = agent.run("beat")
    assert done.returncode == 4
    assert "callboard-agent enrol --url URL" in done.stderr


def test_it_shows_no_token_in_the_process_list(agent: Agent, peer: Peer):
    (agent.folder / "token").write_text(JOIN_TOKEN)
    spy = agent.folder / "spy"
    spy.write_text(
        "#!/bin/sh\nfor f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; done > $1.ps\nenv > $1.env\necho 1\n"
    )
    spy.chmod(0o755)
    agent.run(
        "enrol", "--url", peer.url, "--token-file", str(agent.folder / "token"), "--keep-join-token",
        "--gauge", f"spy={spy} {agent.folder}/seen", CALLBOARD_JOIN_TOKEN=JOIN_TOKEN,
    )  # fmt: skip
    peer.order(HEARTBEAT, problem(410, "Gone."))
    assert agent.run("beat", CALLBOARD_JOIN_TOKEN=JOIN_TOKEN).returncode == 0
    assert peer.heartbeats[0].body["metrics"]["spy"] == 1
    listed = (agent.folder / "seen.ps").read_text(errors="replace")
    assert "callboard_agent.py beat" in listed
    for text in (listed, (agent.folder / "seen.env").read_text()):
        assert JOIN_TOKEN not in text
        assert HOST_TOKEN not in text


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "callboard")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "ca.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, secret


def test_it_verifies_tls(agent: Agent, peer: Peer):
    certificate, key = self_signed(agent.folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    peer.server.socket = context.wrap_socket(peer.server.socket, server_side=True)
    url = peer.url.replace("http:", "https:")
    refused = agent.enrol(url)
    assert refused.returncode == 2
    assert f"certificate of {url}/api/v1/enrol does not verify" in refused.stderr
    assert "--ca FILE" in refused.stderr
    assert peer.seen == []
    done = agent.enrol(url, "--ca", str(certificate))
    assert done.returncode == 0, done.stderr
    assert agent.run("beat").returncode == 0


def test_it_gets_a_new_token_when_it_is_told_to(host: Agent, peer: Peer):
    peer.order(HEARTBEAT, renewed(rotate=True))
    done = host.run("beat")
    assert done.returncode == 0
    assert "web-1 has a new token." in done.stdout
    host.run("beat")
    used = [seen.headers["Authorization"] for seen in peer.seen if seen.path in (HEARTBEAT, "/api/v1/rotate")]
    assert used == [f"Bearer {HOST_TOKEN}", f"Bearer {HOST_TOKEN}", "Bearer cbh_new"]


@pytest.mark.parametrize("reply", [problem(409, "No."), problem(503, "Busy."), answer(200, {}), answer(200, b"[")])
def test_it_goes_on_with_its_token_when_it_gets_no_new_one(one_host: Agent, peer: Peer, reply: Reply):
    peer.order(HEARTBEAT, renewed(rotate=True))
    peer.order("/api/v1/rotate", reply)
    done = one_host.run("beat")
    assert done.returncode == 0
    assert "the token stays as it is" in done.stderr
    one_host.run("beat")
    assert peer.heartbeats[-1].headers["Authorization"] == f"Bearer {HOST_TOKEN}"


def test_it_says_goodbye(host: Agent, peer: Peer):
    done = host.run("goodbye")
    assert (done.returncode, done.stdout) == (0, "said goodbye: web-1 has left shop/production.\n")
    (seen,) = peer.goodbyes
    assert seen.headers["Authorization"] == f"Bearer {HOST_TOKEN}"
    assert set(seen.body) == {"boot_id", "seq", "agent_version"}


def test_it_stays_away_after_goodbye_until_it_enrols(host: Agent, peer: Peer):
    host.run("goodbye")
    done = host.run("beat")
    assert done.returncode == 0
    assert "said goodbye" in done.stdout
    assert json.loads(host.run("status", "--json").stdout)["left_at"]
    assert peer.heartbeats == []
    assert host.enrol(peer.url).returncode == 0
    assert host.run("beat").returncode == 0
    assert len(peer.heartbeats) == 1


def test_its_goodbye_is_fine_when_it_is_gone_already(one_host: Agent, peer: Peer):
    peer.order("/api/v1/goodbye", problem(410, "Gone."))
    assert one_host.run("goodbye").returncode == 0


def test_its_goodbye_fails_when_nobody_answers(one_host: Agent, peer: Peer):
    peer.stop()
    done = one_host.run("goodbye", "--give-up-seconds", "1")
    assert done.returncode == 1
    assert json.loads(one_host.run("status", "--json").stdout)["left_at"] is None
    peer.start()


SHUTDOWN = {
    "poweroff": " 1 poweroff.target start waiting\n 2 ssh.service stop running\n",
    "halt": " 1 halt.target start waiting\n",
    "reboot": " 1 reboot.target start waiting\n 2 ssh.service stop running\n",
    "restart of a unit": " 7 callboard-agent-goodbye.service stop running\n",
}


@pytest.mark.parametrize(
    ("way", "leaves"), [("poweroff", True), ("halt", True), ("reboot", False), ("restart of a unit", False)]
)
def test_it_says_goodbye_only_when_the_machine_goes_down_for_good(one_host: Agent, peer: Peer, way: str, leaves: bool):
    tools = one_host.folder / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text(f"#!/bin/sh\n[ $1 = list-jobs ] && cat <<'EOF'\n{SHUTDOWN[way]}EOF\n")
    (tools / "systemctl").chmod(0o755)
    done = one_host.run("goodbye", "--on-shutdown", PATH=f"{tools}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert bool(peer.goodbyes) is leaves


def test_it_comes_back_after_the_next_boot(one_host: Agent, peer: Peer):
    state = json.loads((one_host.state / "state.json").read_text())
    (one_host.state / "state.json").write_text(json.dumps({**state, "left": {"at": "…", "boot_id": "an-earlier-boot"}}))
    assert one_host.run("beat").stdout.startswith("renewed")


def test_it_reads_the_state_of_a_newer_version(one_host: Agent):
    state = json.loads((one_host.state / "state.json").read_text())
    state["options"]["later"] = state["later"] = 1
    (one_host.state / "state.json").write_text(json.dumps(state))
    assert one_host.run("beat").returncode == 0


def test_it_works_without_site_packages_and_environment(one_host: Agent):
    done = subprocess.run(
        [one_host.python, "-I", "-S", *one_host.command("beat", "--state-dir", str(one_host.state))[1:]],
        capture_output=True,
        text=True,
        env={},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
