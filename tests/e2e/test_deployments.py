"""Deployments go to the hosts that are live: the product's main job, on real parts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest

from inventory_service.demo.hosts import make_keypair
from tests.e2e.conftest import ROOT, Site, wait_for


def test_it_deploys_converges_survives_a_death_and_rolls_back(site: Site) -> None:
    first, second = site.boot("web-1"), site.boot("web-2")
    deployed = site.ended(site.launch("deploy", revision="v1"))
    assert deployed["status"] == "successful", site.log(deployed["id"])
    assert {machine.deployed_revision() for machine in (first, second)} == {site.shas["v1"]}
    told = {row["acknowledged_run"] for row in wait_for("their word", lambda: _acknowledged(site))}
    assert told == {deployed["id"]}

    newcomer = site.boot("web-3")
    wait_for("the newcomer's release", lambda: site.hosts()["web-3"]["release"] == 1)
    wait_for("a free stage", lambda: not site.client.get(site.path)["locked_by_run"])
    assert newcomer.deployed_revision() == site.shas["v1"]

    killed = time.monotonic()
    second.kill()
    wait_for("web-2 out of the inventory", lambda: site.listed() == {"web-1", "web-3"}, seconds=4)
    assert time.monotonic() - killed <= 4

    again = site.ended(site.launch("deploy", revision="v2"))
    assert again["status"] == "successful", site.log(again["id"])
    assert [row["host"] for row in again["hosts"]] == ["web-1", "web-3"]
    assert site.client.get(site.path)["desired_release"] == {"number": 2, "revision": site.shas["v2"]}

    back = site.ended(site.launch("rollback"))
    assert (back["status"], back["release"]) == ("successful", 1)
    assert newcomer.deployed_revision() == site.shas["v1"]
    transitions = site.client.get(f"/api/v1/hosts/{site.hosts()['web-2']['id']}")["transitions"]
    assert [row["to"] for row in transitions] == ["stale", "live"]


def _acknowledged(site: Site) -> list[dict[str, Any]] | None:
    rows = list(site.hosts().values())
    return rows if all(row["acknowledged_run"] for row in rows) else None


def test_it_holds_a_partly_deployed_host_until_the_next_whole_deploy(site: Site) -> None:
    site.boot("web-1")
    site.boot("web-2")
    site.ended(site.launch("deploy", revision="v1"))
    canary = site.ended(site.launch("deploy", revision="v2", limit="web-2"))
    assert canary["status"] == "successful", site.log(canary["id"])
    hosts = site.hosts()
    assert (hosts["web-2"]["release"], hosts["web-2"]["pinned_release"], hosts["web-2"]["up_to_date"]) == (2, 2, True)
    assert site.client.get(site.path)["desired_release"]["number"] == 1
    whole = site.ended(site.launch("deploy", revision="v2"))
    assert (whole["status"], site.hosts()["web-2"]["pinned_release"]) == ("successful", None)


def test_it_refuses_an_impostor_with_another_host_key(site: Site) -> None:
    machine = site.boot("web-1")
    machine.host.stop()
    for file in machine.host.etc.glob("ssh_host_*"):
        file.unlink()
    make_keypair(machine.host.etc / "ssh_host_ed25519_key")
    machine.host.start()
    machine.start_agent()
    run = site.ended(site.launch(playbook="slow.yml", extra_vars={"seconds": 0}))
    assert (run["status"], run["hosts"][0]["status"]) == ("failed", "unreachable")
    assert "Host key mismatch: web-1" in run["error"]
    assert "Host key mismatch: web-1" in run["hosts"][0]["message"]
    row, listed = site.hosts()["web-1"], site.client.text(f"{site.path}/known_hosts")
    assert (row["state"], row["host_key_mismatch"]) == (
        "live",
        f"run {run['id']} met a machine without a host key of record",
    )
    site.callboard("host", "keys", row["id"], str(machine.host.etc / "ssh_host_ed25519_key.pub"))
    assert site.client.text(f"{site.path}/known_hosts") != listed
    assert site.hosts()["web-1"]["host_key_mismatch"] is None
    assert site.ended(site.launch(playbook="slow.yml", extra_vars={"seconds": 0}))["status"] == "successful"


def test_it_fails_when_nobody_matched(site: Site) -> None:
    assert "No hosts matched" in site.ended(site.launch("deploy", revision="v1"))["error"]
    site.boot("web-1")
    run = site.ended(site.launch(playbook="nobody.yml"))
    assert run["status"] == "failed", site.log(run["id"])


def test_it_says_what_is_wrong_with_a_source(site: Site) -> None:
    site.boot("web-1")
    unknown = site.ended(site.launch("deploy", revision="no-such-tag"))
    assert unknown["status"] == "failed"
    assert "no-such-tag" in unknown["error"]
    missing = site.ended(site.launch(playbook="missing.yml"))
    assert missing["status"] == "failed"
    assert "missing.yml" in missing["error"]


@pytest.mark.parametrize(("name", "code"), [("slow.yml", 0), ("fail.yml", 2)])
def test_it_ends_with_the_exit_code_of_the_contract(site: Site, name: str, code: int) -> None:
    site.boot("web-1")
    done = site.callboard("run", site.stage, name, "-e", "seconds=0")
    assert done.returncode == code, done.stdout + done.stderr
    assert "web-1" in done.stdout


def test_it_hides_the_service_from_playbooks(site: Site) -> None:
    site.boot("web-1")
    marker = site.folder / "marker"
    word = f"{{{{ lookup('pipe', 'touch {marker}') }}}}"
    run = site.ended(site.launch(playbook="surroundings.yml", extra_vars={"word": word}))
    assert run["status"] == "successful", site.log(run["id"])
    log = site.log(run["id"])
    assert "CALLBOARD_RUN=" in log
    assert "lookup('pipe'" in log, "extra vars are data, shown as they are"
    assert not marker.exists()
    secret = (site.service.data_dir / "secret_key").read_text()
    assert not any(name in log for name in ("CALLBOARD_DATA_DIR", "CALLBOARD_SECRET", secret))
    folder = site.service.data_dir / "runs" / str(run["id"])
    wait_for("an empty folder", lambda: {path.name for path in folder.iterdir()} == {"log", "executor.log"}, seconds=5)


def _laptop(site: Site) -> tuple[Path, dict[str, str]]:
    """The repository's root as on a laptop: its own files, with registry.yml on this test's service and stage."""
    root = site.folder / "checkout"
    root.mkdir()
    for name in ("ansible.cfg", "deploy.yml"):
        shutil.copy(ROOT / name, root)
    for name in ("ansible_collections", "playbooks", "plugins", "roles"):
        (root / name).symlink_to(ROOT / name)
    text = (ROOT / "registry.yml").read_text().replace("# url: https://callboard.example", f"url: {site.service.url}")
    (root / "registry.yml").write_text(text.replace("shop/production", site.stage))
    key = {"ANSIBLE_PRIVATE_KEY_FILE": str(site.service.data_dir / "ssh" / "id_ed25519")}
    return root, {**site.environment, **key, "XDG_CACHE_HOME": str(site.folder / "cache")}


def _ansible(root: Path, environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    program = Path(sysconfig.get_path("scripts")) / command[0]
    return subprocess.run(
        [str(program), *command[1:]],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_serves_a_laptop_with_live_hosts_and_their_keys(site: Site) -> None:
    machine, doomed = site.boot("web-1"), site.boot("web-2")
    site.ended(site.launch("deploy", revision="v1"))
    doomed.kill()
    wait_for("one live host", lambda: site.listed() == {"web-1"}, seconds=4)
    root, environment = _laptop(site)
    listed = _ansible(root, environment, "ansible-inventory", "-i", "registry.yml", "--list")
    assert set(json.loads(listed.stdout)["_meta"]["hostvars"]) == {"web-1"}, listed.stderr
    deploy = ["ansible-playbook", "-i", "registry.yml", "deploy.yml", "-e", f"release_revision={site.shas['v2']}"]
    done = _ansible(root, environment, *deploy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.deployed_revision() == site.shas["v2"]
