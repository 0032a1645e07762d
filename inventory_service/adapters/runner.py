"""ansible-runner: one playbook, executed once, with every surprise of its defaults taken out.

It switches host key checking off unless told otherwise, hands the caller's whole environment to Ansible and
writes it to disk, keeps one file per event, and leaves ansible-playbook alive when the caller is killed.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import ansible_runner

from inventory_service.errors import SourceError

_SYNTAX_SECONDS = 60
_LONGEST_COMPLAINT = 600
_LARGEST_TEXT = 2**20  # characters of one result, for callbacks
_LIMITS = "CALLBOARD_LIMITS"  # read by plugins/callback/callboard_run.py
IN_PLACE = "limits_in_place"  # the file in the run's folder that is there once they are applied
_UNLIMITED = (
    "The limits of a run could not be applied: Ansible did not load callboard_run. `callboard doctor` tells more."
)
# Nobody types: with a terminal as its input, Ansible would wait for somebody.
_GUARD = """#!/bin/sh
exec {python} -I {guard} {parent} {program} "$@" </dev/null
"""


@dataclasses.dataclass(frozen=True, slots=True)
class PlaybookCall:
    """Everything that one execution needs. All paths are absolute; `private_dir` is fresh and 0700."""

    private_dir: Path
    project_dir: Path
    playbook: Path
    inventory: Path
    known_hosts: Path
    control_dir: Path
    exclusion_socket: Path
    identities: tuple[Path, ...]
    agent_socket: Path
    vault_ids: tuple[tuple[str, Path], ...]
    content_dir: Path
    extra_vars: dict[str, Any]
    limit: tuple[str, ...]
    tags: tuple[str, ...]
    skip_tags: tuple[str, ...]
    is_check: bool
    is_diff: bool
    forks: int
    has_mitogen: bool
    marker: tuple[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """ansible-playbook's return code, -1 when there is none; and what hindered the runner, when something did."""

    return_code: int
    problem: str | None = None


def run_playbook(call: PlaybookCall, on_event: Callable[[dict[str, Any]], None]) -> Outcome:
    """Run the playbook and return when it has ended. `on_event` gets each event in order, in this thread."""
    is_unlimited = False

    def handle(event: dict[str, Any]) -> bool:
        nonlocal is_unlimited
        if event.get("event") == "playbook_on_start" and not (call.private_dir / IN_PLACE).exists():
            is_unlimited = True
        on_event(event)
        return False  # ansible-runner would write one file per event otherwise

    _offer_collection(call.private_dir / "ansible", call.content_dir)
    runner = ansible_runner.run(
        private_data_dir=str(call.private_dir),
        project_dir=str(call.project_dir),
        playbook=str(call.playbook),
        inventory=str(call.inventory),
        cmdline=shlex.join(command_line(call)),
        envvars={**environment(call), "PATH": f"{_write_guard(call)}:{os.environ.get('PATH', os.defpath)}"},
        settings={"pexpect_timeout": 1},
        event_handler=handle,
        cancel_callback=lambda: is_unlimited,
        suppress_env_files=True,
        suppress_output_file=True,
        quiet=True,
    )
    if is_unlimited:
        return Outcome(-1, _UNLIMITED)
    return Outcome(runner.rc if runner.rc is not None else -1)


def command_line(call: PlaybookCall) -> list[str]:
    """The options after `ansible-playbook`. Extra vars and the limit travel in files of the run's folder."""
    extra_vars = call.private_dir / "extra_vars.json"
    _write_private(extra_vars, json.dumps(mark_unsafe(call.extra_vars)))
    limit = call.private_dir / "limit"
    _write_private(limit, "\n".join(call.limit) + "\n")
    options = ["-e", f"@{extra_vars}", "--limit", f"@{limit}", "--forks", str(call.forks)]
    options += [word for name, file in call.vault_ids for word in ("--vault-id", f"{name}@{file}")]
    options += ["--tags", ",".join(call.tags)] if call.tags else []
    options += ["--skip-tags", ",".join(call.skip_tags)] if call.skip_tags else []
    return options + ["--check"] * call.is_check + ["--diff"] * call.is_diff


def mark_unsafe(value: Any) -> Any:
    """The same value with every text marked as data that Ansible must not template."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, dict):
        return {key: mark_unsafe(item) for key, item in value.items()}
    return [mark_unsafe(item) for item in value] if isinstance(value, list) else value


def environment(call: PlaybookCall) -> dict[str, str]:
    """What Ansible reads from its environment; it beats an ansible.cfg in the project's source."""
    quoted = f'"{call.known_hosts}"'
    options = [
        "ControlMaster=auto",
        "ControlPersist=60s",
        f"UserKnownHostsFile={quoted}",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "ForwardAgent=no",
        "IdentitiesOnly=yes",
        *(f'IdentityFile="{identity}"' for identity in call.identities),
    ]
    return {
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_SSH_ARGS": shlex.join([part for option in options for part in ("-o", option)]),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(call.control_dir),
        "SSH_AUTH_SOCK": str(call.agent_socket),
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_INVENTORY_PLUGINS": str(call.content_dir / "plugins" / "inventory"),
        "ANSIBLE_INVENTORY_ENABLED": "registry",
        **_plugin_paths(call.project_dir, call.content_dir),
        "ANSIBLE_CALLBACK_PLUGINS": str(call.content_dir / "plugins" / "callback"),
        _LIMITS: _limits(call.exclusion_socket, call.private_dir),
        **(_mitogen() if call.has_mitogen else {}),
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "True",
        "ANSIBLE_ROLES_PATH": f"{call.project_dir / 'roles'}:{call.content_dir / 'roles'}",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
        "ANSIBLE_HOST_PATTERN_MISMATCH": "error",
        "ANSIBLE_LOCAL_TEMP": str(call.private_dir / "tmp"),
        "ANSIBLE_HOME": str(call.private_dir / "ansible"),
        "ANSIBLE_CACHE_PLUGIN": "memory",
        "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
        "ANSIBLE_NOCOWS": "True",
        "ANSIBLE_FORCE_COLOR": "True",
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        call.marker[0]: call.marker[1],
    }


def _limits(exclusion_socket: Path, folder: Path) -> str:
    """What plugins/callback/callboard_run.py is to do, and where it says that it did."""
    limits = {"exclusion_socket": str(exclusion_socket), "largest_text": _LARGEST_TEXT}
    return json.dumps({**limits, "in_place": str(folder / IN_PLACE)})


def _mitogen() -> dict[str, str]:
    """Mitogen as the strategy of plays that name none: one Python process stays on each host. Raises SourceError."""
    found = importlib.util.find_spec("ansible_mitogen")
    if found is None or not found.submodule_search_locations:
        raise SourceError(
            "The stage's strategy is mitogen, which is not installed here: pip install 'callboard[mitogen]'."
        )
    strategies = Path(found.submodule_search_locations[0]) / "plugins" / "strategy"
    return {"ANSIBLE_STRATEGY_PLUGINS": str(strategies), "ANSIBLE_STRATEGY": "mitogen_linear"}


def _plugin_paths(project_dir: Path, content_dir: Path) -> dict[str, str]:
    """The source's own modules and actions, those of the machine, then the ones that ship."""
    kinds = (("ANSIBLE_LIBRARY", "library", "modules"), ("ANSIBLE_ACTION_PLUGINS", "action_plugins", "action"))
    return {
        name: f"{project_dir / own}:/usr/share/ansible/plugins/{kind}:{content_dir / 'plugins' / kind}"
        for name, own, kind in kinds
    }


def _offer_collection(home: Path, content_dir: Path) -> None:
    """Let playbooks name what ships as callboard.callboard.…; Ansible looks for collections in its home first."""
    collection = home / "collections" / "ansible_collections" / "callboard" / "callboard"
    collection.parent.mkdir(parents=True)
    collection.symlink_to(content_dir)


def _write_guard(call: PlaybookCall) -> Path:
    """A folder for the front of PATH, with an ansible-playbook that dies with this process instead of outliving it."""
    folder = call.private_dir / "bin"
    folder.mkdir(mode=0o700)
    guard = Path(__file__).with_name("playbook_guard.py")
    values = {"python": sys.executable, "guard": str(guard), "parent": str(os.getpid())}
    values["program"] = str(find_program("ansible-playbook"))
    script = _GUARD.format(**{key: shlex.quote(word) for key, word in values.items()})
    _write_private(folder / "ansible-playbook", script, mode=0o700)
    return folder


def find_program(name: str) -> Path:
    """An Ansible program of this very Python environment, else of PATH. Raises SourceError."""
    own = Path(sysconfig.get_path("scripts")) / name
    found = own if own.exists() else shutil.which(name)
    if found is None:
        raise SourceError(f"{name} was not found; install ansible-core beside Callboard.")
    return Path(found)


def check_syntax(project_dir: Path, playbook: Path, *, content_dir: Path) -> str | None:
    """What `ansible-playbook --syntax-check` has against the playbook; None when it has nothing.

    Nothing of this process's environment but PATH reaches Ansible.
    """
    command = [str(find_program("ansible-playbook")), "--syntax-check", "-i", "localhost,", str(playbook)]
    with tempfile.TemporaryDirectory(prefix="cb-") as home:
        surroundings = _syntax_environment(home, project_dir, content_dir)
        _offer_collection(Path(home), content_dir)
        try:
            done = subprocess.run(
                command,
                cwd=project_dir,
                env=surroundings,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SYNTAX_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"Ansible did not finish to check its syntax within {_SYNTAX_SECONDS} s."
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines()]
    complaints = [line for line in lines if line and not line.startswith(("[WARNING]", "playbook:"))]
    return " ".join(complaints)[:_LONGEST_COMPLAINT].replace(f"{project_dir}/", "") or "Ansible does not accept it."


def _syntax_environment(home: str, project_dir: Path, content_dir: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": home,
        "ANSIBLE_HOME": home,
        "ANSIBLE_LOCAL_TEMP": home,
        "ANSIBLE_ROLES_PATH": f"{project_dir / 'roles'}:{content_dir / 'roles'}",
        **_plugin_paths(project_dir, content_dir),
        "ANSIBLE_HOST_PATTERN_MISMATCH": "ignore",
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_NOCOWS": "True",
        "LC_ALL": "C.UTF-8",
    }


def trial_environment(folder: Path, content_dir: Path) -> dict[str, str]:
    """What Ansible reads from its environment in a run on nobody: its plugins and limits are those of a run."""
    _offer_collection(folder, content_dir)
    return {
        **_syntax_environment(str(folder), folder, content_dir),
        "ANSIBLE_INVENTORY_PLUGINS": str(content_dir / "plugins" / "inventory"),
        "ANSIBLE_INVENTORY_ENABLED": "registry",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
        "ANSIBLE_CALLBACK_PLUGINS": str(content_dir / "plugins" / "callback"),
        _LIMITS: _limits(folder / "exclusion", folder),
    }


def _write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    path.touch(mode=mode)
    path.write_text(text)
    path.chmod(mode)


def versions() -> dict[str, str]:
    """The versions that a run's snapshot records."""
    return {
        "ansible_core": metadata.version("ansible-core"),
        "ansible_runner": metadata.version("ansible-runner"),
        "python": sys.version.split()[0],
    }
