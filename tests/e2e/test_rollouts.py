"""Rollouts that go on only while hosts say that they are well: real agents, real SSH, a real service."""

from __future__ import annotations

import contextlib
from typing import Any

from tests.e2e.conftest import Site, wait_for


def test_it_takes_the_stages_batches_and_waits_after_each(site: Site) -> None:
    for name in ("web-1", "web-2", "web-3"):
        site.boot(name)
    site.client.send("PATCH", site.path, {"batches": [1, "100%"]})
    run = site.ended(site.launch("deploy", revision="v1"), seconds=120)
    log = site.log(run["id"])
    assert run["status"] == "successful", log
    assert log.count("TASK [release : Switch current to the release]") == 2, log
    assert log.count("TASK [release : Wait for the heartbeat]") == 2, log
    assert {name: row["healthy"] for name, row in site.hosts().items()} == dict.fromkeys(site.hosts(), True)


def test_it_stops_at_an_unhealthy_canary_rolls_back_and_locks(site: Site) -> None:
    """v3 passes the role's check (the process answers its revision) and fails the agent's (its page answers 500)."""
    canary, other = site.boot("web-1"), site.boot("web-2")
    assert site.ended(site.launch("deploy", revision="v1"), seconds=120)["status"] == "successful"
    variables = {**site.client.get(site.path)["variables"], "release_heartbeat_timeout_seconds": 3}
    site.client.send("PATCH", site.path, {"batches": [1, "100%"], "auto_rollback": True, "variables": variables})
    run = site.ended(site.launch("deploy", revision="v3"), seconds=120)
    assert run["status"] == "failed", site.log(run["id"])
    assert f"web-1: it is not healthy: http://{canary.address}" in run["error"]
    assert "it answered 500" in run["error"]
    assert {row["host"]: row["status"] for row in run["hosts"]} == {"web-1": "failed", "web-2": "untouched"}
    back = site.ended(run["rolled_back_by"], seconds=120)
    assert (back["status"], back["release"], back["rolls_back"]) == ("successful", 1, run["id"]), site.log(back["id"])
    assert [row["host"] for row in back["hosts"]] == ["web-1"]
    assert {canary.deployed_revision(), other.deployed_revision()} == {site.shas["v1"]}
    stage = site.client.get(site.path)
    assert (stage["desired_release"]["number"], stage["lock"]["locked_by"]) == (1, "callboard")
    assert f"The rollout of release 2 stopped (run {run['id']})" in stage["lock"]["reason"]
    _newcomer_waits_for_the_lock(site)


def _newcomer_waits_for_the_lock(site: Site) -> None:
    """A host that joins while the stage is locked gets nothing; once unlocked, the release that was rolled back to."""
    newcomer = site.boot("web-3")
    wait_for("web-3 in the inventory", lambda: "web-3" in site.listed())
    runs: list[dict[str, Any]] = site.client.get("/api/v1/runs", stage=site.stage)["items"]
    assert [run["kind"] for run in runs] == ["rollback", "deploy", "deploy"]
    site.client.send("DELETE", f"{site.path}/lock")
    wait_for("web-3 on release 1", lambda: site.hosts()["web-3"]["release"] == 1, seconds=120)
    wait_for("a free stage", lambda: not site.client.get(site.path)["locked_by_run"], seconds=60)
    assert newcomer.deployed_revision() == site.shas["v1"]


def test_it_brings_hosts_that_join_during_a_rollout_straight_to_the_new_release(site: Site) -> None:
    site.boot("web-1")
    site.boot("web-2")
    assert site.ended(site.launch("deploy", revision="v1"), seconds=120)["status"] == "successful"
    site.client.send("PATCH", site.path, {"batches": [1]})
    rollout = site.launch("deploy", revision="v2")
    wait_for("the rollout at work", lambda: site.run(rollout)["hosts"])
    newcomers = [site.boot("web-3"), site.boot("web-4")]
    assert site.run(rollout)["status"] == "running", "they came too late for this test"
    served: set[str] = set()

    def is_converged() -> bool:
        for machine in newcomers:
            with contextlib.suppress(OSError):
                served.add(machine.deployed_revision())
        rows = site.hosts()
        is_free = not site.client.get(site.path)["locked_by_run"]
        return is_free and all(rows[machine.name]["release"] == 2 for machine in newcomers)

    wait_for("release 2 on the newcomers", is_converged, seconds=150)
    assert site.run(rollout)["status"] == "successful", site.log(rollout)
    assert served == {site.shas["v2"]}
    converged = site.client.get("/api/v1/runs", stage=site.stage, kind="converge")["items"]
    assert [(run["status"], run["release"]) for run in converged] == [("successful", 2)]
    hosts = [row["host"] for row in site.run(converged[0]["id"])["hosts"]]
    assert hosts == ["web-3", "web-4"]


def test_it_leaves_out_hosts_that_die_before_their_batch(site: Site) -> None:
    """Deaths after the launch fail no run, as long as the stage's budget lasts."""
    for name in ("web-1", "web-2", "web-3", "web-4"):
        site.boot(name)
    variables = site.client.get(site.path)["variables"]
    slowly = {**variables, "release_restart_command": f"sleep 8; {variables['release_restart_command']}"}
    site.client.send("PATCH", site.path, {"batches": [1, "100%"], "variables": slowly})
    run = _deploy_while_dying(site, "v1", "web-3")
    assert run["status"] == "successful", site.log(run["id"])
    assert {row["host"]: row["status"] for row in run["hosts"]} == {
        "web-1": "changed", "web-2": "changed", "web-3": "left_out", "web-4": "changed"
    }  # fmt: skip
    site.client.send("PATCH", site.path, {"minimum_healthy": "100%"})
    stopped = _deploy_while_dying(site, "v2", "web-4")
    assert stopped["status"] == "failed"
    assert "2 of the 3 hosts that were live at the start are left healthy" in stopped["error"]
    assert {row["host"]: row["status"] for row in stopped["hosts"]}["web-2"] == "untouched"
    assert site.machines["web-2"].deployed_revision() == site.shas["v1"]


def _deploy_while_dying(site: Site, revision: str, victim: str) -> dict[str, Any]:
    """The deploy's end; the machine dies while the first batch is at work, and is stale before the second."""
    run_id = site.launch("deploy", revision=revision)
    wait_for("the first batch at work", lambda: "TASK [release : " in site.log(run_id))
    site.machines[victim].kill()
    return site.ended(run_id, seconds=150)
