"""An inbox that hears what notifications tell, and the rule that what happens here is written by who does it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import inventory_service
from inventory_service.automation import notifications
from inventory_service.events import NOTIFIED
from inventory_service.models import Event, Notification, Stage
from inventory_service.settings import Settings
from tests.support import ADA, FakeClock

PACKAGE = str(Path(inventory_service.__file__).parent)


class Inbox:
    """Takes what Apprise posts; `status` is what it answers."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if inbox.status == 200:
                    inbox.messages.append(json.loads(body))
                self.send_response(inbox.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"json://127.0.0.1:{self.server.server_port}/hook?-token=s3cret"

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.close()


@pytest.fixture
def told(inbox: Inbox, stage: Stage, settings: Settings, clock: FakeClock) -> Notification:
    """The inbox hears of everything; what was before is no news."""
    row = notifications.create(
        stage,
        url=inbox.url,
        events=[one.word for one in NOTIFIED],
        description="",
        settings=settings,
        actor=ADA,
        at=clock.now(),
    )
    notifications.tell(settings=settings, at=clock.advance(2))
    return row


@pytest.fixture(autouse=True)
def _written_by_who_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that writes an event itself would show a promise as kept that the product breaks."""
    create: Callable[..., Event] = Event.create

    def checked(**fields: Any) -> Event:
        asks = sys._getframe(2).f_code.co_filename  # who called events.record
        assert asks.startswith(PACKAGE), f"{asks} writes the event {fields['name']} by hand"
        return create(**fields)

    monkeypatch.setattr(Event, "create", checked)
