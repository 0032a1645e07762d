# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action `wait_for_heartbeat`: ask who knows → decide → wait. Options: plugins/modules/wait_for_heartbeat.py."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible import constants as C  # noqa: N812 - the name that Ansible's own code gives it
from ansible import context
from ansible.plugins.action import ActionBase

from ansible_collections.callboard.callboard.plugins.plugin_utils.ansible_internals import task_key
from ansible_collections.callboard.callboard.plugins.plugin_utils.options import options_for, read_service
from ansible_collections.callboard.callboard.plugins.plugin_utils.problems import Problem
from ansible_collections.callboard.callboard.plugins.plugin_utils.service import (
    DEFAULT_URL,
    Service,
    fetch_text,
    path_with,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SOCKET_SECONDS = 10.0
SAY_SECONDS = 20.0
BEAT = "if command -v callboard-agent >/dev/null; then callboard-agent beat --now --give-up-seconds 10; fi"
OPTIONS = {
    "revision": {"type": "str", "default": ""},
    "release": {"type": "str", "default": ""},
    "timeout": {"type": "float"},
    "poll": {"type": "float", "default": 1.0},
    "beat_command": {"type": "str", "default": BEAT},
}


class Unanswered(Exception):  # noqa: N818 - not an error yet: the next question may be answered
    """Nobody said anything about the host; the text says why. `is_final`: nor will anybody."""

    def __init__(self, text: str, *, is_final: bool = False) -> None:
        super().__init__(text)
        self.is_final = is_final


# ── ask ───────────────────────────────────────────────────────────────────────────────────────────────────


def ask_executor(path: str, name: str) -> dict[str, Any]:
    """The executor's answer over the run's socket."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(SOCKET_SECONDS)
            line.connect(path)
            line.sendall(json.dumps({"hosts": [name]}).encode() + b"\n")
            return json.loads(line.makefile("rb").readline())
    except (OSError, ValueError) as error:
        raise Unanswered(f"the run's executor does not answer ({error})") from None


def find_service(inventory: Iterable[Any], loader: Any, stage: str) -> Service:
    """The service, as the inventory file says. As in the inventory plugin, it wins over the environment."""
    config, folder = options_for(stage, inventory, loader)
    given = {
        "url": config.get("url") or os.environ.get("CALLBOARD_URL") or DEFAULT_URL,
        "token": config.get("token") or os.environ.get("CALLBOARD_TOKEN"),
        "token_file": config.get("token_file"),
        "timeout": float(config.get("timeout", 10)),
        "ca_path": config.get("ca_path"),
    }
    return read_service(given.get, folder)


def ask_service(service: Service, stage: str, name: str) -> dict[str, Any]:
    """The service's answer over HTTP."""
    try:
        return json.loads(fetch_text(service, path_with(f"/api/v1/stages/{stage}/heartbeats", ("hosts", name))))
    except Problem as problem:
        raise Unanswered(f"{service.url}: {problem}", is_final=not problem.is_down) from None
    except ValueError:
        raise Unanswered(f"{service.url}: the answer is not JSON") from None


def report_of(answer: dict[str, Any], name: str) -> dict[str, Any]:
    """What the answer says about the host."""
    try:
        report = answer["hosts"][name]
        return {**report, "state": str(report["state"])}
    except (KeyError, TypeError):
        raise Unanswered(f"the answer says nothing about {name}; are plugin and service of one version?") from None


# ── decide ─────────────────────────────────────────────────────────────────────────────────────────────────


def is_left(report: dict[str, Any], host_id: str | None) -> bool:
    """Whether the machine is not in its stage any more; another one may have its name by now."""
    return report["state"] == "gone" or (host_id is not None and report.get("id") != host_id)


def complaint(report: dict[str, Any], *, since: str, revision: str, release: str) -> str | None:
    """Why this is not yet the report that is waited for; None when it is. Times are ISO 8601 of one clock."""
    reported_at = report.get("reported_at")
    if not reported_at or moment(reported_at) <= moment(since):
        last = report.get("last_seen_at") or "never"
        return f"no heartbeat that tells its release came after {since} (the last heartbeat: {last})"
    if (revision and report.get("revision") != revision) or (release and str(report.get("release")) != release):
        wanted = " ".join(filter(None, [release and f"release {release}", revision and f"revision {revision}"]))
        return f"it reports release {report.get('release')} revision {report.get('revision')}, not {wanted}"
    if report.get("healthy") is False:
        return f"it is not healthy: {report.get('reason') or 'its health check fails'}"
    return None


def moment(text: str) -> dt.datetime:
    """A time as the service writes it."""
    return dt.datetime.fromisoformat(text)


# ── wait ──────────────────────────────────────────────────────────────────────────────────────────────────


def shared_moment(key: str, now: str) -> str:
    """The moment that the first host of the batch noted, which is `now` for the first.

    Hosts that wait for a free fork come later; their heartbeats of meanwhile are as good. The forks of one
    ansible-playbook share its folder of temporary files.
    """
    folder = Path(C.DEFAULT_LOCAL_TMP)
    path = folder / f"heartbeat-{hashlib.sha256(key.encode()).hexdigest()[:24]}"
    descriptor, fresh = tempfile.mkstemp(dir=folder)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(now)
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)
    Path(fresh).unlink()
    return path.read_text(encoding="utf-8")


class ActionModule(ActionBase):
    """Waits on the controller; on the host only `beat_command` runs."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Ansible's entry point."""
        task_vars = task_vars or {}
        result = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(OPTIONS)
        if self._task.check_mode:
            return {**result, "skipped": True, "msg": "Nothing was deployed in check mode."}
        begun = time.monotonic()
        try:
            waited = self._wait(options, task_vars)
        except Unanswered as error:
            waited = {"failed": True, "msg": f"{task_vars['inventory_hostname']}: {error}."}
        return {**result, **waited, "changed": False, "waited_seconds": round(time.monotonic() - begun, 1)}

    def _wait(self, options: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        name, read = str(task_vars["inventory_hostname"]), self._reader(task_vars)
        answer = read()
        report_of(answer, name)
        since = shared_moment(f"{task_key(self._task)} {batch_of(task_vars)}", answer["server_time"])
        seconds = options["timeout"] if options["timeout"] is not None else float(answer["ttl_seconds"])
        deadline, say_at = time.monotonic() + seconds, time.monotonic() + SAY_SECONDS
        if options["beat_command"]:
            self._low_level_execute_command(options["beat_command"])
        while True:
            why, found = self._look(read, name, task_vars, since, options)
            if why is None:
                return found
            if time.monotonic() + options["poll"] > deadline:
                return {**found, "failed": True, "msg": f"{name}: {why}. Waited {seconds:.0f} s."}
            if time.monotonic() > say_at:
                self._display.display(f"{name}: waiting; {why}")
                say_at += SAY_SECONDS
            time.sleep(options["poll"])

    def _look(
        self, read: Callable[[], dict[str, Any]], name: str, task_vars: Any, since: str, options: dict[str, Any]
    ) -> tuple[str | None, dict[str, Any]]:
        """Why the wait goes on, None when it is over; and what is known for the result."""
        try:
            report = report_of(read(), name)
        except Unanswered as error:
            if error.is_final:
                raise
            return str(error), {}
        if is_left(report, task_vars.get("callboard_host_id")):
            return None, {"skipped": True, "heartbeat": report, "msg": f"{name} has left its stage."}
        if report.get("agent") is None and report.get("reported_at") is None:
            return None, {
                "skipped": True,
                "heartbeat": report,
                "msg": f"{name} has no agent that could tell its release.",
            }
        why = complaint(report, since=since, revision=options["revision"], release=options["release"])
        return why, {"heartbeat": report}

    def _reader(self, task_vars: Any) -> Callable[[], dict[str, Any]]:
        """How to ask about this host, from here. Raises Unanswered."""
        name, stage = task_vars.get("inventory_hostname"), task_vars.get("callboard_stage")
        path = task_vars.get("callboard_heartbeat_socket")
        if path:
            return lambda: ask_executor(str(path), str(name))
        if not stage:
            raise Unanswered("the host does not come from a Callboard inventory, so nobody knows its heartbeats")
        try:
            service = find_service(context.CLIARGS.get("inventory") or (), self._loader, str(stage))
        except Problem as problem:
            raise Unanswered(str(problem), is_final=True) from None
        return lambda: ask_service(service, str(stage), str(name))


def batch_of(task_vars: Any) -> str:
    """The name of the batch's first host."""
    return str((task_vars.get("ansible_play_batch") or [""])[0])
