"""The story that `callboard demo` plays, each step checked: machines, a newcomer, a death, a rollback, a repeat."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from inventory_service.adapters import processes
from inventory_service.demo import sample
from inventory_service.demo.hosts import best_server, members, missing_sshd_hint
from inventory_service.demo.machine import APP_PORT, Machine, free_network
from inventory_service.demo.processes import end
from inventory_service.demo.service import RunningService, end_service
from inventory_service.deployments.executor.execution import MARKER
from inventory_service.terminal import print_table

STAGE = "shop/production"
_NETWORK = "127.0.0.0/8"
_INTERVAL_SECONDS = 2
_TTL_SECONDS = 6
_PATIENCE_SECONDS = 180.0
_LOOK_SECONDS = 0.25
_RUN_FAILED = 2  # exit code of the commands that follow a run
_SERVICE_SETTINGS = {
    "CALLBOARD_SWEEP_SECONDS": "1",
    "CALLBOARD_CONVERGE_SECONDS": "1",
    "CALLBOARD_CONVERGE_WINDOW_SECONDS": "1",
}
_HOST_COLUMNS = {"name": "HOST", "address": "ADDRESS", "state": "STATE", "release": "RELEASE", "revision": "REVISION"}


class StoryError(RuntimeError):
    """A step did not come out as it should; the message says which and what was seen instead."""


class Story:
    """Everything the demo starts, below one folder."""

    def __init__(self, folder: Path, *, port: int) -> None:
        self.folder = folder
        self.service = RunningService(folder / "service", port=port, environment=_SERVICE_SETTINGS)
        self.machines: list[Machine] = []
        self._shas: dict[str, str] = {}
        self._join_token = ""
        self._network = ""
        self._step = 0
        self._started = time.monotonic()

    def play(self) -> None:
        """Play every step. Raises StoryError at the first that does not come out as it should."""
        if best_server() != "sshd":
            click.echo(missing_sshd_hint())
        self._open_service()
        self._make_project()
        self._boot_three()
        self._deploy("v1")
        self._welcome_newcomer()
        self._deploy("v2")
        self._stop_bad_rollout()
        self._kill_one()
        self._roll_back()
        self._compare_deploys()
        self._repeat_first()
        self._ask_plugin()

    def _open_service(self) -> None:
        self._say("The service starts: one process tree, SQLite, nothing else to install")
        self.service.start()
        click.echo(f"   {self.service.url} is ready")

    def _make_project(self) -> None:
        self._say("A project from a git repository with the tags v1, v2 and v3, and a stage with short timings")
        repository = self.folder / "shop.git-work"
        self._shas = sample.make_repository(repository)
        self._callboard("project", "add", "shop", "--source", str(repository), "--description", "A small web shop")
        variables = {
            "release_path": "~/shop",
            "release_shared_dirs": ["data"],
            "release_restart_command": f"bin/restart {{{{ ansible_host }}}} {APP_PORT}",
            "release_health_url": f"http://{{{{ ansible_host }}}}:{APP_PORT}/healthz",
            "release_health_contains": "{{ release_revision }}",
            "release_health_delay_seconds": 1,
        }
        timings = ["--interval-seconds", str(_INTERVAL_SECONDS), "--ttl-seconds", str(_TTL_SECONDS)]
        own = ["--ansible-user", _user(), "-e", json.dumps(variables), "--default-revision", "main"]
        own += ["--batches", "1,100%", "--auto-rollback"]
        self._callboard("stage", "add", STAGE, *timings, *own)
        made = self._callboard(
            "join-token", "add", STAGE, "--group", "web", "--network", _NETWORK, "--json", quiet=True
        )
        self._join_token = json.loads(made)["token"]

    def _boot_three(self) -> None:
        self._say("Three machines boot: each an SSH server of its own, and an agent that beats every two seconds")
        self._network = free_network()
        for number in (1, 2, 3):
            self._boot(number)
        self._wait("three live hosts", lambda: len(self._live()) == 3)  # noqa: PLR2004
        self._show_hosts()

    def _boot(self, number: int) -> Machine:
        machine = Machine(
            f"web-{number}",
            f"{self._network}.{10 + number}",
            self.folder / f"web-{number}",
            service_url=self.service.url,
            authorized_key=self.service.client.text("/api/v1/ssh_key"),
        )
        self.machines.append(machine)
        machine.boot(self._join_token)
        return machine

    def _deploy(self, tag: str) -> None:
        self._say(f"Deploy {tag} to the machines that are live now: one first, then the rest")
        self._callboard("deploy", STAGE, "--revision", tag, "--comment", f"Release {tag}")
        self._check_applications(tag)
        self._show_hosts()

    def _welcome_newcomer(self) -> None:
        self._say("A fourth machine boots, and gets v1 without anyone asking")
        newcomer = self._boot(4)
        self._wait("v1 on web-4", lambda: _try(newcomer.deployed_revision) == self._shas["v1"])
        self._wait("web-4 reported on release 1", lambda: self._live().get("web-4") == 1)
        self._wait("the converge run's end", lambda: not self._active_runs())
        self._check_applications("v1")
        self._show_hosts()

    def _stop_bad_rollout(self) -> None:
        self._say("Deploy v3, which starts well and serves errors: the first machine's heartbeat says so, and it stops")
        self._callboard("deploy", STAGE, "--revision", "v3", "--comment", "Release v3", code=_RUN_FAILED)
        run = self.service.client.get(f"/api/v1/runs/{self._deploys()[-1]}")
        touched = [row["host"] for row in run["hosts"] if row["status"] != "untouched"]
        if touched != ["web-1"] or "it answered 500" not in run["error"] or run["rolled_back_by"] is None:
            raise StoryError(f"v3 should have stopped at web-1 and be rolled back, but: {touched}, {run['error']}")
        click.echo(f"   {run['error']}")
        back = f"/api/v1/runs/{run['rolled_back_by']}"
        self._wait("the automatic rollback", lambda: self.service.client.get(back)["status"] == "successful")
        self._check_applications("v2")
        lock = self.service.client.get(f"/api/v1/stages/{STAGE}")["lock"]
        if lock is None or lock["code"] != "rollout_stopped":
            raise StoryError(f"The stage should be locked by the service, and has the lock {lock}.")
        click.echo(f"   Run {run['rolled_back_by']} brought v2 back; until somebody has looked, the stage is locked.")
        self._callboard("stage", "unlock", STAGE)
        self._show_hosts()

    def _kill_one(self) -> None:
        victim = self.machines.pop(1)
        self._say(f"{victim.name} dies (SIGKILL), and leaves the inventory when its ttl of {_TTL_SECONDS} s is over")
        killed = time.monotonic()
        victim.kill()
        self._wait(f"{victim.name} out of the inventory", lambda: victim.name not in self._inventory())
        gone_after = time.monotonic() - killed
        click.echo(f"   out after {gone_after:.1f} s")
        if gone_after > _TTL_SECONDS + 2:
            raise StoryError(
                f"{victim.name} stayed in the inventory for {gone_after:.1f} s; its ttl is {_TTL_SECONDS} s."
            )
        self._show_hosts()

    def _roll_back(self) -> None:
        self._say("Roll back to v1: the dead machine is not touched, and the run is successful")
        self._callboard("rollback", STAGE, "--comment", "v2 sells too many compasses")
        self._check_applications("v1")
        run = self.service.client.get("/api/v1/runs", kind="rollback")["items"][0]
        hosts = {row["host"] for row in self.service.client.get(f"/api/v1/runs/{run['id']}")["hosts"]}
        if hosts != {machine.name for machine in self.machines}:
            raise StoryError(f"The rollback ran on {sorted(hosts)}, not on exactly the live machines.")
        self._show_hosts()

    def _deploys(self) -> list[str]:
        """The numbers of the deploys, the first one first."""
        rows = self.service.client.get("/api/v1/runs", stage=STAGE, kind="deploy")["items"]
        return sorted((str(row["id"]) for row in rows), key=int)

    def _compare_deploys(self) -> None:
        self._say("What lay between the two deploys: commits, files, hosts, and each task with its time")
        first, second, *_ = self._deploys()
        printed = self._callboard("diff", first, second, quiet=True)
        if "Sell compasses" not in printed:
            raise StoryError(f"The commit between v1 and v2 is missing:\n{printed}")
        for line in printed[printed.index("Commit:") :].split("\nVariables")[0].splitlines():
            click.echo(f"   {line}")

    def _repeat_first(self) -> None:
        self._say("Repeat the first deploy exactly: its commit, its variables, its hosts; the dead one is named")
        first = self._deploys()[0]
        self._callboard("repeat", first, "--comment", "as on the first day")
        rows = self.service.client.get("/api/v1/runs", stage=STAGE)["items"]
        again = next(row["id"] for row in rows if row["repeat_of"] == int(first))
        run = self.service.client.get(f"/api/v1/runs/{again}")
        print_table(run["hosts"], {"host": "HOST", "status": "STATUS", "message": "WHY"}, empty="No hosts.")
        found = {row["host"]: row["status"] in ("stale", "gone") for row in run["hosts"]}
        if found != {"web-1": False, "web-2": True, "web-3": False}:
            raise StoryError(f"The repeat worked on {found}; the first deploy was for web-1, web-2 and web-3.")
        self._check_applications("v1")

    def _ask_plugin(self) -> None:
        self._say("Each application answers over HTTP with its revision")
        for machine in self.machines:
            click.echo(f"   http://{machine.address}:{APP_PORT}/healthz  {machine.deployed_revision()}")

    def _check_applications(self, tag: str) -> None:
        for machine in self.machines:
            revision = _try(machine.deployed_revision)
            if revision != self._shas[tag]:
                raise StoryError(f"{machine.name} answers revision {revision}; {tag} is {self._shas[tag]}.")

    def _live(self) -> dict[str, int | None]:
        """Live hosts' names with their actual releases."""
        rows = self.service.client.get_all(f"/api/v1/stages/{STAGE}/hosts", state="live,late")
        return {row["name"]: row["release"] for row in rows}

    def _active_runs(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.service.client.get("/api/v1/runs", stage=STAGE)["items"]
        return [row for row in rows if row["status"] in ("queued", "running")]

    def _inventory(self) -> set[str]:
        return set(self.service.client.get(f"/api/v1/stages/{STAGE}/inventory")["_meta"]["hostvars"])

    def _show_hosts(self) -> None:
        rows = self.service.client.get_all(f"/api/v1/stages/{STAGE}/hosts")
        short = [{**row, "revision": (row["revision"] or "")[:10]} for row in rows]
        print_table(short, _HOST_COLUMNS, empty="No hosts.")

    def _say(self, text: str) -> None:
        self._step += 1
        click.secho(f"\n{self._step}. {text}  [{time.monotonic() - self._started:.0f} s]", bold=True)

    def _wait(self, what: str, is_true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not is_true():
            if time.monotonic() > deadline:
                raise StoryError(f"Waited {_PATIENCE_SECONDS:.0f} s for {what}, in vain. See {self.service.log}")
            time.sleep(_LOOK_SECONDS)

    def _callboard(self, *arguments: str, quiet: bool = False, code: int = 0) -> str:
        """Run the very command line that a user would, and show it with the end of what it prints.

        Raises StoryError when it ends with another code.
        """
        click.secho(f"   $ callboard {_shown(arguments)}", fg="cyan")
        done = subprocess.run(
            [sys.executable, "-m", "inventory_service.cli", *arguments],
            env={**os.environ, "CALLBOARD_URL": self.service.url, "CALLBOARD_TOKEN": self.service.token},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != code:
            raise StoryError(f"callboard {arguments[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        for line in [] if quiet else done.stdout.strip().splitlines()[-1:]:
            click.echo(f"   {line}")
        return done.stdout

    def write_environment(self) -> Path:
        """A file to source, so that ansible-playbook and callboard speak to the demo's service."""
        path = self.folder / "env"
        lines = {
            "CALLBOARD_URL": self.service.url,
            "CALLBOARD_TOKEN": self.service.token,
            "ANSIBLE_PRIVATE_KEY_FILE": str(self.service.data_dir / "ssh" / "id_ed25519"),
            "PATH": f"{Path(sys.executable).parent}:$PATH",
        }
        path.touch(mode=0o600)
        path.write_text("".join(f'export {name}="{value}"\n' for name, value in lines.items()))
        return path

    def close(self) -> None:
        """End everything that the story started."""
        for machine in self.machines:
            machine.kill()
        self.service.stop()
        _end_runs(self.service.data_dir)


def stop(folder: Path) -> bool:
    """End a demo that an earlier command started in `folder`, and remove the folder; False when there is none."""
    pid_file = folder / "service" / "serve.pid"
    if not pid_file.exists():
        return False
    for home in folder.glob("web-*"):
        end(partial(members, home), grace_seconds=0)
    pid = int(pid_file.read_text())
    if str(folder) in _environment(pid):
        end_service(pid)
    _end_runs(folder / "service" / "data")
    shutil.rmtree(folder)
    return True


def _end_runs(data_dir: Path) -> None:
    """Runs in progress outlive their service; a demo's end with it."""
    end(lambda: set(processes.marked("CALLBOARD_DATA_DIR", str(data_dir))), grace_seconds=0)
    end(lambda: set(processes.marked(MARKER, f"{data_dir}#")), grace_seconds=3)


def _environment(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    return ""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that it cleans up."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _try(call: Callable[[], str]) -> str:
    try:
        return call()
    except OSError as error:
        return f"nothing ({error})"


def _shown(arguments: tuple[str, ...]) -> str:
    quoted = ["'…'" if word.startswith("{") else f'"{word}"' if " " in word else word for word in arguments]
    return " ".join(quoted)
