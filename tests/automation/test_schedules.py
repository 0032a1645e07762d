from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from inventory_service import wording
from inventory_service.automation import schedules
from inventory_service.automation.schedules import Plan
from inventory_service.codes import statuses
from inventory_service.errors import CallboardError, ConflictError, InvalidError
from inventory_service.models import Event, Run, Schedule, Stage
from inventory_service.settings import Settings
from tests.support import ADA, START, FakeClock, at_once

Add = Callable[..., Schedule]
BACKUP = {"kind": "playbook", "playbook": "backup.yml"}


@pytest.fixture
def add(settings: Settings) -> Add:
    """Add the schedule `nightly`: add(stage, clock, cron, timezone, **request)."""

    def make(
        stage: Stage, clock: FakeClock, cron: str = "0 15 * * *", timezone: str = "UTC", **request: Any
    ) -> Schedule:
        plan = Plan(cron, timezone, {**BACKUP, **request})
        return schedules.create(stage, "nightly", plan, settings=settings, actor=ADA, at=clock.now())

    return make


def why_failed(row: Schedule) -> str:
    return wording.automation.schedule_failure(row.last_failure_code, row.last_failure_params) or ""


def fresh(row: Schedule) -> Schedule:
    return Schedule.get_by_id(row.id)


def test_it_starts_a_run_when_its_moment_comes(add: Add, stage: Stage, clock: FakeClock) -> None:
    row = add(stage, clock, limit="web", extra_vars={"keep": 3})
    assert schedules.run_due(at=clock.advance(3599)) == []
    (number,) = schedules.run_due(at=clock.advance(1))
    run = Run.get_by_id(number)
    assert (run.kind, run.playbook, run.limit, run.extra_vars) == ("playbook", "backup.yml", "web", {"keep": 3})
    assert (run.created_by, run.comment) == ("schedule:nightly", "schedule nightly")
    assert fresh(row).next_at == START + dt.timedelta(hours=25)
    assert fresh(row).last_run_id == number


def test_it_starts_one_run_whoever_looks(add: Add, stage: Stage, clock: FakeClock) -> None:
    add(stage, clock)
    clock.advance(3600)
    found = at_once(lambda _: schedules.run_due(at=clock.now()), 6)
    assert sorted(len(runs) for runs in found) == [0] * 5 + [1]


def test_it_keeps_to_its_time_zone(add: Add, stage: Stage, clock: FakeClock) -> None:
    row = add(stage, clock, cron="30 2 * * *", timezone="Europe/Berlin")
    assert row.next_at == dt.datetime(2026, 11, 24, 1, 30, tzinfo=dt.UTC)


def test_it_runs_once_where_the_clocks_are_set_forward() -> None:
    before = dt.datetime(2026, 3, 28, 12, tzinfo=dt.UTC)
    first = schedules.next_after("30 2 * * *", "Europe/Berlin", before)
    assert first == dt.datetime(2026, 3, 29, 1, 0, tzinfo=dt.UTC)
    assert schedules.next_after("30 2 * * *", "Europe/Berlin", first) == dt.datetime(2026, 3, 30, 0, 30, tzinfo=dt.UTC)


def test_it_leaves_out_what_was_missed_and_says_so(add: Add, stage: Stage, clock: FakeClock) -> None:
    row = add(stage, clock)
    assert schedules.run_due(at=clock.advance(3600 + 601)) == []
    assert "No worker was there at 2026-11-23 15:00 UTC" in why_failed(fresh(row))
    assert fresh(row).next_at == START + dt.timedelta(hours=25)
    assert Event.select().where(Event.name == "schedule.fail").count() == 1


def test_it_does_not_pile_up_runs(add: Add, stage: Stage, clock: FakeClock) -> None:
    row = add(stage, clock, cron="* * * * *")
    (number,) = schedules.run_due(at=clock.advance(60))
    assert schedules.run_due(at=clock.advance(60)) == []
    assert f"Run {number} of the time before is still queued" in why_failed(fresh(row))
    Run.update(status=statuses.SUCCESSFUL).execute()
    assert len(schedules.run_due(at=clock.advance(60))) == 1
    assert fresh(row).last_failure_code is None


def test_it_notes_why_nothing_could_be_started(add: Add, stage: Stage, clock: FakeClock) -> None:
    row = add(stage, clock)
    at = clock.advance(3600)
    Stage.update(expiry_paused_at=at).execute()
    assert schedules.run_due(at=at) == []
    assert "is paused" in why_failed(fresh(row))


def test_it_rests_and_goes_on(add: Add, stage: Stage, clock: FakeClock) -> None:
    row = add(stage, clock)
    schedules.switch(row, is_enabled=False, actor=ADA, at=clock.now())
    assert schedules.run_due(at=clock.advance(3600)) == []
    schedules.switch(row, is_enabled=True, actor=ADA, at=clock.now())
    assert len(schedules.run_due(at=clock.advance(86400))) == 1


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "daily"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"kind": "rollback", "playbook": None}, "kind"),
        ({"playbook": "../x.yml"}, "playbook"),
        ({"limit": "@/etc/passwd"}, "limit"),
    ],
)
def test_it_rejects_what_it_could_not_run(
    add: Add, stage: Stage, clock: FakeClock, change: dict[str, Any], loc: str
) -> None:
    with pytest.raises(InvalidError) as caught:
        add(stage, clock, **change)
    assert caught.value.errors[0]["loc"] == [loc]


def test_it_rejects_a_second_schedule_of_one_name(add: Add, stage: Stage, clock: FakeClock) -> None:
    add(stage, clock)
    with pytest.raises(ConflictError):
        add(stage, clock)


def test_it_rejects_an_unknown_name(stage: Stage) -> None:
    with pytest.raises(CallboardError, match="no schedule 'weekly'"):
        schedules.find(stage, "weekly")
