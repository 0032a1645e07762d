# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory file of the plugin registry says, checked: where the service is and what it is asked for."""

from __future__ import annotations

import datetime as dt
import re
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.callboard.callboard.plugins.plugin_utils.problems import Problem, plain, why
from ansible_collections.callboard.callboard.plugins.plugin_utils.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FILE_NAMES = ("registry.yml", "registry.yaml", "callboard.yml", "callboard.yaml")
PLUGIN_NAMES = ("registry", "callboard.callboard.registry")
GROUP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,252}")
STAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")


class Query(NamedTuple):
    """The options that decide what is asked, checked."""

    service: Service
    stages: tuple[str, ...]
    states: tuple[str, ...]
    groups: tuple[str, ...]
    at: str | None
    known_hosts: bool


def read_query(get: Callable[[str], Any], folder: Path) -> Query:
    """The checked query; relative paths count from `folder`, where the inventory file is."""
    return Query(
        service=read_service(get, folder),
        stages=check_stages(get("stages")),
        states=tuple(check_state(state) for state in get("states")),
        groups=tuple(check_chosen_group(group) for group in get("only_groups")),
        at=check_at(get("at")),
        known_hosts=get("known_hosts"),
    )


def read_service(get: Callable[[str], Any], folder: Path) -> Service:
    """The checked options that say where the service is."""
    return Service(
        url=check_url(str(get("url"))),
        token=read_token(get("token"), get("token_file"), folder),
        timeout=check_timeout(get("timeout")),
        ca_path=str(beside(get("ca_path"), folder)) if get("ca_path") else None,
    )


def options_for(stage: str | None, inventory: Iterable[Any], loader: Any) -> tuple[dict[str, Any], Path]:
    """What the inventory file says that lists the stage, or else the first one of this plugin, and its folder.

    `inventory` is what the command line names. Files that cannot be read are the inventory plugin's to speak of.
    """
    found: list[tuple[dict[str, Any], Path]] = []
    for path in map(str, inventory):
        if path.endswith(FILE_NAMES) and Path(path).is_file():
            config = loader.load_from_file(path, cache="none")
            if isinstance(config, dict) and config.get("plugin") in PLUGIN_NAMES:
                found.append((config, Path(path).parent))
    listing = (one for one in found if stage in (one[0].get("stages") or ()))
    return next(listing, found[0] if found else ({}, Path.cwd()))


def beside(path: str, folder: Path) -> Path:
    """A path as the inventory file means it."""
    return folder / Path(str(path)).expanduser()


def check_url(url: str) -> str:
    """The service's address without a slash at its end."""
    advice = "write it like 'https://callboard.example'"
    try:
        parts = urllib.parse.urlsplit(url)
        has_host, _ = bool(parts.hostname), parts.port
    except ValueError:
        raise Problem("the option 'url' is not a URL", advice) from None
    if parts.username is not None or parts.password is not None:
        raise Problem("the option 'url' holds a user name or password", "give the token by CALLBOARD_TOKEN instead")
    if parts.scheme not in {"http", "https"} or not has_host or parts.query or parts.fragment:
        raise Problem(f"the option 'url' is not an http or https address: {plain(url)}", advice)
    if not re.fullmatch(r"[\x21-\x7e]+", url):
        raise Problem("the option 'url' holds blanks or other odd characters", advice)
    return url.rstrip("/")


def read_token(token: Any, token_file: str | None, folder: Path) -> str | None:
    """The token, None where there is none. Never shown, not even when it is malformed."""
    text = str(token) if token else token_file and read_token_file(beside(token_file, folder))
    if text and not re.fullmatch(r"[\x21-\x7e]{1,4096}", text):
        raise Problem("the token holds blanks, line breaks or other odd characters", "copy it again")
    return text or None


def read_token_file(path: Path) -> str:
    """The token in a file, without the line break after it."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise Problem(f"the token file {path} cannot be read ({why(error)})", "correct 'token_file'") from None
    if not text:
        raise Problem(f"the token file {path} is empty", "write the token into it")
    return text


def check_stages(stages: list[Any]) -> tuple[str, ...]:
    """Stage names, each once. Two that Ansible would give one and the same group are refused."""
    if not stages:
        raise Problem("the option 'stages' is missing", "add one like 'stages: [shop/production]'")
    for stage in stages:
        if not isinstance(stage, str) or not STAGE.fullmatch(stage):
            raise Problem(f"{plain(stage)} is not a stage", "write stages like 'shop/production'")
    unique = tuple(dict.fromkeys(stages))
    if len({stage_group(stage) for stage in unique}) < len(unique):
        raise Problem("two of the stages have the same group name in Ansible", "give each an inventory file of its own")
    return unique


def stage_group(stage: str) -> str:
    """The group that carries a stage's variables.

    >>> stage_group("web-shop/production")
    'stage_web_shop_production'
    """
    return re.sub(r"[^A-Za-z0-9_]", "_", f"stage_{stage}")


def check_state(state: Any) -> str:
    """A host's state as the vocabulary spells it; which ones there are, the service knows."""
    if not isinstance(state, str) or not re.fullmatch(r"[a-z_]{1,32}", state):
        raise Problem(f"{plain(state)} is not a state", "write states like 'states: [live, stale]'")
    return state


def check_chosen_group(group: Any) -> str:
    """A group of a stage; which ones there are, the service knows."""
    if not isinstance(group, str) or not GROUP_NAME.fullmatch(group):
        raise Problem(f"{plain(group)} is not a group", "write groups like 'only_groups: [web, db]'")
    return group


def check_at(at: Any) -> str | None:
    """A time in UTC as the service says it, to the millisecond. YAML turns an unquoted one into a datetime: both do."""
    if at is None:
        return None
    try:
        moment = at if isinstance(at, dt.datetime) else dt.datetime.fromisoformat(str(at))
    except ValueError:
        moment = dt.datetime.min  # noqa: DTZ901 - has no time zone either
    if moment.tzinfo is None:
        raise Problem(f"{plain(at)} is not a time with a time zone", "write 'at' like 2026-11-23T14:03:00Z")
    exact = moment.astimezone(dt.UTC).replace(microsecond=moment.microsecond // 1000 * 1000)
    return exact.isoformat().replace("+00:00", "Z")


def check_timeout(timeout: float) -> float:
    """Seconds, more than none and at most an hour."""
    if not 0 < timeout <= 3600:  # noqa: PLR2004
        raise Problem(f"a timeout of {timeout:g} s is not possible", "choose 'timeout' between 0.1 and 3600")
    return timeout
