from __future__ import annotations

import pytest

from inventory_service.deployments import outcome
from inventory_service.deployments.outcome import HostCount, from_stats, judge_run

OK, CHANGED = HostCount(ok=3), HostCount(ok=3, changed=1)
FAILED, DARK = HostCount(ok=1, failed=1), HostCount(ok=1, unreachable=1)
NOTHING = HostCount()


def ending(
    *counts: HostCount, return_code: int = 0, is_canceled: bool = False, is_timeout: bool = False
) -> outcome.Ending:
    by_name = {f"web-{number}": count for number, count in enumerate(counts)}
    expected = list(by_name) or ["web-0"]
    return judge_run(
        return_code=return_code, is_canceled=is_canceled, is_timeout=is_timeout, counts=by_name, expected=expected
    )


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
    assert ending(NOTHING).error == "No hosts matched: the playbook's plays touched none of the run's hosts."


def test_it_names_the_hosts_whose_key_was_another_one_and_says_what_to_do() -> None:
    known, other = HostCount(unreachable=1), HostCount(unreachable=1, message="Host key mismatch: …")
    error = ending(OK, known, other).error or ""
    assert error.startswith("2 of 3 hosts failed: web-1, web-2. Host key mismatch: web-2 did not show")
    assert "callboard host keys" in error


def test_it_does_not_count_hosts_that_the_run_was_not_for() -> None:
    result = judge_run(return_code=0, is_canceled=False, is_timeout=False, counts={"localhost": OK}, expected=["web-1"])
    assert result.status == "failed"


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        ({"is_canceled": True}, "canceled"),
        ({"is_timeout": True}, "timeout"),
        ({"is_canceled": True, "is_timeout": True}, "canceled"),
    ],
)
@pytest.mark.parametrize("counts", [(), (OK,), (FAILED, DARK)])
def test_it_says_who_stopped_a_run_whatever_its_hosts_did(
    flags: dict[str, bool], status: str, counts: tuple[HostCount, ...]
) -> None:
    assert ending(*counts, return_code=2, **flags).status == status


def test_it_names_the_hosts_that_failed() -> None:
    assert ending(*[FAILED] * 7, return_code=2).error == (
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
