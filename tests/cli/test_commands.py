"""The client commands against a service of their own, as a user starts it."""

from __future__ import annotations

import datetime as dt
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from inventory_service.cli import main
from inventory_service.client import Client
from inventory_service.demo.service import RunningService, free_port
from tests.support import wait_for

Call = Callable[..., Result]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    running = RunningService(tmp_path_factory.mktemp("service"), port=free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def call(service: RunningService) -> Call:
    def invoke(*words: str, token: str = "", given: str = "") -> Result:
        environment = {"CALLBOARD_URL": service.url, "CALLBOARD_TOKEN": token or service.token}
        done = CliRunner().invoke(main, list(words), env=environment, input=given)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return invoke


@pytest.fixture(scope="module")
def shop(call: Call, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a stage without hosts."""
    source = tmp_path_factory.mktemp("source")
    (source / "deploy.yml").write_text("# Put it there\n- hosts: all\n")
    assert call("project", "add", "shop", "--source", f"{source}/", "-e", "colour=red").exit_code == 0
    assert call("stage", "add", "shop/production", "--no-converge", "--agentless").exit_code == 0
    return "shop/production"


def read(done: Result) -> object:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_it_checks_a_stage_before_a_deploy(call: Call, shop: str) -> None:
    done = call("stage", "check", shop, "--json")
    assert done.exit_code == 1
    assert [row["code"] for row in json.loads(done.stdout)["items"]] == ["no-live-hosts"]
    assert "No host of the stage is live" in call("stage", "check", shop).stdout
    assert "v9" in call("stage", "check", shop, "--revision", "v9").stdout


def test_it_shows_what_was_added(call: Call, shop: str) -> None:
    assert [row["name"] for row in read(call("project", "list", "--json"))] == ["shop"]
    assert read(call("project", "show", "shop", "--json"))["variables"] == {"colour": "red"}
    shown = read(call("stage", "show", shop, "--json"))
    assert (shown["converge"], shown["agentless"], shown["interval_seconds"]) == (False, True, 60)
    assert "shop/production" in call("stage", "list", "shop").stdout
    assert "Put it there" in call("stage", "playbooks", shop).stdout
    assert "shop" in call("project", "list").stdout


def test_it_changes_and_locks_a_stage(call: Call, shop: str) -> None:
    assert call("stage", "set", shop, "--ttl-seconds", "600", "--description", "the shop").exit_code == 0
    assert call("stage", "lock", shop, "Black Friday").exit_code == 0
    shown = read(call("stage", "show", shop, "--json"))
    assert (shown["ttl_seconds"], shown["lock"]["reason"]) == (600, "Black Friday")
    refused = call("deploy", shop, "--refuse-if-locked")
    assert refused.exit_code == 1
    assert "locked by token:first-start: Black Friday" in refused.stderr
    assert call("stage", "unlock", shop).exit_code == 0


def test_it_rejects_a_change_of_nothing(call: Call, shop: str) -> None:
    done = call("stage", "set", shop)
    assert done.exit_code == 64
    assert "Nothing to change" in done.stderr


def test_it_shows_where_a_stages_variables_come_from(call: Call, shop: str) -> None:
    assert call("stage", "set", shop, "-e", '{"colour": "blue", "key": {"$secret": "api"}}').exit_code == 0
    shown = [" ".join(line.split()) for line in call("stage", "variables", shop).stdout.splitlines()]
    assert {"colour blue stage project: red", "key secret api stage"} <= set(shown)
    items = {item["name"]: item for item in read(call("stage", "variables", shop, "--json"))["items"]}
    assert items["colour"]["overridden"] == [{"from": "project", "value": "red"}]


def test_it_makes_lists_and_revokes_join_tokens(call: Call, shop: str) -> None:
    made = read(call("join-token", "add", shop, "--group", "web", "--maximum-uses", "3", "--json"))
    assert made["token"] in call("join-token", "add", shop).stdout or made["token"].startswith("cbj_")
    assert call("join-token", "revoke", shop, made["id"]).exit_code == 0
    listed = {row["id"]: row for row in read(call("join-token", "list", shop, "--json"))}
    assert (listed[made["id"]]["groups"], bool(listed[made["id"]]["revoked_at"])) == (["web"], True)


def test_it_tells_how_often_a_join_token_was_used(call: Call, shop: str) -> None:
    call("join-token", "add", shop, "--maximum-uses", "7")
    assert "0 of 7" in call("join-token", "list", shop).stdout


def test_it_takes_a_host_by_its_name_and_shows_what_to_know_of_it(
    call: Call, shop: str, service: RunningService
) -> None:
    client = Client(service.url, service.token)
    for name, port in (("web-10", 22), ("web-9", 2222)):
        client.send("PUT", f"/api/v1/stages/{shop}/hosts/{name}.example.org", {"port": port})
    assert call("host", "drain", f"{shop}/web-10.example.org").stdout == "web-10.example.org is draining.\n"
    assert call("host", "quarantine", f"{shop}/WEB-9.example.org", "--reason", "odd").exit_code == 0
    shown = [line.split() for line in call("hosts", shop).stdout.splitlines()[1:]]
    assert [row[:4] for row in shown] == [
        ["web-9.example.org", "web-9.example.org:2222", "live", "quarantined"],
        ["web-10.example.org", "web-10.example.org", "live", "draining"],
    ]
    then = call("hosts", shop, "--at", dt.datetime.now(dt.UTC).isoformat()).stdout
    assert "web-9.example.org:2222" in then, "what it was then is not recorded"
    assert "draining" not in then, "what it was then is not recorded"
    assert "taken out" in call("host", "remove", f"{shop}/web-9.example.org").stdout
    assert call("host", "remove", f"{shop}/web-9.example.org").exit_code == 1
    assert f"callboard hosts {shop}" in call("host", "show", f"{shop}/web-9.example.org").stderr
    gone = call("hosts", shop, "--state", "gone").stdout.split()[-1]
    assert "has left already" in call("host", "remove", gone).stdout
    call("host", "remove", f"{shop}/web-10.example.org")


def test_it_tells_how_to_join_a_machine(call: Call, shop: str, service: RunningService) -> None:
    told = call("join-token", "add", shop).stdout
    assert f"curl -fsSo callboard-agent {service.url}/agent" in told
    assert "CALLBOARD_JOIN_TOKEN=cbj_" in told


def test_it_manages_people_and_tokens(call: Call, shop: str) -> None:
    password = "correct horse\n"
    assert call("user", "add", "grace", "--role", "operator", given=password * 2).exit_code == 0
    assert call("user", "set", "grace", "--disable").exit_code == 0
    assert {row["name"]: row["disabled"] for row in read(call("user", "list", "--json"))}["grace"]
    token = call("token", "add", "ci", "--role", "viewer", "--project", "shop").stdout.strip()
    assert read(call("runs", "--json", token=token)) == []
    refused = call("stage", "lock", shop, "no", token=token)
    assert refused.exit_code == 1
    assert "needs the role operator" in refused.stderr
    row = next(item for item in read(call("token", "list", "--json")) if item["name"] == "ci")
    assert call("token", "revoke", row["id"]).exit_code == 0
    assert call("runs", token=token).exit_code == 1


@pytest.mark.parametrize("name", ["agentless", "simple-join"])
def test_it_takes_a_setting_by_its_former_name(call: Call, shop: str, name: str) -> None:
    assert call("stage", "set", shop, f"--no-{name}").exit_code == 0
    off = read(call("stage", "show", shop, "--json"))["agentless"]
    assert call("stage", "set", shop, f"--{name}").exit_code == 0
    assert (off, read(call("stage", "show", shop, "--json"))["agentless"]) == (False, True)
    assert "simple" not in call("stage", "set", "--help").stdout


@pytest.mark.parametrize("name", ["--out-of-date", "--drift"])
def test_it_lists_hosts_that_are_out_of_date(call: Call, shop: str, name: str) -> None:
    assert read(call("hosts", shop, name, "--json")) == []


def test_it_sets_lists_and_removes_secrets(call: Call, shop: str, tmp_path: Path) -> None:
    assert call("secret", "set", "shop", "db_password", given="canary\n").exit_code == 0
    (tmp_path / "blob").write_bytes(b"\0\xff\xfe\xfd")
    done = call("secret", "set", shop, "blob", "--kind", "file", "--file", str(tmp_path / "blob"))
    assert (done.exit_code, done.stdout) == (0, f"Set the file blob of {shop}.\n")
    rows = read(call("secret", "list", shop, "--json"))
    assert [(row["name"], row["of"]) for row in rows] == [("blob", "stage"), ("db_password", "project")]
    assert "canary" not in call("secret", "list", shop).stdout
    assert call("secret", "set", shop, "short", given="abc").exit_code == 1
    assert call("secret", "set", shop, "name", "canary").exit_code == 64, "a value is no argument"
    assert [call("secret", "remove", shop, "blob").exit_code for _ in range(2)] == [0, 1]


def test_it_rotates_the_keys_below_a_running_service(call: Call, shop: str, service: RunningService) -> None:
    assert call("secret", "set", shop, "before", given="canary").exit_code == 0
    environment = {"CALLBOARD_DATA_DIR": str(service.data_dir)}
    done = CliRunner().invoke(main, ["secrets", "rotate"], env=environment)
    assert "encrypted with the new key" in done.output
    assert call("secret", "set", shop, "after", given="canary").exit_code == 0
    again = CliRunner().invoke(main, ["secrets", "rotate"], env=environment)
    assert again.exit_code == 0
    assert "new key" in again.output


def test_it_says_that_there_is_nothing(call: Call, shop: str) -> None:
    assert call("hosts", shop).stdout == f"{shop} has no such hosts.\n"
    assert call("stage", "releases", shop).stdout == f"No releases yet: callboard deploy {shop}\n"
    assert (read(call("hosts", shop, "--json")), call("known-hosts", shop).stdout) == ([], "")


def test_it_follows_a_run_that_fails_and_ends_with_2(call: Call, shop: str) -> None:
    done = call("deploy", shop, "-m", "first try")
    assert done.exit_code == 2, done.output
    assert "No hosts matched" in done.stdout, done.output
    assert "(deploy): failed after" in done.stdout
    (row,) = read(call("runs", "--stage", shop, "--json"))
    assert (row["status"], row["comment"]) == ("failed", "first try")
    assert "callboard: No hosts matched" in call("logs", str(row["id"])).stdout
    assert call("logs", "-f", str(row["id"])).exit_code == 2


def test_it_detaches_and_cancels(call: Call, shop: str) -> None:
    call("stage", "lock", shop, "wait")
    launched = call("deploy", shop, "--detach")
    assert "Number 1 in the queue; waits for the lock by token:first-start: wait." in launched.stderr
    number = launched.stdout.strip()
    assert call("cancel", number).exit_code == 0
    assert call("logs", "-f", number).exit_code == 3
    assert call("cancel", number).exit_code == 1
    overriding = call("deploy", shop, "--refuse-if-locked", "--override-lock", "the shop is down")
    assert overriding.exit_code == 2, overriding.stderr
    assert "No hosts matched" in overriding.stderr, overriding.stderr
    call("stage", "unlock", shop)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["deploy", "shop/nothing"], "There is no stage shop/nothing."),
        (["rollback", "shop/production"], "no earlier successful release"),
        (["converge", "shop/production"], "deploy first"),
        (["run", "shop/production", "../x.yml"], "no playbook path"),
        (["deploy", "shop/production", "--limit", "@/etc/passwd"], "not accepted in a limit"),
        (["deploy", "shop/production", "-e", "ansible_connection=local"], "can't be set per run"),
        (["project", "show", "nothing"], "There is no project 'nothing'."),
        (["host", "show", "nothing"], "There is no host 'nothing'."),
        (["logs", "999"], "There is no run 999."),
        (["join-token", "add", "shop/production", "--expires-at", "tomorrow"], "expires_at: write the time like 2026"),
        (
            ["join-token", "add", "shop/production", "--expires-at", "2036-01-01T12:00"],
            "the time with its zone",
        ),
        (["join-token", "add", "shop/production", "--expires-at", "2020-01-01T00:00:00Z"], "has passed already"),
    ],
)
def test_it_says_what_was_wrong(call: Call, shop: str, words: list[str], error: str) -> None:
    done = call(*words)
    assert done.exit_code == 1, done.output
    assert done.stderr.count(error) == 1, done.output
    assert "Traceback" not in done.output, done.output


def test_it_keeps_its_data_to_itself(service: RunningService, shop: str) -> None:
    private = [path for path in service.data_dir.rglob("*") if path.is_file() and path.suffix != ".pub"]
    assert {str(path): path.stat().st_mode & 0o077 for path in private if path.stat().st_mode & 0o077} == {}


def test_it_writes_no_secret_into_its_log(service: RunningService, call: Call, shop: str) -> None:
    token = call("token", "add", "quiet").stdout.strip()
    call("runs", token=token)
    assert token.split(".")[1] not in service.log.read_text()
    assert not [path for path in Path(service.data_dir).rglob("*.log") if token.split(".")[1] in path.read_text()]


def test_it_writes_a_run_into_a_file(call: Call, shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = call("deploy", shop, "--detach").stdout.strip()
    call("logs", "-f", run)
    assert call("export", run).stdout == f"Run {run} is in run-{run}.tar.gz.\n"
    with tarfile.open(tmp_path / f"run-{run}.tar.gz") as archive:
        assert f"run-{run}/log" in archive.getnames()
    assert "No hosts matched" in call("export", run, "--format", "junit", "-o", "-").stdout
    assert "There is no run 999" in call("export", "999", "-o", "other.xml").output
    assert "can't be written" in call("export", run, "-o", "nowhere/run.tar.gz").output
    assert [file.name for file in tmp_path.iterdir()] == [f"run-{run}.tar.gz"]


def test_it_expires_the_silent_when_forced_and_says_who_did_it(call: Call, service: RunningService, shop: str) -> None:
    client = service.client
    call("stage", "add", "shop/silent", "--interval-seconds", "1", "--ttl-seconds", "60")
    token = client.send("POST", "/api/v1/stages/shop/silent/join-tokens", {})["token"]
    Client(service.url, token).send("POST", "/api/v1/enrol", {"name": "web-1"})
    wait_for(lambda: client.get_all("/api/v1/stages/shop/silent/hosts", state="late") != [], seconds=30)
    assert call("stage", "expire", "shop/silent").exit_code == 64
    assert call("stage", "expire", "shop/silent", "--force").stdout == "1 silent hosts of shop/silent are stale now.\n"
    assert [row["state"] for row in client.get_all("/api/v1/stages/shop/silent/hosts")] == ["stale"]
    told = call("audit", "--action", "stage.expire").stdout
    assert "shop/silent" in told
    assert "hosts: 1" in told
    assert [row["target"] for row in read(call("audit", "--target", "shop/silent", "--json"))][-1] == "shop/silent"


@pytest.mark.parametrize("name", ["--allow-paused-expiry", "--allow-frozen"])
def test_it_launches_though_expiry_may_be_paused(call: Call, shop: str, name: str) -> None:
    run = call("deploy", shop, name, "--detach").stdout.strip()
    assert read(call("runs", "--json", "--stage", shop))[0]["id"] == int(run)
    assert "frozen" not in call("deploy", "--help").stdout
