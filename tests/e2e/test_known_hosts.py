"""A person's own ssh, with the keys and the configuration that `callboard known-hosts` prints."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.conftest import Site


def ssh(site: Site, config: Path) -> subprocess.CompletedProcess[str]:
    key = site.service.data_dir / "ssh" / "id_ed25519"
    command = ["ssh", "-F", str(config), "-i", str(key), "-o", "BatchMode=yes", "web-1", "echo hello"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_it_lets_ssh_reach_a_host_by_name_and_believe_no_other(site: Site) -> None:
    machine = site.boot("web-1")
    keys, config = site.folder / "the keys of 100%n", site.folder / "config"
    keys.write_text(site.callboard("known-hosts", site.stage).stdout)
    config.write_text(site.callboard("known-hosts", site.stage, "--ssh-config", str(keys)).stdout)
    done = ssh(site, config)
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    machine.host.stop()
    for file in machine.host.etc.glob("ssh_host_*"):
        file.unlink()
    machine.host.start()
    refused = ssh(site, config)
    assert refused.returncode == 255, refused.stderr
    assert "Host key verification failed" in refused.stderr, refused.stderr
