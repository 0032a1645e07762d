# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E402 - Ansible wants the documentation in front of the imports
"""Callboard's inventory plugin: options → cache → fetch → check → populate.

Everything between the options and the inventory is a pure function of text. Problems are raised as `Problem`
(what happened, what to do next) and become one sentence for the user in one place, `InventoryModule._plans`.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: registry
short_description: The hosts of a Callboard stage that are live right now
version_added: 0.1.0
author:
  - The Callboard authors
description:
  - Asks a Callboard service which hosts of a stage are live, and hands them to Ansible with their groups
    and variables.
  - The inventory file's name must end in C(registry.yml), C(registry.yaml), C(callboard.yml) or
    C(callboard.yaml).
  - Each stage becomes the group C(stage_<project>_<stage>), which carries the stage's variables. Beside it
    come one group for each host group of the stage, C(release_<n>) for the hosts that run release n,
    C(behind) for those that are not on the desired release, C(draining), and C(serving) for those on the desired
    release that do not drain.
  - Hosts have C(ansible_host), C(ansible_port) and variables that begin with C(callboard_). Whatever a host
    says about itself is in C(callboard_reported) and is never treated as a template.
  - An inventory that cannot be had ends C(ansible-playbook) and C(ansible-inventory) with exit code 4, with
    or without an C(ansible.cfg). It is never an empty success.
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: Names this plugin. The long name is for the installed collection C(callboard.callboard).
    type: str
    required: true
    choices: [registry, callboard.callboard.registry]
  url:
    description:
      - Where the service answers, C(http) or C(https), with a path in front of C(/api) if a proxy adds one.
      - As with every inventory plugin, what the file says wins over the environment; leave it out of the
        file to choose the service by E(CALLBOARD_URL).
      - E(HTTP_PROXY), E(HTTPS_PROXY) and E(NO_PROXY) are respected, except for a service on this machine.
    type: str
    default: http://127.0.0.1:8500
    env:
      - name: CALLBOARD_URL
  token:
    description:
      - A token that may read the stage, such as C(cbu_…) of a person or a CI job with the role viewer.
      - Better given by E(CALLBOARD_TOKEN), by O(token_file) or as a vaulted string than written in the
        file.
      - It is sent to O(url) and nowhere else, and appears in no message.
    type: str
    env:
      - name: CALLBOARD_TOKEN
  token_file:
    description: A file that holds the token, relative to the inventory file. Used where no O(token) is given.
    type: str
  stages:
    description:
      - The stages to list, written C(project/stage).
      - Required, except with O(snapshot), where it may be given to check that the snapshot is of that
        stage.
    type: list
    elements: str
    default: []
  states:
    description:
      - List hosts in these states, such as V(live), V(late), V(stale) or V(pending), rather than those that
        are live.
    type: list
    elements: str
    default: []
  only_groups:
    description:
      - List only hosts that are in one of these groups of their stage. The service chooses them, so that ten
        hosts of ten thousand cost what ten hosts cost.
      - Not together with O(at), and not for the groups that Callboard makes itself.
    type: list
    elements: str
    default: []
  at:
    description:
      - The stage as it was at this time, ISO 8601 with a time zone, such as V(2026-11-23T14:03:00Z).
    type: raw
  timeout:
    description:
      - Seconds to wait for the connection, and for each next piece of the answer. The whole answer may take
        ten times as long.
    type: float
    default: 10
  ca_path:
    description:
      - A file or folder with the certificates of the authorities that may vouch for the service, relative
        to the inventory file. The system's authorities are used otherwise.
    type: str
  snapshot:
    description:
      - Read this JSON file, of the same shape as the service's answer, relative to the inventory file. No
        network is used, and O(url), O(token), O(states), O(only_groups), O(at), O(known_hosts) and O(cache) have
        no effect.
      - This is how a run repeats with exactly the hosts that an earlier run had.
    type: str
  known_hosts:
    description:
      - Fetch the SSH host keys that the stage's hosts enrolled with, keep them in a file of the user's own
        (C(~/.cache/callboard/known_hosts) or below E(XDG_CACHE_HOME)) and make ssh believe these and no
        others.
      - This appends C(-o UserKnownHostsFile=… -o GlobalKnownHostsFile=/dev/null -o
        StrictHostKeyChecking=yes -o UpdateHostKeys=no) to C(ansible_ssh_common_args) of the stage's group,
        after what the stage's variables or else Ansible's own configuration put there.
    type: bool
    default: true
  trusted_stage_variables:
    description:
      - Treat strings in the stage's variables as templates, so that V(/srv/{{ callboard_project }}) works
        in them.
      - Whoever may edit a stage's variables may then run commands on this machine. Variables of hosts are
        never treated as templates, whatever this says.
    type: bool
    default: false
  stale_cache:
    description:
      - Keep a dated copy of each answer, and use it with a warning that tells its age when the service is
        down (no connection, no answer in time, or a failure of the service itself).
      - Independent of O(cache). A refused token or an unknown stage stays an error.
    type: bool
    default: false
notes:
  - With O(cache=true) an answer is used for O(cache_timeout) seconds, so hosts that came or went meanwhile
    are not seen. C(--flush-cache) asks anew. The default cache plugin V(memory) keeps nothing between two
    commands; use V(ansible.builtin.jsonfile), and keep its folder private, since stage variables lie in it.
  - The service sends ready-made groups. O(compose), O(groups) and O(keyed_groups) cost about 1.5 ms for
    each host.
  - A O(keyed_groups) entry built on C(callboard_reported) lets a host choose its own group; give it a
    O(keyed_groups[].prefix).
"""

EXAMPLES = r"""
# registry.yml: ansible-inventory -i registry.yml --graph
plugin: registry  # callboard.callboard.registry where the collection is installed
url: http://127.0.0.1:8500
stages: [shop/production]
---
# A service behind TLS with a private authority; the token is in a file
plugin: callboard.callboard.registry
url: https://callboard.example
token_file: ~/.config/callboard/token
ca_path: ca.pem
stages:
  - shop/production
  - shop/staging
---
# Who was there this afternoon?
plugin: registry
stages: [shop/production]
at: "2026-11-23T14:03:00Z"
---
# One answer serves all commands of the next minute; when the service is down, the last answer of all does
plugin: registry
stages: [shop/production]
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/callboard/inventory
cache_timeout: 60
stale_cache: true
---
# Groups and variables of your own making
plugin: registry
stages: [shop/production]
compose:
  is_small: callboard_reported.memory_mb | default(0) < 2048
groups:
  canary: inventory_hostname.endswith('-1')
keyed_groups:
  - key: callboard_reported.zone
    prefix: zone
---
# What a run froze; no network
plugin: registry
snapshot: inventory.json
"""

import contextlib
import datetime as dt
import gc
import hashlib
import http.client
import ipaddress
import json
import os
import re
import shlex
import socket
import ssl
import stat
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ansible import constants as C  # noqa: N812 - the name that Ansible's own code gives it
from ansible import context
from ansible.errors import AnsibleError, AnsibleParserError, ExitCode
from ansible.inventory.helpers import get_group_vars
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.plugins.loader import connection_loader
from ansible.template import trust_as_template
from ansible.utils.path import basedir
from ansible.utils.vars import combine_vars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FILE_NAMES = ("registry.yml", "registry.yaml", "callboard.yml", "callboard.yaml")
LARGEST_ANSWER = 256 * 1024 * 1024
PIECE = 64 * 1024
PATIENCE = 10  # a whole answer may take this many timeouts, so that a drip of bytes ends too

HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
GROUP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,252}")
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
DNS_NAME = re.compile(rf"(?=.{{1,253}}\Z){LABEL}(?:\.{LABEL})*")
DATA_KEY = re.compile(r"callboard_[a-z0-9_]{1,64}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
STAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
KNOWN_HOST = re.compile(
    r"(?:[0-9A-Za-z._:-]+|\[[0-9A-Za-z._:-]+\]:\d{1,5}) "
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)"
    r"|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) "
    r"[A-Za-z0-9+/]{16,16384}={0,2}"
)
IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?=\d)|\Z)){4}", re.ASCII)
NESTED = frozenset({dict, list})
RESERVED_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "all", "ungrouped", "_meta"})
RESERVED_GROUPS = frozenset({"all", "ungrouped", "localhost", "_meta"})
COMMON_ARGS = "ansible_ssh_common_args"
CHECK_URL = "check that 'url' is Callboard's address"
CHECK_VERSIONS = f"{CHECK_URL}, and that this plugin and the service are of the same version"


class Problem(Exception):  # noqa: N818 - not an error yet: who catches it may have a dated copy
    """Why there is no inventory: what happened and what to do next, half a sentence each.

    `is_down` says that the service could not answer at all, so that a dated copy may stand in; `stage` is
    the one that was being worked on, None before any was.
    """

    def __init__(self, happened: str, advice: str, *, is_down: bool = False) -> None:
        super().__init__(happened)
        self.happened, self.advice, self.is_down = happened, advice, is_down
        self.stage: str | None = None


@contextlib.contextmanager
def working_on(stage: str | None) -> Iterator[None]:
    """Name the stage in a Problem that comes up meanwhile."""
    try:
        yield
    except Problem as problem:
        problem.stage = problem.stage or stage
        raise


class Query(NamedTuple):
    """The options that decide what is asked, checked."""

    url: str
    token: str | None
    stages: tuple[str, ...]
    states: tuple[str, ...]
    groups: tuple[str, ...]
    at: str | None
    timeout: float
    ca_path: str | None
    known_hosts: bool


class Source(NamedTuple):
    """One stage's answer as text. `stage` and `at` are None where any will do, `known_hosts` where not wanted.

    `known_hosts` waits for the text where it is still on its way, and raises the Problem that it met.
    """

    stage: str | None
    inventory: str
    known_hosts: Callable[[], str] | None = None
    at: str | None = None


class Plan(NamedTuple):
    """What one checked answer adds to the inventory."""

    stage: str
    group: str
    hosts: dict[str, dict[str, Any]]
    groups: dict[str, list[str]]
    variables: dict[str, Any]
    is_frozen: bool


# ── options ───────────────────────────────────────────────────────────────────────────────────────────────


def read_query(get: Callable[[str], Any], folder: Path) -> Query:
    """The checked query; relative paths count from `folder`, where the inventory file is."""
    return Query(
        url=check_url(str(get("url"))),
        token=read_token(get("token"), get("token_file"), folder),
        stages=check_stages(get("stages")),
        states=tuple(check_state(state) for state in get("states")),
        groups=tuple(check_chosen_group(group) for group in get("only_groups")),
        at=check_at(get("at")),
        timeout=check_timeout(get("timeout")),
        ca_path=str(beside(get("ca_path"), folder)) if get("ca_path") else None,
        known_hosts=get("known_hosts"),
    )


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


# ── fetch ─────────────────────────────────────────────────────────────────────────────────────────────────


class RefuseRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect becomes an error, since following it would carry the token to another address."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


class Errand(threading.Thread):
    """Something fetched while the caller goes on."""

    def __init__(self, fetch: Callable[[], str]) -> None:
        super().__init__(daemon=True)  # nobody waits for it when the command ends early
        self._fetch, self._text, self._error = fetch, "", None
        self.start()

    def run(self) -> None:
        try:
            self._text = self._fetch()
        except BaseException as error:  # noqa: BLE001 - whoever wants the text gets it
            self._error = error

    def text(self) -> str:
        """What was fetched. Raises what went wrong meanwhile."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._text


def fetch_stage(query: Query, stage: str) -> Source:
    """One stage's inventory and, if asked for, its known hosts: begun after it, so that no listed host is missing in
    them, and on their way while the inventory is read.
    """
    chosen = ("group", ",".join(query.groups))
    path = f"/api/v1/stages/{stage}"
    with working_on(stage):
        inventory = fetch_text(
            query, ask(f"{path}/inventory", ("state", ",".join(query.states)), ("at", query.at), chosen)
        )
    keys = ask(f"{path}/known_hosts", chosen)
    errand = Errand(lambda: fetch_text(query, keys)) if query.known_hosts else None
    return Source(stage, inventory, errand and errand.text, query.at)


def ask(path: str, *asked: tuple[str, str | None]) -> str:
    """A path with those of the parameters that have a value."""
    parameters = urllib.parse.urlencode([(name, value) for name, value in asked if value])
    return f"{path}?{parameters}" if parameters else path


def fetch_text(query: Query, path: str) -> str:
    """The body of a 200 answer. Everything that goes wrong on the way is a Problem."""
    packing = "identity" if is_loopback(query.url) else "gzip"
    headers = {"Accept-Encoding": packing, "User-Agent": "callboard-inventory"}
    request = urllib.request.Request(query.url + path, headers=headers)
    if query.token:
        request.add_unredirected_header("Authorization", f"Bearer {query.token}")
    try:
        with make_opener(query).open(request, timeout=query.timeout) as response:
            return read_answer(response, deadline=time.monotonic() + PATIENCE * query.timeout)
    except urllib.error.HTTPError as error:
        raise explain_status(error, query) from None
    except (OSError, http.client.HTTPException) as error:
        raise explain_failure(getattr(error, "reason", None) or error, query) from None


def make_opener(query: Query) -> urllib.request.OpenerDirector:
    """An opener that follows no redirect and uses no proxy to reach this very machine."""
    proxies = urllib.request.ProxyHandler({} if is_loopback(query.url) else None)
    if not query.url.startswith("https:"):  # reading the system's authorities takes longer than the whole answer
        return urllib.request.build_opener(proxies, RefuseRedirects)
    tls = urllib.request.HTTPSHandler(context=make_tls_context(query.ca_path))
    return urllib.request.build_opener(proxies, RefuseRedirects, tls)


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    host = urllib.parse.urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or bool(re.fullmatch(r"127\.\d+\.\d+\.\d+", host))


def make_tls_context(ca_path: str | None) -> ssl.SSLContext:
    """Verification against the system's authorities, or against those in a file or folder."""
    if not ca_path:
        return ssl.create_default_context()
    try:
        is_folder = Path(ca_path).is_dir()
        return ssl.create_default_context(cafile=None if is_folder else ca_path, capath=ca_path if is_folder else None)
    except (OSError, ValueError) as error:
        raise Problem(f"the certificates in {ca_path} cannot be read ({why(error)})", "correct 'ca_path'") from None


def read_answer(response: http.client.HTTPResponse, *, deadline: float) -> str:
    """The whole body as text: unpacked, of the announced length, within the limits of size and time."""
    packed = response.headers.get("Content-Encoding", "identity").lower()
    if packed not in {"identity", "gzip"}:
        raise Problem(f"the answer has the encoding {plain(packed)}, which was not asked for", CHECK_URL)
    pieces = read_pieces(response, deadline)
    body = join_limited(unpack(pieces) if packed == "gzip" else pieces)
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Problem("the answer is not text in UTF-8", CHECK_URL) from None


def read_pieces(response: http.client.HTTPResponse, deadline: float) -> Iterator[bytes]:
    """The body as it comes off the wire. Python says nothing when it ends before its announced length."""
    announced, received = response.headers.get("Content-Length"), 0
    while piece := response.read1(PIECE):
        received += len(piece)
        yield piece
        if time.monotonic() > deadline:
            raise TimeoutError
    if announced and announced.isdigit() and received < int(announced):
        raise http.client.IncompleteRead(b"")


def unpack(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """gzip undone a piece at a time, so that a small answer cannot become a huge one unseen."""
    inflater = zlib.decompressobj(wbits=31)
    for piece in pieces:
        try:
            rest = piece
            while rest:
                yield inflater.decompress(rest, PIECE * 16)
                rest = inflater.unconsumed_tail
        except zlib.error:
            raise Problem("the answer's gzip is damaged", "try again, and check proxies in between") from None
    yield inflater.flush()
    if not inflater.eof:
        raise http.client.IncompleteRead(b"")


def join_limited(pieces: Iterable[bytes]) -> bytes:
    """The pieces as one, unless they are more than an inventory can be."""
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > LARGEST_ANSWER:
            raise Problem("the answer is larger than 256 MB", CHECK_URL)
    return bytes(body)


def explain_failure(reason: Any, query: Query) -> Problem:
    """What a failed connection or a broken answer means."""
    for kinds, happened, advice, is_down in FAILURES:
        if isinstance(reason, kinds):
            return Problem(happened.format(reason=plain(why(reason)), timeout=query.timeout), advice, is_down=is_down)
    return Problem(f"the connection failed ({plain(why(reason))})", "check the network and 'url'", is_down=True)


FAILURES: tuple[tuple[tuple[type[BaseException], ...], str, str, bool], ...] = (
    ((ConnectionRefusedError,), "the connection was refused", "start the service or correct 'url'", True),
    (
        (TimeoutError,),
        "no complete answer came in time (the timeout is {timeout:g} s)",
        "check the service and the network, or raise 'timeout'",
        True,
    ),
    (
        (ssl.SSLError,),
        "TLS failed ({reason})",
        "set 'ca_path' to the authority that signed the service's certificate, or correct 'url'",
        False,
    ),
    ((socket.gaierror,), "the host's name does not resolve ({reason})", "correct 'url'", True),
    (
        (http.client.IncompleteRead, ConnectionResetError, BrokenPipeError),
        "the answer ended too early",
        "try again, and check the service's log and proxies in between",
        True,
    ),
    ((http.client.HTTPException,), "what answers there does not speak HTTP", CHECK_URL, False),
)


def explain_status(error: urllib.error.HTTPError, query: Query) -> Problem:
    """What a status other than 200 means."""
    status = error.code
    if 300 <= status < 400:  # noqa: PLR2004
        return explain_redirect(error, query)
    if status >= 500:  # noqa: PLR2004
        told = read_detail(error, query.token)
        return Problem(f"the service failed ({status}{told})", "look into its log and try again", is_down=True)
    if status == 401 and not query.token:  # noqa: PLR2004
        return Problem("the service wants a token (401)", "set CALLBOARD_TOKEN, or 'token_file' in this inventory file")
    happened, advice = REFUSALS.get(status, ("the service refused the request", "correct this inventory file"))
    return Problem(f"{happened} ({status}{read_detail(error, query.token)})", advice)


REFUSALS = {
    401: ("the token was not accepted", "set CALLBOARD_TOKEN or 'token_file' to a token that is valid"),
    403: ("the token may not read this stage", "use a token whose role and projects cover it"),
    404: ("there is no such stage", "correct 'stages' or 'url'"),
    429: ("the service has had too many requests", "wait a minute and try again"),
}


def explain_redirect(error: urllib.error.HTTPError, query: Query) -> Problem:
    """A redirect, with the address it names but nothing behind that address's path."""
    where = plain(error.headers.get("Location", "nowhere").split("?")[0], query.token)
    return Problem(
        f"the service redirects to {where} ({error.code}), and a redirect would carry the token there",
        "set 'url' to the final address",
    )


def read_detail(error: urllib.error.HTTPError, token: str | None) -> str:
    """The `detail` of a JSON problem as `: text`, or nothing."""
    try:
        detail = json.loads(error.read(PIECE))["detail"]
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError, RecursionError):
        return ""
    return f": {plain(detail, token)}" if isinstance(detail, str) and detail else ""


def why(error: BaseException) -> str:
    """An exception's own words, short: without errno and OpenSSL's line numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def plain(value: Any, token: str | None = None) -> str:
    """Somebody else's text as it may stand in a message: printable, short, and never with the token in it."""
    text = str(value).replace(token, "…") if token else str(value)
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004


# ── check ─────────────────────────────────────────────────────────────────────────────────────────────────


def malformed(reason: str) -> Problem:
    """The answer is not what the contract says."""
    return Problem(f"the answer is not acceptable: {reason}", CHECK_VERSIONS)


def check_source(source: Source) -> Plan:
    """Turn one answer into a plan; refuse whatever the contract does not name."""
    answer = parse_json(source.inventory)
    meta = mapping(mapping(answer, "the answer").pop("_meta", None), "_meta")
    stage = check_stage(mapping(meta.get("callboard"), "_meta.callboard"), source.stage)
    check_time(meta["callboard"].get("as_of"), source.at)
    group = stage_group(stage)
    groups = {name: check_group(name, value, group) for name, value in answer.items() if name != "all"}
    check_all(answer.get("all", {}), groups)
    hosts = check_hosts(mapping(meta.get("hostvars"), "_meta.hostvars"), groups)
    check_members(hosts, groups, group)
    return Plan(stage, group, hosts, groups, check_variables(answer[group]), bool(meta["callboard"].get("frozen")))


def parse_json(text: str) -> Any:
    """JSON as RFC 8259 has it: no NaN, no half characters, no abyss of brackets."""
    try:
        value = json.loads(text, parse_constant=refuse_constant)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Problem("the answer is not JSON", CHECK_URL) from None
    return value


def refuse_constant(name: str) -> NoReturn:
    """NaN and Infinity, which Python takes for JSON."""
    raise ValueError(name)


def mapping(value: Any, what: str) -> dict[str, Any]:
    """The value, if it is an object."""
    if not isinstance(value, dict):
        raise malformed(f"{what} is not an object")
    return value


def names(value: Any, what: str) -> list[str]:
    """The value, if it is a list of strings."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise malformed(f"{what} is not a list of names")
    return value


def check_stage(about: dict[str, Any], asked: str | None) -> str:
    """The stage that the answer is about, which must be the one asked for."""
    stage = about.get("stage")
    if not isinstance(stage, str) or not STAGE.fullmatch(stage):
        raise malformed("_meta.callboard.stage does not name a stage")
    if asked not in (None, stage):
        raise Problem(f"the answer is about stage {plain(stage)}", "correct 'stages', 'snapshot' or 'url'")
    return stage


def check_time(as_of: Any, asked: str | None) -> None:
    """The time that the answer is about: a service that passes over `at` would give today for yesterday."""
    try:
        is_right = asked is None or dt.datetime.fromisoformat(as_of) == dt.datetime.fromisoformat(asked)
    except (TypeError, ValueError):
        is_right = False
    if not is_right:
        raise Problem(f"the answer is about {plain(as_of)}, not {asked}", "leave out 'at', or update the service")


def check_group(name: str, value: Any, own: str) -> list[str]:
    """A group's hosts. Only the stage's own group has variables, and no group has children."""
    if name in RESERVED_GROUPS or not GROUP_NAME.fullmatch(name):
        raise malformed(f"{plain(name)} is not a name for a group")
    if name.startswith("stage_") and name != own:
        raise malformed(f"the group {name} belongs to another stage")
    for key in mapping(value, f"the group {name}"):
        if key != "hosts" and (key != "vars" or (name != own and value[key])):
            raise malformed(f"the group {name} has {plain(key)}, which only the stage's own group could have")
    return names(value.get("hosts", []), f"hosts of the group {name}")


def check_all(value: Any, groups: dict[str, list[str]]) -> None:
    """`all` lists the other groups and has nothing of its own."""
    if set(mapping(value, "the group all")) - {"children"}:
        raise malformed("the group all has more than children")
    for child in names(value.get("children", []), "children of the group all"):
        if child not in groups and child != "ungrouped":
            raise malformed(f"the group {plain(child)} is listed but not defined")


def check_hosts(hostvars: dict[str, Any], groups: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Every host's name and variables against the allow-list."""
    known_keys: set[tuple[str, ...]] = set()
    for name, values in hostvars.items():
        check_host_name(name, groups)
        keys = tuple(mapping(values, f"what is said of host {name}"))
        if keys not in known_keys:  # hosts have the same variables, but for a few
            check_keys(name, keys)
            known_keys.add(keys)
        for key in CHECKED & values.keys():
            if not CHECKS[key](values[key]):
                raise not_allowed(name, key)
    return hostvars


def check_keys(name: str, keys: Iterable[str]) -> None:
    """The allow-list of host variables: Ansible obeys a connection variable whoever set it."""
    for key in keys:
        if key not in CHECKS and not DATA_KEY.fullmatch(key):
            raise not_allowed(name, key)


def not_allowed(name: str, key: str) -> Problem:
    """A host has what the allow-list does not name."""
    return malformed(f"host {name} has a variable or value that is not allowed: {plain(key)}")


def check_host_name(name: str, groups: Iterable[str]) -> None:
    """A name that Ansible's patterns, ssh and file names take for a host and for nothing else."""
    if name.lower() in RESERVED_HOSTS or name in groups:
        raise malformed(f"a host is named {plain(name)}, which has another meaning in Ansible or is a group's name")
    if not HOST_NAME.fullmatch(name) and not is_ip(name):
        raise malformed(f"{plain(name)} is not a name for a host")


def is_ip(text: str) -> bool:
    """Whether the text is an IP address, without a zone: Python takes any text for a zone."""
    if IPV4.fullmatch(text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def is_address(value: Any) -> bool:
    """An IP address or a DNS name, so nothing that ssh could take for an option."""
    if not isinstance(value, str):
        return False
    return is_ip(value) or bool(DNS_NAME.fullmatch(value) and not value.replace(".", "").isdigit())


def is_port(value: Any) -> bool:
    """A TCP port as a whole number."""
    return type(value) is int and 0 < value < 65536  # noqa: PLR2004


def is_reported(value: Any) -> bool:
    """What a host says about itself: scalars by name."""
    return value is None or (isinstance(value, dict) and NESTED.isdisjoint(map(type, value.values())))


CHECKS: dict[str, Callable[[Any], bool]] = {
    "ansible_host": is_address,
    "ansible_port": is_port,
    "callboard_reported": is_reported,
}
CHECKED = CHECKS.keys()


def check_members(hosts: dict[str, Any], groups: dict[str, list[str]], own: str) -> None:
    """Groups hold described hosts, and the stage's group all of them: its variables secure the connection."""
    if own not in groups:
        raise malformed(f"the group {own} is missing")
    for group, members in groups.items():
        if unknown := set(members) - hosts.keys():
            raise malformed(f"host {plain(min(unknown))} is in the group {group} but not described")
    if outside := hosts.keys() - set(groups[own]):
        raise malformed(f"host {plain(min(outside))} is not in the group {own}")


def check_variables(group: dict[str, Any]) -> dict[str, Any]:
    """The stage's variables, whose names Ansible must be able to take."""
    variables = mapping(group.get("vars", {}), "vars of the stage's group")
    for key in variables:
        if not VARIABLE.fullmatch(key):
            raise malformed(f"{plain(key)} is not a name for a stage variable")
    return variables


def check_between(plans: list[Plan]) -> None:
    """One name means one host, also across stages, and never a host here and a group there."""
    seen: dict[str, tuple[Any, str]] = {}
    groups = {group for plan in plans for group in plan.groups}
    for plan in plans:
        for name, values in plan.hosts.items():
            if name in groups:
                raise Problem(f"a host of {plan.stage} is named {name} like a group", "rename the host or the group")
            identity, stage = seen.setdefault(name, (values.get("callboard_host_id"), plan.stage))
            if stage != plan.stage and identity != values.get("callboard_host_id"):
                raise Problem(
                    f"the name {name} means one host in {stage} and another in {plan.stage}",
                    "rename one of them, or list the stages in separate commands",
                )


def check_against(inventory: Any, plan: Plan) -> None:
    """A host that enrolled under a name from another inventory source must not take that host's place."""
    for name, values in plan.hosts.items():
        if name in inventory.groups:
            raise Problem(
                f"a host is named {name} like a group of another inventory source",
                "rename the host or the group",
            )
        known = inventory.hosts[name].vars if name in inventory.hosts else {}
        for key in ("ansible_host", "callboard_host_id"):
            if key in known and known[key] != values.get(key):
                raise Problem(f"host {name} is another host in another inventory source", "rename one of them")
    if clash := plan.groups.keys() & inventory.hosts.keys():
        raise Problem(f"the group {min(clash)} is a host of another inventory source", "rename the host or the group")


# ── known hosts and dated copies ──────────────────────────────────────────────────────────────────────────


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
    path = private_folder("known_hosts") / f"{stage_group(stage)}-{digest(query.url, stage)}"
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
    return digest(query.url, query.stages, query.states, query.groups, query.at, query.known_hosts)


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


# ── the plugin ────────────────────────────────────────────────────────────────────────────────────────────


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
    with origin_told_once(inventory) as origin:
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
def origin_told_once(inventory: Any) -> Iterator[dict[str, Any]]:
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
        super().parse(inventory, loader, path, cache=cache)
        try:
            self._read_config_data(path)
            self._fill(Path(path), cache=cache)
        except AnsibleError as error:
            self._end(error, path)

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
        return isinstance(config, dict) and config.get("plugin") in (self._redirected_names or [self.NAME])

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
            place = query.url
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
            f"{query.url}: {problem.happened}; using the copy of {age}. Hosts may have come and gone since."
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
        if plan.is_frozen:
            self.display.warning(f"Stage {plan.stage} is frozen: too many hosts went silent at once, some may be gone.")
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
