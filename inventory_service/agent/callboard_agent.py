#!/usr/bin/env python3
"""The Callboard agent: enrols this host with a Callboard service and renews its lease.

One file, Python 3.8 or newer, standard library only. It is installed as `callboard-agent`:

    callboard-agent enrol --url https://callboard.example --token-file /root/join-token
    callboard-agent install
    callboard-agent status

Exit codes: 0 done, 1 failed for now (try again), 2 wrong use or something on this host to mend,
3 credential refused, 4 not enrolled or gone, 5 the service rejected what was sent.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import datetime as dt
import email.utils
import fcntl
import glob
import hashlib
import http.client
import json
import math
import os
import platform
import random
import re
import select
import shlex
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Callable, Dict, Iterator, List, NoReturn, Tuple, TypeVar

__version__ = "0.2.0"

DONE, FOR_NOW, WRONG_USE, REFUSED, GONE, REJECTED = range(6)

REQUEST_SECONDS = 5.0
ENROL_SECONDS = 15.0  # the service may ask EC2 about this instance before it answers
GIVE_UP_SECONDS = 50.0  # cron starts the next beat after 60
GAUGE_SECONDS = 5.0
GAUGES_SECONDS = 10.0
HEALTH_SECONDS = 5.0
METADATA_SECONDS = 1.0
LOCK_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 3600.0
MINUTE = 60
LONGEST_BACKOFF_SECONDS = 30.0

ANSWER_BYTES = 64 * 1024
BODY_BYTES = 16 * 1024
FACTS_BYTES = 4 * 1024
HOST_KEYS_BYTES = 6 * 1024
DOCUMENT_CHARS = 2048
SIGNATURE_CHARS = 512
FACT_CHARS = 256
SMALL_FILE_BYTES = 4096
MOST_GAUGES = 32

SUCCESS, REDIRECT = 2, 3  # hundreds of an HTTP status
RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))
KEY_TYPES = frozenset(("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"))
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/+@-]{0,127}\Z")
RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,127}\Z")
PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._+@-]*\Z")
MARK = "written by `callboard-agent install`"
BUILT_IN_METRICS = ("load1_per_cpu", "memory_used_ratio", "disk_used_ratio")

T = TypeVar("T")


class AgentError(Exception):
    """What happened, to what, and what to do next, in words that are safe to print.

    `code` is the exit code, `status` the HTTP status where there was an answer, `is_temporary` says that
    trying again may help, `retry_after` the seconds that the service asked to wait.
    """

    def __init__(
        self,
        message: str,
        code: int,
        *,
        status: int | None = None,
        is_temporary: bool = False,
        retry_after: float | None = None,
    ) -> None:
        """Made by whoever knows what to do next."""
        super().__init__(message)
        self.code = code
        self.status = status
        self.is_temporary = is_temporary
        self.retry_after = retry_after


class StoppedError(BaseException):
    """SIGTERM or SIGINT arrived; not an Exception, so that no handler for errors holds it up."""


class SlowError(OSError):
    """A request took longer than its whole time."""


def warn(message: str) -> None:
    """A line on standard error."""
    print(f"callboard-agent: {message}", file=sys.stderr, flush=True)


def say(message: str) -> None:
    """A line on standard output."""
    print(message, flush=True)


# --- text and time ---------------------------------------------------------------------------------------


def clean(text: object, limit: int = FACT_CHARS) -> str:
    """One line without control, format (bidi), surrogate or separator characters, at most `limit` long."""
    kept = (c if unicodedata.category(c)[0] not in "CZ" or c == " " else " " for c in str(text)[: limit * 4])
    return " ".join("".join(kept).split())[:limit]


def utc_now() -> str:
    """Wall time of this host, ISO 8601 UTC; it is shown and compared by nobody."""
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def canonical(value: object) -> str:
    """JSON with sorted keys, no spaces and ASCII only: what the hash of the facts is taken over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def facts_hash(facts: Dict[str, Any]) -> str:
    """Hex SHA-256 of the facts' canonical JSON."""
    return hashlib.sha256(canonical(facts).encode("ascii")).hexdigest()


def phase(host: str, interval: float) -> int:
    """The host's own second within the interval, so that a fleet doesn't call at the full minute."""
    return int.from_bytes(hashlib.sha256(host.encode("utf-8", "replace")).digest()[:4], "big") % max(1, int(interval))


def number(value: object, default: float, low: float, high: float) -> float:
    """The value as a finite float between `low` and `high`, or `default` when it is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return default
    # A 400-digit integer is a valid JSON number and no float.
    with contextlib.suppress(OverflowError):
        if math.isfinite(float(value)):
            return min(max(float(value), low), high)
    return default


def read_small(path: str, *, follow: bool = True) -> str:
    """The first 4 KB of a regular file. Raises OSError; never waits on a FIFO or device."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file")
        return os.read(descriptor, SMALL_FILE_BYTES).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


def first_line(path: str, *, follow: bool = True) -> str | None:
    """The file's first line, stripped; None when it can't be read."""
    try:
        lines = read_small(path, follow=follow).splitlines()
    except OSError:
        return None
    return lines[0].strip() if lines else None


# --- what is kept on this host ---------------------------------------------------------------------------


@dataclasses.dataclass
class Options:
    """What `enrol` was told, kept for every later call."""

    url: str = ""
    name: str = ""
    address: str | None = None
    ssh_port: int = 22
    release_path: str = "/srv/app"
    host_key_glob: str = "/etc/ssh/ssh_host_*_key.pub"
    gauges: Dict[str, str] = dataclasses.field(default_factory=dict)
    gauge_files: Dict[str, str] = dataclasses.field(default_factory=dict)
    health_command: str | None = None
    health_url: str | None = None
    ca: str | None = None
    ec2: bool = False


@dataclasses.dataclass
class State:
    """One enrolment: who this host is to the service. `left` is set once it has said goodbye."""

    host: str
    name: str
    stage: str
    token: str = dataclasses.field(repr=False)
    interval_seconds: float
    ttl_seconds: float
    enrolled_at: str
    options: Options
    left: Dict[str, Any] | None = None


def default_folder() -> str:
    """CALLBOARD_AGENT_DIR, else /var/lib/callboard-agent for root and a folder below the home for others."""
    if os.environ.get("CALLBOARD_AGENT_DIR"):
        return os.environ["CALLBOARD_AGENT_DIR"]
    if os.geteuid() == 0:
        return "/var/lib/callboard-agent"
    return os.path.expanduser("~/.local/state/callboard-agent")


class Store:
    """The state folder (0700): state.json, last.json, lock, join-token, ec2.json, installed.json, each 0600."""

    def __init__(self, folder: str) -> None:
        """Touches nothing yet; `create` makes the folder."""
        self.folder = os.path.abspath(folder)

    def path(self, name: str) -> str:
        """Where the file of that name lies."""
        return os.path.join(self.folder, name)

    def create(self) -> None:
        """Makes the folder. Raises AgentError when it can't be made or others may read it."""
        try:
            os.makedirs(os.path.dirname(self.folder), exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.folder, 0o700)
            found = os.stat(self.folder)
        except OSError as error:
            raise self._unusable(error) from None
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise AgentError(
                f"the state folder {self.folder} must be a folder that only this user can read. "
                f"Run `chmod 700 {self.folder}`, or choose another one with --state-dir.",
                WRONG_USE,
            )

    def read(self, name: str) -> Dict[str, Any] | None:
        """The JSON object in that file; None when there is no such file. Raises AgentError."""
        try:
            with open(self.path(name), encoding="utf-8") as file:
                data = json.load(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from None
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise AgentError(
                f"{self.path(name)} is damaged. Enrol again with `callboard-agent enrol --force`.",
                WRONG_USE,
            )
        return data

    def write(self, name: str, text: str) -> None:
        """Replaces the file in one step, readable by this user only. Raises AgentError."""
        fresh = self.path(f".{name}.{os.getpid()}")
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            os.replace(fresh, self.path(name))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            raise self._unusable(error) from None

    def remove(self, name: str) -> None:
        """Removes the file, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(name))

    def load(self) -> State | None:
        """The enrolment, or None. Raises AgentError for a file that isn't one."""
        data = self.read("state.json")
        if data is None:
            return None
        try:
            return State(**{**_known(State, data), "options": Options(**_known(Options, data["options"]))})
        except (KeyError, TypeError, AttributeError):
            raise AgentError(
                f"{self.path('state.json')} is incomplete. Enrol again with `callboard-agent enrol --force`.",
                WRONG_USE,
            ) from None

    def save(self, state: State) -> None:
        """Keeps the enrolment."""
        self.write("state.json", json.dumps(dataclasses.asdict(state), indent=1) + "\n")

    def last(self) -> Dict[str, Any]:
        """The result of the last beat; empty before the first or when the file can't be read."""
        try:
            return self.read("last.json") or {}
        except AgentError:
            return {}

    def note(self, last: Dict[str, Any]) -> None:
        """Keeps a beat's result. A full disk must not end a lease, so a failure is only a warning."""
        try:
            self.write("last.json", json.dumps(last, indent=1) + "\n")
        except AgentError as error:
            warn(str(error))

    def join_token(self) -> str | None:
        """The join token that `enrol --keep-join-token` kept, or None."""
        return first_line(self.path("join-token"), follow=False)

    def nonce(self) -> str:
        """Tells the service that an enrolment is the same one again; kept until its answer is. Raises AgentError."""
        kept = first_line(self.path("nonce"), follow=False)
        if kept is None or not re.match(r"[0-9a-f]{32}\Z", kept):
            kept = os.urandom(16).hex()
            self.write("nonce", kept + "\n")
        return kept

    @contextlib.contextmanager
    def lock(self, wait_seconds: float) -> Iterator[bool]:
        """Holds the folder's lock; yields False when another process kept it for all of `wait_seconds`."""
        try:
            descriptor = os.open(self.path("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            yield _flock(descriptor, time.monotonic() + wait_seconds)
        finally:
            os.close(descriptor)

    def _unusable(self, error: OSError) -> AgentError:
        return AgentError(
            f"the state folder {self.folder} can't be used ({error.strerror or error}). "
            "Check its owner and the free space, or choose another one with --state-dir.",
            WRONG_USE,
        )


def _flock(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)
        else:
            return True


def _known(kind: type, data: Dict[str, Any]) -> Dict[str, Any]:
    """Only the entries that this version knows, so that a newer version's file can still be read."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {key: value for key, value in data.items() if key in names}


def enrolled(store: Store) -> State:
    """The enrolment. Raises AgentError when there is none."""
    state = store.load()
    if state is None:
        raise AgentError(
            f"this host is not enrolled (nothing in {store.folder}). "
            "Run `callboard-agent enrol --url URL --token-file FILE` with a join token of its stage.",
            GONE,
        )
    return state


# --- HTTP ------------------------------------------------------------------------------------------------


def checked_url(text: str) -> str:
    """The service's URL without a final slash. Raises AgentError for all but plain http(s)://host[:port][/path]."""
    parts = urllib.parse.urlsplit(text)
    try:
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_good = False
    if not is_good or "@" in parts.netloc or parts.query or parts.fragment or not text.isprintable() or " " in text:
        raise AgentError(
            f"{clean(text)!r} is no URL of a service. Write it like https://callboard.example or "
            "http://10.0.0.5:8500, without user, query or fragment.",
            WRONG_USE,
        )
    return text.rstrip("/")


def checked_token(text: str, prefix: str, what: str) -> str:
    """The token, stripped. Raises AgentError, which doesn't repeat it."""
    token = text.strip()
    if not re.match(prefix + r"[!-~]{1,250}\Z", token):
        raise AgentError(
            f"{what} is not one: it should be one word that begins with {prefix}. Copy it again.", WRONG_USE
        )
    return token


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises SlowError in the body once `seconds` are over, however slowly a peer drips its bytes."""

    def ring(_signal: int, _frame: object) -> NoReturn:
        raise SlowError(f"no complete answer within {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    # It rings again: a library may have taken the first for a failed clean-up.
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def opener(ca: str | None, *, use_proxy: bool = True) -> urllib.request.OpenerDirector:
    """Speaks http and https, verifies TLS, follows no redirect, knows no other scheme."""
    director = urllib.request.OpenerDirector()
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise AgentError(
            f"the CA file {ca} can't be used ({error.strerror or error}). Name a PEM file with --ca.",
            WRONG_USE,
        ) from None
    for handler in (
        urllib.request.ProxyHandler(None if use_proxy else {}),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        director.add_handler(handler)
    return director


@dataclasses.dataclass(frozen=True)
class Answer:
    """An HTTP answer of any status; the body is cut one byte above the limit."""

    status: int
    headers: Any
    body: bytes


def exchange(director: urllib.request.OpenerDirector, request: urllib.request.Request, seconds: float) -> Answer:
    """Sends and reads within `seconds` in total. Raises OSError or HTTPException."""
    with at_most(seconds):
        try:
            with director.open(request, timeout=seconds) as response:
                return Answer(response.status, response.headers, response.read(ANSWER_BYTES + 1))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read(ANSWER_BYTES + 1))


class Client:
    """Posts JSON to one service with one token, which no error of it repeats."""

    def __init__(self, options: Options, token: str, advice: Dict[int, str]) -> None:
        """`advice` says, per HTTP status, what to do next. Raises AgentError for a bad URL or CA file."""
        self.url = checked_url(options.url)
        self._token = token
        self._advice = advice
        self._director = opener(options.ca)

    def post(self, path: str, body: Dict[str, Any], seconds: float) -> Tuple[int, Dict[str, Any]]:
        """Status and JSON object of a 2xx answer. Raises AgentError for everything else."""
        url = self.url + path
        data = canonical(body).encode("ascii")
        if len(data) > BODY_BYTES:
            raise AgentError(f"the {len(data)} bytes for {url} are above {BODY_BYTES}. Use fewer gauges.", WRONG_USE)
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"callboard-agent/{__version__}",
            "X-Callboard-Agent": __version__,
        }
        request = urllib.request.Request(url, data=data, headers=headers, method="POST")
        try:
            answer = exchange(self._director, request, seconds)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise _unreachable(url, error) from None
        if answer.status // 100 == SUCCESS:
            return answer.status, _object(url, answer.body)
        raise self._problem(url, answer)

    def _problem(self, url: str, answer: Answer) -> AgentError:
        """The error for an answer that isn't 2xx."""
        status = answer.status
        if status // 100 == REDIRECT:
            target = clean(answer.headers.get("Location", "nowhere"))
            return AgentError(
                f"{url} redirects to {target!r}, which is not followed. "
                "If that is the service, enrol with its own URL: `callboard-agent enrol --force --url URL`.",
                REJECTED,
                status=status,
            )
        said = self._hide(_detail(answer.body))
        advice = self._advice.get(status) or ("It is tried again." if status in RETRIED else "See the service's log.")
        return AgentError(
            f"{url} answered {status}{': ' + said.rstrip('.') if said else ''}. {advice}",
            {401: REFUSED, 403: REFUSED, 410: GONE}.get(status, FOR_NOW if status in RETRIED else REJECTED),
            status=status,
            is_temporary=status in RETRIED,
            retry_after=retry_after(answer.headers.get("Retry-After")) if status in RETRIED else None,
        )

    def _hide(self, text: str) -> str:
        """The text without the token, should a service ever echo it."""
        return text.replace(self._token, "[token]")


def _unreachable(url: str, error: Exception) -> AgentError:
    """The error for a request without an answer; a certificate that doesn't verify is not temporary."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return AgentError(
            f"the certificate of {url} does not verify ({clean(cause.verify_message)}). "
            "Enrol with --ca FILE if a private CA signed it.",
            WRONG_USE,
        )
    if isinstance(cause, (SlowError, socket.timeout)):
        reason = "no complete answer in time"
    else:
        reason = clean(getattr(cause, "strerror", None) or cause) or type(cause).__name__
    return AgentError(
        f"{url} could not be reached ({reason}). "
        "Check that the service runs and that this host may connect to it (DNS, route, firewall).",
        FOR_NOW,
        is_temporary=True,
    )


def _object(url: str, body: bytes) -> Dict[str, Any]:
    """The body as a JSON object of at most 64 KB. Raises AgentError."""
    try:
        data = json.loads(body.decode("utf-8")) if len(body) <= ANSWER_BYTES else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise AgentError(
            f"{url} answered something that is no JSON object of at most {ANSWER_BYTES} bytes. "
            "Check that the URL is the service's own and no other server's.",
            FOR_NOW,
            is_temporary=True,
        )
    return data


def _detail(body: bytes) -> str:
    """What a JSON problem says (detail, then field errors), else the title, else nothing."""
    try:
        problem = json.loads(body.decode("utf-8")) if len(body) <= ANSWER_BYTES else None
    except (ValueError, RecursionError):
        problem = None
    if not isinstance(problem, dict):
        return ""
    errors = problem.get("errors")
    fields = [
        f"{'.'.join(map(str, error.get('loc') or []))}: {error.get('msg', '')}"
        for error in (errors[:5] if isinstance(errors, list) else [])
        if isinstance(error, dict) and isinstance(error.get("loc"), list)
    ]
    text = str(problem.get("detail") or problem.get("title") or "")
    return clean("; ".join([text, *fields]) if text else "; ".join(fields), 1000)


def retry_after(value: str | None) -> float | None:
    """Seconds, at most an hour, that a Retry-After header (number or date) asks for; None if unreadable."""
    if not value:
        return None
    if value.strip().isdigit():
        return min(float(value), LONGEST_WAIT_SECONDS)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.timezone.utc)
    return min(max((moment - dt.datetime.now(dt.timezone.utc)).total_seconds(), 0.0), LONGEST_WAIT_SECONDS)


def backoff() -> Iterator[float]:
    """1, 2, 4, 8, 16, 30, 30 … seconds, each with full jitter."""
    ceiling = 1.0
    while True:
        yield random.uniform(0, ceiling)  # noqa: S311 - spreads load, guards nothing
        ceiling = min(ceiling * 2, LONGEST_BACKOFF_SECONDS)


def pause(error: AgentError, delay: float) -> float:
    """Seconds before the next try: what the service asked for and a little, else the backoff's."""
    return delay if error.retry_after is None else error.retry_after + min(delay, 1.0)


def persist(action: Callable[[float], T], give_up_seconds: float) -> T:
    """Calls `action(seconds left)` until it works. Raises its AgentError at once or when time is over."""
    deadline = time.monotonic() + give_up_seconds
    for count, delay in enumerate(backoff(), 1):
        try:
            return action(deadline - time.monotonic())
        except AgentError as error:
            wait = pause(error, delay)
            if not error.is_temporary:
                raise
            if time.monotonic() + wait + 0.5 >= deadline:
                tries = f"{count} {'try' if count == 1 else 'tries'}"
                raise AgentError(f"{error} Gave up after {tries}.", error.code, status=error.status) from None
            time.sleep(wait)
    raise AssertionError  # backoff() never ends


# --- what this host tells about itself -------------------------------------------------------------------


def boot_id() -> str:
    """The kernel's id of this boot. Raises AgentError where there is none."""
    found = first_line("/proc/sys/kernel/random/boot_id")
    if not found:
        raise AgentError("/proc/sys/kernel/random/boot_id can't be read. The agent needs Linux with /proc.", WRONG_USE)
    return found


def sequence() -> int:
    """Milliseconds since boot, suspended time included: rises by itself within one boot."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)


def os_release() -> Dict[str, str]:
    """ID, VERSION_ID and the rest of /etc/os-release; empty where there is none."""
    values = {}
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        with contextlib.suppress(OSError, ValueError):
            for line in read_small(path).splitlines():
                key, equals, value = line.partition("=")
                if equals and not line.startswith("#"):
                    values[key] = "".join(shlex.split(value)[:1])
            break
    return values


def memory() -> Dict[str, int]:
    """/proc/meminfo in kB; empty where it can't be read."""
    with contextlib.suppress(OSError, ValueError):
        rows = (line.split() for line in read_small("/proc/meminfo").splitlines())
        return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
    return {}


def fitted(facts: Dict[str, Any]) -> Dict[str, Any]:
    """The facts as the wire allows them: good names, clean scalars, none empty, at most 4 KB together."""
    kept: Dict[str, Any] = {}
    for key, value in facts.items():
        good = value if isinstance(value, (bool, int)) else clean(value) if value else None
        if NAME.match(key) and good is not None and good != "":
            candidate = {**kept, key: good}
            kept = candidate if len(canonical(candidate)) <= FACTS_BYTES else kept
    return kept


def gather_facts(store: Store, options: Options) -> Dict[str, Any]:
    """A small flat dict about this host; on EC2 also about the instance."""
    system = os_release()
    total = memory().get("MemTotal")
    facts = {
        "hostname": socket.gethostname(),
        "os": system.get("ID"),
        "os_version": system.get("VERSION_ID"),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu_count": os.cpu_count(),
        "memory_mb": total // 1024 if total else None,
        "python": platform.python_version(),
    }
    return fitted({**facts, **(ec2_facts(store) if is_ec2(options) else {})})


def is_ec2(options: Options) -> bool:
    """The firmware names Amazon, or `--ec2` said so."""
    names = ("sys_vendor", "board_vendor", "bios_vendor", "bios_version", "chassis_asset_tag")
    return options.ec2 or any("amazon" in (first_line(f"/sys/class/dmi/id/{name}") or "").lower() for name in names)


def instance_identity() -> Dict[str, str] | None:
    """The instance identity document and its signature as IMDSv2 serves them; None when not to be had."""
    base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
    try:
        director = opener(None, use_proxy=False)
        token = _metadata(director, base, "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
        header = {"X-aws-ec2-metadata-token": checked_token(token, "", "the metadata token")}
        identity = "/latest/dynamic/instance-identity/"
        document = _metadata(director, base, identity + "document", header)
        signature = _metadata(director, base, identity + "signature", header)
    except (OSError, http.client.HTTPException, ValueError, AgentError) as error:
        warn(f"the EC2 metadata at {clean(base)} can't be read ({clean(error)}). Check that IMDSv2 is enabled.")
        return None
    if len(document) > DOCUMENT_CHARS or len(signature) > SIGNATURE_CHARS:
        warn(f"the EC2 identity document at {clean(base)} is too long and was left out.")
        return None
    return {"document": document, "signature": signature}


def _metadata(
    director: urllib.request.OpenerDirector,
    base: str,
    path: str,
    headers: Dict[str, str],
    method: str = "GET",
) -> str:
    request = urllib.request.Request(checked_url(base) + path, headers=headers, method=method)
    answer = exchange(director, request, METADATA_SECONDS)
    if answer.status != http.HTTPStatus.OK:
        raise OSError(f"{path} answered {answer.status}")
    return answer.body.decode("utf-8")


def identity_facts(identity: Dict[str, str]) -> Dict[str, str]:
    """The facts that an identity document holds; empty when it is no JSON object."""
    try:
        document = json.loads(identity["document"])
    except ValueError:
        return {}
    names = {
        "instance_id": "instanceId",
        "instance_type": "instanceType",
        "availability_zone": "availabilityZone",
        "region": "region",
    }
    return {ours: clean(document[theirs]) for ours, theirs in names.items() if document.get(theirs)}


def ec2_facts(store: Store) -> Dict[str, str]:
    """The instance's facts, asked for once per boot: they can't change while it runs."""
    try:
        kept = store.read("ec2.json") or {}
    except AgentError:
        kept = {}
    if kept.get("boot_id") == boot_id() and isinstance(kept.get("facts"), dict):
        return dict(kept["facts"])
    identity = instance_identity()
    facts = identity_facts(identity) if identity else {}
    if facts:
        store.write("ec2.json", json.dumps({"boot_id": boot_id(), "facts": facts}))
    return facts


def host_keys(pattern: str) -> List[str]:
    """The host's public SSH keys as `type base64`, strictly parsed, at most 6 KB together."""
    lines = (parse_host_key(first_line(path) or "") for path in sorted(glob.glob(pattern)))
    keys = [line for line in dict.fromkeys(lines) if line]
    while sum(map(len, keys)) > HOST_KEYS_BYTES:
        warn("the SSH host keys are above 6 KB together; the last one was left out.")
        keys.pop()
    if not keys:
        warn(
            f"no SSH host key was found at {pattern}, so runs can't verify this host. "
            "Enrol again with --force and --host-key-glob."
        )
    return keys


def parse_host_key(line: str) -> str | None:
    """`type base64` of a known type whose blob says the same type; None for anything else."""
    parts = line.split()
    kind, encoded = (*parts, "", "")[:2]
    if kind not in KEY_TYPES:
        return None
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError:
        return None
    name = kind.encode("ascii")
    return f"{kind} {encoded}" if blob.startswith(len(name).to_bytes(4, "big") + name) else None


def current_release(release_path: str) -> Dict[str, Any] | None:
    """What `<release_path>/current` points at: `{name, number, revision}`; None without such a link.

    The folder may belong to a less trusted user than the agent's, so a REVISION that is a link is not
    followed, and only what looks like a revision leaves the host.
    """
    link = os.path.join(release_path, "current")
    if not os.path.islink(link) or not os.path.isdir(link):
        return None
    name = os.path.basename(os.path.realpath(link))
    revision = first_line(os.path.join(link, "REVISION"), follow=False)
    return {
        "name": name if RELEASE.match(name) else None,
        # A stage counts its releases; a name such as 20261123140300 is a time and no such number.
        "number": int(name) if re.match(r"[0-9]{1,9}\Z", name) else None,
        "revision": revision if revision and REVISION.match(revision) else None,
    }


def last_run(release_path: str) -> int | None:
    """The number in `<release_path>/run`, where the role `release` notes which run it belongs to; None without it."""
    text = first_line(os.path.join(release_path, "run"), follow=False)
    return int(text) if text and re.match(r"[0-9]{1,9}\Z", text) else None


def disk_used_ratio(path: str) -> float | None:
    """As df counts: used of what unprivileged users can use, on the file system that holds `path`."""
    while path != "/" and not os.path.exists(path):
        path = os.path.dirname(os.path.abspath(path))
    found = os.statvfs(path)
    used = found.f_blocks - found.f_bfree
    return used / (used + found.f_bavail) if used + found.f_bavail else None


def gather_metrics(options: Options, seconds: float) -> Dict[str, float]:
    """The built-in metrics and the gauges that could be read within `seconds`; finite floats only."""
    sizes = memory()
    metrics: Dict[str, float | None] = {
        "load1_per_cpu": os.getloadavg()[0] / (os.cpu_count() or 1),
        "memory_used_ratio": 1 - sizes["MemAvailable"] / sizes["MemTotal"] if sizes.get("MemAvailable") else None,
        "disk_used_ratio": disk_used_ratio(options.release_path),
    }
    deadline = time.monotonic() + min(seconds, GAUGES_SECONDS)
    for name, command in options.gauges.items():
        metrics[name] = read_gauge(name, lambda text=command: command_gauge(text, deadline))  # type: ignore[misc]
    for name, path in options.gauge_files.items():
        metrics[name] = read_gauge(name, lambda text=path: read_small(text))  # type: ignore[misc]
    return {name: round(value, 6) for name, value in metrics.items() if value is not None}


def read_gauge(name: str, read: Callable[[], str]) -> float | None:
    """The first word that `read` gives as a finite float; None, with a warning, when it isn't one."""
    try:
        value = float("".join(read().split()[:1]))
        reason = "" if math.isfinite(value) else f"{value} is not finite"
    except (OSError, ValueError) as error:
        reason = clean(error)
    if reason:
        warn(f"the gauge {name} was left out ({reason}). Run its command or look at its file by hand.")
        return None
    return value


def command_gauge(command: str, deadline: float) -> str:
    """The command's output, at most 4 KB. Runs without a shell. Raises OSError or ValueError.

    Whatever it started ends with it: it leads a process group of its own.
    """
    deadline = min(deadline, time.monotonic() + GAUGE_SECONDS)
    with subprocess.Popen(
        shlex.split(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            output = _read_until(process, deadline)
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise OSError(f"`{command}` took too long") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if code != 0:
        raise OSError(f"`{command}` ended with {code}")
    return output.decode("utf-8", "replace")


def _read_until(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """All of standard output. Raises OSError above 4 KB, TimeoutExpired at the deadline."""
    assert process.stdout is not None
    output = b""
    while len(output) < SMALL_FILE_BYTES:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise subprocess.TimeoutExpired(process.args, GAUGE_SECONDS)
        chunk = os.read(process.stdout.fileno(), SMALL_FILE_BYTES)
        if not chunk:
            return output
        output += chunk
    raise OSError(f"its output is above {SMALL_FILE_BYTES} bytes")


def check_health(options: Options, seconds: float) -> Dict[str, Any] | None:
    """`{healthy, reason}` by the command or URL that `enrol` was given; None where it was given neither."""
    seconds = max(min(seconds, HEALTH_SECONDS), 0.5)
    reason = None
    try:
        if options.health_command:
            command_gauge(options.health_command, time.monotonic() + seconds)
        elif options.health_url:
            _ask_health(options.health_url, seconds)
        else:
            return None
    except (OSError, ValueError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        reason = clean(f"{options.health_command or options.health_url}: {getattr(cause, 'strerror', None) or cause}")
    return {"healthy": reason is None, "reason": reason}


def _ask_health(url: str, seconds: float) -> None:
    """Raises OSError or HTTPException unless the URL answers 2xx. No proxy, no redirect."""
    answer = exchange(opener(None, use_proxy=False), urllib.request.Request(url), seconds)
    if answer.status // 100 != SUCCESS:
        raise OSError(f"it answered {answer.status}")


# --- enrol, beat, goodbye --------------------------------------------------------------------------------

ENROL_ADVICE = {
    401: "Ask for a new join token for this host's stage, valid from here; `callboard audit` says why this one is not.",
    403: "Leave --address out, or have its network added to the join token.",
    409: "Another host holds this name, address or key: choose another --name or --address, or remove that host first.",
    422: "Correct that option and enrol again.",
}
HOST_ADVICE = {
    401: "This host's token is not valid any more: get a join token and run `callboard-agent enrol --force`.",
    403: "This host's token may not do that: get a join token and run `callboard-agent enrol --force`.",
    409: "If this machine was cloned from another, run `callboard-agent enrol --force` on the clone with a join token.",
    410: "The service has removed this host: get a join token and run `callboard-agent enrol --force`.",
    413: "Enrol again with fewer gauges.",
    422: "The agent and the service do not agree: install the agent that the service serves at /agent.",
}


def enrolment(store: Store, options: Options) -> Dict[str, Any]:
    """The body of POST /api/v1/enrol."""
    body: Dict[str, Any] = {
        "name": options.name,
        "address": options.address,
        "ssh_port": options.ssh_port,
        "boot_id": boot_id(),
        "host_keys": host_keys(options.host_key_glob),
        "agent_version": __version__,
        "facts": gather_facts(store, options),
        "nonce": store.nonce(),
    }
    identity = instance_identity() if is_ec2(options) else None
    return {**body, "instance_identity": identity} if identity else body


def enrol(store: Store, options: Options, join_token: str, seconds: float) -> Tuple[State, bool]:
    """Enrols and keeps the credential; True: it still waits for approval. Raises AgentError."""
    client = Client(options, join_token, ENROL_ADVICE)
    # Before the service makes a credential: it could not be shown twice if this folder can't be written.
    store.write("last.json", "{}\n")
    status, answer = client.post("/api/v1/enrol", enrolment(store, options), min(ENROL_SECONDS, max(seconds, 1.0)))
    state = accepted(answer, options)
    store.save(state)
    store.remove("nonce")
    return state, status == http.HTTPStatus.ACCEPTED


def accepted(answer: Dict[str, Any], options: Options) -> State:
    """The enrolment that an answer describes. Raises AgentError when it misses something."""
    host, token = answer.get("host"), answer.get("token")
    if not isinstance(host, (str, int)) or not isinstance(token, str):
        raise AgentError(
            f"{options.url}/api/v1/enrol answered without host or token. "
            "Check that the URL is the service's own and that the agent is the one it serves at /agent.",
            REJECTED,
        )
    return State(
        host=clean(host),
        name=clean(answer.get("name") or options.name),
        stage=clean(answer.get("stage") or ""),
        token=checked_token(token, "cbh_", "the host token in the service's answer"),
        interval_seconds=number(answer.get("interval_seconds"), 60.0, 1.0, LONGEST_WAIT_SECONDS),
        ttl_seconds=number(answer.get("ttl_seconds"), 300.0, 1.0, LONGEST_WAIT_SECONDS * 24),
        enrolled_at=utc_now(),
        options=options,
    )


def heartbeat(store: Store, state: State, last: Dict[str, Any], seconds: float) -> Dict[str, Any]:
    """The body of POST /api/v1/heartbeat. The facts go along only when the last answer asked for them."""
    facts = gather_facts(store, state.options)
    body: Dict[str, Any] = {
        "boot_id": boot_id(),
        "agent_version": __version__,
        "release": current_release(state.options.release_path),
        "facts_hash": facts_hash(facts),
        "metrics": gather_metrics(state.options, seconds),
    }
    run = last_run(state.options.release_path)
    if run is not None:
        body["run"] = run
    if last.get("send_facts") is True:
        body["facts"] = facts
    # After the release, so that a healthy word never belongs to an older one; and as fresh as the request.
    health = check_health(state.options, seconds)
    if health is not None:
        body["health"] = health
    return {**body, "seq": sequence(), "sent_at": utc_now()}


def renew(store: Store, seconds: float) -> Dict[str, Any]:
    """One heartbeat; the result is kept for `status` and returned. Raises AgentError, which is kept too."""
    state, last = enrolled(store), store.last()
    begun = time.monotonic()
    try:
        body = heartbeat(store, state, last, seconds / 2)
        left = max(seconds - (time.monotonic() - begun), 0.5)
        client = Client(state.options, state.token, HOST_ADVICE)
        status, answer = client.post("/api/v1/heartbeat", body, min(REQUEST_SECONDS, left))
    except AgentError as error:
        failed = {**last, "at": utc_now(), "ok": False, "status": error.status, "message": str(error)}
        store.note(failed)
        raise
    last = renewed(state, status, answer)
    store.note(last)
    if answer.get("rotate") is True:
        rotate(store, state, max(seconds - (time.monotonic() - begun), 1.0))
    return last


def rotate(store: Store, state: State, seconds: float) -> None:
    """Gets the new token that the service wants this host to have. The old one holds until the new one is used.

    So a failure is only a warning: the next answer asks for it again.
    """
    client = Client(state.options, state.token, HOST_ADVICE)
    try:
        _, answer = client.post("/api/v1/rotate", {}, min(REQUEST_SECONDS, seconds))
        token = checked_token(str(answer.get("token")), "cbh_", "the new token in the service's answer")
        store.save(dataclasses.replace(state, token=token))
    except AgentError as error:
        warn(f"the token stays as it is: {error}")
        return
    say(f"{state.name} has a new token.")


def renewed(state: State, status: int, answer: Dict[str, Any]) -> Dict[str, Any]:
    """What is kept of a good answer."""
    desired = answer.get("desired_release")
    return {
        "at": utc_now(),
        "ok": True,
        "status": status,
        "message": "renewed",
        "state": clean(answer.get("state") or "unknown", 32),
        "generation": answer.get("generation") if isinstance(answer.get("generation"), int) else None,
        "server_time": clean(answer.get("server_time") or "", 40),
        "next_in_seconds": number(answer.get("next_in_seconds"), state.interval_seconds, 0.5, LONGEST_WAIT_SECONDS),
        "ttl_seconds": number(answer.get("ttl_seconds"), state.ttl_seconds, 1.0, LONGEST_WAIT_SECONDS * 24),
        "send_facts": answer.get("send_facts") is True,
        "desired_release": desired if isinstance(desired, dict) else None,
    }


def renew_or_enrol(store: Store, seconds: float) -> Dict[str, Any]:
    """One heartbeat; a host that the service has removed enrols again when its join token was kept."""
    begun = time.monotonic()
    try:
        return renew(store, seconds)
    except AgentError as error:
        join_token = store.join_token()
        if error.status != http.HTTPStatus.GONE or not join_token:
            raise
    say("the service has removed this host; enrolling again with the kept join token.")
    enrol(store, enrolled(store).options, join_token, seconds - (time.monotonic() - begun))
    return renew(store, max(seconds - (time.monotonic() - begun), 1.0))


def has_left(state: State) -> bool:
    """The host said goodbye and has not come back since (by a new boot, if that was at shutdown)."""
    return state.left is not None and state.left.get("boot_id") in (None, boot_id())


def beat_once(store: Store, give_up_seconds: float, *, is_urgent: bool = False) -> int:
    """`beat`: renews the lease, trying again for a while. `is_urgent`: also after a beat that is under way."""
    state = enrolled(store)
    if has_left(state):
        say(f"{state.name} said goodbye; run `callboard-agent enrol` to bring it back.")
        return DONE
    with store.lock(LOCK_SECONDS if is_urgent else 0) as has_lock:
        if not has_lock:
            say("another beat of this host is under way; leaving it to that one.")
            return DONE
        last = persist(lambda left: renew_or_enrol(store, left), give_up_seconds)
    report(state, last)
    return DONE


def report(state: State, last: Dict[str, Any]) -> None:
    """Says what a beat achieved."""
    say(f"renewed: {state.name} in {state.stage} is {last['state']}; next in {last['next_in_seconds']:.0f} s.")


def first_wait(state: State, last: Dict[str, Any]) -> float:
    """Seconds before a loop's first beat: the host's phase, but a moment only when it has never beaten."""
    return phase(state.host, state.interval_seconds if last.get("ok") else 2)


def beat_loop(store: Store, *, goodbye_on_exit: bool) -> int:
    """`beat --loop`: renews for ever. Ends with 0 on SIGTERM or SIGINT.

    Raises AgentError when only a person can help.
    """

    def stop(_signal: int, _frame: object) -> NoReturn:
        raise StoppedError

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    try:
        _beat_for_ever(store)
    except StoppedError:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)
        say("stopped.")
        if goodbye_on_exit:
            goodbye(store, REQUEST_SECONDS)
    return DONE


def _beat_for_ever(store: Store) -> NoReturn:
    state = enrolled(store)
    wait = first_wait(state, store.last())
    delays = backoff()
    while True:
        time.sleep(wait)
        try:
            wait = _beat_in_loop(store)
            delays = backoff()
        except AgentError as error:
            if error.code in (REFUSED, GONE):
                raise
            warn(str(error))
            wait = pause(error, next(delays)) if error.is_temporary else state.interval_seconds


def _beat_in_loop(store: Store) -> float:
    """One beat of the loop; seconds until the next."""
    state = enrolled(store)
    if has_left(state):
        return state.interval_seconds
    with store.lock(0) as has_lock:
        if not has_lock:
            return 1.0
        last = renew_or_enrol(store, REQUEST_SECONDS + GAUGES_SECONDS + HEALTH_SECONDS)
    report(state, last)
    return float(last["next_in_seconds"])


def goodbye(store: Store, give_up_seconds: float) -> State:
    """Tells the service that this host leaves. Raises AgentError. A host that is already gone has left."""
    state = enrolled(store)
    client = Client(state.options, state.token, HOST_ADVICE)

    def leave(left: float) -> None:
        body = {"boot_id": boot_id(), "seq": sequence(), "agent_version": __version__}
        try:
            client.post("/api/v1/goodbye", body, min(REQUEST_SECONDS, max(left, 0.5)))
        except AgentError as error:
            if error.status != http.HTTPStatus.GONE:
                raise

    with store.lock(LOCK_SECONDS) as has_lock:
        if not has_lock:
            raise AgentError("a beat of this host is still under way. Say goodbye again in a minute.", FOR_NOW)
        persist(leave, give_up_seconds)
    say(f"said goodbye: {state.name} has left {state.stage}.")
    return state


def goes_down_for_good() -> bool:
    """Whether systemd is powering this machine off or halting it. After a reboot the host comes back."""
    try:
        jobs = subprocess.run(
            ["systemctl", "list-jobs", "--no-legend", "--plain"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=5,
            check=False,
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired):
        return False
    return any(
        row.split()[1:3] in (["poweroff.target", "start"], ["halt.target", "start"]) for row in jobs.splitlines()
    )


# --- install ---------------------------------------------------------------------------------------------

UNITS = "/etc/systemd/system"
SERVICE, TIMER, GOODBYE = (
    "callboard-agent.service",
    "callboard-agent.timer",
    "callboard-agent-goodbye.service",
)
CRON = "/etc/cron.d/callboard-agent"
CRONTAB_BEGIN, CRONTAB_END = "# BEGIN callboard-agent", "# END callboard-agent"

HARDENING = """\
User=root
UMask=0077
Nice=5
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_DAC_READ_SEARCH
PrivateTmp=yes
PrivateDevices=yes
ProtectSystem=strict
ProtectHome=read-only
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
"""


@dataclasses.dataclass(frozen=True)
class Installation:
    """How the agent is started: interpreter, its own file, its state folder, its interval and phase.

    `phase_seconds` is None in an image, where it isn't known yet which host this will be.
    """

    python: str
    program: str
    folder: str
    interval_seconds: int
    phase_seconds: int | None

    def command(self, *arguments: str) -> str:
        """The command line, of plain words only. -I keeps the environment from adding code."""
        return " ".join([self.python, "-I", self.program, *arguments, "--state-dir", self.folder])


def divisor(limit: int) -> int:
    """The greatest divisor of 60 that isn't above `limit`: what a calendar can repeat evenly."""
    return max(step for step in range(1, 61) if 60 % step == 0 and step <= max(1, limit))


def calendar(interval: int, offset: int) -> str:
    """The OnCalendar expression that fires each `interval` seconds (or a little oftener) at this offset.

    >>> calendar(60, 17), calendar(20, 17), calendar(300, 130)
    ('*-*-* *:*:17', '*-*-* *:*:17/20', '*-*-* *:2/5:10')
    """
    if interval < MINUTE:
        return f"*-*-* *:*:{offset % divisor(interval)}/{divisor(interval)}"
    minutes = divisor(interval // 60)
    if minutes == 1:
        return f"*-*-* *:*:{offset % 60}"
    return f"*-*-* *:{offset // 60 % minutes}/{minutes}:{offset % 60}"


def systemd_files(how: Installation) -> Dict[str, str]:
    """The three units by their path."""
    spread = (
        "RandomizedDelaySec=2"
        if how.phase_seconds is not None
        # Made for an image: each machine derives a phase of its own from its machine id.
        else f"RandomizedDelaySec={how.interval_seconds}\nFixedRandomDelay=yes"
    )
    return {
        f"{UNITS}/{SERVICE}": f"""\
# {MARK}
[Unit]
Description=Callboard heartbeat of this host
Wants=network-online.target
After=network-online.target
ConditionPathExists={how.folder}/state.json

[Service]
Type=oneshot
ExecStart={how.command("beat")}
TimeoutStartSec=58
ReadWritePaths=-{how.folder}
{HARDENING}""",
        f"{UNITS}/{TIMER}": f"""\
# {MARK}
[Unit]
Description=Callboard heartbeat of this host, each {how.interval_seconds} s

[Timer]
OnBootSec=5
OnCalendar={calendar(how.interval_seconds, how.phase_seconds or 0)}
AccuracySec=1
{spread}
Persistent=yes

[Install]
WantedBy=timers.target
""",
        f"{UNITS}/{GOODBYE}": f"""\
# {MARK}
[Unit]
Description=Callboard goodbye when this host powers off
Wants=network-online.target
After=network-online.target nss-lookup.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStop={how.command("goodbye", "--on-shutdown")}
TimeoutStopSec=20
ReadWritePaths=-{how.folder}
{HARDENING}
[Install]
WantedBy=multi-user.target
""",
    }


def cron_line(how: Installation, user: str) -> str:
    """The crontab line; `user` is the sixth field of /etc/cron.d and empty in a user's own crontab."""
    minutes = divisor(how.interval_seconds // 60)
    wait = (
        str(how.phase_seconds % 60)
        if how.phase_seconds is not None
        # Made for an image: the name that the machine will have decides. cron wants its % escaped.
        else r"$(( $(hostname | cksum | cut -d ' ' -f 1) \% 60 ))"
    )
    when = "*" if minutes == 1 else f"*/{minutes}"
    return f"{when} * * * *{user and ' ' + user} sleep {wait}; {how.command('beat')} >/dev/null 2>&1\n"


def cron_files(how: Installation) -> Dict[str, str]:
    """The entry in /etc/cron.d by its path. Results are in `callboard-agent status`, not in mail."""
    head = f"# {MARK}\nSHELL=/bin/sh\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
    return {CRON: head + cron_line(how, "root")}


def without_block(crontab: str) -> str:
    """A user's crontab without what stands between our markers."""
    pattern = rf"^{re.escape(CRONTAB_BEGIN)}$.*?^{re.escape(CRONTAB_END)}$\n?"
    return re.sub(pattern, "", crontab, flags=re.MULTILINE | re.DOTALL)


def with_block(crontab: str, line: str) -> str:
    """A user's crontab that ends with our block, whatever it held of us before."""
    rest = without_block(crontab)
    return f"{rest}{'' if not rest or rest.endswith(chr(10)) else chr(10)}{CRONTAB_BEGIN}\n{line}{CRONTAB_END}\n"


def read_crontab() -> str:
    """The user's crontab; empty when there is none. Raises AgentError."""
    done = run_tool("crontab", "-l")
    error = done.stderr.decode("utf-8", "replace")
    # Anything else must not be taken for an empty crontab: the next step would overwrite it.
    if done.returncode != 0 and not re.search(r"no crontab|no such file", error, re.IGNORECASE):
        raise AgentError(f"`crontab -l` failed ({clean(error)}). Check that this user may use cron.", WRONG_USE)
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else ""


def change_crontab(text: str) -> bool:
    """Makes this the user's crontab, if it isn't; whether it changed. Raises AgentError."""
    if text == read_crontab():
        return False
    done = run_tool("crontab", "-", data=text.encode("utf-8", "surrogateescape"))
    if done.returncode != 0:
        error = clean(done.stderr.decode("utf-8", "replace"))
        raise AgentError(f"`crontab -` failed ({error}). Check that this user may use cron.", WRONG_USE)
    return True


def run_tool(*command: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Runs a tool of the system in the C locale. Raises AgentError when it is missing or hangs."""
    try:
        return subprocess.run(
            command,
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        raise AgentError(
            f"`{command[0]}` could not be run. Install it, or keep `callboard-agent beat --loop` running.",
            WRONG_USE,
        ) from None


def systemctl(*arguments: str) -> None:
    """Runs systemctl. Raises AgentError when it fails."""
    done = run_tool("systemctl", *arguments)
    if done.returncode != 0:
        error = clean(done.stderr.decode("utf-8", "replace"))
        raise AgentError(f"`systemctl {' '.join(arguments)}` failed ({error}). Mend that and install again.", WRONG_USE)


def put(path: str, text: str, mode: int = 0o644) -> bool:
    """Writes a file that all may read, in one step; whether it changed. Raises AgentError."""
    try:
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
            if file.read() == text:
                return False
        os.makedirs(os.path.dirname(path), exist_ok=True)
        # cron ignores names with a dot, systemd names without a known suffix: neither reads it half-written.
        fresh = f"{path}.new~"
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(fresh, mode)
        os.replace(fresh, path)
    except OSError as error:
        raise AgentError(f"{path} can't be written ({error.strerror}). Run this as root.", WRONG_USE) from None
    return True


def take_away(path: str) -> bool:
    """Removes a file that `install` wrote; whether there was one. Leaves a file without our mark alone."""
    try:
        with open(path, encoding="utf-8") as file:
            if MARK not in file.readline():
                return False
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, UnicodeError) as error:
        raise AgentError(f"{path} can't be removed ({error}). Run this as root.", WRONG_USE) from None
    return True


def check_program(path: str) -> None:
    """Raises AgentError when root would regularly start a file that others can change."""
    # Debian's older /usr/local/bin belongs to the group staff: a folder's group is taken for trusted.
    for name, mask in ((path, 0o022), (os.path.dirname(path), 0o002)):
        found = os.stat(name)
        if found.st_uid != 0 or stat.S_IMODE(found.st_mode) & mask:
            raise AgentError(
                f"{name} can be changed by others than root, so root will not start it each interval. "
                "Choose another place with --bin-path.",
                WRONG_USE,
            )


def default_program(root: str | None) -> str:
    """Where the agent belongs: for all of the machine or the image, or for this user."""
    if root or os.geteuid() == 0:
        return "/usr/local/bin/callboard-agent"
    return os.path.expanduser("~/.local/bin/callboard-agent")


def place_program(store: Store, program: str, root: str | None) -> bool:
    """Copies this file to where it will be started from, unless it is there; whether it did.

    A copy is noted in installed.json, so that `uninstall` removes it, and only it.
    """
    here, there = os.path.realpath(__file__), below(root, program)
    if here == os.path.realpath(there):
        return False
    with open(here, encoding="utf-8") as file:
        is_copied = put(there, file.read(), 0o755)
    if is_copied:
        inside = Store(below(root, store.folder))
        inside.create()
        inside.write("installed.json", json.dumps({"program": program}) + "\n")
    return is_copied


def remove_program(store: Store, root: str | None) -> bool:
    """Removes the copy that `install` made; whether there was one."""
    inside = Store(below(root, store.folder))
    program = (inside.read("installed.json") or {}).get("program")
    if not isinstance(program, str):
        return False
    with contextlib.suppress(FileNotFoundError):
        os.unlink(below(root, program))
    inside.remove("installed.json")
    return True


def installation(store: Store, arguments: argparse.Namespace) -> Installation:
    """How the agent is to be started here. Raises AgentError for a path that units or cron would change."""
    program = arguments.bin_path or default_program(arguments.root)
    state = Store(below(arguments.root, store.folder)).load()
    interval = int(state.interval_seconds) if state else 60
    for path in (arguments.python, program, store.folder):
        if not PLAIN_PATH.match(path):
            raise AgentError(
                f"the path {path!r} has characters that systemd or cron would change. Use a plain one.",
                WRONG_USE,
            )
    if state and interval < MINUTE and kind_of(arguments) != "systemd":
        warn(f"cron can't beat each {interval} s, only each minute. Keep the stage's ttl well above that.")
    return Installation(
        python=arguments.python,
        program=program,
        folder=store.folder,
        interval_seconds=interval,
        phase_seconds=phase(state.host, interval) if state else None if arguments.root else 0,
    )


def kind_of(arguments: argparse.Namespace) -> str:
    """systemd, cron or user: as asked, else what this machine has."""
    if arguments.kind:
        return str(arguments.kind)
    if os.geteuid() != 0 and not arguments.root:
        return "user"
    return "systemd" if os.path.isdir(os.path.join(arguments.root or "/", "run/systemd/system")) else "cron"


def install(store: Store, arguments: argparse.Namespace) -> bool:
    """Puts the units, the cron entry or the crontab block in place; whether something changed."""
    kind, how = kind_of(arguments), installation(store, arguments)
    is_changed = place_program(store, how.program, arguments.root)
    if not arguments.root and os.geteuid() == 0:
        check_program(how.program)
    if kind == "user":
        return change_crontab(with_block(read_crontab(), cron_line(how, ""))) or is_changed
    if kind == "cron" and not arguments.root and not (shutil.which("cron") or shutil.which("crond")):
        warn("no cron daemon was found here. Install one, or keep `callboard-agent beat --loop` running.")
    files = systemd_files(how) if kind == "systemd" else cron_files(how)
    # From systemd to cron or back: two schedules would beat side by side.
    is_changed |= remove_files([path for path in installed_paths() if path not in files], arguments.root)
    for path, text in files.items():
        is_changed |= put(below(arguments.root, path), text)
    if kind == "systemd" and not arguments.root:
        start_units(is_changed)
    return is_changed


def start_units(is_changed: bool) -> None:
    """Makes systemd read the units, keep them and beat now."""
    if is_changed:
        systemctl("daemon-reload")
    systemctl("enable", "--now", TIMER, GOODBYE)
    if is_changed:
        systemctl("restart", TIMER)
        systemctl("start", "--no-block", SERVICE)


def installed_paths() -> List[str]:
    """Every file that `install` may write."""
    return [f"{UNITS}/{name}" for name in (SERVICE, TIMER, GOODBYE)] + [CRON]


def below(root: str | None, path: str) -> str:
    """The path inside an image's root folder."""
    return os.path.join(root, path.lstrip("/")) if root else path


def remove_files(paths: List[str], root: str | None) -> bool:
    """Stops and removes what `install` wrote of these files; whether there was something."""
    units = [os.path.basename(path) for path in paths if path.startswith(UNITS) and os.path.exists(below(root, path))]
    if units and not root:
        systemctl("disable", "--now", *units)
    removed = [path for path in paths if take_away(below(root, path))]
    if units and not root:
        systemctl("daemon-reload")
    return bool(removed)


def uninstall(store: Store, arguments: argparse.Namespace) -> bool:
    """Removes exactly what `install` wrote; whether there was something. With a kind, only that schedule."""
    by_kind = {"systemd": [path for path in installed_paths() if path != CRON], "cron": [CRON], "user": []}
    paths = by_kind.get(arguments.kind, installed_paths())
    is_changed = remove_files(paths, arguments.root) if arguments.root or os.geteuid() == 0 else False
    if not arguments.root and arguments.kind in (None, "user") and shutil.which("crontab"):
        is_changed |= change_crontab(without_block(read_crontab()))
    if arguments.kind is None:
        is_changed |= remove_program(store, arguments.root)
    return is_changed


# --- command line ----------------------------------------------------------------------------------------


def pair(text: str) -> Tuple[str, str]:
    """NAME=VALUE of a gauge, for argparse."""
    name, equals, value = text.partition("=")
    if not equals or not value.strip() or not NAME.match(name) or name in BUILT_IN_METRICS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no NAME=VALUE whose name has a-z, 0-9 and _ (at most 32) and is not built in"
        )
    return name, value


def web_address(text: str) -> str:
    """An http or https URL to ask, for argparse."""
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no http or https URL")
    return text


def ssh_port(text: str) -> int:
    """A TCP port, for argparse."""
    if not text.isdigit() or not 1 <= int(text) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} is no port between 1 and 65535")
    return int(text)


def positive(text: str) -> float:
    """Seconds above 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= LONGEST_WAIT_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds between 0 and {LONGEST_WAIT_SECONDS:.0f}")
    return value


def join_token_of(arguments: argparse.Namespace, store: Store) -> str:
    """The join token from where it was given, or the kept one. Raises AgentError."""
    given = arguments.environment_token
    source = arguments.token_file
    if source:
        try:
            given = sys.stdin.readline() if source == "-" else read_small(source)
        except OSError as error:
            raise AgentError(
                f"the token file {source} can't be read ({error.strerror or error}). Check path and owner.",
                WRONG_USE,
            ) from None
    given = arguments.token or given or store.join_token()
    if not given:
        raise AgentError(
            "there is no join token. Give one with --token-file FILE (- for standard input), "
            "in CALLBOARD_JOIN_TOKEN, or with --token.",
            WRONG_USE,
        )
    return checked_token(given, "cbj_", "the join token")


def chosen_options(arguments: argparse.Namespace, kept: Options) -> Options:
    """The kept options with those that the command line names. Raises AgentError."""
    fields = ("url", "name", "address", "ssh_port", "release_path", "host_key_glob", "ca")
    given = {name: getattr(arguments, name) for name in fields if getattr(arguments, name) is not None}
    options = dataclasses.replace(kept, **given)
    if arguments.no_gauges or arguments.gauge or arguments.gauge_file:
        options.gauges, options.gauge_files = dict(arguments.gauge or []), dict(arguments.gauge_file or [])
    if arguments.no_health or arguments.health_command or arguments.health_url:
        options.health_command, options.health_url = arguments.health_command, arguments.health_url
    options.ec2 = options.ec2 or arguments.ec2
    options.name = options.name or socket.gethostname()
    if not options.url:
        raise AgentError("the service's URL is missing. Give it with --url URL.", WRONG_USE)
    if len(options.gauges) + len(options.gauge_files) > MOST_GAUGES:
        raise AgentError(f"there are more than {MOST_GAUGES} gauges. Give fewer.", WRONG_USE)
    options.url = checked_url(options.url)
    options.address = options.address or None
    options.ca = os.path.abspath(options.ca) if options.ca else None
    options.release_path = os.path.abspath(os.path.expanduser(options.release_path))
    return options


def keep_options(store: Store, state: State, options: Options) -> int:
    """`enrol` on an enrolled host: keeps changed options; AgentError if the service has to know them."""
    changed = [n for n in ("url", "name", "address", "ssh_port") if getattr(state.options, n) != getattr(options, n)]
    if changed:
        raise AgentError(
            f"{state.name} is already enrolled in {state.stage}, with another {' and '.join(changed)}. "
            "Enrol it again with --force and a join token.",
            WRONG_USE,
        )
    if options == state.options:
        say(f"already enrolled: {state.name} in {state.stage}.")
        return DONE
    store.save(dataclasses.replace(state, options=options))
    say(f"{state.name} in {state.stage} was enrolled before; its options are changed.")
    return DONE


def warn_of_plain_http(url: str) -> None:
    """Warns when tokens would leave this machine unencrypted."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "http" and not re.match(r"(localhost|127\..*|::1)\Z", parts.hostname or ""):
        warn(f"{url} is not encrypted, so tokens can be read on their way. Use https across networks.")


def run_enrol(store: Store, arguments: argparse.Namespace) -> int:
    """`enrol`."""
    store.create()
    with store.lock(LOCK_SECONDS) as has_lock:
        if not has_lock:
            raise AgentError("a beat of this host is still under way. Enrol again in a minute.", FOR_NOW)
        # With --force a damaged file is no obstacle.
        state = None
        with contextlib.suppress(*([AgentError] if arguments.force else [])):
            state = store.load()
        options = chosen_options(arguments, state.options if state else Options())
        if state and not arguments.force and not has_left(state):
            return keep_options(store, state, options)
        token = join_token_of(arguments, store)
        warn_of_plain_http(options.url)
        state, is_pending = persist(lambda left: enrol(store, options, token, left), arguments.give_up_seconds)
        if arguments.keep_join_token:
            store.write("join-token", token + "\n")
    say(f"enrolled: {state.name} in {state.stage}{', waiting for approval' if is_pending else ''}.")
    return DONE


def run_beat(store: Store, arguments: argparse.Namespace) -> int:
    """`beat`."""
    if arguments.loop:
        return beat_loop(store, goodbye_on_exit=arguments.goodbye_on_exit)
    return beat_once(store, arguments.give_up_seconds, is_urgent=arguments.now)


def run_goodbye(store: Store, arguments: argparse.Namespace) -> int:
    """`goodbye`: after it the host stays away until it enrols again or, at shutdown, until its next boot."""
    if arguments.on_shutdown and not goes_down_for_good():
        say("this machine is not powering off; no goodbye.")
        return DONE
    state = goodbye(store, arguments.give_up_seconds)
    store.save(
        dataclasses.replace(state, left={"at": utc_now(), "boot_id": boot_id() if arguments.on_shutdown else None})
    )
    return DONE


def run_install(store: Store, arguments: argparse.Namespace) -> int:
    """`install`."""
    say("installed." if install(store, arguments) else "already installed.")
    return DONE


def run_uninstall(store: Store, arguments: argparse.Namespace) -> int:
    """`uninstall`."""
    say("uninstalled." if uninstall(store, arguments) else "nothing was installed.")
    return DONE


def run_status(store: Store, arguments: argparse.Namespace) -> int:
    """`status`: what is known here, without asking the service."""
    state = store.load()
    known: Dict[str, Any] = {
        "enrolled": state is not None,
        "agent_version": __version__,
        "state_dir": store.folder,
        "url": state.options.url if state else None,
        "host": state.host if state else None,
        "name": state.name if state else None,
        "stage": state.stage if state else None,
        "enrolled_at": state.enrolled_at if state else None,
        "interval_seconds": state.interval_seconds if state else None,
        "ttl_seconds": state.ttl_seconds if state else None,
        "left_at": state.left["at"] if state and state.left and has_left(state) else None,
        "keeps_join_token": store.join_token() is not None,
        "last_beat": (store.last() or None) if state else None,
    }
    say(json.dumps(known, indent=2) if arguments.json else status_text(known))
    return DONE if state else GONE


def status_text(known: Dict[str, Any]) -> str:
    """The status for a reader."""
    if not known["enrolled"]:
        return (
            f"not enrolled (state folder {known['state_dir']}). "
            "Run `callboard-agent enrol --url URL --token-file FILE`."
        )
    last = known["last_beat"]
    lines = [
        f"url        {known['url']}",
        f"host       {known['name']} ({known['host']})",
        f"stage      {known['stage']}",
        f"enrolled   {known['enrolled_at']}",
        f"last beat  {last['at']}  {last.get('state', '') if last['ok'] else last['message']}"
        if last
        else "last beat  none yet",
    ]
    return "\n".join(lines + ([f"left       {known['left_at']}"] if known["left_at"] else []))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="callboard-agent",
        description="Enrols this host with a Callboard service and renews its lease.",
        epilog="Exit codes: 0 done, 1 failed for now, 2 wrong use, 3 credential refused, "
        "4 not enrolled or gone, 5 rejected by the service.",
    )
    top.add_argument("--version", action="version", version=f"callboard-agent {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--state-dir",
        default=default_folder(),
        metavar="DIR",
        help="state folder (also CALLBOARD_AGENT_DIR; %(default)s)",
    )
    patience = argparse.ArgumentParser(add_help=False)
    patience.add_argument(
        "--give-up-seconds",
        type=positive,
        default=GIVE_UP_SECONDS,
        metavar="S",
        help="stop trying after this time in total (%(default)s)",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _enrol_parser(commands.add_parser("enrol", parents=[common, patience], help="make this host known to a stage"))
    _beat_parser(commands.add_parser("beat", parents=[common, patience], help="renew this host's lease"))
    leave = commands.add_parser("goodbye", parents=[common, patience], help="take this host out of its stage")
    leave.add_argument("--on-shutdown", action="store_true", help="only if systemd is powering this machine off")
    leave.set_defaults(run=run_goodbye)
    _install_parsers(commands, common)
    status = commands.add_parser("status", parents=[common], help="show what is known here")
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(run=run_status)
    return top


def _enrol_parser(enrol_parser: argparse.ArgumentParser) -> None:
    defaults = Options()
    add = enrol_parser.add_argument
    add("--url", help="the service, for example https://callboard.example")
    source = enrol_parser.add_mutually_exclusive_group()
    source.add_argument("--token-file", metavar="FILE", help="file with the join token; - is standard input")
    source.add_argument("--token", metavar="cbj_…", help="the join token; every user of this host can see it in `ps`")
    add(
        "--keep-join-token",
        action="store_true",
        help="keep it (0600), to enrol again when the service has removed this host",
    )
    add("--name", help="this host's name (default: its hostname)")
    add("--address", help="where Ansible reaches it (default: where the service sees it come from)")
    add("--ssh-port", type=ssh_port, metavar="PORT", help=f"its SSH port ({defaults.ssh_port})")
    add("--release-path", metavar="DIR", help=f"folder of the release layout ({defaults.release_path})")
    add("--host-key-glob", metavar="GLOB", help=f"its public SSH host keys ({defaults.host_key_glob})")
    add(
        "--gauge",
        type=pair,
        action="append",
        metavar="NAME=COMMAND",
        help="a metric that a command prints (no shell)",
    )
    add("--gauge-file", type=pair, action="append", metavar="NAME=PATH", help="a metric that stands in a file")
    add("--no-gauges", action="store_true", help="forget the gauges given before")
    health = enrol_parser.add_mutually_exclusive_group()
    health.add_argument("--health-command", metavar="COMMAND", help="healthy is what makes it end with 0 (no shell)")
    health.add_argument("--health-url", type=web_address, metavar="URL", help="healthy is what makes it answer 2xx")
    health.add_argument("--no-health", action="store_true", help="forget the health check given before")
    add("--ca", metavar="FILE", help="PEM file of the CA that signed the service's certificate")
    add("--ec2", action="store_true", help="this is an EC2 instance, whatever its firmware says")
    add("--force", action="store_true", help="enrol even if this host is already enrolled")
    enrol_parser.set_defaults(run=run_enrol)


def _beat_parser(beat: argparse.ArgumentParser) -> None:
    mode = beat.add_mutually_exclusive_group()
    mode.add_argument("--once", action="store_true", help="one heartbeat, tried again for a while (the default)")
    mode.add_argument("--loop", action="store_true", help="stay in the foreground and renew for ever")
    mode.add_argument(
        "--now", action="store_true", help="one heartbeat, even if another is just under way: wait for that"
    )
    beat.add_argument("--goodbye-on-exit", action="store_true", help="with --loop: say goodbye on SIGTERM or SIGINT")
    beat.set_defaults(run=run_beat)


def _install_parsers(commands: Any, common: argparse.ArgumentParser) -> None:
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--root", metavar="DIR", help="files below DIR, without systemctl (for images)")
    kind = place.add_mutually_exclusive_group()
    for name, text in (
        ("systemd", "a systemd timer"),
        ("cron", f"an entry in {CRON}"),
        ("user", "this user's crontab"),
    ):
        kind.add_argument(f"--{name}", dest="kind", action="store_const", const=name, help=text)
    add = commands.add_parser("install", parents=[common, place], help="start the agent each interval")
    add.add_argument("--python", default=sys.executable, metavar="PATH", help="interpreter (%(default)s)")
    add.add_argument("--bin-path", metavar="PATH", help="where to put the agent (/usr/local/bin, or ~/.local/bin)")
    add.set_defaults(run=run_install)
    remove = commands.add_parser("uninstall", parents=[common, place], help="remove what install wrote")
    remove.set_defaults(run=run_uninstall)


def main(argv: List[str] | None = None) -> int:
    """Runs one command; its exit code."""
    # glibc's resolver would otherwise try a silent name server for longer than a beat may take.
    os.environ.setdefault("RES_OPTIONS", "timeout:2 attempts:1")
    arguments = parser().parse_args(argv)
    # Out of the environment, so that no gauge and no tool inherits it.
    arguments.environment_token = os.environ.pop("CALLBOARD_JOIN_TOKEN", None)
    try:
        return int(arguments.run(Store(arguments.state_dir), arguments))
    except AgentError as error:
        warn(str(error))
        return error.code
    except BrokenPipeError:
        return FOR_NOW


if __name__ == "__main__":
    sys.exit(main())
