# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records a run from a laptop: notes → queue → thread → batches → service, or a spool file where there is none.

Nothing here may end or fail a run: what goes wrong is said once, at the end.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import queue
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from ansible_collections.callboard.callboard.plugins.plugin_utils.problems import Problem
from ansible_collections.callboard.callboard.plugins.plugin_utils.service import Service, Unwelcome, post

FLUSH_SECONDS = 1.0
ALIVE_SECONDS = 60.0
MOST_EVENTS = 300
LONGEST_MESSAGE = 1500
LARGEST_SPOOL = 32 * 1024 * 1024
MOST_SPOOLS = 50
STATUS_LABELS = {"ok": "ok", "changed": "changed", "skipped": "skipping", "unreachable": "fatal", "failed": "fatal"}
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
    parts = [str(result[key]) for key in ("msg", "stderr", "module_stderr") if result.get(key)]
    items = [item for item in result.get("results") or [] if isinstance(item, dict) and item.get("failed")]
    parts += [message_of(item) or "" for item in items[:5]]
    return plain("\n".join(part for part in parts if part), LONGEST_MESSAGE) or None


def debug_of(result: Any) -> str | None:
    """What the module debug prints."""
    if result.get("censored") or "msg" not in result:
        return None
    message = result["msg"]
    return plain(message if isinstance(message, str) else json.dumps(message, default=str), LONGEST_MESSAGE)


# ── the service ───────────────────────────────────────────────────────────────────────────────────────────


def send(service: Service, body: bytes, seconds: float) -> dict[str, Any]:
    """Send one batch, and wait so long for its answer. Raises Away or Refused."""
    try:
        return post(service, "/api/v1/runs/recorded", body, seconds=seconds)
    except Unwelcome as answer:
        is_away = answer.status >= 500 or answer.status in {408, 429}  # noqa: PLR2004
        raise (Away if is_away else Refused)(str(answer)) from None
    except Problem as problem:
        raise Away(problem.happened) from None


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
                    send(service, line, service.timeout)
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
        self._is_refused = self._is_over = False
        self._unsent: list[tuple[bytes, bool]] = []
        self._thread = threading.Thread(target=self._work, name="callboard", daemon=True)

    def note(self, *parts: Any) -> None:
        """One thing that happened; returns at once."""
        self._notes.put(parts)

    def start(self) -> None:
        self._thread.start()

    def finish(self, patience: float) -> None:
        """The last note has been given: wait for it to be sent, and keep what was not."""
        self._deadline = time.monotonic() + patience
        self._stop.set()
        self._thread.join(patience + 0.5)
        if not self._thread.is_alive():
            return
        self._is_over = True  # it still waits for an answer, or for git; it writes nothing any more
        self.trouble = self.trouble or f"the service at {self._service.url} is away (no answer came in time)"
        for body, is_last in list(self._unsent):
            self._keep(body, is_last=is_last)
        while not self._notes.empty():
            self._give(self._gather()[0])

    def _work(self) -> None:
        try:
            self._head.update(checkout(self._folder))
            self._record()
        except Exception as error:  # noqa: BLE001 - a run must not notice
            self.trouble = f"{type(error).__name__}: {plain(error)}"

    def _record(self) -> None:
        is_open, spoken_at = True, 0.0
        while is_open and not self._is_over:
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
        if self.spool is not None or self._is_over:
            self._keep(body, is_last=is_last)
            return
        self._unsent.append((body, is_last))
        left = self._service.timeout
        if self._deadline is not None:
            left = min(left, max(0.2, self._deadline - time.monotonic()))
        try:
            self.answer = send(self._service, body, left)
        except Refused as error:
            self._is_refused, self.trouble = True, f"the service refused it ({error})"
        except Away as error:
            if self._is_over:  # whoever ended it has kept the batch
                return
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
    status = {"changed": "ok", "ignored": "failed"}.get(event["status"], event["status"])
    return {"event": f"runner_on_{status}", **event}


def line_of(kind: str, fields: dict[str, Any]) -> str:
    """What the run's log shows for it, much as Ansible prints it."""
    if kind == "play":
        return f"\nPLAY [{fields['play']}]\n"
    if kind == "task":
        return f"\nTASK [{fields['task']}]\n"
    status, said = fields["status"], fields.get("message") or fields.get("said")
    suffix = {"failed": ": FAILED!", "ignored": ": FAILED!", "unreachable": ": UNREACHABLE!"}.get(status, "")
    line = f"{STATUS_LABELS.get(status, 'fatal')}: [{fields['host']}]{suffix}"
    return line + (f" => {said}" if said else "") + ("\n...ignoring\n" if status == "ignored" else "\n")


def recap(hosts: dict[str, dict[str, int]]) -> str:
    """The last lines."""
    lines = [f"{name:<26} : {' '.join(f'{key}={n}' for key, n in counts.items())}" for name, counts in hosts.items()]
    return "\n".join(["", "PLAY RECAP", *lines, ""])


def checkout(folder: str) -> dict[str, Any]:
    """The commit, the branch and the state of the checkout that the folder is in; nothing where it is in none."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", folder, *arguments],
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


def short_path(playbook: str) -> str:
    """A playbook's path without what lies above the present folder: that is nobody's business."""
    path = Path(playbook)
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path.name


def counts_of(stats: Any, host: str) -> dict[str, int]:
    """Ansible's counters of one host, by the service's names."""
    return {ours: int(getattr(stats, theirs).get(host, 0)) for theirs, ours in COUNTERS.items()}


def closing_message(answer: dict[str, Any]) -> str:
    """What the user is told at the end."""
    message = f"callboard: recorded as run {answer.get('id')}: {plain(answer.get('page'))}"
    desired = answer.get("desired_release")
    if answer.get("kind") in {"deploy", "rollback"} and isinstance(desired, dict) and answer.get("converge"):
        message += (
            f"\ncallboard: the stage's desired release is still {desired.get('number')}, and the service brings hosts "
            "back to it; `callboard deploy` makes another one the desired release."
        )
    return message
