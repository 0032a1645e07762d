"""Repeating runs on real hosts: exactly as they were, or on who is live now."""

from __future__ import annotations

import subprocess
from pathlib import Path

from inventory_service.demo.hosts import make_keypair
from inventory_service.demo.machine import Machine
from tests.e2e.conftest import Site, wait_for


def _say_goodbye(machine: Machine) -> None:
    machine.host.kill()
    subprocess.run(machine._agent("goodbye"), env=machine.host.environment, check=True, capture_output=True)


def _change_host_key(site: Site, machine: Machine) -> None:
    """The machine is set up anew, and an operator vouches for its new key."""
    machine.host.stop()
    for file in machine.host.etc.glob("ssh_host_*"):
        Path(file).unlink()
    make_keypair(machine.host.etc / "ssh_host_ed25519_key")
    machine.host.start()
    machine.start_agent()
    path = f"/api/v1/hosts/{site.hosts()[machine.name]['id']}"
    site.client.send("PATCH", path, {"host_keys": machine.host.host_keys})


def test_it_repeats_a_run_exactly_or_on_who_is_live_now(site: Site) -> None:
    first, second = site.boot("web-1"), site.boot("web-2")
    site.client.send("PATCH", site.path, {"variables": {"colour": "red"}})
    run = site.ended(site.launch(playbook="show.yml", extra_vars={"size": 3}))
    assert run["status"] == "successful", site.log(run["id"])
    assert "red of size 3 on web-1+web-2" in site.log(run["id"])

    site.client.send("PATCH", site.path, {"variables": {"colour": "blue"}})
    _say_goodbye(second)
    _change_host_key(site, first)
    site.boot("web-3")
    wait_for("web-1 to be back", lambda: site.listed() == {"web-1", "web-3"})

    exact = site.callboard("repeat", str(run["id"]))
    assert exact.returncode == 0, exact.stdout + exact.stderr
    assert "red of size 3 on web-1+web-2" in exact.stdout
    assert "web-1 has other SSH host keys than in run" in exact.stderr
    newest = site.client.get("/api/v1/runs", stage=site.stage)["items"][0]
    shown = site.run(newest["id"])
    assert [(row["host"], row["status"], row["message"]) for row in shown["hosts"]] == [
        ("web-1", "ok", None),
        ("web-2", "gone", "said goodbye"),
    ]
    assert (shown["repeat_of"], shown["repeat_mode"], shown["commit"]) == (run["id"], "exact", run["commit"])

    live = site.callboard("repeat", str(run["id"]), "--mode", "live")
    assert live.returncode == 0, live.stdout + live.stderr
    assert "blue of size 3 on web-1+web-3" in live.stdout

    numbers = [str(row["id"]) for row in site.client.get("/api/v1/runs", stage=site.stage)["items"]]
    told = site.callboard("diff", str(run["id"]), numbers[0])
    assert told.returncode == 0, told.stderr
    lines = [" ".join(line.split()) for line in told.stdout.splitlines()]
    assert {"colour red (stage) blue (stage)", "web-3 only in the second run", "web-2 only in the first run"} <= set(
        lines
    )
    assert {"web-1 other SSH host keys", "Commit: the same", "Options: no difference"} <= set(lines)
    assert [line for line in lines if "Say it" in line], told.stdout


def test_it_repeats_a_deploy_with_its_release_and_compares_it(site: Site) -> None:
    site.boot("web-1")
    changes = {"deploy_playbook": "show.yml", "variables": {"colour": "red"}, "converge": False}
    site.client.send("PATCH", site.path, changes)
    first, second = (site.ended(site.launch("deploy", revision=name)) for name in ("p1", "main"))
    assert [run["status"] for run in (first, second)] == ["successful"] * 2, site.log(first["id"])
    assert site.client.get(site.path)["desired_release"]["number"] == 2
    again = site.client.send("POST", f"/api/v1/runs/{first['id']}/repeat", {"mode": "exact"})["id"]
    run = site.ended(again)
    assert (run["status"], run["release"], run["kind"]) == ("successful", 1, "deploy"), site.log(again)
    assert site.client.get(site.path)["desired_release"]["number"] == 1

    found = site.client.get(f"/api/v1/runs/{first['id']}/diff/{second['id']}")
    assert [(one["subject"], one["in"]) for one in found["commits"]["log"]] == [("Tell when the shop opens", "after")]
    assert (found["commits"]["relation"], found["commits"]["files"]) == (
        "ahead",
        [{"path": "NOTES", "added": 1, "removed": 0}],
    )
    assert (found["hosts"]["same"], [one["name"] for one in found["options"]]) == (["web-1"], ["release", "revision"])
    (cell,) = next(one["hosts"] for one in found["tasks"] if one["task"] == "Say it")
    assert (cell["host"], cell["before"]["status"], cell["after"]["status"]) == ("web-1", "ok", "ok")
    assert cell["after"]["seconds"] > 0
