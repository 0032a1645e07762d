# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin itself: options → cache → fetch → check → populate.

Everything between the options and the inventory is a pure function of text. Problems are raised as `Problem`
(what happened, what to do next) and become one sentence for the user in one place, `InventoryModule._plans`.
"""

from __future__ import annotations

import contextlib
import gc
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ansible import constants as C  # noqa: N812 - the name that Ansible's own code gives it
from ansible import context
from ansible.errors import AnsibleError, AnsibleParserError, ExitCode
from ansible.inventory.helpers import get_group_vars
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.template import trust_as_template
from ansible.utils.path import basedir
from ansible.utils.vars import combine_vars

from ansible_collections.callboard.callboard.plugins.plugin_utils import ansible_internals as core
from ansible_collections.callboard.callboard.plugins.plugin_utils.answers import (
    Plan,
    Source,
    check_against,
    check_between,
    check_source,
    fetch_stage,
)
from ansible_collections.callboard.callboard.plugins.plugin_utils.kept import (
    copy_path,
    dump_sources,
    load_sources,
    query_digest,
    read_copy,
    read_keys,
    secure,
    write_known_hosts,
    write_private,
)
from ansible_collections.callboard.callboard.plugins.plugin_utils.options import (
    FILE_NAMES,
    Query,
    beside,
    check_stages,
    read_query,
)
from ansible_collections.callboard.callboard.plugins.plugin_utils.problems import Problem, why, working_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def trust(value: Any) -> Any:
    """The value with every string in it marked as a template."""
    if isinstance(value, dict):
        return {key: trust(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trust(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def add_plan(inventory: Any, plan: Plan) -> None:
    """Put a plan into the inventory.

    Ten thousand hosts pass through here, so each is added once and gets its variables in one update; the
    values are plain strings from JSON, which Ansible does not take for templates.
    """
    for group in plan.groups:
        inventory.add_group(group)
    with deduplicated_origin(inventory) as origin:
        for name, values in plan.hosts.items():
            own = values if name in inventory.hosts else origin | values
            inventory.add_host(name, group=plan.group)
            inventory.hosts[name].vars.update(own)
    for group, members in plan.groups.items():
        for name in members if group != plan.group else ():
            inventory.groups[group].add_host(inventory.hosts[name])
    for key, value in plan.variables.items():
        inventory.set_variable(plan.group, key, value)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile: it would walk again and again through thousands of hosts that stay."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def deduplicated_origin(inventory: Any) -> Iterator[dict[str, Any]]:
    """The variables that say which source a host came from. Ansible looks at the disk to tell them to each new host."""
    source, inventory.current_source = inventory.current_source, None
    try:
        yield {"inventory_file": source, "inventory_dir": source and basedir(source)}
    finally:
        inventory.current_source = source


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The hosts of a stage that are live right now."""

    NAME = "registry"
    trusted_by_default = False

    def verify_file(self, path: str) -> bool:
        """Whether the file is meant for this plugin, judged by its name."""
        return str(path).endswith(FILE_NAMES) and super().verify_file(path)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory, or end the command with an error."""
        try:
            super().parse(inventory, loader, path, cache=cache)
            self._read_config_data(path)
            self._fill(Path(path), cache=cache)
        except AnsibleError as error:
            self._end(error, path)
        except Exception as error:  # noqa: BLE001 - a core that it does not know, or a mistake; never an empty success
            problem = f"{type(error).__name__}: {error}"
            self._end(AnsibleError(f"The inventory plugin failed on ansible-core {core.VERSION}: {problem}."), path)

    def _end(self, error: AnsibleError, path: str) -> NoReturn:
        """End the command: Ansible would take the error for a warning and go on without hosts, exit code 0.

        A program that uses Ansible as a library gets an error by way of the setting.
        """
        C.INVENTORY_ANY_UNPARSED_IS_FAILED = True
        if context.CLIARGS and self._is_claimed(path):
            self.display.error(error)
            raise SystemExit(int(ExitCode.PARSER_ERROR))
        raise error

    def _is_claimed(self, path: str) -> bool:
        """Whether the file names this plugin; where `registry` is enabled for all files, it may not."""
        config = self.loader.load_from_file(path, cache="none")
        return isinstance(config, dict) and config.get("plugin") in core.names_of(self)

    def _fill(self, path: Path, *, cache: bool) -> None:
        """Options → sources → plans → inventory. Nothing is added before everything is checked."""
        with collector_paused():
            plans = self._plans(path, cache=cache)
            for plan in plans:
                self._warn(plan)
                add_plan(self.inventory, self._trusted(plan))
        self._construct(dict.fromkeys(name for plan in plans for name in plan.hosts))

    def _plans(self, path: Path, *, cache: bool) -> list[Plan]:
        """Checked plans; the one place where a Problem becomes Ansible's error."""
        place = str(path)
        try:
            if self.get_option("snapshot"):
                place = f"the snapshot {beside(self.get_option('snapshot'), path.parent)}"
                return self._checked(self._snapshot(path.parent))
            query = read_query(self.get_option, path.parent)
            place = query.service.url
            sources = self._sources(query, path, cache=cache)
            return self._secured(self._checked(sources), sources, query)
        except Problem as problem:
            of_stage = f" of stage {problem.stage}" if problem.stage else ""
            message = f"Cannot get the inventory{of_stage} from {place}: {problem.happened}; {problem.advice}."
            raise AnsibleParserError(message) from None

    def _snapshot(self, folder: Path) -> list[Source]:
        """The snapshot file; `stages`, where given, says which stage it has to be of."""
        stages = check_stages(self.get_option("stages")) if self.get_option("stages") else (None,)
        try:
            text = beside(self.get_option("snapshot"), folder).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise Problem(f"the file cannot be read ({why(error)})", "correct 'snapshot'") from None
        return [Source(stage, text) for stage in stages]

    def _sources(self, query: Query, path: Path, *, cache: bool) -> list[Source]:
        """The answers from Ansible's cache while young, else from the service, else from the dated copy."""
        is_cached = self.get_option("cache")
        key = f"{self.get_cache_key(str(path))}_{query_digest(query)}"
        kept = load_sources(self._cache.get(key), query) if is_cached and cache else None
        if kept:
            return kept
        try:
            sources = [fetch_stage(query, stage) for stage in query.stages]
            entry = dump_sources(sources) if is_cached or self.get_option("stale_cache") else None
        except Problem as problem:
            return self._stale(query, problem)
        if is_cached:
            self._cache[key] = entry
        if self.get_option("stale_cache"):
            write_private(copy_path(query), json.dumps(entry))
        return sources

    def _stale(self, query: Query, problem: Problem) -> list[Source]:
        """The dated copy, with a warning; the problem itself where no copy is wanted, right or there."""
        copy = read_copy(query) if problem.is_down and self.get_option("stale_cache") else None
        if not copy:
            raise problem
        sources, age = copy
        self.display.warning(
            f"{query.service.url}: {problem.happened}; using the copy of {age}. Hosts may have come and gone since."
        )
        return sources

    def _checked(self, sources: list[Source]) -> list[Plan]:
        """The plans of all stages, checked by themselves, against each other and against what is there."""
        plans = []
        for source in sources:
            with working_on(source.stage):
                plans.append(check_source(source))
                check_against(self.inventory, plans[-1])
        check_between(plans)
        return plans

    def _secured(self, plans: list[Plan], sources: list[Source], query: Query) -> list[Plan]:
        """The plans with ssh bound to the known hosts of their stages."""
        if not query.known_hosts:
            return plans
        if not C.HOST_KEY_CHECKING:
            self.display.warning("host_key_checking is off, so ssh ignores the known hosts from Callboard.")
        return [
            secure(plan, write_known_hosts(query, plan.stage, read_keys(source) or ""))
            for plan, source in zip(plans, sources, strict=True)
        ]

    def _trusted(self, plan: Plan) -> Plan:
        """The plan with its stage variables as templates, if the user said so. Host variables stay text."""
        if not self.get_option("trusted_stage_variables"):
            return plan
        return plan._replace(variables=trust(plan.variables))

    def _warn(self, plan: Plan) -> None:
        """Say what an operator would want to know before a play runs."""
        if plan.is_expiry_paused:
            self.display.warning(
                f"Expiry is paused in {plan.stage}: too many hosts went silent at once, some may be gone."
            )
        if not plan.hosts:
            wanted = "hosts in the states asked for" if self.get_option("states") else "live hosts"
            self.display.warning(f"Stage {plan.stage} has no {wanted}.")

    def _construct(self, hosts: Iterable[str]) -> None:
        """Ansible's constructed options for this source's hosts. Skipped where none is used: it is slow."""
        compose, groups, keyed = (self.get_option(name) for name in ("compose", "groups", "keyed_groups"))
        if not (compose or groups or keyed):
            return
        strict = self.get_option("strict")
        for name in hosts:
            self._set_composite_vars(compose, self._variables(name), name, strict=strict)
            self._add_host_to_composed_groups(groups, self._variables(name), name, strict=strict)
            self._add_host_to_keyed_groups(keyed, self._variables(name), name, strict=strict)

    def _variables(self, name: str) -> dict[str, Any]:
        """What a host's expressions may refer to: its groups' variables and its own."""
        host = self.inventory.hosts[name]
        return combine_vars(get_group_vars(host.get_groups()), host.get_vars())
