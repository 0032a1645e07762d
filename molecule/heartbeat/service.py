"""The scenario's service, and the only file that knows what it is: `service.py up|down|known FOLDER`.

`up` starts `callboard serve` at URL with the stage shop/production, and writes FOLDER/join_token (a join token of it)
and FOLDER/id (the SSH key whose public half the service hands out). `known` prints its hosts as JSON:
`{name: {stage, state, address, port, host_keys, has_beaten, release, revision}}`. `down` ends it.
"""

import json
import shutil
import sys
from pathlib import Path

from inventory_service.demo.service import RunningService, end_service

ADDRESS, PORT = "127.0.43.254", 8543
STAGE = "/api/v1/stages/shop/production"
SHOWN = ("stage", "state", "address", "port", "host_keys", "release", "revision")


def service_in(folder: Path) -> RunningService:
    return RunningService(folder, host=ADDRESS, port=PORT)


def up(folder: Path) -> None:
    service = service_in(folder)
    service.start()
    (folder / "token").write_text(service.token)
    client = service.client
    client.send("POST", "/api/v1/projects", {"name": "shop", "source": "/srv/shop/"})
    client.send("POST", "/api/v1/projects/shop/stages", {"name": "production"})
    made = client.send("POST", f"{STAGE}/join-tokens", {"networks": ["127.0.0.0/8"]})
    (folder / "join_token").write_text(made["token"] + "\n")
    shutil.copy(service.data_dir / "ssh" / "id_ed25519", folder / "id")
    shutil.copy(folder / "serve.pid", folder / "pid")  # last: this file says that all is ready


def down(folder: Path) -> None:
    if (folder / "serve.pid").exists():
        end_service(int((folder / "serve.pid").read_text()))


def known(folder: Path) -> None:
    service = service_in(folder)
    service.token = (folder / "token").read_text()
    rows = service.client.get_all(f"{STAGE}/hosts", state="live,late,stale,gone")
    print(json.dumps({row["name"]: shown(row) for row in rows}))


def shown(row: dict) -> dict:
    return {**{key: row[key] for key in SHOWN}, "has_beaten": row["last_seen_at"] > row["enrolled_at"]}


if __name__ == "__main__":
    {"up": up, "down": down, "known": known}[sys.argv[1]](Path(sys.argv[2]))
