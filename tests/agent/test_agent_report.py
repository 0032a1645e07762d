"""What a host tells about itself: release, metrics, gauges, facts, host keys, EC2's identity."""

import base64
import datetime as dt
import json
import math
import os
import time
from pathlib import Path

import pytest
from agent_peer import Peer, after, answer, renewed
from conftest import HOST_KEY, Agent

from inventory_service.agent import callboard_agent
from inventory_service.agent.callboard_agent import Options, Store

# --- release -------------------------------------------------------------------------------------


def layout(folder: Path, name: str, revision: str | None) -> str:
    release = folder / "releases" / name
    release.mkdir(parents=True)
    if revision is not None:
        (release / "REVISION").write_text(revision)
    (folder / "current").symlink_to(release)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "revision", "release"),
    [
        ("12", "0f3c9d1\n", {"name": "12", "number": 12, "revision": "0f3c9d1"}),
        ("999999999", "a", {"name": "999999999", "number": 999999999, "revision": "a"}),
        ("20261123140300", "a", {"name": "20261123140300", "number": None, "revision": "a"}),
        ("v1.2", "main@0f3c\nmore", {"name": "v1.2", "number": None, "revision": "main@0f3c"}),
        ("1", "a/../b", {"name": "1", "number": 1, "revision": None}),
        ("007", None, {"name": "007", "number": 7, "revision": None}),
        ("1" * 30, "", {"name": "1" * 30, "number": None, "revision": None}),
        ("a b", "root:$y$j9T$secret:1::", {"name": None, "number": None, "revision": None}),
        ("٣", "x" * 200, {"name": None, "number": None, "revision": None}),
    ],
)
def test_it_reads_the_release_layout(tmp_path: Path, name: str, revision: str | None, release: dict[str, object]):
    assert callboard_agent.current_release(layout(tmp_path, name, revision)) == release


@pytest.mark.parametrize(("text", "run"), [("17\n", 17), ("", None), ("x\n", None), ("-1", None), ("1" * 10, None)])
def test_it_reads_the_last_run(tmp_path: Path, text: str, run: int | None):
    assert callboard_agent.last_run(str(tmp_path)) is None
    (tmp_path / "run").write_text(text)
    assert callboard_agent.last_run(str(tmp_path)) == run


def test_it_has_no_release_without_a_current_link(tmp_path: Path):
    assert callboard_agent.current_release(str(tmp_path)) is None
    (tmp_path / "current").symlink_to("nowhere")
    assert callboard_agent.current_release(str(tmp_path)) is None


def test_it_follows_no_link_out_of_the_release(tmp_path: Path):
    (tmp_path / "secret").write_text("harmless-looking")
    path = layout(tmp_path / "app", "1", None)
    (tmp_path / "app/releases/1/REVISION").symlink_to(tmp_path / "secret")
    assert callboard_agent.current_release(path) == {"name": "1", "number": 1, "revision": None}


def test_it_does_not_hang_on_a_fifo(tmp_path: Path):
    path = layout(tmp_path, "1", None)
    os.mkfifo(tmp_path / "releases/1/REVISION")
    assert callboard_agent.current_release(path) == {"name": "1", "number": 1, "revision": None}


# --- metrics -------------------------------------------------------------------------------------


def metrics(*gauges: str, files: dict[str, str] | None = None, seconds: float = 10) -> dict[str, float]:
    commands = dict(gauge.split("=", 1) for gauge in gauges)
    return callboard_agent.gather_metrics(Options(gauges=commands, gauge_files=files or {}), seconds)


def test_it_measures_load_memory_and_disk():
    found = metrics()
    sizes = {
        line.split(":")[0]: int(line.split()[1])
        for line in Path("/proc/meminfo").read_text().splitlines()
        if "kB" in line
    }
    assert found["memory_used_ratio"] == pytest.approx(1 - sizes["MemAvailable"] / sizes["MemTotal"], abs=0.1)
    assert found["load1_per_cpu"] == pytest.approx(os.getloadavg()[0] / os.cpu_count(), abs=0.5)
    disk = os.statvfs("/")
    used = disk.f_blocks - disk.f_bfree
    assert found["disk_used_ratio"] == pytest.approx(used / (used + disk.f_bavail), abs=0.01)


def test_it_measures_the_disk_of_the_releases(tmp_path: Path):
    shared = os.statvfs("/dev/shm")
    expected = (shared.f_blocks - shared.f_bfree) / shared.f_blocks
    assert callboard_agent.disk_used_ratio("/dev/shm/not/there") == pytest.approx(expected, abs=0.05)


def test_it_reads_gauges(tmp_path: Path):
    (tmp_path / "depth").write_text("  17.5 jobs\n")
    found = metrics("queue=echo 3 of 9", "words=printf '%s' '1e3'", files={"depth": str(tmp_path / "depth")})
    assert (found["queue"], found["words"], found["depth"]) == (3.0, 1000.0, 17.5)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("false", "ended with 1"),
        ("echo NaN", "nan is not finite"),
        ("echo -inf", "-inf is not finite"),
        ("echo many", "could not convert"),
        ("true", "could not convert"),
        ("/no/such/program", "No such file"),
        ("echo 'unbalanced", "No closing quotation"),
        ("sleep 60", "took too long"),
        ("yes", "output is above"),
        ("sh -c 'echo 1; exec >&-; sleep 60'", "took too long"),
    ],
)
def test_it_leaves_a_failing_gauge_out(capfd: pytest.CaptureFixture[str], command: str, reason: str):
    begun = time.monotonic()
    found = metrics(f"bad={command}", "good=echo 1", seconds=1)
    assert time.monotonic() - begun < 3
    assert "bad" not in found
    assert ("good" in found) or "sleep" in command
    error = capfd.readouterr().err
    assert "the gauge bad was left out" in error
    assert reason in error


def test_it_ends_what_a_gauge_has_started(tmp_path: Path):
    metrics(f"bad=sh -c 'sleep 61 & echo $! > {tmp_path}/pid; sleep 62'", seconds=1)
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    for _ in range(100):
        if not state.exists() or state.read_text().split()[2] in "ZX":
            break
        time.sleep(0.02)
    else:
        pytest.fail("the gauge's child lives on")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "No such file"),
        ("fifo", "is no regular file"),
        ("folder", "is no regular file"),
        ("text", "could not convert"),
    ],
)
def test_it_leaves_a_failing_file_out(tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, reason: str):
    path = tmp_path / kind
    make = {"fifo": lambda: os.mkfifo(path), "folder": path.mkdir, "text": lambda: path.write_text("x")}
    make.get(kind, lambda: None)()
    assert "bad" not in metrics(files={"bad": str(path)})
    error = capfd.readouterr().err
    assert "the gauge bad was left out" in error
    assert reason in error


def test_a_failing_gauge_costs_no_heartbeat(host: Agent, peer: Peer):
    host.run("enrol", "--gauge", "bad=false", "--gauge", "good=echo 4", "--gauge-file", "none=/nowhere")
    done = host.run("beat")
    assert done.returncode == 0
    assert "the gauge bad was left out" in done.stderr
    found = peer.heartbeats[0].body["metrics"]
    assert set(found) == {"load1_per_cpu", "memory_used_ratio", "disk_used_ratio", "good"}
    assert all(isinstance(value, float) and math.isfinite(value) for value in found.values())


@pytest.mark.parametrize(
    "gauge", ["Queue=echo 1", "queue", "queue=", "a" * 33 + "=echo 1", "load1_per_cpu=echo 1", "1a=x"]
)
def test_it_rejects_a_bad_name_of_a_gauge(one_agent: Agent, gauge: str):
    done = one_agent.enrol("http://127.0.0.1:9", "--gauge", gauge)
    assert done.returncode == 2
    assert "NAME=VALUE" in done.stderr


def test_it_rejects_too_many_gauges(one_agent: Agent):
    words = [word for n in range(33) for word in ("--gauge", f"g{n}=echo 1")]
    done = one_agent.enrol("http://127.0.0.1:9", *words)
    assert done.returncode == 2
    assert "more than 32 gauges" in done.stderr


# --- facts ---------------------------------------------------------------------------------------


def test_it_cleans_facts():
    facts = callboard_agent.fitted(
        {
            "os": "deb\x00ian\x1b[1m\n\u202etxt\ud800",
            "long": "x" * 999,
            "Bad": 1,
            "bad-name": 1,
            "none": None,
            "empty": "\n",
            "count": 0,
        }
    )
    assert facts == {"os": "deb ian [1m txt", "long": "x" * 256, "count": 0}


def test_its_facts_stay_small():
    facts = callboard_agent.fitted({f"f{n}": "ü" * 999 for n in range(99)})
    assert len(callboard_agent.canonical(facts)) <= 4096
    assert len(facts) == 2


def test_its_largest_bodies_stay_below_16_kb(tmp_path: Path):
    name, long = "g" * 31, "\U0001f600" * 256
    gauges = {f"{name}{n:x}"[-32:]: 1.797693134862315e308 for n in range(35)}
    body = {
        "boot_id": "x" * 36,
        "seq": 2**63,
        "agent_version": "0.1.0",
        "release": {"name": "x" * 128, "number": 10**15 - 1, "revision": "x" * 128},
        "facts_hash": "f" * 64,
        "facts": callboard_agent.fitted({f"f{n}": long for n in range(20)}),
        "metrics": gauges,
        "sent_at": callboard_agent.utc_now(),
    }
    assert len(callboard_agent.canonical(body)) < 12_000
    enrolment = {
        "name": "\U0001f600" * 64,
        "host_keys": ["x" * 3072, "y" * 3072],
        "facts": body["facts"],
        "instance_identity": {"document": '"' * 2048, "signature": "x" * 512},
    }
    assert len(callboard_agent.canonical(enrolment)) < 16_384


# --- host keys -----------------------------------------------------------------------------------


def key(kind: str, inner: str | None = None) -> str:
    inner = inner or kind
    blob = len(inner).to_bytes(4, "big") + inner.encode() + b"\0\0\0\x04abcd"
    return f"{kind} {base64.b64encode(blob).decode()}"


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        (f"{HOST_KEY} root@web-1", HOST_KEY),
        (key("ecdsa-sha2-nistp256"), key("ecdsa-sha2-nistp256")),
        (key("ssh-rsa"), key("ssh-rsa")),
        (key("ssh-dss"), None),
        (key("ssh-ed25519", "ssh-rsa"), None),
        (f"@cert-authority * {HOST_KEY}", None),
        ("ssh-ed25519 not!base64", None),
        ("ssh-ed25519", None),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", None),
        ("", None),
    ],
)
def test_it_parses_host_keys_strictly(line: str, parsed: str | None):
    assert callboard_agent.parse_host_key(line) == parsed


def test_it_reads_one_key_per_file(tmp_path: Path):
    (tmp_path / "a.pub").write_text(f"{HOST_KEY} one\n* {key('ssh-rsa')}\n")
    (tmp_path / "b.pub").write_text(f"{HOST_KEY} the same again\n")
    (tmp_path / "c.pub").write_text(key("ssh-rsa"))
    assert callboard_agent.host_keys(str(tmp_path / "*.pub")) == [HOST_KEY, key("ssh-rsa")]


# --- Retry-After ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("7", 7), ("999999", 3600), ("-1", None), ("soon", None)],
)
def test_it_reads_retry_after(header: str | None, seconds: float | None):
    assert callboard_agent.retry_after(header) == seconds


def test_it_reads_retry_after_as_a_date():
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30)
    header = moment.strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert callboard_agent.retry_after(header) == pytest.approx(29.5, abs=1.5)


# --- EC2 -----------------------------------------------------------------------------------------

DOCUMENT = """{
  "instanceId" : "i-0abc",
  "instanceType" : "t3.micro",
  "availabilityZone" : "eu-central-1a",
  "region" : "eu-central-1"
}"""
IDENTITY = "/latest/dynamic/instance-identity/"


@pytest.fixture
def metadata(peer: Peer) -> Peer:
    """IMDSv2: a token by PUT, then the document with it."""
    service = Peer()

    def token(handler):
        good = handler.command == "PUT" and handler.headers.get("X-aws-ec2-metadata-token-ttl-seconds") == "60"
        answer(200 if good else 405, b"imds-token==" if good else b"")(handler)

    def with_token(text: str):
        def reply(handler):
            good = handler.headers.get("X-aws-ec2-metadata-token") == "imds-token=="
            answer(200 if good else 401, text.encode() if good else b"")(handler)

        return reply

    service.usual = {
        "/latest/api/token": token,
        IDENTITY + "document": with_token(DOCUMENT),
        IDENTITY + "signature": with_token("c2lnbmVk\nYWdhaW4="),
    }
    service.start()
    yield service
    service.stop()


def test_it_proves_which_instance_it_is(agent: Agent, peer: Peer, metadata: Peer):
    agent.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
    agent.env["http_proxy"] = "http://127.0.0.1:9"
    agent.env["no_proxy"] = f"127.0.0.1:{peer.port}"
    assert agent.enrol(peer.url, "--ec2").returncode == 0
    body = peer.enrolments[0].body
    assert body["instance_identity"] == {"document": DOCUMENT, "signature": "c2lnbmVk\nYWdhaW4="}
    assert body["facts"]["instance_id"] == "i-0abc"
    assert body["facts"]["instance_type"] == "t3.micro"
    assert body["facts"]["availability_zone"] == "eu-central-1a"
    assert body["facts"]["region"] == "eu-central-1"
    asked = len(metadata.seen)
    peer.order("/api/v1/heartbeat", renewed(send_facts=True))
    agent.run("beat")
    agent.run("beat")
    assert peer.heartbeats[1].body["facts"] == body["facts"]
    assert len(metadata.seen) == asked


def test_it_asks_again_after_a_boot(one_agent: Agent, peer: Peer, metadata: Peer):
    one_agent.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
    one_agent.enrol(peer.url, "--ec2")
    stale = {"boot_id": "an-earlier-boot", "facts": {"instance_id": "i-0old"}}
    (one_agent.state / "ec2.json").write_text(json.dumps(stale))
    os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
    try:
        assert callboard_agent.ec2_facts(Store(str(one_agent.state)))["instance_id"] == "i-0abc"
    finally:
        del os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]


@pytest.mark.parametrize("fault", ["down", "late", "refused", "redirect", "long", "no JSON"])
def test_it_enrols_without_metadata(one_agent: Agent, peer: Peer, metadata: Peer, fault: str):
    one_agent.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "http://127.0.0.1:9" if fault == "down" else metadata.url
    wrong = {
        "late": ("/latest/api/token", after(5, answer(200, b"x"))),
        "refused": ("/latest/api/token", answer(403, b"")),
        "redirect": (IDENTITY + "document", answer(302, b"", headers={"Location": peer.url})),
        "long": (IDENTITY + "document", answer(200, b"x" * 3000)),
        "no JSON": (IDENTITY + "document", answer(200, b"x")),
    }
    metadata.usual.update([wrong[fault]] if fault in wrong else [])
    begun = time.monotonic()
    done = one_agent.enrol(peer.url, "--ec2")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun < 4
    body = peer.enrolments[0].body
    assert "instance_id" not in body["facts"]
    assert ("instance_identity" in body) is (fault == "no JSON")
    assert fault == "no JSON" or "EC2" in done.stderr


def test_it_asks_no_metadata_elsewhere(one_agent: Agent, peer: Peer, metadata: Peer):
    one_agent.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
    one_agent.enrol(peer.url)
    assert metadata.seen == []
    assert "instance_identity" not in peer.enrolments[0].body
