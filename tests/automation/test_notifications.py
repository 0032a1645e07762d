"""Word that goes out: a real HTTP server hears what Apprise sends."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from inventory_service import events
from inventory_service.adapters import notify
from inventory_service.automation import notifications
from inventory_service.deployments import locks
from inventory_service.errors import InvalidError
from inventory_service.events import NOTIFIED, SERVICE, EventName, Target, TargetKind
from inventory_service.models import Notice, Notification, Run, Stage
from inventory_service.settings import Settings
from tests.support import ADA, Caller, FakeClock, at_once, launched

PATH = "/api/v1/stages/shop/production/notifications"


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


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.server.shutdown()
    made.server.server_close()


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


def tell(settings: Settings, clock: FakeClock, seconds: float = 2) -> int:
    return notifications.tell(settings=settings, at=clock.advance(seconds))


def test_it_tells_of_a_run(
    told: Notification, inbox: Inbox, stage: Stage, settings: Settings, clock: FakeClock
) -> None:
    run = launched(stage, comment="v2", at=clock.now())
    reasons = [{"code": "hosts_failed", "hosts": ["web-1"], "more": 0, "of": 2}]
    Run.update(end_code="hosts_failed", end_reasons=reasons, release_number=7).execute()
    events.record(EventName.RUN_FAILED, events.target(run), actor=SERVICE, at=clock.now())
    assert tell(settings, clock) == 2
    assert inbox.titles == [
        f"shop/production: deploy {run.id} of release 7 started",
        f"shop/production: deploy {run.id} of release 7 failed",
    ]
    assert "1 of 2 hosts failed: web-1." in inbox.messages[1]["message"]
    assert f"{settings.url}/runs/{run.id}" in inbox.messages[1]["message"]
    assert "web-1" not in inbox.messages[0]["message"]


def test_it_tells_of_locks_freezes_and_quarantine(
    told: Notification, inbox: Inbox, stage: Stage, settings: Settings, clock: FakeClock
) -> None:
    locks.lock(stage, reason="migration", actor=ADA, at=clock.now())
    events.record(EventName.EXPIRY_PAUSE, events.target(stage), actor=SERVICE, at=clock.now())
    events.record(EventName.EXPIRY_PAUSE, events.ALL_STAGES, actor=SERVICE, at=clock.now())
    about = events.host_target(None, "web-1", stage)
    events.record(EventName.HOST_QUARANTINE, about, actor=SERVICE, at=clock.now())
    assert tell(settings, clock) == 4
    assert inbox.titles[0] == "shop/production: locked by ada"
    assert "migration" in inbox.messages[0]["message"]
    assert inbox.titles[1] == "shop/production: expiry paused, nobody leaves for silence"


def test_it_tells_only_what_was_asked_for(
    inbox: Inbox, stage: Stage, admin: Caller, settings: Settings, clock: FakeClock
) -> None:
    assert admin.post(PATH, {"url": inbox.url, "events": ["freeze"]}).status_code == 201
    tell(settings, clock)
    locks.lock(stage, reason="migration", actor=ADA, at=clock.now())
    elsewhere = Target(TargetKind.STAGE, None, "blog/production")
    events.record(EventName.EXPIRY_RESUME, elsewhere, actor=SERVICE, at=clock.now())
    events.record(EventName.EXPIRY_RESUME, events.target(stage), actor=SERVICE, at=clock.now())
    assert tell(settings, clock) == 1
    assert inbox.titles == ["shop/production: expiry goes on"]


def test_it_tells_nothing_twice(
    told: Notification, inbox: Inbox, stage: Stage, settings: Settings, clock: FakeClock
) -> None:
    locks.lock(stage, reason="migration", actor=ADA, at=clock.now())
    clock.advance(2)
    at_once(lambda _: notifications.tell(settings=settings, at=clock.now()), 4)
    tell(settings, clock, 3600)
    assert len(inbox.messages) == 1


def test_it_tries_again_with_growing_pauses_and_gives_up(
    told: Notification, inbox: Inbox, stage: Stage, settings: Settings, clock: FakeClock
) -> None:
    inbox.status = 500
    locks.lock(stage, reason="migration", actor=ADA, at=clock.now())
    assert tell(settings, clock) == 0
    assert tell(settings, clock, 14) == 0
    assert Notice.get().attempts == 1
    for _ in range(12):
        tell(settings, clock, 3600)
    assert (Notice.get().attempts, Notice.get().next_at) == (8, None)
    assert "500" in Notice.get().error


def test_it_comes_through_when_the_other_side_is_back(
    told: Notification, inbox: Inbox, stage: Stage, settings: Settings, clock: FakeClock
) -> None:
    inbox.status = 503
    locks.lock(stage, reason="migration", actor=ADA, at=clock.now())
    tell(settings, clock)
    inbox.status = 200
    assert tell(settings, clock, 16) == 1
    assert inbox.titles == ["shop/production: locked by ada"]
    assert Notice.get().error is None


def test_it_keeps_the_address_to_itself(
    told: Notification, inbox: Inbox, operator: Caller, settings: Settings, clock: FakeClock
) -> None:
    shown = operator.get(PATH).text
    assert "127.0.0.1" not in shown
    assert "s3cret" not in shown + Notification.get().sealed_url


def test_it_sends_a_test(told: Notification, inbox: Inbox, admin: Caller) -> None:
    assert admin.post(f"{PATH}/{told.id}/test").status_code == 200
    assert inbox.titles == ["Callboard: shop/production"]
    inbox.status = 500
    answer = admin.post(f"{PATH}/{told.id}/test")
    assert answer.status_code == 409
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("url", ["nonsense", "syslog://", "dbus://", "ftp://example.org", "file:///etc/passwd"])
def test_it_rejects_an_address_that_is_none(admin: Caller, stage: Stage, url: str) -> None:
    answer = admin.post(PATH, {"url": url})
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["loc"] == ["url"]


def test_it_rejects_an_unknown_event(stage: Stage, settings: Settings, clock: FakeClock) -> None:
    with pytest.raises(InvalidError, match="party"):
        notifications.create(
            stage, url="json://x", events=["party"], description="", settings=settings, actor=ADA, at=clock.now()
        )


def test_it_forgets_old_messages(told: Notification, stage: Stage, settings: Settings, clock: FakeClock) -> None:
    locks.lock(stage, reason="migration", actor=ADA, at=clock.now())
    tell(settings, clock)
    assert notifications.prune(at=clock.advance(86401), days=1) == 1


def test_it_keeps_a_mistyped_address_out_of_the_log() -> None:
    words = io.StringIO()
    handler = logging.StreamHandler(words)
    logging.getLogger().addHandler(handler)
    try:
        with pytest.raises(InvalidError):
            notify.check_url("slak://TokenA/TokenB/TokenC")
    finally:
        logging.getLogger().removeHandler(handler)
    assert words.getvalue() == ""
