"""Real SSH servers on loopback addresses that stand in for machines.

Each `LoopbackHost` is a machine as far as Ansible can see: an address and a port of its own, an SSH
host key, a home folder, and processes that die with it. It runs as the current user, root or not,
on OpenSSH's sshd or, where that is missing, on asyncssh, a server in pure Python. Linux only: it reads /proc.
"""

import contextlib
import grp
import importlib.util
import ipaddress
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from inventory_service.demo import processes

Server = Literal["sshd", "asyncssh"]

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGE_ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
POLL_SECONDS = 0.05
START_POLLS = 300
LOG_TAIL_LINES = 15
_PID_FILE = "etc/server.pid"


class LoopbackHostError(RuntimeError):
    """A loopback host could not be started; the message holds the reason and the log's last lines."""


@dataclass(eq=False)
class LoopbackHost:
    """One machine that is not there: `user@address:port`, with everything it owns under `folder`.

    `folder` gets `home/` (the user's HOME on this host) and `etc/` (host key, configuration,
    authorized_keys, logs); a folder from an earlier start is used again, host key included.
    `authorized_key` is the one public line that may log in. `server=None` takes sshd where it is
    installed and lets the current account in, else asyncssh. ValueError for a name, address or
    folder that cannot be used; nothing is written before `start`.
    """

    name: str
    address: str
    port: int
    folder: Path
    authorized_key: str
    server: Server | None = None
    _server: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _spawned: list[subprocess.Popen[bytes]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what sshd or the rest could not live with, and settle which server it is."""
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name for a loopback host")
        if not ipaddress.ip_address(self.address).is_loopback:
            raise ValueError(f"{self.address} is no loopback address")
        self.folder = Path(self.folder).absolute()
        if re.search(r'["\\\x00-\x1f]', str(self.folder)):
            raise ValueError(f"{self.folder} holds a character that sshd's configuration cannot")
        self.server = self.server or best_server()

    @property
    def user(self) -> str:
        """The login name on this host: the current user's."""
        return _account().pw_name

    @property
    def home(self) -> Path:
        """The folder that HOME names on this host."""
        return self.folder / "home"

    @property
    def etc(self) -> Path:
        """Host key, server configuration, authorized_keys and logs."""
        return self.folder / "etc"

    @property
    def log(self) -> Path:
        """What the SSH server says."""
        return self.etc / "server.log"

    @property
    def environment(self) -> dict[str, str]:
        """What a process on this host sees; nothing of the caller's own environment leaks in."""
        return {
            "HOME": str(self.home),
            "USER": self.user,
            "LOGNAME": self.user,
            "SHELL": _shell(),
            # The running interpreter's folder comes last: Ansible finds a python3 where the system has none.
            "PATH": f"{self.home}/bin:{SYSTEM_PATH}:{Path(sys.executable).parent}",
            "LANG": "C.UTF-8",
            "CALLBOARD_DEMO_HOST": self.name,
            processes.MARKER: str(self.folder),
        }

    @property
    def host_keys(self) -> list[str]:
        """The SSH host public keys as `ssh-ed25519 AAAA…` lines without a comment; made on first use."""
        if not self._host_key.exists():
            self.etc.mkdir(parents=True, exist_ok=True)
            make_keypair(self._host_key)
        return [_public(self._host_key).read_text().strip()]

    @property
    def known_hosts(self) -> str:
        """The known_hosts text by which a client recognises this host."""
        return "".join(f"[{self.address}]:{self.port} {key}\n" for key in self.host_keys)

    @property
    def pid(self) -> int | None:
        """The SSH server's process id; None when it does not run. Also known to a later process."""
        return _server_pid(self.folder)

    def start(self) -> None:
        """Return when the port answers with an SSH banner; LoopbackHostError when it never does.

        The server outlives the calling process: `stop` and `kill` also work from a later one.
        """
        self._write_files()
        _refuse_taken_port(self.address, self.port)
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                self._command(),
                env=self._server_environment(),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.folder / _PID_FILE).write_text(f"{self._server.pid}\n")
        self._wait_for_banner()

    def stop(self, *, grace_seconds: float = 5.0) -> None:
        """Shut the machine down: TERM to the server and to all that runs on it, KILL for what stays."""
        processes.end(self._members, grace_seconds=grace_seconds)
        self._reap()

    def kill(self) -> None:
        """Pull the plug: SIGKILL to the server and to everything that lives on this machine."""
        processes.end(self._members, grace_seconds=0)
        self._reap()

    def spawn(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Run a process as if on this host, in a session of its own; its output goes to etc/spawned.log.

        It sees `environment` with `env` laid over it and starts in `home`.
        """
        self._write_files()
        with (self.etc / "spawned.log").open("ab") as log:
            process = subprocess.Popen(
                list(argv),
                env={**self.environment, **(env or {})},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._spawned.append(process)
        return process

    @property
    def _host_key(self) -> Path:
        return self.etc / "ssh_host_ed25519_key"

    def _members(self) -> set[int]:
        """Every process of this machine: the server, its sessions, what they started, what was spawned."""
        known = filter(None, (self._server, *self._spawned))
        return processes.descendants({process.pid for process in known if process.poll() is None}) | members(
            self.folder
        )

    def _reap(self) -> None:
        for process in filter(None, (self._server, *self._spawned)):
            process.wait()
        self._server = None
        self._spawned.clear()
        (self.folder / _PID_FILE).unlink(missing_ok=True)

    def _write_files(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        assert self.host_keys
        (self.etc / "authorized_keys").write_text(self.authorized_key.strip() + "\n")
        (self.etc / "sshd_config").write_text(sshd_config(self))

    def _command(self) -> list[str]:
        if self.server == "sshd":
            _make_privilege_separation_folder()
            return [_sshd() or "sshd", "-D", "-e", "-f", str(self.etc / "sshd_config")]
        place = [self.address, str(self.port), self.user, str(self.etc)]
        return [sys.executable, "-m", "inventory_service.demo.asyncssh_host", *place]

    def _server_environment(self) -> dict[str, str]:
        if self.server == "sshd":
            return self.environment
        return {**self.environment, "PYTHONPATH": str(PACKAGE_ROOT)}

    def _wait_for_banner(self) -> None:
        assert self._server
        for _ in range(START_POLLS):
            if self._server.poll() is not None:
                break
            if _has_banner(self.address, self.port) and self._server.poll() is None:
                return
            time.sleep(POLL_SECONDS)
        self.kill()
        raise LoopbackHostError(
            f"{self.name}: no SSH server came up on {self.address}:{self.port}; {self.log} ends with:\n"
            + _tail(self.log)
        )


def make_keypair(path: Path) -> str:
    """Write an OpenSSH ed25519 private key (0600) and `<path>.pub`; return the public line, no comment.

    FileExistsError rather than overwriting a key.
    """
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    _public(path).write_text(public + "\n")
    return public


def best_server(search_path: str | None = None) -> Server:
    """`sshd` where it is installed and can serve the current account, else `asyncssh` where that is installed.

    Raises LoopbackHostError, which says what to install, where neither is.
    It serves an account with a login shell, no locked password, and terminals that it can hand out.
    `search_path` is where sshd is looked for; None: PATH, then /usr/sbin, seldom on a user's PATH.
    """
    serves = _sshd(search_path) and _is_login_shell(_account().pw_shell)
    if serves and not _is_locked() and _terminals_work():
        return "sshd"
    if importlib.util.find_spec("asyncssh") is None:
        raise LoopbackHostError(
            "OpenSSH's sshd is missing or cannot serve this account; install the package openssh-server, or "
            "`pip install 'callboard[demo]'` for an SSH server in pure Python."
        )
    return "asyncssh"


def missing_sshd_hint() -> str:
    """One sentence for whoever sees the fallback: what is used instead, and what to install."""
    return (
        "OpenSSH's sshd is missing or cannot serve this account, so a pure-Python SSH server stands in for it; "
        "install the package openssh-server for the real one."
    )


def sshd_config(host: LoopbackHost) -> str:
    """The whole sshd_config of a host: its own key, its one user, keys only, no forwarding."""
    etc = host.etc
    # sshd heeds only the first SetEnv line, so every variable stands on that one.
    variables = " ".join(f'"{name}={value}"' for name, value in host.environment.items())
    lines = [
        f"ListenAddress {host.address}",
        f"Port {host.port}",
        f'HostKey "{etc / "ssh_host_ed25519_key"}"',
        f'AuthorizedKeysFile "{str(etc / "authorized_keys").replace("%", "%%")}"',
        f'PidFile "{etc / "sshd.pid"}"',
        f"AllowUsers {host.user}",
        f"SetEnv {variables}",
        "PermitRootLogin prohibit-password",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "StrictModes no",
        "UseDNS no",
        "PrintMotd no",
        "PrintLastLog no",
        "PermitUserRC no",
        "DisableForwarding yes",
        "MaxStartups 200",
        "MaxSessions 100",
        "Subsystem sftp internal-sftp",
    ]
    return "\n".join(lines) + "\n"


def _public(private_key: Path) -> Path:
    return private_key.with_name(private_key.name + ".pub")


def _account() -> pwd.struct_passwd:
    """The current user's account; one is made up for a uid without an entry, as containers have."""
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:
        return pwd.struct_passwd((f"uid{os.getuid()}", "x", os.getuid(), os.getgid(), "", "/", ""))


def _shell() -> str:
    shell = _account().pw_shell
    return shell if _is_login_shell(shell) else "/bin/sh"


def _is_login_shell(shell: str) -> bool:
    return os.access(shell, os.X_OK) and Path(shell).name not in {"nologin", "false"}


def _sshd(search_path: str | None = None) -> str | None:
    return shutil.which("sshd", path=search_path or f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


def _is_locked() -> bool:
    """Whether /etc/shadow locks the account; only root can read that, and only root's sshd asks."""
    with contextlib.suppress(OSError):
        lines = Path("/etc/shadow").read_text().splitlines()
        return any(line.startswith(f"{_account().pw_name}:!") for line in lines)
    return False


def _terminals_work() -> bool:
    """Whether sshd can hand out terminals: without root it cannot put one into the group tty itself."""
    master, terminal = os.openpty()
    try:
        return os.getuid() == 0 or os.fstat(terminal).st_gid == grp.getgrnam("tty").gr_gid
    except KeyError:
        return True
    finally:
        os.close(master)
        os.close(terminal)


def _make_privilege_separation_folder() -> None:
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)


def members(folder: Path) -> set[int]:
    """Every process of the machine that was started in this folder, by whomever.

    sshd writes its title over its environment, so its server is known by the file that `start` wrote.
    """
    server = _server_pid(folder)
    return processes.descendants(processes.marked(folder) | ({server} if server else set()))


def _server_pid(folder: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        pid = int((folder / _PID_FILE).read_text())
        return pid if str(folder / "etc") in processes.command_line(pid) else None
    return None


def _refuse_taken_port(address: str, port: int) -> None:
    """LoopbackHostError when somebody listens there: their banner would pass for ours."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise LoopbackHostError(f"{address}:{port} cannot be used: {error.strerror}") from error


def _has_banner(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1) as connection:
        return connection.recv(4) == b"SSH-"
    return False


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
