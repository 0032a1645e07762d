"""A Unix socket on which ansible-playbook asks its executor one JSON question per connection.

The other ends are plugins/plugin_utils/run_limits.py and plugins/action/wait_for_heartbeat.py. The socket lies in a
folder of the run's own that only the service's user may enter; what passes over it are host names, their last words
and reasons, no credential.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from inventory_service.database import database

log = logging.getLogger(__name__)

_LARGEST_QUESTION = 1 << 24
_PATIENCE_SECONDS = 10.0  # for somebody who connects and then does not ask
Answer = Callable[[dict[str, Any]], dict[str, Any]]


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128
    is_over = False

    def answer_until_over(self) -> None:
        """Take one connection after the other, without looking up in between."""
        while not self.is_over:
            self.handle_request()

    def end(self) -> None:
        """Stop the one who takes connections, which a server that looks up now and then would do later."""
        self.is_over = True
        self.socket.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def answering(path: Path, answer: Answer) -> Iterator[None]:
    """Answer questions on the socket `path` while the context lasts, each in a thread of its own.

    An answer that raises is logged, and the one who asked gets a closed line.
    """

    class Handler(socketserver.StreamRequestHandler):
        timeout = _PATIENCE_SECONDS

        def handle(self) -> None:
            try:
                question = json.loads(self.rfile.readline(_LARGEST_QUESTION))
                self.wfile.write(json.dumps(answer(question)).encode() + b"\n")
            except Exception:
                log.exception("a question of the playbook could not be answered")
            finally:
                if database.obj is not None:  # doctor answers without one
                    database.close()

    with _Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.answer_until_over, name="answers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.end()
            thread.join()
