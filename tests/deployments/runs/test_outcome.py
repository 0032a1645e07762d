from __future__ import annotations

import pytest

from inventory_service.codes.run import HostNote
from inventory_service.deployments.runs import outcome
from inventory_service.deployments.runs.outcome import HostCount, ending_of, from_stats
from inventory_service.reasons import because
from tests.support import why

OK, CHANGED = HostCount(ok=3), HostCount(ok=3, changed=1)
FAILED, DARK = HostCount(ok=1, failed=1), HostCount(ok=1, unreachable=1)
NOTHING = HostCount()


def ending(
    *counts: HostCount, return_code: int = 0, stale: tuple[str, ...] = (), tolerated: tuple[str, ...] = ()
) -> outcome.Ending:
    by_name = {f"web-{number}": count for number, count in enumerate(counts)}
    expected = list(by_name) or ["web-0"]
    return ending_of(return_code=return_code, counts=by_name, expected=expected, stale=stale, tolerated=tolerated)


@pytest.mark.parametrize(
    ("counts", "return_code", "status"),
    [
        ((OK,), 0, "successful"),
        ((OK, CHANGED), 0, "successful"),
        ((OK, NOTHING), 0, "successful"),
        ((HostCount(skipped=1),), 0, "successful"),
        ((HostCount(ok=1, rescued=1),), 0, "successful"),
        ((HostCount(ok=1, ignored=1),), 0, "successful"),
        ((), 0, "failed"),
        ((NOTHING,), 0, "failed"),
        ((NOTHING, NOTHING), 0, "failed"),
        ((OK, FAILED), 0, "failed"),
        ((OK, FAILED), 2, "failed"),
        ((OK, DARK), 0, "failed"),
        ((OK, DARK), 4, "failed"),
        ((OK,), 1, "failed"),
        ((OK,), 250, "failed"),
        ((OK,), -1, "failed"),
        ((OK,), -15, "failed"),
    ],
)
def test_it_tells_how_a_run_ended(counts: tuple[HostCount, ...], return_code: int, status: str) -> None:
    assert ending(*counts, return_code=return_code).status == status


def test_it_calls_a_run_that_touched_nobody_failed_although_ansible_ended_with_0() -> None:
    told = why(ending(NOTHING))
    assert told.startswith("No hosts matched: the playbook's plays touched none of the run's hosts.")


def test_it_says_what_ansible_says_where_no_host_failed() -> None:
    ends = ending_of(return_code=4, counts={}, expected=["web-1"], complaint="YAML parsing failed.")
    assert why(ends) == "ansible-playbook ended with code 4: YAML parsing failed."


def test_it_names_the_hosts_whose_key_was_another_one_and_says_what_to_do() -> None:
    known, other = (
        HostCount(unreachable=1),
        HostCount(unreachable=1, note=because(HostNote.HOST_KEY_MISMATCH, host="web-2")),
    )
    error = why(ending(OK, known, other))
    assert error.startswith("2 of 3 hosts were unreachable: web-1, web-2. Host key mismatch: web-2 did not show")
    assert "callboard host keys" in error


def test_it_does_not_count_hosts_that_the_run_was_not_for() -> None:
    assert ending_of(return_code=0, counts={"localhost": OK}, expected=["web-1"]).status == "failed"


def test_it_forgives_hosts_that_were_left_out_as_stale() -> None:
    assert ending(OK, NOTHING, DARK, stale=("web-1", "web-2")).status == "successful"


def test_it_keeps_a_failure_of_a_host_that_fell_silent_later() -> None:
    assert why(ending(OK, FAILED, stale=("web-1",))) == "1 of 2 hosts failed: web-1."


def test_it_forgives_unreachable_hosts_within_the_budget_only() -> None:
    assert ending(OK, DARK, tolerated=("web-1",)).status == "successful"
    assert why(ending(OK, DARK, DARK, tolerated=("web-1",))) == "1 of 3 hosts was unreachable: web-2."


def test_it_has_no_success_where_everybody_was_left_out() -> None:
    assert why(ending(NOTHING, NOTHING, stale=("web-0", "web-1"))) == (
        "No hosts left: 2 of 2 fell silent before their turn."
    )


def test_it_keeps_failed_and_unreachable_apart() -> None:
    assert why(ending(OK, FAILED, DARK, DARK, return_code=2)) == (
        "1 of 4 hosts failed: web-1. 2 of 4 hosts were unreachable: web-2, web-3."
    )


def test_it_names_the_hosts_that_failed() -> None:
    assert why(ending(*[FAILED] * 7, return_code=2)) == (
        "7 of 7 hosts failed: web-0, web-1, web-2, web-3, web-4 and 2 more."
    )


@pytest.mark.parametrize(
    ("count", "status"),
    [
        (OK, "ok"),
        (CHANGED, "changed"),
        (FAILED, "failed"),
        (DARK, "unreachable"),
        (HostCount(failed=1, unreachable=1), "unreachable"),
        (HostCount(changed=1, failed=1), "failed"),
        (HostCount(skipped=1), "ok"),
        (HostCount(rescued=1), "ok"),
        (HostCount(ignored=1), "ok"),
        (NOTHING, "untouched"),
    ],
)
def test_it_has_one_word_for_a_host(count: HostCount, status: str) -> None:
    assert count.status == status


def test_it_reads_ansibles_own_names_for_its_counters() -> None:
    stats = {"ok": {"a": 4, "b": 1}, "changed": {"a": 2}, "failures": {"b": 1}, "dark": {"c": 1}, "processed": {"a": 1}}
    assert from_stats(stats) == {
        "a": HostCount(ok=4, changed=2),
        "b": HostCount(ok=1, failed=1),
        "c": HostCount(unreachable=1),
    }
