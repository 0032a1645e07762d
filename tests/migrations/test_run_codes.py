"""Sentences of earlier versions become codes from which the same is said."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from inventory_service.wording import lock, run

MIGRATION: Any = importlib.import_module("inventory_service.migrations.0021_run_codes")
LOOK = "What was under way may have completed; look at the hosts before you go on."
KEYS = (
    "Host key mismatch: web-2 did not show an SSH host key that is on record. If the machine was reinstalled, let it "
    "enrol again or vouch for its keys (callboard host keys ID FILE…); if not, another machine answers at its "
    "address: do not connect."
)
ROLLED_BACK = "Run 9 goes back to release 3 on 2 of its hosts. The stage is locked."
ENDS = [
    ("canceled", "Canceled by ada before it started.", ["canceled_before_start"]),
    ("canceled", "Canceled before it started: its stage was archived.", ["stage_archived"]),
    ("canceled", "Canceled by token:ci; the tasks in flight may have completed on their hosts.", ["canceled"]),
    ("canceled", "Interrupted; the tasks in flight may have completed on their hosts.", ["interrupted"]),
    ("timeout", "Stopped: it took longer than 60 s; the tasks in flight may have completed.", ["out_of_time"]),
    (
        "timeout",
        "Stopped: it was idle for 9 s, with no event and no output; the tasks in flight may have completed.",
        ["idle"],
    ),
    (
        "lost",
        f"Its executor died with a task under way on a.example (Wait, (then) go), b (a task) and 3 more. {LOOK}",
        ["executor_died"],
    ),
    ("lost", f"Its executor died; no host had a task under way, as far as is known. {LOOK}", ["executor_died"]),
    ("lost", f"Its executor died; nothing is known. {LOOK}", ["executor_died"]),
    ("failed", "1 of 3 hosts failed: web-1.example.com.", ["hosts_failed"]),
    (
        "failed",
        f"7 of 9 hosts failed: a, b, c, d, e and 2 more. 1 of 9 hosts was unreachable: web-2. {KEYS} a: it: says. so",
        ["hosts_failed", "hosts_unreachable", "host_keys_mismatch", "host_said"],
    ),
    (
        "failed",
        f"1 of 3 hosts failed: web-1. web-1: no space left. {ROLLED_BACK}",
        ["hosts_failed", "host_said", "rolled_back", "stage_locked"],
    ),
    (
        "timeout",
        (
            "Stopped: it took longer than 60 s; the tasks in flight may have completed. There is no release before "
            "it to go back to. The stage is locked."
        ),
        ["out_of_time", "no_earlier_release", "stage_locked"],
    ),
    (
        "failed",
        "1 of 3 hosts failed: web-1. It could not be rolled back: Release 2 was never deployed. The stage is locked.",
        ["hosts_failed", "rollback_refused", "stage_locked"],
    ),
    ("failed", "ansible-playbook ended with code 4: YAML parsing failed. (deploy.yml:3)", ["ansible_failed"]),
    (
        "failed",
        (
            "ansible-playbook ended with code 1; the log says why. Incomplete: the log could not be written (No space "
            "left on device). No space left on device: the disk of /var/lib/callboard is full."
        ),
        ["ansible_failed", "log_incomplete", "disk_full"],
    ),
    (
        "failed",
        "ansible-playbook ended with code -1: odd. The run's files could not be written (No space); free some space.",
        ["ansible_failed", "files_unwritable"],
    ),
    ("failed", "No hosts left: 2 of 2 fell silent before their turn.", ["no_hosts_left"]),
    ("failed", "No hosts matched: shop/production has no live host for this run.", ["no_live_host"]),
    (
        "failed",
        "No hosts matched: none of the repeated run's hosts is there now: a (gone), b (stale) and 4 more.",
        ["nobody_there"],
    ),
    (
        "failed",
        "Stopped: 2 of the run's 4 hosts are unreachable, and the stage's maximum_unreachable of 25% allows 1.",
        ["too_many_unreachable"],
    ),
    (
        "failed",
        (
            "Stopped: 7 of the 10 hosts that were live at the start are left healthy, and the stage's minimum_healthy "
            "of 75% asks for 8."
        ),
        ["too_few_healthy"],
    ),
    ("failed", "The source has no playbook 'deploy.yml' at this revision.", ["not_prepared"]),
    ("failed", "Callboard itself failed: ValueError('no. way').", ["service_failed"]),
    ("successful", "Incomplete: events could not be stored (database is locked).", ["events_incomplete"]),
    ("canceled", "Nobody knows.", ["other"]),
]


@pytest.mark.parametrize(("status", "text", "codes"), ENDS)
def test_it_says_the_same_of_a_runs_end(status: str, text: str, codes: list[str]) -> None:
    reasons = MIGRATION.reasons_of(text, status)
    assert [one["code"] for one in reasons] == codes
    assert run.ended(reasons) == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Not run: nobody is behind any more.", "nobody_out_of_date"),
        ("Not run: the stage is frozen, so it is unclear who is live.", "expiry_paused"),
        (
            "The laptop fell silent. If it kept a spool, `callboard spool send` there tells the rest.",
            "sender_silent",
        ),
    ],
)
def test_it_knows_sentences_that_are_said_otherwise_now(text: str, code: str) -> None:
    assert MIGRATION.reasons_of(text, "canceled") == [{"code": code}]


@pytest.mark.parametrize(
    ("status", "text", "code"),
    [
        ("skipped (stale)", "Left out: it has left the stage.", "left_stage"),
        ("skipped (stale)", "Left out: it has been silent since 2026-11-23T14:00:00.5Z.", "silent"),
        ("lost", 'The task "Don\'t stop" was under way when the run ended; it may have completed.', "under_way"),
        ("lost", "The task '?' was under way when the run ended; it may have completed.", "under_way"),
        ("unreachable", KEYS, "host_key_mismatch"),
        ("gone", "no longer known", "unknown"),
        ("gone", "its machine is to be ended", "to_be_ended"),
        ("gone", "removed by ada", "gone"),
        ("gone", "silent for too long", "gone"),
        ("stale", "silent for longer than its ttl", "stale"),
        ("conflict", "the same address as the live host 'a': 10.0.0.1 port 22", "in_conflict"),
        ("ok", "Something else.", "other"),
    ],
)
def test_it_says_the_same_of_a_host(status: str, text: str, code: str) -> None:
    made = MIGRATION.host_note(status, text)
    assert made.pop("code") == code
    assert run.host_note(code, made) == text


@pytest.mark.parametrize(
    "text",
    [
        "web-1, on which run 3 worked, is not live now.",
        "web-1 has other SSH host keys than in run 1; those of now are used.",
        "web-1 had the address 10.0.0.1 port 22; now 10.9.9.9 port 2222 is used.",
        "ansible_core was 2.1.0 in run 1 and is not there now.",
        "The secret db_password was removed since run 7.",
        "Something else.",
    ],
)
def test_it_says_the_same_of_what_a_repeat_has_otherwise(text: str) -> None:
    made = MIGRATION._whole(MIGRATION._SNAPSHOT_NOTES, text)
    assert (run.snapshot_note(made), made["code"] == "other") == (text, text == "Something else.")


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("Black Friday", ["person"]),
        (
            (
                "The rollout of release 2 stopped (run 5): 1 of 3 hosts failed: web-1. web-1: sick Run 6 goes back to "
                "release 1 on 1 of its hosts"
            ),
            ["rollout_stopped"],
        ),
        (
            (
                "Wait for me. The rollout of release 2 stopped (run 5): 1 of 3 hosts failed: web-1. There is no "
                "release before it to go back to The automatic rollback of run 5, run 6, did not succeed: lost"
            ),
            ["person", "rollout_stopped", "rollback_failed"],
        ),
        (
            "The automatic rollback of run 5, run 6, did not succeed: 1 of 3 hosts failed: web-1",
            ["rollback_failed"],
        ),
    ],
)
def test_it_tells_a_persons_reason_from_the_services(text: str, codes: list[str]) -> None:
    reasons = MIGRATION.lock_reasons(text)
    assert [one["code"] for one in reasons] == codes
    assert lock.why(reasons).replace("go back to. The", "go back to The") == text
