# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: SLF001 - here, and nowhere else
"""Whatever the plugins touch of Ansible that Ansible keeps to itself, and the check that it is there.

Known are the cores in `KNOWN`. A newer one that has all of it in the same shape works; for any other the check ends
with one sentence. Nothing else under plugins/ touches a name with an underscore in front.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible.release import __version__ as VERSION  # noqa: N812 - a constant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

KNOWN = ("2.19", "2.20", "2.21")
REMEDY = "install ansible-core>=2.19,<2.22, or a Callboard that knows it"


class UnknownCore(Exception):  # noqa: N818 - it may be a good one; only that nobody here knows it
    """This ansible-core has not what a limit of a run has to be put into. One sentence."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"ansible-core {VERSION} is none that Callboard knows ({KNOWN[0]} to {KNOWN[-1]}): {what}; {REMEDY}."
        )


class Touched(NamedTuple):
    """A class, and what is touched of it: functions with their first parameters, attributes of the class, and
    attributes that `__init__` gives to each instance.
    """

    module: str
    name: str
    functions: dict[str, tuple[str, ...]] = {}
    attributes: tuple[str, ...] = ()
    given: tuple[str, ...] = ()


MANAGER = Touched(
    "ansible.executor.task_queue_manager",
    "TaskQueueManager",
    functions={"run": ("self", "play")},
    attributes=("RUN_OK", "RUN_FAILED_HOSTS", "RUN_UNREACHABLE_HOSTS", "RUN_FAILED_BREAK_PLAY"),
    given=("_inventory", "_failed_hosts", "_unreachable_hosts"),
)
STRATEGY = Touched(
    "ansible.plugins.strategy",
    "StrategyBase",
    functions={"_process_pending_results": ("self", "iterator"), "get_hosts_left": ("self", "iterator")},
    given=("_tqm",),
)
ITERATOR = Touched("ansible.executor.play_iterator", "PlayIterator", functions={"end_host": ("self", "hostname")})
INVENTORY = Touched(
    "ansible.inventory.manager",
    "InventoryManager",
    functions={"restrict_to_hosts": ("self", "restriction"), "get_hosts": ("self", "pattern")},
)
SHOWN = Touched("ansible.executor.task_result", "CallbackTaskResult", attributes=("result", "_result"))
DISPLAY = Touched("ansible.utils.display", "Display", functions={"do_var_prompt": ("self", "varname")})


class Shape(NamedTuple):
    """How a core keeps a task's result on a host: the classes, and what came out, as (failed, unreachable)."""

    touched: tuple[Touched, ...]
    outcome: Callable[[Any], tuple[bool, bool]]


SHAPES = (
    Shape(  # since 2.21
        (
            Touched("ansible._internal._task", "HostTaskResult", attributes=("host", "utr")),
            Touched("ansible._internal._task", "UnifiedTaskResult", attributes=("failed", "unreachable")),
        ),
        lambda result: (bool(result.utr.failed), bool(result.utr.unreachable)),
    ),
    Shape(  # 2.19 and 2.20
        (
            Touched(
                "ansible.executor.task_result",
                "_RawTaskResult",
                functions={"is_failed": ("self",), "is_unreachable": ("self",)},
                attributes=("host",),
            ),
        ),
        lambda result: (result.is_failed(), result.is_unreachable()),
    ),
)


# ── the check ─────────────────────────────────────────────────────────────────────────────────────────────


def check_limits() -> Callable[[Any], tuple[bool, bool]]:
    """What tells the outcome of a result on this core. Raises UnknownCore where a limit could not be applied."""
    for touched in (MANAGER, STRATEGY, ITERATOR, INVENTORY, SHOWN, DISPLAY):
        for complaint in missing(touched):
            raise UnknownCore(complaint)
    if not isinstance(vars(find(SHOWN))["result"], functools.cached_property):
        raise UnknownCore("CallbackTaskResult.result is not kept once it was made")
    for shape in SHAPES:
        if not any(complaint for touched in shape.touched for complaint in missing(touched)):
            return shape.outcome
    raise UnknownCore("it keeps the results of tasks in another way")


def find(touched: Touched) -> Any:
    """The class, None where there is none."""
    try:
        return getattr(importlib.import_module(touched.module), touched.name, None)
    except ImportError:
        return None


def missing(touched: Touched) -> Iterator[str]:
    """What the core has not."""
    found = find(touched)
    if found is None:
        yield f"there is no {touched.module}.{touched.name}"
        return
    for name in (*touched.functions, *touched.attributes):
        if not hasattr(found, name):
            yield f"there is no {touched.name}.{name}"
    for name, first in touched.functions.items():
        if hasattr(found, name) and tuple(inspect.signature(getattr(found, name)).parameters)[: len(first)] != first:
            yield f"{touched.name}.{name} takes other arguments"
    for name in touched.given:
        if name not in found.__init__.__code__.co_names:
            yield f"a {touched.name} has no {name}"


# ── what limits of a run are put into ─────────────────────────────────────────────────────────────────────


def around_runs(replacement: Callable[..., Any]) -> None:
    """`replacement(run, manager, play)` instead of TaskQueueManager.run, called once for each batch of each play."""
    put_around(find(MANAGER), "run", replacement)


def around_results(replacement: Callable[..., Any]) -> None:
    """`replacement(process, strategy, iterator, …)` instead of every strategy's _process_pending_results."""
    put_around(find(STRATEGY), "_process_pending_results", replacement)


def around_hosts_left(replacement: Callable[..., Any]) -> None:
    """`replacement(hosts_left, strategy, iterator)` instead of get_hosts_left, asked before each task."""
    put_around(find(STRATEGY), "get_hosts_left", replacement)


def around_prompts(replacement: Callable[..., Any]) -> None:
    """`replacement(prompt, display, varname, …)` instead of asking for a variable."""
    put_around(find(DISPLAY), "do_var_prompt", replacement)


def around_shown_results(change: Callable[[Any], Any]) -> None:
    """Callbacks see `change` of a result; what plays see of it stays as it is."""
    owner = find(SHOWN)
    original = vars(owner)["result"].func

    @functools.wraps(original)
    def result(self: Any) -> Any:
        return change(original(self))

    owner.result = functools.cached_property(result)
    owner.result.__set_name__(owner, "result")


def put_around(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    """Call `replacement` with the original in front of the arguments."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapper(*args: Any, **options: Any) -> Any:
        return replacement(original, *args, **options)

    setattr(owner, name, wrapper)


def manager_of(strategy: Any) -> Any:
    """A strategy's TaskQueueManager."""
    return strategy._tqm


def batch_of(manager: Any, play: Any) -> list[Any]:
    """The hosts of the batch that is about to run."""
    return manager._inventory.get_hosts(play.hosts, order=play.order)


def restrict(manager: Any, hosts: list[Any]) -> None:
    """Let the batch be these hosts; none at all would mean every host to Ansible."""
    manager._inventory.restrict_to_hosts(hosts)


def failed(manager: Any) -> dict[str, bool]:
    """The hosts that failed so far; may be changed."""
    return manager._failed_hosts


def unreachable(manager: Any) -> dict[str, bool]:
    """The hosts that could not be reached so far; may be changed."""
    return manager._unreachable_hosts


# ── what the record of a laptop's run, the action and the inventory plugin look at ────────────────────────


def playbook_file(playbook: Any) -> str:
    """The path of a playbook as the command line names it."""
    return playbook._file_name


def loader_of(playbook: Any) -> Any:
    """The DataLoader, which has the vault's secrets."""
    return playbook._loader


def inventory_of(play: Any) -> Any:
    """The InventoryManager of a play."""
    return play.get_variable_manager()._inventory


def task_key(task: Any) -> str:
    """What tells a task from each other one of this command."""
    return task._uuid


def names_of(plugin: Any) -> Iterable[str]:
    """The names by which a plugin may have been asked for."""
    return plugin._redirected_names or [plugin.NAME]
