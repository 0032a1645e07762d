"""`beat --loop`: in the foreground until it is told to stop."""

import signal
import subprocess
import time

import pytest
from agent_peer import Peer, after, enrolled, problem, renewed
from conftest import Agent, wait_for

from inventory_service.agent import callboard_agent

HEARTBEAT = "/api/v1/heartbeat"


def ended(process: subprocess.Popen[str], name: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
    process.send_signal(name)
    out, err = process.communicate(timeout=10)
    return process.returncode, out, err


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_it_beats_until_it_is_stopped(host: Agent, peer: Peer, name: signal.Signals):
    peer.usual[HEARTBEAT] = renewed(next_in_seconds=0.5)
    process = host.start("beat", "--loop")
    wait_for(lambda: len(peer.heartbeats) >= 3)
    code, out, err = ended(process, name)
    assert (code, err) == (0, "")
    assert out.endswith("stopped.\n")
    gaps = [b.at - a.at for a, b in zip(peer.heartbeats, peer.heartbeats[1:], strict=False)]
    assert min(gaps) >= 0.5
    assert peer.goodbyes == []


def test_it_says_goodbye_on_exit_when_asked(host: Agent, peer: Peer):
    process = host.start("beat", "--loop", "--goodbye-on-exit")
    wait_for(lambda: peer.heartbeats)
    assert ended(process)[0] == 0
    assert len(peer.goodbyes) == 1


def test_it_ends_in_the_middle_of_a_request(one_host: Agent, peer: Peer):
    peer.order(HEARTBEAT, after(30, renewed()))
    process = one_host.start("beat", "--loop")
    wait_for(lambda: peer.heartbeats)
    begun = time.monotonic()
    assert ended(process)[0] == 0
    assert time.monotonic() - begun < 2


def test_it_outlives_a_service_that_is_down(one_host: Agent, peer: Peer):
    peer.stop()
    process = one_host.start("beat", "--loop")
    assert process.stderr is not None
    assert "could not be reached" in process.stderr.readline()
    peer.start()
    wait_for(lambda: peer.heartbeats)
    assert ended(process)[0] == 0


@pytest.mark.parametrize(("status", "code"), [(401, 3), (403, 3), (410, 4)])
def test_it_ends_when_only_a_person_can_help(one_host: Agent, peer: Peer, status: int, code: int):
    peer.order(HEARTBEAT, problem(status, "No."))
    process = one_host.start("beat", "--loop")
    _, err = process.communicate(timeout=15)
    assert process.returncode == code
    assert "enrol --force" in err


def test_it_goes_on_after_a_conflict(one_host: Agent, peer: Peer):
    peer.order("/api/v1/enrol", enrolled(interval_seconds=1))
    one_host.enrol(peer.url, "--force")
    peer.order(HEARTBEAT, problem(409, "Two boots."))
    process = one_host.start("beat", "--loop")
    wait_for(lambda: len(peer.heartbeats) >= 2)
    assert ended(process)[0] == 0


def test_it_stays_away_after_a_goodbye_beside_it(one_agent: Agent, peer: Peer):
    peer.order("/api/v1/enrol", enrolled(interval_seconds=1))
    peer.usual[HEARTBEAT] = renewed(next_in_seconds=0.5)
    one_agent.enrol(peer.url, "--keep-join-token")
    process = one_agent.start("beat", "--loop")
    wait_for(lambda: peer.heartbeats)
    assert one_agent.run("goodbye").returncode == 0
    beats = len(peer.heartbeats)
    time.sleep(1.5)
    assert ended(process)[0] == 0
    assert len(peer.heartbeats) == beats
    assert len(peer.enrolments) == 1


def test_a_single_beat_may_run_beside_it(one_host: Agent, peer: Peer):
    process = one_host.start("beat", "--loop")
    wait_for(lambda: peer.heartbeats)
    assert process.stdout is not None
    process.stdout.readline()
    assert "renewed" in one_host.run("beat").stdout
    assert ended(process)[0] == 0


def state(host: str) -> callboard_agent.State:
    return callboard_agent.State(host, host, "shop/production", "cbh_x", 60, 300, "", callboard_agent.Options())


def test_it_begins_at_once_after_enrolment():
    waits = {callboard_agent.first_wait(state(f"h-{n}"), {}) for n in range(50)}
    assert waits == {0, 1}


def test_its_phase_spreads_a_fleet_over_the_interval():
    waits = [callboard_agent.first_wait(state(f"h-{n}"), {"ok": True}) for n in range(3000)]
    assert min(waits) == 0
    assert max(waits) == 59
    assert max(waits.count(second) for second in range(60)) < 100
    assert waits[0] == callboard_agent.first_wait(state("h-0"), {"ok": True})


def test_its_backoff_doubles_to_half_a_minute():
    delays = callboard_agent.backoff()
    for ceiling in (1, 2, 4, 8, 16, 30, 30, 30):
        assert 0 <= next(delays) <= ceiling
    longest = [
        max(column)
        for column in zip(
            *([next(d) for _ in range(8)] for d in (callboard_agent.backoff() for _ in range(300))),
            strict=True,
        )
    ]
    assert all(top > 0.8 * ceiling for top, ceiling in zip(longest, (1, 2, 4, 8, 16, 30, 30, 30), strict=True))
