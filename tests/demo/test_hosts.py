"""Loopback hosts: real servers, the real ssh client, real Ansible."""

import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from inventory_service.demo import processes
from inventory_service.demo.hosts import (
    LoopbackHost,
    LoopbackHostError,
    best_server,
    make_keypair,
    missing_sshd_hint,
)
from tests.support import OWN_NETWORK

SERVERS = [
    pytest.param(
        "sshd",
        marks=pytest.mark.skipif(best_server() != "sshd", reason="sshd is not installed for this account"),
    ),
    "asyncssh",
]
both_servers = pytest.mark.parametrize("server", SERVERS)
octets = itertools.count(1)


def run(command, **options):
    return subprocess.run(command, check=False, capture_output=True, text=True, **options)


def free_port(address):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "id"
    make_keypair(path)
    return path


@pytest.fixture
def machine(tmp_path, key):
    """Makes loopback hosts on addresses of their own and ends them with the test."""
    made = []

    def make(server="asyncssh", name="web1", folder=None):
        address = f"{OWN_NETWORK}.{next(octets)}"
        public = key.with_name("id.pub").read_text()
        made.append(LoopbackHost(name, address, free_port(address), folder or tmp_path / name, public, server))
        return made[-1]

    yield make
    for host in made:
        host.kill()


@pytest.fixture
def open_folder():
    """A folder that other users can read, unlike tmp_path: what they are refused is not for lack of rights."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "web1"


def ssh_options(host, key):
    known_hosts = key.with_name("known_hosts")
    known_hosts.write_text(host.known_hosts)
    options = {
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
    }
    return [f"-o{name}={value}" for name, value in options.items()]


def ssh_command(host, key, *command, user=None):
    place = ["-p", str(host.port), f"{user or host.user}@{host.address}"]
    return ["ssh", "-F", "none", "-i", str(key), *ssh_options(host, key), *place, *command]


def ssh(host, key, *command, text="", user=None):
    return run(ssh_command(host, key, *command, user=user), input=text, timeout=20)


def ansible(host, key, *arguments, pipelining=True, transfer="sftp"):
    variables = f"ansible_host={host.address} ansible_port={host.port} ansible_user={host.user}"
    inventory = key.with_name("inventory.ini")
    inventory.write_text(f"{host.name} {variables} ansible_remote_tmp='$HOME/.ansible/tmp'\n")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(key.parent),
        "LANG": "C.UTF-8",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_PIPELINING": str(pipelining),
        "ANSIBLE_SSH_TRANSFER_METHOD": transfer,
        "ANSIBLE_PRIVATE_KEY_FILE": str(key),
        "ANSIBLE_SSH_ARGS": " ".join(["-F", "none", *ssh_options(host, key)]),
    }
    command = [sys.executable, "-m", "ansible", "adhoc", "-i", str(inventory), "all", *arguments]
    return run(command, env=environment, cwd=key.parent, timeout=60)


def is_running(pid):
    return bool(processes.descendants([pid]))


def wait_until(condition):
    for _ in range(100):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("waited 5 s in vain")


@both_servers
@pytest.mark.parametrize(("pipelining", "transfer"), [(True, "sftp"), (False, "sftp"), (False, "piped")])
def test_it_answers_ansible_with_its_host_key_checked(machine, key, server, pipelining, transfer):
    host = machine(server)
    host.start()
    answer = ansible(host, key, "-m", "ping", pipelining=pipelining, transfer=transfer)
    assert '"ping": "pong"' in answer.stdout, answer.stdout + answer.stderr


@both_servers
def test_it_rejects_a_client_that_knows_another_host_key(machine, key, server):
    host, other = machine(server), machine(name="web2")
    host.start()
    line = other.known_hosts.replace(f"[{other.address}]:{other.port}", f"[{host.address}]:{host.port}")
    command = ssh_command(host, key, "true")
    key.with_name("known_hosts").write_text(line)
    result = run(command)
    assert result.returncode == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in result.stderr


@both_servers
def test_it_rejects_a_stranger_key(machine, tmp_path, server):
    host = machine(server)
    host.start()
    make_keypair(tmp_path / "stranger")
    result = ssh(host, tmp_path / "stranger", "true")
    assert result.returncode == 255
    assert "Permission denied (publickey)" in result.stderr


@both_servers
def test_it_rejects_another_user_name(machine, key, server, open_folder):
    host = machine(server, folder=open_folder)
    host.start()
    assert "Permission denied" in ssh(host, key, "true", user="daemon").stderr


@both_servers
def test_it_gives_commands_the_environment_of_the_host(machine, key, server, monkeypatch):
    monkeypatch.setenv("CALLBOARD_SECRET_KEY", "hush")
    host = machine(server)
    host.start()
    seen = dict(line.split("=", 1) for line in ssh(host, key, "env").stdout.splitlines() if "=" in line)
    assert host.environment.items() <= seen.items()
    assert seen["HOME"] == str(host.home)
    assert "CALLBOARD_SECRET_KEY" not in seen


@both_servers
def test_it_hands_back_output_errors_and_exit_code(machine, key, server):
    host = machine(server)
    host.start()
    result = ssh(host, key, "cat; echo problem >&2; exit 7", text="sent")
    assert (result.stdout, result.returncode) == ("sent", 7)
    assert "problem" in result.stderr


@both_servers
def test_it_carries_large_streams_both_ways(machine, key, server):
    host = machine(server)
    host.start()
    text = "0123456789abcde\n" * 200_000
    assert ssh(host, key, "cat", text=text).stdout == text


@both_servers
def test_it_loses_nothing_on_a_client_that_reads_slowly(machine, key, server):
    host = machine(server)
    host.start()
    client = subprocess.Popen(ssh_command(host, key, "head -c 4000000 /dev/zero"), stdout=subprocess.PIPE)
    time.sleep(0.5)
    received = 0
    while data := client.stdout.read1(65536):
        received += len(data)
        time.sleep(0.01)
    assert (received, client.wait()) == (4_000_000, 0)


def test_it_ends_a_session_whose_command_left_its_output_open(machine, key):
    host = machine("asyncssh")
    host.start()
    assert ssh(host, key, "sleep 60 & echo started").stdout == "started\n"


@both_servers
def test_it_serves_sessions_side_by_side(machine, key, server):
    host = machine(server)
    host.start()
    commands = [ssh_command(host, key, f"read line; echo {n} $line") for n in range(5)]
    clients = [subprocess.Popen(c, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for c in commands]
    assert [c.communicate("at once\n", timeout=20)[0] for c in reversed(clients)] == [
        f"{n} at once\n" for n in (4, 3, 2, 1, 0)
    ]


@both_servers
def test_it_ends_a_session_whose_command_left_a_daemon(machine, key, server):
    host = machine(server)
    host.start()
    left = ssh(host, key, "setsid sleep 60 >/dev/null 2>&1 </dev/null & echo $!")
    assert left.returncode == 0
    assert is_running(int(left.stdout))


@both_servers
def test_it_takes_everything_with_it_when_killed(machine, key, server):
    host = machine(server)
    host.start()
    daemon = int(ssh(host, key, "setsid sleep 60 >/dev/null 2>&1 </dev/null & echo $!").stdout)
    session = subprocess.Popen(ssh_command(host, key, "sleep 60"))
    spawned = host.spawn(["sleep", "60"])
    wait_until(lambda: len(host._members()) >= 4)
    host.kill()
    assert not is_running(daemon)
    assert spawned.returncode == -9
    assert session.wait(timeout=5) == 255
    assert host._members() == set()


@both_servers
def test_it_leaves_other_hosts_alone_when_killed(machine, key, server):
    host, other = machine(server), machine(server, name="web10")
    host.start()
    other.start()
    spawned = other.spawn(["sleep", "60"])
    host.kill()
    assert ssh(other, key, "echo here").stdout == "here\n"
    assert spawned.poll() is None


@both_servers
def test_it_stops_and_starts_again_with_the_same_host_key(machine, key, server):
    host = machine(server)
    host.start()
    before = host.host_keys
    host.stop()
    assert host.pid is None
    assert ssh(host, key, "true").returncode == 255
    host.start()
    assert host.host_keys == before
    assert ssh(host, key, "echo back").stdout == "back\n"


@both_servers
def test_it_is_stopped_from_a_later_process(machine, server):
    host = machine(server)
    host.start()
    later = LoopbackHost(host.name, host.address, host.port, host.folder, host.authorized_key, server)
    assert later.pid == host.pid
    later.stop()
    assert later.pid is None
    assert host._server.wait(timeout=5) is not None


@both_servers
def test_it_kills_what_ignores_a_polite_request_to_stop(machine, server):
    host = machine(server)
    host.start()
    stubborn = host.spawn(["sh", "-c", "trap '' TERM; touch ready; while :; do sleep 1; done"])
    wait_until((host.home / "ready").exists)
    host.stop(grace_seconds=0.2)
    assert stubborn.returncode == -9


@both_servers
def test_it_lives_in_a_folder_with_spaces(machine, key, tmp_path, server):
    host = machine(server, folder=tmp_path / "my 100% machine")
    host.start()
    assert ssh(host, key, 'echo "$HOME"').stdout == f"{host.home}\n"


@both_servers
def test_it_says_why_the_server_did_not_start(machine, server):
    host = machine(server)
    assert host.host_keys
    host._host_key.write_text("no key")
    with pytest.raises(LoopbackHostError, match=r"(?s)web1: no SSH server came up .*server\.log ends with:\n.*\w"):
        host.start()
    assert host.pid is None


def test_it_refuses_a_port_that_somebody_else_holds(machine):
    host, other = machine(), machine(name="web2")
    other.start()
    host.address, host.port = other.address, other.port
    with pytest.raises(LoopbackHostError, match="Address already in use"):
        host.start()


def test_it_spawns_processes_as_if_on_the_host(machine):
    host = machine()
    process = host.spawn(["sh", "-c", 'echo "$HOME $COLOUR"; pwd'], {"COLOUR": "green"})
    assert process.wait(timeout=5) == 0
    assert (host.etc / "spawned.log").read_text() == f"{host.home} green\n{host.home}\n"
    assert os.getsid(0) != process.pid


@pytest.mark.parametrize(
    ("name", "address", "folder"),
    [
        ("web 1", "127.0.40.1", "a"),
        ("../x", "127.0.40.1", "a"),
        ("web1", "0.0.0.0", "a"),
        ("web1", "192.0.2.1", "a"),
        ("web1", "example.com", "a"),
        ("web1", "127.0.40.1", 'a"b'),
        ("web1", "127.0.40.1", "a\nb"),
    ],
)
def test_it_rejects_what_could_break_out(tmp_path, name, address, folder):
    with pytest.raises(ValueError):
        LoopbackHost(name, address, 2222, tmp_path / folder, "ssh-ed25519 AAAA", "sshd")


def test_it_makes_keys_that_openssh_reads(tmp_path):
    public = make_keypair(tmp_path / "id.key")
    read = run(["ssh-keygen", "-y", "-f", tmp_path / "id.key"])
    assert read.stdout.strip() == public
    assert (tmp_path / "id.key.pub").read_text() == f"{public}\n"
    assert (tmp_path / "id.key").stat().st_mode & 0o777 == 0o600


def test_it_never_overwrites_a_key(tmp_path):
    make_keypair(tmp_path / "id")
    with pytest.raises(FileExistsError):
        make_keypair(tmp_path / "id")


def test_it_falls_back_to_asyncssh_where_sshd_is_missing(tmp_path):
    assert best_server(str(tmp_path)) == "asyncssh"


def test_it_says_what_to_install_where_there_is_no_ssh_server(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    with pytest.raises(LoopbackHostError, match="openssh-server, or `pip install 'callboard\\[demo\\]'`"):
        best_server(str(tmp_path))


def test_it_names_the_package_to_install():
    assert "openssh-server" in missing_sshd_hint()
