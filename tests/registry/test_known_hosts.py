from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from inventory_service.models import Host
from inventory_service.registry import known_hosts
from tests.support import key_line


def lines(address: str, port: int = 22, keys: tuple[str, ...] = (key_line(),)) -> list[str]:
    return known_hosts.render([Host(address=address, port=port, host_keys=list(keys))]).splitlines()


@pytest.mark.parametrize(
    ("address", "port", "target"),
    [
        ("10.0.0.1", 22, "10.0.0.1"),
        ("10.0.0.1", 2222, "[10.0.0.1]:2222"),
        ("2001:db8::1", 22, "2001:db8::1"),
        ("2001:db8::1", 2222, "[2001:db8::1]:2222"),
        ("web-1.example.org", 22, "web-1.example.org"),
    ],
)
def test_it_names_a_host_as_ssh_looks_for_it(address: str, port: int, target: str) -> None:
    assert lines(address, port) == [f"{target} {key_line()}"]


def test_it_writes_a_line_for_each_key() -> None:
    assert len(lines("10.0.0.1", keys=(key_line(), key_line("ssh-rsa")))) == 2


def test_it_writes_nothing_for_a_host_without_keys() -> None:
    assert known_hosts.render([Host(address="10.0.0.1", port=22, host_keys=[])]) == ""


@pytest.mark.parametrize(("address", "port"), [("10.0.0.1", 22), ("10.0.0.1", 2222), ("2001:db8::1", 2222)])
def test_it_writes_what_ssh_keygen_finds(tmp_path: Path, address: str, port: int) -> None:
    file = tmp_path / "known_hosts"
    file.write_text("\n".join([*lines(address, port), ""]))
    target = address if port == 22 else f"[{address}]:{port}"
    told = subprocess.run(["ssh-keygen", "-F", target, "-f", file], capture_output=True, text=True, check=False)
    assert told.returncode == 0
    assert key_line().split()[1] in told.stdout
