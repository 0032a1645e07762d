# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a run of the service, put into Ansible's own functions: who is left out, how large a result may be,
and that nobody answers prompts.

A limit that can't be applied ends the run.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleError
from ansible.utils.display import Display

from ansible_collections.callboard.callboard.plugins.plugin_utils import ansible_internals as core

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 60
LARGEST_ANSWER = 1 << 24
MOST_ITEMS = 10_000

display = Display()


def apply(limits_json: str) -> None:
    """Apply the limits, which are JSON: {exclusion_socket: path at which the executor answers, largest_text: characters
    of one result, in_place: path of the file that says it is done}. Raises UnknownCore.
    """
    limits = json.loads(limits_json)
    outcome = core.check_limits()
    HostExclusion(limits["exclusion_socket"], outcome).apply()
    largest = int(limits["largest_text"])
    core.around_shown_results(lambda result: Cutter(largest).cut(result))
    core.around_prompts(refuse_prompt)
    Path(limits["in_place"]).touch()


def refuse_prompt(_prompt: Any, _display: Any, varname: str, *_arguments: Any, **_more: Any) -> None:
    """The service finds vars_prompt in playbooks and asks at the launch. Where it could not find one, such as in a
    playbook of a collection, nobody is there to answer; Ansible would go on without a value.
    """
    raise AnsibleError(
        f"The playbook asks for {varname}, which was not answered at the launch: give it as an extra var."
    )


class HostExclusion:
    """What the executor said so far: `left_out` host names, and why the run must stop, if it must.

    It works from around Ansible's functions, since a strategy plugin would miss every play that names a strategy.
    """

    def __init__(self, path: str, outcome: Callable[[Any], tuple[bool, bool]]) -> None:
        self._path, self._outcome = path, outcome
        self.left_out: set[str] = set()
        self.stop: str | None = None

    def apply(self) -> None:
        core.around_runs(self.run_batch)
        core.around_results(self.process_results)
        core.around_hosts_left(self.hosts_left)

    def run_batch(self, run: Callable[..., Any], manager: Any, play: Any) -> Any:
        """In place of running one batch of a play."""
        batch = core.batch_of(manager, play)
        names = [host.name for host in batch]
        self._ask(manager, batch=names)
        if self.stop:
            return self._end_play(manager, names)
        staying = [host for host in batch if host.name not in self.left_out]
        if not staying:  # Ansible takes an empty restriction for none at all
            return result_so_far(manager)
        core.restrict(manager, staying)
        result = run(manager, play)
        if self.stop:
            return self._end_play(manager, names)
        self._end_play_if_all_failed(manager, names, result)
        return result

    def _end_play(self, manager: Any, names: list[str]) -> Any:
        """PlaybookExecutor leaves the play when as many hosts are bad as the batch has."""
        mark_failed(manager, names)
        return manager.RUN_FAILED_BREAK_PLAY

    def _end_play_if_all_failed(self, manager: Any, names: list[str], result: Any) -> None:
        """The same count would never be reached where some of the batch are left out."""
        stayed = [name for name in names if name not in self.left_out]
        is_bad = all(name in core.failed(manager) or name in core.unreachable(manager) for name in stayed)
        if stayed and (is_bad or result & manager.RUN_FAILED_BREAK_PLAY):
            mark_failed(manager, names)

    def process_results(
        self, process: Callable[..., Any], strategy: Any, iterator: Any, *args: Any, **options: Any
    ) -> Any:
        """In place of taking in what came back: an unreachable host may be one to leave out."""
        results = process(strategy, iterator, *args, **options)
        outcomes = [self._outcome(result) for result in results]
        if not any(failed or unreachable for failed, unreachable in outcomes):
            return results
        manager = core.manager_of(strategy)
        gone = {result.host.name for result, (_, unreachable) in zip(results, outcomes, strict=True) if unreachable}
        lost = sorted(gone.intersection(core.unreachable(manager)))
        self._ask(manager, unreachable=lost)
        for name in self.left_out.intersection(lost):
            del core.unreachable(manager)[name]
            iterator.end_host(name)
        return [
            result
            for result, (_, unreachable) in zip(results, outcomes, strict=True)
            if not (unreachable and result.host.name in self.left_out)
        ]

    def hosts_left(self, hosts_left: Callable[..., Any], strategy: Any, iterator: Any) -> Any:
        """In place of who is next to get a task: nobody once the run must stop."""
        return [] if self.stop else hosts_left(strategy, iterator)

    def _ask(self, manager: Any, **question: list[str]) -> None:
        failed = sorted(set(core.failed(manager)) - self.left_out)
        try:
            answer = self._call({"batch": [], "unreachable": [], "failed": failed, **question})
            left_out, stop = dict(answer["leave_out"]), answer["stop"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            left_out, stop = {}, f"its executor does not say who is still there ({error or type(error).__name__})"
        for name, reason in left_out.items():
            if name not in self.left_out:
                display.display(f"callboard: {name} is left out: {reason}", color="yellow")
        self.left_out.update(left_out)
        if stop and not self.stop:
            self.stop = str(stop)
            display.display(f"callboard: the run stops: {self.stop}", color="red")

    def _call(self, question: dict[str, Any]) -> Any:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(PATIENCE_SECONDS)
            line.connect(self._path)
            line.sendall(json.dumps(question).encode() + b"\n")
            with line.makefile("rb") as answer:
                return json.loads(answer.readline(LARGEST_ANSWER))


def mark_failed(manager: Any, names: list[str]) -> None:
    """Count hosts as failed, unless they count as unreachable."""
    core.failed(manager).update((name, True) for name in names if name not in core.unreachable(manager))


def result_so_far(manager: Any) -> Any:
    """The last batch's result becomes the exit code, so a batch of nobody repeats what was before."""
    if core.unreachable(manager):
        return manager.RUN_UNREACHABLE_HOSTS
    return manager.RUN_FAILED_HOSTS if core.failed(manager) else manager.RUN_OK


class Cutter:
    """Lets so many characters pass in all the texts of one result together; what comes after is cut.

    A result of many megabytes would go through a terminal to the service, which takes minutes and much memory.
    """

    def __init__(self, largest: int) -> None:
        self._left = largest

    def cut(self, value: Any) -> Any:
        """The same value, itself where nothing is cut."""
        if isinstance(value, (str, bytes)):
            return self._cut_text(value)
        if isinstance(value, dict):
            return self._cut_dict(value)
        return self._cut_list(value) if isinstance(value, (list, tuple)) else value

    def _cut_text(self, text: Any) -> Any:
        kept = max(0, self._left)
        self._left -= len(text)
        if len(text) <= kept:
            return text
        note = f"… [cut, {len(text)} characters]"
        return text[:kept] + (note if isinstance(text, str) else note.encode())

    def _cut_dict(self, value: dict[Any, Any]) -> dict[Any, Any]:
        items = {key: self.cut(item) for key, item in value.items()}
        return value if all(items[key] is item for key, item in value.items()) else items

    def _cut_list(self, value: Any) -> Any:
        items: list[Any] = []
        for item in value:
            if self._left <= 0 or len(items) >= MOST_ITEMS:
                # Callbacks expect a loop's results to be nothing but dicts.
                return items if isinstance(item, dict) else [*items, f"… [cut, {len(value)} items]"]
            items.append(self.cut(item))
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
