"""The whole service on PostgreSQL: `callboard serve`, a real SSH host, a deploy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory_service.demo.service import RunningService, free_port
from tests.e2e.conftest import SETTINGS, Site, make_site, wait_for
from tests.postgresql import PostgreSQL


@pytest.fixture
def site(postgresql: PostgreSQL, repository: tuple[Path, dict[str, str]], tmp_path: Path) -> Iterator[Site]:
    url = postgresql.empty()
    environment = {**SETTINGS, "CALLBOARD_DATABASE_URL": url}
    service = RunningService(tmp_path / "service", port=free_port(), environment=environment)
    service.start()
    made = make_site(service, repository, tmp_path)
    yield made
    service.stop()
    for machine in made.machines.values():
        machine.kill()
    postgresql.drop(url)


def test_it_deploys_on_postgresql_and_outlives_the_servers_restart(site: Site, postgresql: PostgreSQL) -> None:
    site.boot("web-1")
    run = site.ended(site.launch("deploy"))
    assert (run["status"], run["hosts"][0]["status"]) == ("successful", "changed"), site.log(run["id"])
    assert "PLAY RECAP" in site.log(run["id"])
    wait_for("the host to tell of its release", lambda: site.hosts()["web-1"]["release"] == 1)
    slow = site.launch(playbook="slow.yml", extra_vars={"seconds": 5})
    wait_for("its work", lambda: "TASK [Sleep]" in site.log(slow))
    postgresql.stop()
    postgresql.restart()
    assert site.ended(slow)["status"] == "successful"
    assert not list(site.service.data_dir.glob("callboard.db*"))
