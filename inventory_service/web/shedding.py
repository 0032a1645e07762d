"""Reads are shed before heartbeats: however many people and scripts look, some threads stay free for machines.

A server without a free thread lets requests queue. Hosts would then seem silent because somebody reads.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_READS = ("GET", "HEAD")
_ALWAYS = ("/healthz", "/readyz")
_RETRY_AFTER_SECONDS = "2"
_RESERVED = 8  # one thread of so many is kept for what is no read
Piece = TypeVar("Piece")


class CountedBody(Generic[Piece]):
    """A body that holds a place until it is closed or at its end, also when it was never begun."""

    def __init__(self, body: Iterable[Piece], free: threading.Semaphore) -> None:
        self._body, self._pieces, self._free, self._is_open = body, iter(body), free, True

    def __iter__(self) -> Iterator[Piece]:
        """Itself."""
        return self

    def __next__(self) -> Piece:
        """The next piece."""
        try:
            return next(self._pieces)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the place back, once."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            getattr(self._body, "close", _nothing)()
        finally:
            self._free.release()


def _nothing() -> None:
    """What closing is where there is nothing to close."""


class ReadLimiter:
    """Wraps the application of a server with so many threads: reads that would take the last ones get 503 at once."""

    def __init__(self, application: WSGIApplication, *, threads: int) -> None:
        self._application = application
        self._free = threading.BoundedSemaphore(most_reads(threads))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The application's answer, or "busy"."""
        if environ["REQUEST_METHOD"] not in _READS or environ.get("PATH_INFO") in _ALWAYS:
            return self._application(environ, start_response)
        if not self._free.acquire(blocking=False):
            return _busy(start_response)
        try:
            return CountedBody(self._application(environ, start_response), self._free)
        except BaseException:
            self._free.release()
            raise


def most_reads(threads: int) -> int:
    """How many reads are served at once: all threads but an eighth, at least one of each where there are two."""
    return max(1, threads - max(1, threads // _RESERVED))


def _busy(start_response: StartResponse) -> list[bytes]:
    detail = "Too much is being read at the moment. Try again in a moment."
    body = json.dumps({"type": "about:blank", "title": "Busy", "status": 503, "detail": detail}).encode()
    headers = [("Content-Type", "application/problem+json"), ("Content-Length", str(len(body)))]
    start_response("503 Service Unavailable", [*headers, ("Retry-After", _RETRY_AFTER_SECONDS)])
    return [body]
