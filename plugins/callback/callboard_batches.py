# Copyright: the Callboard authors
# GNU General Public License v3.0+ (see LICENSE)
# ruff: noqa: E402, SLF001 - Ansible wants the documentation in front; and has no doors for what is done here
"""Asks the run's executor, before each batch and after each host that got lost, who is to be left out."""

from __future__ import annotations

DOCUMENTATION = """
name: callboard_batches
type: aggregate
short_description: leaves hosts out of a run that fell silent after its launch
description:
  - Belongs to the runs of Callboard's service and does nothing anywhere else.
  - Before each batch of each play (every C(serial) batch, whatever the strategy) it tells the run's executor which
    hosts are to come, and leaves out those that the executor names; after a host became unreachable it asks again.
  - A host that is left out counts neither as failed nor as unreachable, neither for the exit code nor for
    C(max_fail_percentage) nor for the rule that a batch which failed as a whole ends the play.
  - It asks over the Unix socket that the environment variable E(CALLBOARD_ATTENDANCE) names, and has no credential.
author: the Callboard authors
"""

import functools
import json
import os
import socket

from ansible.executor.task_queue_manager import TaskQueueManager
from ansible.plugins.callback import CallbackBase
from ansible.plugins.strategy import StrategyBase
from ansible.utils.display import Display

VARIABLE = "CALLBOARD_ATTENDANCE"
_PATIENCE_SECONDS = 60
_LARGEST_ANSWER = 1 << 24

display = Display()


class CallbackModule(CallbackBase):
    """Loads like a callback and then works from around Ansible's own functions: a strategy plugin would miss every
    play that names a strategy of its own.
    """

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "callboard_batches"

    def __init__(self):
        super().__init__()
        self.disabled = True  # no events are wanted
        path = os.environ.get(VARIABLE)
        if path:
            Attendance(path).put_in_place()


class Attendance:
    """What the executor said so far: `left_out` host names, and why the run must stop, if it must."""

    def __init__(self, path):
        self._path = path
        self.left_out = set()
        self.stop = None

    def put_in_place(self):
        TaskQueueManager.run = _around(TaskQueueManager.run, self._run_batch)
        StrategyBase._process_pending_results = _around(StrategyBase._process_pending_results, self._process_results)
        StrategyBase.get_hosts_left = _around(StrategyBase.get_hosts_left, self._hosts_left)

    def _run_batch(self, run, tqm, play):
        """In place of TaskQueueManager.run, which PlaybookExecutor calls once for each batch of each play."""
        batch = tqm._inventory.get_hosts(play.hosts, order=play.order)
        names = [host.name for host in batch]
        self._ask(tqm, batch=names)
        if self.stop:
            return self._end_play(tqm, names)
        staying = [host for host in batch if host.name not in self.left_out]
        if not staying:  # Ansible takes an empty restriction for none at all
            return _result_so_far(tqm)
        tqm._inventory.restrict_to_hosts(staying)
        result = run(tqm, play)
        if self.stop:
            return self._end_play(tqm, names)
        self._end_play_if_all_failed(tqm, names, result)
        return result

    def _end_play(self, tqm, names):
        """PlaybookExecutor leaves the play when as many hosts are bad as the batch has."""
        self._mark_failed(tqm, names)
        return tqm.RUN_FAILED_BREAK_PLAY

    def _end_play_if_all_failed(self, tqm, names, result):
        """The same count would never be reached where some of the batch are left out."""
        stayed = [name for name in names if name not in self.left_out]
        is_bad = all(name in tqm._failed_hosts or name in tqm._unreachable_hosts for name in stayed)
        if stayed and (is_bad or result & tqm.RUN_FAILED_BREAK_PLAY):
            self._mark_failed(tqm, names)

    def _mark_failed(self, tqm, names):
        tqm._failed_hosts.update((name, True) for name in names if name not in tqm._unreachable_hosts)

    def _process_results(self, process, strategy, iterator, *args, **options):
        """In place of a strategy's _process_pending_results: an unreachable host may be one to leave out."""
        results = process(strategy, iterator, *args, **options)
        if not any(result.is_unreachable() or result.is_failed() for result in results):
            return results
        tqm = strategy._tqm
        unreachable = {result.host.name for result in results if result.is_unreachable()}
        lost = sorted(unreachable.intersection(tqm._unreachable_hosts))
        self._ask(tqm, unreachable=lost)
        for name in self.left_out.intersection(lost):
            del tqm._unreachable_hosts[name]
            iterator.end_host(name)
        return [one for one in results if not (one.is_unreachable() and one.host.name in self.left_out)]

    def _hosts_left(self, hosts_left, strategy, iterator):
        """In place of a strategy's get_hosts_left, which it asks before each task: nobody once the run must stop."""
        return [] if self.stop else hosts_left(strategy, iterator)

    def _ask(self, tqm, **question):
        failed = sorted(set(tqm._failed_hosts) - self.left_out)
        try:
            answer = self._call({"batch": [], "unreachable": [], "failed": failed, **question})
        except (OSError, ValueError) as error:
            display.warning(f"callboard: liveness could not be asked for ({error}); nobody is left out.")
            return
        for name, reason in answer["leave_out"].items():
            if name not in self.left_out:
                display.display(f"callboard: {name} is left out: {reason}", color="yellow")
        self.left_out.update(answer["leave_out"])
        if answer["stop"] and not self.stop:
            self.stop = answer["stop"]
            display.display(f"callboard: the run stops: {self.stop}", color="red")

    def _call(self, question):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_PATIENCE_SECONDS)
            line.connect(self._path)
            line.sendall(json.dumps(question).encode() + b"\n")
            with line.makefile("rb") as answer:
                return json.loads(answer.readline(_LARGEST_ANSWER))


def _around(original, replacement):
    @functools.wraps(original)
    def wrapper(*args, **options):
        return replacement(original, *args, **options)

    return wrapper


def _result_so_far(tqm):
    """The last batch's result becomes the exit code, so a batch of nobody repeats what was before."""
    if tqm._unreachable_hosts:
        return tqm.RUN_UNREACHABLE_HOSTS
    return tqm.RUN_FAILED_HOSTS if tqm._failed_hosts else tqm.RUN_OK
