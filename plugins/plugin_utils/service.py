# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP as the plugins speak it: one question, one answer, within limits of time and size.

Why not Ansible's own `open_url`: its timeout is one of each single read, so that a service which sends a byte now and
then holds it for ever; it takes no folder of authorities; and it installs its opener for the whole process, so that a
request of another thread (the recorder's, or that for the known hosts) could go out by an opener that somebody else
made a moment ago, without a check of certificates, with this token. The authorities are those that `open_url` believes.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.callboard.callboard.plugins.plugin_utils.problems import CHECK_URL, Problem, plain, why

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEFAULT_URL = "http://127.0.0.1:8500"
LARGEST_ANSWER = 256 * 1024 * 1024
PIECE = 64 * 1024
PATIENCE = 10  # a whole answer may take this many timeouts


class Service(NamedTuple):
    """Where Callboard answers. `timeout` in seconds: for the connection, and for each next piece of an answer;
    `ca_path`: a file or folder of authorities, None for the system's.
    """

    url: str
    token: str | None
    timeout: float
    ca_path: str | None = None


class Unwelcome(Exception):  # noqa: N818 - not an error yet: who asked knows what it means
    """The service answered with another status than success. `detail` is its word for it, `location` a redirect's."""

    def __init__(self, status: int, detail: str, location: str | None) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.detail, self.location = status, detail, location


class RefuseRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect becomes an error, since following it would carry the token to another address."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


class PendingRequest(threading.Thread):
    """One question, asked while the caller goes on; `seconds` bound the whole of it, names and headers included.

    Only a thread can bound them: resolving a name takes as long as it likes, and so does a header sent byte by byte.
    """

    def __init__(self, service: Service, path: str, *, body: bytes | None = None, seconds: float | None = None) -> None:
        super().__init__(daemon=True)  # nobody waits for it when the command ends early
        self._service, self._path, self._body = service, path, body
        self._deadline = time.monotonic() + (PATIENCE * service.timeout if seconds is None else seconds)
        self._text, self._error = "", None
        try:
            self.start()
        except (
            RuntimeError
        ):  # the interpreter ends and begins no thread any more; who waits then has a limit of its own
            self.run()

    def run(self) -> None:
        try:
            self._text = exchange(self._service, self._path, self._body, self._deadline)
        except BaseException as error:  # noqa: BLE001 - whoever wants the text gets it
            self._error = error

    def answer(self) -> str:
        """The body of a successful answer. Raises Unwelcome for another, and Problem where there is none."""
        if self.ident is not None:
            self.join(max(0.0, self._deadline - time.monotonic()))
        if self.is_alive():
            raise explain_failure(TimeoutError(), self._service)
        if isinstance(self._error, (OSError, http.client.HTTPException)):
            raise explain_failure(getattr(self._error, "reason", None) or self._error, self._service) from None
        if self._error is not None:
            raise self._error
        return self._text

    def text(self) -> str:
        """What a stage's question was answered with. Everything that goes wrong on the way is a Problem."""
        try:
            return self.answer()
        except Unwelcome as answer:
            raise explain_status(answer, self._service) from None


def path_with(path: str, *parameters: tuple[str, str | None]) -> str:
    """A path with those of the parameters that have a value."""
    query = urllib.parse.urlencode([(name, value) for name, value in parameters if value])
    return f"{path}?{query}" if query else path


def fetch_text(service: Service, path: str) -> str:
    """The body of a successful answer. Everything that goes wrong on the way is a Problem."""
    return PendingRequest(service, path).text()


def post(service: Service, path: str, body: bytes, *, seconds: float) -> dict[str, Any]:
    """The answer to a JSON body, which must be an object. Raises Unwelcome and Problem."""
    text = PendingRequest(service, path, body=body, seconds=seconds).answer()
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise Problem("the answer is not JSON", CHECK_URL)
    return answer


def exchange(service: Service, path: str, body: bytes | None, deadline: float) -> str:
    """Ask, and read the answer. Raises Unwelcome, Problem, OSError and HTTPException."""
    packing = "identity" if is_loopback(service.url) else "gzip"
    request = urllib.request.Request(service.url + path, data=body, headers={"Accept-Encoding": packing})
    request.add_header("User-Agent", "callboard-plugins")
    if body is not None:
        request.add_header("Content-Type", "application/json")
    if service.token:
        request.add_unredirected_header("Authorization", f"Bearer {service.token}")
    try:
        with make_opener(service).open(request, timeout=service.timeout) as response:
            return read_answer(response, deadline=deadline)
    except urllib.error.HTTPError as error:
        with error:
            detail, location = read_detail(error, service.token), error.headers.get("Location")
        raise Unwelcome(error.code, detail, location) from None


def make_opener(service: Service) -> urllib.request.OpenerDirector:
    """An opener that follows no redirect and uses no proxy to reach this very machine. None of them reads ~/.netrc."""
    proxies = urllib.request.ProxyHandler({} if is_loopback(service.url) else None)
    if not service.url.startswith("https:"):  # reading the system's authorities takes longer than the whole answer
        return urllib.request.build_opener(proxies, RefuseRedirects)
    tls = urllib.request.HTTPSHandler(context=make_tls_context(service.ca_path))
    return urllib.request.build_opener(proxies, RefuseRedirects, tls)


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    host = urllib.parse.urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or bool(re.fullmatch(r"127\.\d+\.\d+\.\d+", host))


def make_tls_context(ca_path: str | None) -> ssl.SSLContext:
    """Verification against the authorities that Ansible's own modules believe, or against those in a file or folder."""
    try:
        if ca_path and Path(ca_path).is_dir():
            return ssl.create_default_context(capath=ca_path)
        from ansible.module_utils.urls import make_context  # noqa: PLC0415 - takes long; plain HTTP needs none of it

        return make_context(cafile=ca_path)
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


def read_detail(error: urllib.error.HTTPError, token: str | None) -> str:
    """The `detail` of a JSON problem, or nothing."""
    try:
        detail = json.loads(error.read(PIECE))["detail"]
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError, RecursionError):
        return ""
    return plain(detail, token) if isinstance(detail, str) else ""


# ── what it means ─────────────────────────────────────────────────────────────────────────────────────────


def explain_failure(reason: Any, service: Service) -> Problem:
    """What a failed connection or a broken answer means."""
    for kinds, happened, advice, is_down in FAILURES:
        if isinstance(reason, kinds):
            text = happened.format(reason=plain(why(reason)), timeout=service.timeout)
            return Problem(text, advice, is_down=is_down)
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


def explain_status(answer: Unwelcome, service: Service) -> Problem:
    """What a status other than success means for who reads a stage."""
    status, detail = answer.status, answer.detail and f": {answer.detail}"
    if 300 <= status < 400:  # noqa: PLR2004
        return explain_redirect(answer, service)
    if status >= 500:  # noqa: PLR2004
        return Problem(f"the service failed ({status}{detail})", "look into its log and try again", is_down=True)
    if status == 401 and not service.token:  # noqa: PLR2004
        return Problem("the service wants a token (401)", "set CALLBOARD_TOKEN, or 'token_file' in this inventory file")
    happened, advice = REFUSALS.get(status, ("the service refused the request", "correct this inventory file"))
    return Problem(f"{happened} ({status}{detail})", advice)


REFUSALS = {
    401: ("the token was not accepted", "set CALLBOARD_TOKEN or 'token_file' to a token that is valid"),
    403: ("the token may not read this stage", "use a token whose role and projects cover it"),
    404: ("there is no such stage", "correct 'stages' or 'url'"),
    429: ("the service has had too many requests", "wait a minute and try again"),
}


def explain_redirect(answer: Unwelcome, service: Service) -> Problem:
    """A redirect, with the address it names but nothing behind that address's path."""
    where = plain((answer.location or "nowhere").split("?")[0], service.token)
    return Problem(
        f"the service redirects to {where} ({answer.status}), and a redirect would carry the token there",
        "set 'url' to the final address",
    )
