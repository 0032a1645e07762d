"""Starts and stops the scenario's host: `loopback.py up|down FOLDER`. It outlives this process."""

import sys
from pathlib import Path

from inventory_service.demo.hosts import LoopbackHost, best_server, make_keypair, missing_sshd_hint

NAME, ADDRESS, PORT = "web1", "127.0.42.1", 2242


def main(action, folder):
    key = folder / "id"
    if action == "up":
        folder.mkdir(mode=0o700, parents=True)
        make_keypair(key)
    public_key = key.with_name("id.pub").read_text() if key.exists() else ""
    host = LoopbackHost(NAME, ADDRESS, PORT, folder / NAME, public_key)
    if action == "down":
        return host.stop()
    if best_server() != "sshd":
        print(missing_sshd_hint())
    host.start()
    (folder / "known_hosts").write_text(host.known_hosts)
    return None


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
