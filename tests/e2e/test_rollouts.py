"""Rollouts that go on only while hosts say that they are well: real agents, real SSH, a real service."""

from __future__ import annotations

from tests.e2e.conftest import Site

# The health check of v3 passes the role's own question and fails the agent's.
IMPATIENT = {"release_heartbeat_timeout_seconds": 4}


def settle(site: Site, **fields: object) -> None:
    """Change the stage; variables are added to its own."""
    variables = {**site.client.get(site.path)["variables"], **IMPATIENT}
    del variables["release_serial"]
    site.client.send("PATCH", site.path, {"variables": variables, **fields})


def test_it_takes_the_stages_batches_and_waits_after_each(site: Site) -> None:
    for name in ("web-1", "web-2", "web-3"):
        site.boot(name)
    settle(site, batches=[1, "100%"])
    run = site.ended(site.launch("deploy", revision="v1"), seconds=120)
    log = site.log(run["id"])
    assert run["status"] == "successful", log
    assert log.count("TASK [release : Switch current to the release]") == 2, log
    assert log.count("TASK [release : Wait for the heartbeat]") == 2, log
    assert {name: row["healthy"] for name, row in site.hosts().items()} == dict.fromkeys(site.hosts(), True)
