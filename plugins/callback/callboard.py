# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E402 - Ansible wants the documentation in front of the imports
"""Callboard's callback plugin: hook → queue → thread → batches → service, or a spool file where there is none.

The hooks run between Ansible's tasks, so they only note; whatever takes time is the thread's. Nothing here may end or
fail a run: what goes wrong is said once, at the end.
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
import datetime as dt
import fcntl
import getpass
import http.client
import json
import os
import platform
import queue
import re
import secrets
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from ansible import context
from ansible.parsing.yaml.loader import AnsibleLoader
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__ as ansible_version

MARKER = "CALLBOARD_RUN"  # in the environment of runs of the service, which records them itself
FLUSH_SECONDS = 1.0
ALIVE_SECONDS = 60.0
MOST_EVENTS = 300
MOST_LOG = 200_000
LONGEST_MESSAGE = 1500
LARGEST_SPOOL = 32 * 1024 * 1024
MOST_SPOOLS = 50
STATUS_WORDS = {"ok": "ok", "changed": "changed", "skipped": "skipping", "unreachable": "fatal", "failed": "fatal"}
COUNTERS = {
    "ok": "ok",
    "changed": "changed",
    "failures": "failed",
    "dark": "unreachable",
    "skipped": "skipped",
    "rescued": "rescued",
    "ignored": "ignored",
}


class Away(Exception):  # noqa: N818 - not an error of the run: it goes on and is kept
    """The service could not answer; it may later."""


class Refused(Exception):  # noqa: N818 - as above
    """The service answered that it does not take this, and would again."""


# ── texts ─────────────────────────────────────────────────────────────────────────────────────────────────


def plain(value: Any, most: int = 250) -> str:
    """Text as the service takes it: no NUL, no halves of characters, not too long."""
    text = str(value).replace("\0", "").encode("utf-8", "replace").decode()
    return text if len(text) <= most else f"{text[: most - 1]}…"


def moment(seconds: float) -> str:
    """A Unix time in ISO 8601."""
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).isoformat().replace("+00:00", "Z")


def message_of(result: Any) -> str | None:
    """What went wrong, in the module's own words; nothing of what no_log hides."""
    if result.get("censored"):
        return "(hidden by no_log)"
    words = [str(result[key]) for key in ("msg", "stderr", "module_stderr") if result.get(key)]
    items = [item for item in result.get("results") or [] if isinstance(item, dict) and item.get("failed")]
    words += [message_of(item) or "" for item in items[:5]]
    return plain("\n".join(word for word in words if word), LONGEST_MESSAGE) or None


def debug_of(result: Any) -> str | None:
    """What the module debug prints."""
    if result.get("censored") or "msg" not in result:
        return None
    told = result["msg"]
    return plain(told if isinstance(told, str) else json.dumps(told, default=str), LONGEST_MESSAGE)


# ── the service ───────────────────────────────────────────────────────────────────────────────────────────


class RefuseRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to another address."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


class Service:
    """Where batches go."""

    def __init__(self, url: str, token: str, ca_path: str | None, timeout: float) -> None:
        self.url, self.timeout = url.rstrip("/"), timeout
        self._token = token
        host = urllib.parse.urlsplit(url).hostname or ""
        is_here = host in {"localhost", "::1"} or host.startswith("127.")
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({} if is_here else None),
            RefuseRedirects,
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_path)),
        )

    def post(self, body: bytes, timeout: float | None = None) -> dict[str, Any]:
        """Send one batch. Raises Away or Refused."""
        request = urllib.request.Request(f"{self.url}/api/v1/runs/recorded", data=body, method="POST")
        request.add_header("Content-Type", "application/json")
        request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=timeout or self.timeout) as answer:
                return json.loads(answer.read(65536))
        except urllib.error.HTTPError as error:
            told = self._detail(error)
            raise (Away if error.code >= 500 or error.code in {408, 429} else Refused)(told) from None  # noqa: PLR2004
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Away(plain(getattr(error, "reason", None) or error)) from None

    def _detail(self, error: urllib.error.HTTPError) -> str:
        try:
            told = json.loads(error.read(65536))["detail"]
        except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
            told = error.reason
        text = "".join(char if char.isprintable() else "?" for char in plain(told).replace(self._token, "…"))
        return f"{error.code}: {text}"


# ── the spool ─────────────────────────────────────────────────────────────────────────────────────────────


def spool_folder() -> Path:
    """Where runs wait for the service: private, of this user."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(state) / "callboard" / "spool"


class Spool:
    """One run's file: a first line that says for which service, then a batch a line. Locked while it grows."""

    def __init__(self, name: str, url: str) -> None:
        folder = spool_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if len(list(folder.glob("*.jsonl"))) >= MOST_SPOOLS:
            raise OSError(f"{MOST_SPOOLS} runs wait in {folder} already")
        self.path = folder / f"{name}.jsonl"
        self._file = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._file.write(json.dumps({"url": url}).encode() + b"\n")

    def add(self, body: bytes, *, is_last: bool) -> None:
        """Keep one batch; a file that is too large takes only the end."""
        if is_last or self._file.tell() + len(body) < LARGEST_SPOOL:
            self._file.write(body + b"\n")
        self._file.flush()


def send_spooled(service: Service, stop: threading.Event) -> None:
    """Send what earlier runs kept for this service. Files that a run is writing are left alone."""
    for path in sorted(spool_folder().glob("*.jsonl")):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            if json.loads(file.readline())["url"] != service.url:
                continue
            try:
                for line in file:
                    if stop.is_set():
                        return
                    service.post(line)
            except Refused:
                path.rename(path.with_suffix(".refused"))
                continue
        path.unlink()


# ── the recorder ──────────────────────────────────────────────────────────────────────────────────────────


class Recorder:
    """Takes notes from the hooks and gives them to the service, from a thread of its own."""

    def __init__(self, service: Service, head: dict[str, Any], folder: str) -> None:
        self.answer: dict[str, Any] | None = None
        self.trouble: str | None = None
        self.spool: Spool | None = None
        self._service, self._head, self._folder = service, head, folder
        self._notes: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._deadline: float | None = None
        self._counter = 0
        self._bytes = 0
        self._is_refused = False
        self._unsent: list[tuple[bytes, bool]] = []
        self._thread = threading.Thread(target=self._work, name="callboard", daemon=True)

    def note(self, *words: Any) -> None:
        """One thing that happened; returns at once."""
        self._notes.put(words)

    def start(self) -> None:
        self._thread.start()

    def finish(self, patience: float) -> None:
        """The last note has been given: wait for it to be sent, and keep what was not."""
        self._deadline = time.monotonic() + patience
        self._stop.set()
        self._thread.join(patience + 0.5)
        if self._thread.is_alive():  # it hangs in an answer that never ends
            self.trouble = self.trouble or "no answer came in time"
            for body, is_last in list(self._unsent):
                self._keep(body, is_last=is_last)

    def _work(self) -> None:
        try:
            self._head.update(checkout(self._folder))
            self._record()
        except Exception as error:  # noqa: BLE001 - a run must not notice
            self.trouble = f"{type(error).__name__}: {plain(error)}"

    def _record(self) -> None:
        is_open, spoken_at = True, 0.0
        while is_open:
            batch, is_open = self._gather()
            if batch or not is_open or time.monotonic() - spoken_at > ALIVE_SECONDS:
                spoken_at = time.monotonic()
                self._give(batch)
            if self.answer and is_open and self.spool is None and not self._stop.is_set():
                with contextlib.suppress(Away, OSError, ValueError, KeyError):
                    send_spooled(self._service, self._stop)

    def _gather(self) -> tuple[list[tuple[Any, ...]], bool]:
        """What happened within a second, at most as much as fits into a batch; False after the last note."""
        batch: list[tuple[Any, ...]] = []
        deadline = time.monotonic() + FLUSH_SECONDS
        while len(batch) < MOST_EVENTS:
            left = deadline - time.monotonic()
            try:
                note = self._notes.get(timeout=max(0.0, left))
            except queue.Empty:
                break
            batch.append(note)
            if note[0] == "end":
                return batch, False
        return batch, True

    def _give(self, notes: list[tuple[Any, ...]]) -> None:
        body: dict[str, Any] = {**self._head, "events": [], "hosts": [], "log_start": self._bytes}
        texts: list[str] = []
        for note in notes:
            self._write(note, body, texts)
        body["log"] = "".join(texts)
        self._send(json.dumps(body).encode(), is_last="ending" in body)

    def _write(self, note: tuple[Any, ...], body: dict[str, Any], texts: list[str]) -> None:
        """One note's part of the batch."""
        kind, at, *rest = note
        if kind == "hosts":
            body["hosts"] += [plain(name) for name in rest[0]]
        elif kind == "end":
            body["ending"] = {"ended_at": moment(at), "interrupted": rest[1], "hosts": rest[0]}
            self._say(texts, recap(rest[0]))
        else:
            start = self._bytes
            self._say(texts, line_of(kind, *rest))
            self._counter += 1
            event = event_of(kind, *rest)
            body["events"].append(
                {"counter": self._counter, "at": moment(at), **event, "log_start": start, "log_end": self._bytes}
            )

    def _say(self, texts: list[str], text: str) -> None:
        texts.append(text)
        self._bytes += len(text.encode())

    def _send(self, body: bytes, *, is_last: bool) -> None:
        if self._is_refused:
            return
        if self.spool is not None:
            self._keep(body, is_last=is_last)
            return
        self._unsent.append((body, is_last))
        left = None if self._deadline is None else max(0.2, self._deadline - time.monotonic())
        try:
            self.answer = self._service.post(body, left)
        except Refused as error:
            self._is_refused, self.trouble = True, f"the service refused it ({error})"
        except Away as error:
            self.trouble = f"the service at {self._service.url} is away ({error})"
            self._keep(body, is_last=is_last)
        self._unsent.clear()

    def _keep(self, body: bytes, *, is_last: bool) -> None:
        try:
            self.spool = self.spool or Spool(self._head["id"], self._service.url)
            self.spool.add(body, is_last=is_last)
        except OSError as error:
            self._is_refused, self.trouble = True, f"{self.trouble}, and it can't be kept: {plain(error)}"


def event_of(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The event as the service takes it. `kind`: play, task, or result."""
    event = {key: value for key, value in fields.items() if key != "said"}
    if kind == "play":
        return {"event": "playbook_on_play_start", **event}
    if kind == "task":
        return {"event": "playbook_on_task_start", **event}
    word = {"changed": "ok", "ignored": "failed"}.get(event["status"], event["status"])
    return {"event": f"runner_on_{word}", **event}


def line_of(kind: str, fields: dict[str, Any]) -> str:
    """What the run's log shows for it, much as Ansible prints it."""
    if kind == "play":
        return f"\nPLAY [{fields['play']}]\n"
    if kind == "task":
        return f"\nTASK [{fields['task']}]\n"
    status, said = fields["status"], fields.get("message") or fields.get("said")
    word = {"failed": ": FAILED!", "ignored": ": FAILED!", "unreachable": ": UNREACHABLE!"}.get(status, "")
    line = f"{STATUS_WORDS.get(status, 'fatal')}: [{fields['host']}]{word}"
    return line + (f" => {said}" if said else "") + ("\n...ignoring\n" if status == "ignored" else "\n")


def recap(hosts: dict[str, dict[str, int]]) -> str:
    """The last lines."""
    lines = [f"{name:<26} : {' '.join(f'{key}={n}' for key, n in counts.items())}" for name, counts in hosts.items()]
    return "\n".join(["", "PLAY RECAP", *lines, ""])


def checkout(folder: str) -> dict[str, Any]:
    """The commit, the branch and the state of the checkout that the folder is in; nothing where it is in none."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", folder, *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return done.stdout.strip()

    try:
        commit, branch = git("rev-parse", "HEAD"), git("rev-parse", "--abbrev-ref", "HEAD")
        dirty = bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return {}
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        return {}
    return {"commit": commit, "branch": None if branch == "HEAD" else plain(branch), "dirty": dirty}


# ── what the inventory file says ──────────────────────────────────────────────────────────────────────────


def inventory_options() -> dict[str, str]:
    """url, token_file and ca_path of the inventory file of the plugin registry that this command names."""
    for source in context.CLIARGS.get("inventory") or ():
        path = Path(source)
        if not path.name.endswith(("registry.yml", "registry.yaml", "callboard.yml", "callboard.yaml")):
            continue
        with contextlib.suppress(Exception):  # the inventory plugin says what is wrong with it
            told = AnsibleLoader(path.read_text(encoding="utf-8")).get_single_data()
            if "registry" in str(told.get("plugin")):
                return options_of(told, path.parent)
    return {}


def options_of(told: dict[str, Any], folder: Path) -> dict[str, str]:
    """Those options of an inventory file that say where the service is; paths count from the file's folder."""
    found = {key: str(told[key]) for key in ("url", "token", "token_file", "ca_path") if told.get(key)}
    for key in {"token_file", "ca_path"} & found.keys():
        found[key] = str(folder / Path(found[key]).expanduser())
    return found


def short_path(playbook: str) -> str:
    """A playbook's path without what lies above the present folder: that is nobody's business."""
    path = Path(playbook)
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path.name


# ── the hooks ─────────────────────────────────────────────────────────────────────────────────────────────


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
        self._began: dict[tuple[str, str], float] = {}
        self._names: dict[str, str] = {}
        self._head: dict[str, Any] = {}

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._playbook = playbook._file_name  # noqa: SLF001 - Ansible offers no other way
        self._head = {
            "id": secrets.token_hex(16),
            "playbook": plain(short_path(self._playbook)),
            "started_at": moment(time.time()),
            "user": plain(user_name()),
            "machine": plain(platform.node()),
            "versions": {"ansible_core": ansible_version, "python": platform.python_version()},
        }
        atexit.register(self._end_interrupted)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = plain(play.get_name().strip(), 900)
        manager = play.get_variable_manager()
        hosts = [host.name for host in manager._inventory.get_hosts(play.hosts)]  # noqa: SLF001
        self._look_at(manager, hosts)
        self._note("play", {"play": self._play})
        new = [name for name in hosts if name not in self._known and name not in self._others]
        self._known.update(new)
        if new:
            self._note("hosts", new)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        name = self._names[task._uuid] = plain(task.get_name().strip(), 900)  # noqa: SLF001
        self._note("task", {"play": self._play, "task": name, "action": plain(task.action)})

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._began[host.name, task._uuid] = time.monotonic()  # noqa: SLF001

    def v2_runner_on_ok(self, result: Any) -> None:
        told = result.result
        is_debug = result.task.action in {"debug", "ansible.builtin.debug"}
        said = debug_of(told) if is_debug else None
        self._result(result, "changed" if told.get("changed") is True else "ok", None, said)

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
        began = self._began.pop((host, task._uuid), None)  # noqa: SLF001
        fields: dict[str, Any] = {
            "host": plain(host),
            "play": self._play,
            "task": self._names.get(task._uuid) or plain(task.get_name().strip(), 900),  # noqa: SLF001
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

    def _look_at(self, manager: Any, hosts: list[str]) -> None:
        """Which stage this is about; hosts of other stages are left out."""
        stages: dict[str, set[str]] = {}
        for group in manager._inventory.groups.values():  # noqa: SLF001
            stage = group.vars.get("callboard_stage")
            if stage:
                stages[str(stage)] = {host.name for host in group.get_hosts()}
        if self._stage is None:
            self._stage = next((stage for stage, names in stages.items() if names & set(hosts)), None)
        for stage, names in stages.items():
            if stage != self._stage:
                self._others |= names - stages.get(self._stage or "", set())
        if self._recorder is None and self._stage is not None:
            self._begin(manager)

    def _begin(self, manager: Any) -> None:
        told = inventory_options()
        token = told.get("token") or self.get_option("token")
        token_file = self.get_option("token_file") or told.get("token_file")
        if not token and token_file:
            with contextlib.suppress(OSError, ValueError):
                token = Path(token_file).read_text(encoding="utf-8").strip()
        url = told.get("url") or self.get_option("url") or "http://127.0.0.1:8500"
        if not token or not re.fullmatch(r"[!-~]{1,4096}", token):
            self.disabled = True
            self._display.warning("callboard: this run is not recorded: there is no token. Set CALLBOARD_TOKEN.")
            return
        cli = context.CLIARGS
        self._head |= {
            "stage": self._stage,
            "limit": plain(cli["subset"], 20_000) if cli.get("subset") else None,
            "tags": [plain(tag) for tag in cli.get("tags") or () if tag != "all"][:100],
            "skip_tags": [plain(tag) for tag in cli.get("skip_tags") or ()][:100],
            "check": bool(cli.get("check")),
            "diff": bool(cli.get("diff")),
            "extra_vars": [plain(name) for name in manager.extra_vars][:500],
        }
        service = Service(url, token, self.get_option("ca_path") or told.get("ca_path"), self.get_option("timeout"))
        self._recorder = Recorder(service, self._head, str(Path(self._playbook).resolve().parent))
        for note in self._early:
            self._recorder.note(*note)
        self._early.clear()
        self._recorder.start()

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
            self._display.display(words(recorder.answer), stderr=True)

    def _end_interrupted(self) -> None:
        """Ansible says nothing more when it is interrupted."""
        with contextlib.suppress(Exception):
            self._end({}, is_interrupted=True)


def counts_of(stats: Any, host: str) -> dict[str, int]:
    """Ansible's counters of one host, by the service's names."""
    return {ours: int(getattr(stats, theirs).get(host, 0)) for theirs, ours in COUNTERS.items()}


def user_name() -> str:
    """Who runs this, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())


def words(answer: dict[str, Any]) -> str:
    """What the user is told at the end."""
    told = f"callboard: recorded as run {answer.get('id')}: {plain(answer.get('page'))}"
    desired = answer.get("desired_release")
    if answer.get("kind") in {"deploy", "rollback"} and isinstance(desired, dict) and answer.get("converge"):
        told += (
            f"\ncallboard: the stage's desired release is still {desired.get('number')}, and the service brings hosts "
            "back to it; `callboard deploy` makes another one the desired release."
        )
    return told
