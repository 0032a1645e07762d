"""schemathesis finds nothing: whatever the OpenAPI document allows or forbids, the service answers as it says.

What schemathesis derives from the document itself is tried each time; with `CALLBOARD_SEARCH_SECONDS` it searches at
random, too: `CALLBOARD_SEARCH_SECONDS=1800 CALLBOARD_SEARCH_SEED=2 pytest tests/e2e/test_openapi_holds.py`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Template

import pytest

from inventory_service.client import Client, ClientError
from inventory_service.demo.service import free_port
from tests.e2e.conftest import Site, wait_for

SECONDS = int(os.environ.get("CALLBOARD_SEARCH_SECONDS", "0"))
SEED = os.environ.get("CALLBOARD_SEARCH_SEED", "1")
CONFIG = Path(__file__).with_name("schemathesis.toml")


@contextlib.contextmanager
def web_alone(site: Site, folder: Path) -> Iterator[str]:
    """The HTTP part over a copy of the site's data: what is launched stays queued, what is deleted harms no one."""
    shutil.copytree(site.service.data_dir, folder, ignore=shutil.ignore_patterns("*.db*", "runs"))
    shutil.copytree(site.service.data_dir / "runs", folder / "runs", ignore=shutil.ignore_patterns("work"))
    with (
        sqlite3.connect(site.service.data_dir / "callboard.db") as live,
        sqlite3.connect(folder / "callboard.db") as db,
    ):
        live.backup(db)
    port = str(free_port())
    command = [sys.executable, "-m", "inventory_service.cli", "web", "--unprepared"]
    child = subprocess.Popen(command, env={**os.environ, "CALLBOARD_DATA_DIR": str(folder), "CALLBOARD_PORT": port})
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait()


def is_up(client: Client) -> bool:
    try:
        return bool(client.get("/healthz"))
    except ClientError:
        return False


def seed(site: Site, client: Client, run: int) -> dict[str, str]:
    """Things for the calls to be about, by their names in schemathesis.toml."""
    project = site.stage.partition("/")[0]
    client.send("POST", "/api/v1/projects", {"name": "doomed", "source": str(site.folder)})
    client.send("POST", f"/api/v1/projects/{project}/stages", {"name": "doomed"})
    client.send(
        "POST", "/api/v1/projects", {"name": "shop", "source": client.get(f"/api/v1/projects/{project}")["source"]}
    )
    client.send("POST", "/api/v1/projects/shop/stages", {"name": "production"})  # the document's example
    client.send("POST", "/api/v1/users", {"name": "grace", "password": "correct horse"})
    enrolled = {}
    for name, port in (("beating", 2201), ("leaving", 2202)):
        body = {"name": name, "ssh_port": port}
        enrolled[name] = Client(client.url, site.join_token).send("POST", "/api/v1/enrol", body)["token"]
    return {
        "PROJECT": project,
        "RUN": str(run),
        "HOST": site.hosts()["web-1"]["id"],
        "ADMIN": site.service.token,
        "JOIN": site.join_token,
        "BEATING": enrolled["beating"],
        "LEAVING": enrolled["leaving"],
        "SPARE": client.send("POST", "/api/v1/tokens", {"name": "spare"})["id"],
    }


@pytest.mark.timeout(SECONDS * 4 + 300)
def test_it_answers_as_its_openapi_document_says(site: Site, tmp_path: Path) -> None:
    site.boot("web-1")
    run = site.ended(site.launch("deploy"))
    assert run["status"] == "successful"
    with web_alone(site, tmp_path / "copy") as url:
        client = Client(url, site.service.token)
        wait_for("the service", lambda: is_up(client))
        config = tmp_path / "schemathesis.toml"
        config.write_text(Template(CONFIG.read_text()).substitute(seed(site, client, run["id"])))
        depth = ["--max-time", str(SECONDS)] if SECONDS else ["--phases", "examples,coverage"]
        options = [*depth, "--workers", "2", "--max-examples", "10", "--seed", SEED, "--no-color"]
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                "--config-file",
                config,
                "run",
                f"{url}/openapi/openapi.json",
                *options,
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        assert client.get(f"/api/v1/runs/{run['id']}")["status"] == "successful", "the search stayed out of its subject"
