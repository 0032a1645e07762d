"""The SSH server of a loopback host in pure Python, for machines without sshd.

`python -m inventory_service.demo.asyncssh_host ADDRESS PORT USER ETC` serves until it is ended. What
Ansible needs is there: commands with stdin, exit codes and signals, many sessions at once, sftp and
scp. A terminal may be asked for and is not given: commands then run on pipes all the same.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import asyncssh

CHUNK_BYTES = 65536
# What a command left behind may hold its output open; a session ends when that has been quiet for so long.
QUIET_SECONDS = 0.5
POLL_SECONDS = 0.02

_running: set[asyncio.Task[None]] = set()


class OneUser(asyncssh.SSHServer):
    """Lets one user in, by the keys of one file."""

    def __init__(self, user: str, authorized_keys: Path) -> None:
        """Nobody is let in yet."""
        self._user = user
        self._authorized_keys = authorized_keys

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Keep the connection: the keys are set on it once the user is known."""
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        """Always ask for authentication; only the one user has keys that can pass it."""
        if username == self._user:
            self._connection.set_authorized_keys(str(self._authorized_keys))
        return True


async def serve(address: str, port: int, user: str, etc: Path) -> None:
    """Listen and never return."""
    await asyncssh.listen(
        address,
        port,
        server_factory=lambda: OneUser(user, etc / "authorized_keys"),
        server_host_keys=[str(etc / "ssh_host_ed25519_key")],
        process_factory=run_command,
        sftp_factory=True,
        allow_scp=True,
        line_editor=False,
        encoding=None,
    )
    await asyncio.Event().wait()


async def run_command(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run the session's command, or a shell, and hand back its output and its exit."""
    shell = os.environ["SHELL"]
    child = await asyncio.create_subprocess_exec(
        *([shell, "-c", process.command] if process.command else [shell]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_session_environment(),
        start_new_session=True,
    )
    assert child.stdin
    assert child.stdout
    assert child.stderr
    exited = asyncio.Event()
    feeding = _start(_feed(process.stdin, child.stdin))
    draining = [
        _start(_drain(child.stdout, process.stdout, exited)),
        _start(_drain(child.stderr, process.stderr, exited)),
    ]
    code = await _exit_code(child)
    exited.set()
    await asyncio.wait(draining)
    feeding.cancel()
    _exit(process, code)


def _session_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


async def _exit_code(child: asyncio.subprocess.Process) -> int:
    """The command's exit code, at once. `child.wait()` also waits for whoever holds its output open."""
    while child.returncode is None:  # noqa: ASYNC110 - asyncio has no event for it
        await asyncio.sleep(POLL_SECONDS)
    return child.returncode


async def _feed(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter) -> None:
    """Copy what the client sends until it ends or the command stops reading."""
    try:
        while data := await source.read(CHUNK_BYTES):
            sink.write(data)
            await sink.drain()
    except (OSError, asyncssh.Error):
        pass
    finally:
        sink.close()


async def _drain(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes], exited: asyncio.Event) -> None:
    """Copy what the command says until it ends or the client is gone, however slowly that one reads."""
    try:
        while data := await _read(source, exited):
            sink.write(data)
            await sink.drain()
    except (OSError, asyncssh.Error):
        pass


async def _read(source: asyncio.StreamReader, exited: asyncio.Event) -> bytes:
    """The next bytes; empty at the end, or when the command has exited and nothing comes any more."""
    reading, leaving = asyncio.ensure_future(source.read(CHUNK_BYTES)), asyncio.ensure_future(exited.wait())
    await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait({reading}, timeout=QUIET_SECONDS)
    leaving.cancel()
    if reading.cancel():
        return b""
    return reading.result()


def _exit(process: asyncssh.SSHServerProcess[bytes], code: int) -> None:
    """End the session as sshd would: an exit status, or the signal that ended the command."""
    if process.channel.is_closing():
        return
    if code < 0:
        process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
    else:
        process.exit(code)


def main() -> None:
    """Serve on the address, port, user and etc folder that the command line names."""
    address, port, user, etc = sys.argv[1:]
    asyncio.run(serve(address, int(port), user, Path(etc)))


if __name__ == "__main__":
    main()
