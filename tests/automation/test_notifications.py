"""Word that goes out: a real HTTP server hears what Apprise sends."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable

import pytest

from inventory_service.adapters import notify
from inventory_service.automation import notifications
from inventory_service.codes.host import Quarantine
from inventory_service.codes.run import End
from inventory_service.codes.stage import ExpiryPause
from inventory_service.deployments import locks
from inventory_service.deployments.executor import execution
from inventory_service.errors import InvalidError
from inventory_service.events import SERVICE
from inventory_service.models import Notice, Notification, Stage
from inventory_service.reasons import because
from inventory_service.records import hosts, runs, stages
from inventory_service.records.stages import Pause
from inventory_service.settings import Settings
from tests.automation.conftest import Inbox
from tests.support import ADA, Caller, FakeClock, Machine, at_once, launched

PATH = "/api/v1/stages/shop/production/notifications"


def tell(settings: Settings, clock: FakeClock, seconds: float = 2) -> int:
    return notifications.tell(settings=settings, at=clock.advance(seconds))


def test_it_tells_of_a_run(
    told: Notification, inbox: Inbox, stage: Stage, settings: Settings, clock: FakeClock
) -> None:
    run = launched(stage, comment="v2", at=clock.now())
    tell(settings, clock)
    runs.name_release(run, 7)
    claimed = execution.claim(run.id, at=clock.now())
    assert claimed is not None
    runs.end(claimed, "failed", [because(End.HOSTS_FAILED, hosts=["web-1"], more=0, of=2)], at=clock.now())
    tell(settings, clock)
    assert inbox.titles == [
        f"shop/production: deploy {run.id} started",
        f"shop/production: deploy {run.id} of release 7 failed",
    ]
    page = f"{settings.url}/runs/{run.id}"
    assert inbox.messages[0]["message"] == f"by ada\nv2\n{page}"
    assert inbox.messages[1]["message"] == f"by ada\nv2\n1 of 2 hosts failed: web-1.\n{page}"


def test_it_tells_why(told: Notification, inbox: Inbox, web_1: Machine, settings: Settings, clock: FakeClock) -> None:
    locks.lock(web_1.stage, reason="migration", actor=ADA, at=clock.now())
    why = because(Quarantine.CONVERGENCE, attempts=4, release=2, run=17, words=None)
    hosts.quarantine(web_1.row, why, actor=SERVICE, at=clock.now())
    tell(settings, clock)
    gave_up = "web-1: Convergence gave up: 4 attempts to bring it to release 2 failed; see run 17"
    page = f"{settings.url}/stages/shop/production"
    assert [(message["title"], message["message"]) for message in inbox.messages] == [
        ("shop/production: locked by ada", f"migration\n{page}"),
        ("shop/production: a host is quarantined (excluded from convergence)", f"{gave_up}\n{page}"),
    ]


def test_it_tells_only_what_was_asked_for(
    *,
    inbox: Inbox,
    stage: Stage,
    make_stage: Callable[..., Stage],
    admin: Caller,
    settings: Settings,
    clock: FakeClock,
) -> None:
    assert admin.post(PATH, {"url": inbox.url, "events": ["freeze"]}).status_code == 201
    tell(settings, clock)
    locks.lock(stage, reason="migration", actor=ADA, at=clock.now())
    silent = because(ExpiryPause.MANY_SILENT, silent=4, of=8)
    for one in (make_stage("staging"), stage):
        paused = Pause(clock.now(), silent)
        assert stages.keep_pause(one, paused, before=Pause(), grace_from=None, at=clock.now())
    assert tell(settings, clock) == 1
    assert inbox.titles == ["shop/production: expiry paused, nobody leaves for silence"]


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
