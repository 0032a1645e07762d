"""The one table of settings, and the only reader of the environment.

Each setting is read from `CALLBOARD_<NAME>`, else from the TOML file that `CALLBOARD_CONFIG` names
(keys in lower case), else it has its default. The table is also the source of docs/settings.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import os
import secrets
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from inventory_service.errors import SettingsError


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `parse` turns text into the value and raises ValueError when it can't.

    `former` is a name that it had once, which keeps working.
    """

    name: str
    default: str
    help: str
    parse: Callable[[str], Any] = str
    is_secret: bool = False
    former: str = ""

    @property
    def variable(self) -> str:
        """The environment variable's name."""
        return variable(self.name)


def variable(name: str) -> str:
    """The environment variable of that setting."""
    return "CALLBOARD_" + name.upper()


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:  # noqa: PLR2004 - the range of TCP ports
        raise ValueError("a port lies between 1 and 65535")
    return port


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError("a number above 0 is needed")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("a whole number above 0 is needed")
    return number


def _flag(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.strip().lower() not in known:
        raise ValueError("write true or false")
    return known[text.strip().lower()]


def _networks(text: str) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(part.strip(), strict=False)) for part in text.split(",") if part.strip())


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(part.strip() for part in text.split(",") if part.strip())
    if any(len(key) < 32 for key in keys):  # noqa: PLR2004 - 32 characters of base64 are 192 bits
        raise ValueError("a key is random and has at least 32 characters")
    return keys


def _accounts(text: str) -> tuple[str, ...]:
    accounts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not all(len(account) == 12 and account.isdecimal() for account in accounts):  # noqa: PLR2004 - AWS's own length
        raise ValueError("an AWS account has twelve digits")
    return accounts


def _log_copy(text: str) -> str:
    if text.lower() not in ("auto", "always", "never"):
        raise ValueError("write auto, always or never")
    return text.lower()


def _log_level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError("write debug, info, warning or error")
    return text.lower()


TABLE: tuple[Setting, ...] = (
    Setting("data_dir", "callboard-data", "Folder for the database, logs, sources and keys.", Path),
    Setting(
        "database_url", "", "sqlite:///FILE or postgresql://…; empty: callboard.db in the data folder.", is_secret=True
    ),
    Setting(
        "secret_key",
        "",
        "Signs sessions, encrypts secrets; made at first start in the data folder (0600).",
        is_secret=True,
    ),
    Setting(
        "keyring",
        "",
        "Keys that encrypt secrets, newest first, comma-separated; empty: the file keyring in the data folder, else "
        "the secret key.",
        _keys,
        is_secret=True,
    ),
    Setting("host", "127.0.0.1", "Address to listen on."),
    Setting("port", "8500", "Port to listen on.", _port),
    Setting("public_url", "", "URL that people and hosts use, when a proxy stands in front."),
    Setting("trusted_proxies", "", "Networks whose X-Forwarded-For is believed, comma-separated.", _networks),
    Setting(
        "web_threads",
        "64",
        "Requests served at once, live logs among them; reads leave an eighth free.",
        _count,
    ),
    Setting("log_streams", "48", "Live logs followed at once; at most three quarters of web_threads.", _count),
    Setting("run_workers", "2", "Runs executed at once on one machine.", _count),
    Setting("forks", "20", "Ansible's forks: hosts worked on at once by one run.", _count),
    Setting("sweep_seconds", "5", "Seconds between two looks for silent hosts.", _positive),
    Setting("converge_seconds", "10", "Seconds between two looks for hosts that are out of date.", _positive),
    Setting("converge_window_seconds", "5", "A boot storm is over when no host came for so long.", _positive),
    Setting("gone_after_seconds", "86400", "Silence after which a stale host is gone for good.", _positive),
    Setting("host_token_days", "30", "Days after which a host's agent is told to get a new token.", _count),
    Setting(
        "expiry_pause_limit_seconds",
        "3600",
        "The longest that a pause of expiry lasts by itself.",
        _positive,
        former="freeze_limit_seconds",
    ),
    Setting("scale_seconds", "60", "Seconds between two looks at how many machines a stage needs.", _positive),
    Setting(
        "hook_seconds", "15", "Seconds between two looks at the lifecycle hooks of Auto Scaling groups.", _positive
    ),
    Setting(
        "self_check_seconds",
        "10",
        "Seconds between the service's heartbeats to itself.",
        _positive,
        former="canary_seconds",
    ),
    Setting("git_known_hosts", "", "known_hosts file for sources over ssh; empty: that of the service's user."),
    Setting("ec2_region", "", "Region whose instances may enrol with their identity document."),
    Setting("ec2_accounts", "", "AWS accounts whose instances may enrol, comma-separated; empty: no check.", _accounts),
    Setting("ec2_certificates", "", "Folder of <region>.pem files beside or instead of the shipped ones."),
    Setting("transition_days", "93", "Days for which hosts' transitions and the audit log are kept.", _count),
    Setting(
        "gone_days",
        "30",
        "Days for which lists show hosts that have gone, and what they said is kept.",
        _count,
    ),
    Setting(
        "log_copy", "auto", "Copy runs' logs into the database: auto (unless it is SQLite), always, never.", _log_copy
    ),
    Setting("event_days", "90", "Days for which the events and logs of runs that have ended are kept.", _count),
    Setting("event_runs", "1000", "Newest runs of each stage whose events and logs are kept.", _count),
    Setting("run_timeout_seconds", "7200", "A run that takes longer is stopped and marked timeout.", _positive),
    Setting("idle_timeout_seconds", "3600", "A run without event and output for so long is stopped.", _positive),
    Setting("run_log_mb", "64", "A run's log is cut at this size; the run goes on.", _count),
    Setting("free_space_mb", "200", "A run does not start with less free disk space than this.", _count),
    Setting("secure_cookies", "false", "Send the session cookie over HTTPS only.", _flag),
    Setting("log_level", "info", "debug, info, warning or error.", _log_level),
)

# Settings that do nothing any more, and why. They are accepted, so that old units and files start.
IGNORED = {"queue_url": "the database itself is the queue, and neither Redis nor Valkey is needed"}


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """All values, parsed. Made by `load`; the fields are the rows of TABLE."""

    data_dir: Path
    database_url: str
    secret_key: str
    keyring: tuple[str, ...]
    host: str
    port: int
    public_url: str
    trusted_proxies: tuple[str, ...]
    web_threads: int
    log_streams: int
    run_workers: int
    forks: int
    sweep_seconds: float
    converge_seconds: float
    converge_window_seconds: float
    gone_after_seconds: float
    host_token_days: int
    expiry_pause_limit_seconds: float
    scale_seconds: float
    hook_seconds: float
    self_check_seconds: float
    git_known_hosts: str
    ec2_region: str
    ec2_accounts: tuple[str, ...]
    ec2_certificates: str
    transition_days: int
    gone_days: int
    log_copy: str
    event_days: int
    event_runs: int
    run_timeout_seconds: float
    idle_timeout_seconds: float
    run_log_mb: int
    free_space_mb: int
    secure_cookies: bool
    log_level: str

    @property
    def url(self) -> str:
        """The service's address as others should use it, without a final slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def own_url(self) -> str:
        """Where this machine reaches the service: directly where both run together, else as everybody does."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - read, not bound
        return f"http://{host}:{self.port}"

    @property
    def most_log_streams(self) -> int:
        """Live logs served at once: a thread each, and the others must be able to call meanwhile."""
        return max(1, min(self.log_streams, self.web_threads * 3 // 4))

    @property
    def has_log_copies(self) -> bool:
        """Whether runs copy their logs into the database, where every machine's web process finds them."""
        return self.log_copy == "always" or (self.log_copy == "auto" and not self.database_url.startswith("sqlite:"))

    @property
    def has_shared_database(self) -> bool:
        """Whether other machines may work with the same database."""
        return not self.database_url.startswith("sqlite:")

    @property
    def ssh_key_path(self) -> Path:
        """The private key with which runs reach hosts."""
        return self.data_dir / "ssh" / "id_ed25519"

    def run_dir(self, run_id: int) -> Path:
        """The folder of one run: its log stays, the rest is deleted when the run ends."""
        return self.data_dir / "runs" / str(run_id)


@dataclasses.dataclass(frozen=True, slots=True)
class Sourced:
    """A setting's text and where it came from: `environment`, the file's path, or `default`."""

    setting: Setting
    text: str
    source: str


def read_texts(environ: Mapping[str, str]) -> list[Sourced]:
    """Each setting's text with its source, in the table's order."""
    file, values = _file_of(environ)
    return [_find(setting, environ, values, file) for setting in TABLE]


def outdated(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each setting that is given by a former name, or in vain. Shows no value: it may be a password."""
    file, values = _file_of(environ)
    advice = {name: f"is ignored: {reason}. Take it out" for name, reason in IGNORED.items()}
    advice |= {row.former: f"is called {row.variable} now" for row in TABLE if row.former}
    given = {name: "environment" for name in advice if variable(name) in environ}
    given = {name: file for name in advice if name in values} | given
    return [f"{variable(name)} ({source}) {advice[name]}." for name, source in given.items()]


def _file_of(environ: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    file = environ.get("CALLBOARD_CONFIG", "")
    return file, _read_file(Path(file)) if file else {}


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"CALLBOARD_CONFIG names {path}, which can't be read as TOML: {error}.") from error
    unknown = set(values) - {name for setting in TABLE for name in (setting.name, setting.former)} - set(IGNORED)
    if unknown:
        raise SettingsError(f"{path} has unknown settings: {', '.join(sorted(unknown))}.")
    return values


def _find(setting: Setting, environ: Mapping[str, str], values: dict[str, Any], file: str) -> Sourced:
    names = [setting.name, *([setting.former] if setting.former else [])]
    for name in names:
        if variable(name) in environ:
            return Sourced(setting, environ[variable(name)], "environment")
    for name in names:
        if name in values:
            return Sourced(setting, str(values[name]), file)
    return Sourced(setting, setting.default, "default")


def load(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Read all settings. Creates the data folder (0700) and the secret key when they are missing.

    `overrides` are already-typed values, as the command line's options give them; None means "not given".
    Raises SettingsError that names the variable, its value and what is wrong with it.
    """
    parsed: dict[str, Any] = {
        row.setting.name: _parse(row) for row in read_texts(os.environ if environ is None else environ)
    }
    parsed.update({name: value for name, value in overrides.items() if value is not None})
    return _complete(Settings(**parsed))


def _parse(row: Sourced) -> Any:
    try:
        return row.setting.parse(row.text)
    except ValueError as error:
        shown = "…" if row.setting.is_secret else repr(row.text)
        raise SettingsError(f"{row.setting.variable} is {shown} ({row.source}): {error}.") from error


def _complete(settings: Settings) -> Settings:
    folder = settings.data_dir.expanduser().resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = settings.secret_key or _stored_secret_key(folder / "secret_key")
    except OSError as error:
        raise SettingsError(f"The data folder {folder} can't be used: {error}. Set CALLBOARD_DATA_DIR.") from error
    url = settings.database_url or f"sqlite:///{folder / 'callboard.db'}"
    return dataclasses.replace(settings, data_dir=folder, database_url=url, secret_key=key)


def _stored_secret_key(path: Path) -> str:
    """Read the key, or make it. Two processes that start at once agree: the first link wins, and is whole."""
    if not path.exists():
        partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
        partial.unlink()
    return path.read_text().strip()
