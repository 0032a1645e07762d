# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of answers on this machine: known hosts for ssh, and dated copies."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import shlex
import stat
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible import constants as C  # noqa: N812 - the name that Ansible's own code gives it
from ansible import context
from ansible.plugins.loader import connection_loader

from ansible_collections.callboard.callboard.plugins.plugin_utils.answers import Plan, Source
from ansible_collections.callboard.callboard.plugins.plugin_utils.options import stage_group
from ansible_collections.callboard.callboard.plugins.plugin_utils.problems import (
    CHECK_VERSIONS,
    Problem,
    plain,
    why,
    working_on,
)

if TYPE_CHECKING:
    from ansible_collections.callboard.callboard.plugins.plugin_utils.options import Query

KNOWN_HOST = re.compile(
    r"(?:[0-9A-Za-z._:-]+|\[[0-9A-Za-z._:-]+\]:\d{1,5}) "
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)"
    r"|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) "
    r"[A-Za-z0-9+/]{16,16384}={0,2}"
)
COMMON_ARGS = "ansible_ssh_common_args"


def check_known_hosts(text: str) -> str:
    """Lines of one address, one known key type and one key. A wildcard could vouch for any host."""
    lines = [line for line in text.split("\n") if line]
    for number, line in enumerate(lines, 1):
        if not KNOWN_HOST.fullmatch(line):
            raise Problem(f"line {number} of its known hosts is not acceptable", CHECK_VERSIONS)
    return "".join(f"{line}\n" for line in lines)


def digest(*parts: Any) -> str:
    """A short name for a combination of options."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def private_folder(name: str) -> Path:
    """A folder below the user's cache folder that belongs to the user alone."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "callboard" / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        is_own = folder.lstat().st_uid == os.getuid() and stat.S_IMODE(folder.lstat().st_mode) == stat.S_IRWXU
    except OSError as error:
        raise Problem(
            f"the folder {folder} cannot be made ({why(error)})", "set XDG_CACHE_HOME to a writable folder"
        ) from None
    if not is_own or folder.is_symlink():
        raise Problem(f"the folder {folder} is not private", "remove it, or make it yours with mode 0700")
    return folder


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, so that nobody reads half of it; only its owner may read it."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except OSError as error:
        raise Problem(
            f"the file {path} cannot be written ({why(error)})", "check the disk and the folder's owner"
        ) from None


def write_known_hosts(query: Query, stage: str, text: str) -> Path:
    """The stage's known hosts in a file whose path stays the same from one command to the next."""
    path = private_folder("known_hosts") / f"{stage_group(stage)}-{digest(query.service.url, stage)}"
    write_private(path, check_known_hosts(text))
    return path


def ssh_args(path: Path) -> str:
    """What makes ssh believe one known_hosts file and nothing else."""
    return (
        f"-o {quote_for_ssh(path)} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o UpdateHostKeys=no"
    )


def quote_for_ssh(path: Path) -> str:
    """ssh splits the option's value at blanks and expands %; Ansible splits the arguments like a shell."""
    text = str(path)
    if re.fullmatch(r"[A-Za-z0-9/._+,@=-]+", text):
        return f"UserKnownHostsFile={text}"
    if re.search(r'["\\{}$\n]', text):
        raise Problem(
            f"ssh cannot be told the path {plain(text)}", "set XDG_CACHE_HOME to a folder with a simpler name"
        )
    return shlex.quote('UserKnownHostsFile="{}"'.format(text.replace("%", "%%")))


def secure(plan: Plan, path: Path) -> Plan:
    """The plan with ssh bound to the stage's known hosts, after the arguments of the stage or of Ansible."""
    given = plan.variables.get(COMMON_ARGS) or configured_common_args()
    args = f"{given} {ssh_args(path)}".strip()
    return plan._replace(variables=plan.variables | {COMMON_ARGS: args})


def configured_common_args() -> str:
    """--ssh-common-args, or what the environment or ansible.cfg say: a group's variable would hide them."""
    given = context.CLIARGS.get("ssh_common_args")
    if given or not may_be_configured(COMMON_ARGS.removeprefix("ansible_")):
        return given or ""
    connection_loader.get("ssh", class_only=True)  # so that Ansible knows the option; it takes a while
    return C.config.get_config_value("ssh_common_args", plugin_type="connection", plugin_name="ssh") or ""


def may_be_configured(option: str) -> bool:
    """Whether the environment or ansible.cfg mention an option of ssh at all."""
    file = Path(C.CONFIG_FILE) if C.CONFIG_FILE else None
    return f"ANSIBLE_{option.upper()}" in os.environ or (
        file is not None and option in file.read_text(errors="replace")
    )


def dump_sources(sources: list[Source]) -> dict[str, Any]:
    """What is kept of an answer: text only, so that no cache makes more of a value than the service sent."""
    kept = {source.stage: {"inventory": source.inventory, "known_hosts": read_keys(source)} for source in sources}
    return {"fetched_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "stages": kept}


def read_keys(source: Source) -> str | None:
    """The known hosts of a source, None where not wanted."""
    with working_on(source.stage):
        return source.known_hosts and source.known_hosts()


def load_sources(entry: Any, query: Query) -> list[Source] | None:
    """The kept answers for a query; None where the entry is missing, or is not one of ours."""
    try:
        kept = [entry["stages"][stage] for stage in query.stages]
        texts = [(str(one["inventory"]), one["known_hosts"] and partial(str, one["known_hosts"])) for one in kept]
    except (KeyError, TypeError):
        return None
    return [Source(stage, *text, query.at) for stage, text in zip(query.stages, texts, strict=True)]


def copy_path(query: Query) -> Path:
    """Where the dated copy of a query's answers is."""
    return private_folder("copies") / f"{query_digest(query)}.json"


def query_digest(query: Query) -> str:
    """A short name for what is asked, so that no answer is mistaken for another's. The token is no part."""
    return digest(query.service.url, query.stages, query.states, query.groups, query.at, query.known_hosts)


def read_copy(query: Query) -> tuple[list[Source], str] | None:
    """The dated copy and its age in words, None where there is none that can be read."""
    try:
        entry = json.loads(copy_path(query).read_text(encoding="utf-8"))
        age = age_of(dt.datetime.fromisoformat(entry["fetched_at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sources = load_sources(entry, query)
    return sources and (sources, age)


def age_of(fetched_at: dt.datetime) -> str:
    """How old a kept answer is: `2026-11-23T14:03:00+00:00, 0:12:00 hours ago`."""
    seconds = int((dt.datetime.now(dt.UTC) - fetched_at).total_seconds())
    return f"{fetched_at.isoformat()}, {dt.timedelta(seconds=seconds)} hours ago"
