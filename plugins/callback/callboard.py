# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E402 - Ansible wants the documentation in front of the imports
"""Callboard's callback plugin: the hooks, which run between Ansible's tasks and so only note what happened.

Whatever takes time is the recorder's (plugins/plugin_utils/recorder.py). Nothing here may end or fail a run.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: callboard
type: notification
short_description: Records a run in a Callboard service
version_added: 0.1.0
author:
  - The Callboard authors
description:
  - Records a plain C(ansible-playbook -i registry.yml …) as a run of the stage whose hosts it works on, with who,
    what happened on each host, and the commit of the checkout.
  - When the service is away, the run goes on. What was to be sent is kept in a spool file, which the next run or
    C(callboard spool send) sends.
  - Values of extra vars are not sent, only their names. What C(no_log) hides stays hidden.
requirements:
  - Enabled by C(callbacks_enabled = callboard) in C(ansible.cfg), or by E(ANSIBLE_CALLBACKS_ENABLED)
options:
  url:
    description: Where the service answers. Taken from the inventory file of the plugin C(registry) where not given.
    type: str
    env: [{name: CALLBOARD_URL}]
    ini: [{section: callback_callboard, key: url}]
  token:
    description: A token with the role operator. Taken from the inventory file where not given.
    type: str
    env: [{name: CALLBOARD_TOKEN}]
  token_file:
    description: A file that holds the token.
    type: path
    ini: [{section: callback_callboard, key: token_file}]
  ca_path:
    description: A file with the certificates of the authorities that may vouch for the service.
    type: path
    ini: [{section: callback_callboard, key: ca_path}]
  timeout:
    description: Seconds to wait for an answer.
    type: float
    default: 5
    ini: [{section: callback_callboard, key: timeout}]
  patience:
    description: Seconds for which the end of the run may wait for the service.
    type: float
    default: 3
    ini: [{section: callback_callboard, key: patience}]
"""

import atexit
import contextlib
import getpass
import os
import platform
import secrets
import time
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.callback import CallbackBase

from ansible_collections.callboard.callboard.plugins.plugin_utils import ansible_internals as core
from ansible_collections.callboard.callboard.plugins.plugin_utils.options import options_for, read_service
from ansible_collections.callboard.callboard.plugins.plugin_utils.problems import Problem
from ansible_collections.callboard.callboard.plugins.plugin_utils.recorder import (
    Recorder,
    closing_message,
    counts_of,
    debug_of,
    message_of,
    moment,
    plain,
    short_path,
)
from ansible_collections.callboard.callboard.plugins.plugin_utils.service import DEFAULT_URL, Service

MARKER = "CALLBOARD_RUN"  # in the environment of runs of the service, which records them itself


class CallbackModule(CallbackBase):
    """Ansible calls these in its main process."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "callboard.callboard.callboard"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.disabled = MARKER in os.environ
        self._recorder: Recorder | None = None
        self._early: list[tuple[Any, ...]] = []
        self._stage: str | None = None
        self._others: set[str] = set()
        self._known: set[str] = set()
        self._play = self._playbook = ""
        self._loader: Any = None
        self._began: dict[tuple[str, str], float] = {}
        self._names: dict[str, str] = {}
        self._head: dict[str, Any] = {}

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._playbook, self._loader = core.playbook_file(playbook), core.loader_of(playbook)
        self._head = {
            "id": secrets.token_hex(16),
            "playbook": plain(short_path(self._playbook)),
            "started_at": moment(time.time()),
            "user": plain(user_name()),
            "machine": plain(platform.node()),
            "versions": {"ansible_core": core.VERSION, "python": platform.python_version()},
        }
        atexit.register(self._end_interrupted)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = plain(play.get_name().strip(), 900)
        hosts = [host.name for host in core.inventory_of(play).get_hosts(play.hosts)]
        self._look_at(play, hosts)
        self._note("play", {"play": self._play})
        new = [name for name in hosts if name not in self._known and name not in self._others]
        self._known.update(new)
        if new:
            self._note("hosts", new)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        name = self._names[core.task_key(task)] = plain(task.get_name().strip(), 900)
        self._note("task", {"play": self._play, "task": name, "action": plain(task.action)})

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._began[host.name, core.task_key(task)] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        own = result.result
        is_debug = result.task.action in {"debug", "ansible.builtin.debug"}
        said = debug_of(own) if is_debug else None
        self._result(result, "changed" if own.get("changed") is True else "ok", None, said)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._result(result, "ignored" if ignore_errors else "failed", message_of(result.result))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._result(result, "unreachable", message_of(result.result))

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._result(result, "skipped", None)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        names = [name for name in stats.processed if name not in self._others]
        self._end({plain(name): counts_of(stats, name) for name in names}, is_interrupted=False)

    def _result(self, result: Any, status: str, message: str | None, said: str | None = None) -> None:
        host, task = result.host.name, result.task
        if host in self._others:
            return
        began = self._began.pop((host, core.task_key(task)), None)
        fields: dict[str, Any] = {
            "host": plain(host),
            "play": self._play,
            "task": self._names.get(core.task_key(task)) or plain(task.get_name().strip(), 900),
            "action": plain(task.action),
            "status": status,
            "changed": status == "changed",
            "duration_seconds": None if began is None else round(time.monotonic() - began, 3),
            "message": message,
        }
        self._note("result", {**fields, "said": said} if said else fields)

    def _note(self, kind: str, *rest: Any) -> None:
        note = (kind, time.time(), *rest)
        if self._recorder is not None:
            self._recorder.note(*note)
        else:
            self._early.append(note)

    def _look_at(self, play: Any, hosts: list[str]) -> None:
        """Which stage this is about; hosts of other stages are left out."""
        stages: dict[str, set[str]] = {}
        for group in core.inventory_of(play).groups.values():
            stage = group.vars.get("callboard_stage")
            if stage:
                stages[str(stage)] = {host.name for host in group.get_hosts()}
        if self._stage is None:
            self._stage = next((stage for stage, names in stages.items() if names & set(hosts)), None)
        if self._stage is None:
            return
        for stage, names in stages.items():
            if stage != self._stage:
                self._others |= names - stages.get(self._stage, set())
        if self._recorder is None:
            self._begin(play)

    def _begin(self, play: Any) -> None:
        try:
            service = self._service()
        except (Problem, AnsibleError) as problem:
            self.disabled = True
            self._display.warning(f"callboard: this run is not recorded: {problem}")
            return
        cli = context.CLIARGS
        self._head |= {
            "stage": self._stage,
            "limit": plain(cli["subset"], 20_000) if cli.get("subset") else None,
            "tags": [plain(tag) for tag in cli.get("tags") or () if tag != "all"][:100],
            "skip_tags": [plain(tag) for tag in cli.get("skip_tags") or ()][:100],
            "check": bool(cli.get("check")),
            "diff": bool(cli.get("diff")),
            "extra_vars": [plain(name) for name in play.get_variable_manager().extra_vars][:500],
        }
        self._recorder = Recorder(service, self._head, str(Path(self._playbook).resolve().parent))
        for note in self._early:
            self._recorder.note(*note)
        self._early.clear()
        self._recorder.start()

    def _service(self) -> Service:
        """Where the inventory file says it is, or else the options. Raises Problem."""
        config, folder = options_for(self._stage, context.CLIARGS.get("inventory") or (), self._loader)
        given = {name: self.get_option(name) for name in ("url", "token", "token_file", "ca_path", "timeout")}
        given["url"] = config.get("url") or given["url"] or DEFAULT_URL
        given["token"] = config.get("token") or given["token"]
        given["token_file"] = given["token_file"] or config.get("token_file")
        given["ca_path"] = given["ca_path"] or config.get("ca_path")
        service = read_service(given.get, folder)
        if not service.token:
            raise Problem("there is no token", "set CALLBOARD_TOKEN")
        return service

    def _end(self, counts: dict[str, dict[str, int]], *, is_interrupted: bool) -> None:
        recorder, self._recorder = self._recorder, None
        self.disabled = True
        if recorder is None:
            return
        recorder.note("end", time.time(), counts, is_interrupted)
        recorder.finish(self.get_option("patience"))
        if recorder.spool is not None:
            self._display.warning(
                f"callboard: {recorder.trouble}. The run is kept in {recorder.spool.path}; "
                "the next run sends it, or: callboard spool send"
            )
        elif recorder.trouble is not None:
            self._display.warning(f"callboard: this run is not recorded: {recorder.trouble}")
        elif recorder.answer is not None:
            self._display.display(closing_message(recorder.answer), stderr=True)

    def _end_interrupted(self) -> None:
        """Ansible says nothing more when it is interrupted."""
        with contextlib.suppress(Exception):
            self._end({}, is_interrupted=True)


def user_name() -> str:
    """Who runs this, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())
