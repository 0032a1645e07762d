"""The gate: a run's playbook asks here what its hosts said in their last heartbeats.

It is a Unix socket in the run's private folder, answered by the run's executor: ansible-playbook needs no credential
of the service, and learns nothing but the last words of the run's own hosts.
"""

from __future__ import annotations

import json
import logging
import socketserver
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inventory_service.clock import Clock
from inventory_service.database import database
from inventory_service.models import Stage
from inventory_service.registry import liveness
from inventory_service.registry.last_words import last_words

log = logging.getLogger(__name__)

_LONGEST_QUESTION = 1_000_000
_PATIENCE_SECONDS = 5.0


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


class Gate:
    """Open between `with` and its end. Answers one line of JSON, {"hosts": [name, …]}, with `last_words` as JSON."""

    def __init__(
        self, path: Path, stage: Stage, hosts: Iterable[str], *, clock: Clock, gone_after_seconds: float
    ) -> None:
        self._path = path
        self._stage = stage
        self._hosts = frozenset(hosts)
        self._clock = clock
        self._gone_after_seconds = gone_after_seconds

    def __enter__(self) -> None:
        """Listen. Raises OSError."""
        gate = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = _PATIENCE_SECONDS

            def handle(self) -> None:
                try:
                    self.wfile.write(json.dumps(gate.answer(self.rfile.readline(_LONGEST_QUESTION))).encode() + b"\n")
                except OSError as error:
                    log.info("a question at the gate was not answered: %s", error)
                finally:
                    database.close()

        self._server = _Server(str(self._path), Handler)
        self._path.chmod(0o600)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="gate", daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._path.unlink(missing_ok=True)

    def answer(self, question: bytes) -> dict[str, Any]:
        """The last words of those hosts of the run that are asked for; {"error": …} for what is no question."""
        try:
            names = json.loads(question)["hosts"]
            asked = self._hosts & set(names)
        except (ValueError, TypeError, KeyError, RecursionError):
            return {"error": 'ask with one line of JSON: {"hosts": ["web-1"]}'}
        judge = liveness.judge(at=self._clock.now(), gone_after_seconds=self._gone_after_seconds)
        return last_words(Stage.get_by_id(self._stage.id), asked, judge=judge)
