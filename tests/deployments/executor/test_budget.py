from __future__ import annotations

import pytest

from inventory_service import wording
from inventory_service.deployments.executor.budget import Budget
from inventory_service.errors import InvalidError
from inventory_service.registry.number_or_percent import check_amount


@pytest.mark.parametrize(
    ("healthy_bound", "unreachable_bound", "healthy", "unreachable", "is_broken"),
    [
        ("", "", 0, 10, False),
        ("3", "", 3, 0, False),
        ("3", "", 2, 0, True),
        ("75%", "", 8, 0, False),
        ("75%", "", 7, 0, True),  # a share of ten is rounded up: 7.5 is 8
        ("", "1", 9, 1, False),
        ("", "1", 8, 2, True),
        ("", "15%", 9, 1, False),
        ("", "15%", 8, 2, True),  # rounded down: 1.5 is 1
        ("", "0", 9, 1, True),
    ],
)
def test_it_says_when_a_run_has_lost_too_many(
    healthy_bound: str, unreachable_bound: str, healthy: int, unreachable: int, is_broken: bool
) -> None:
    reason = Budget(healthy_bound, unreachable_bound).broken(
        live=10, healthy=healthy, chosen=10, unreachable=unreachable
    )
    assert (reason is not None) is is_broken, reason


def test_it_says_what_was_asked_for_and_what_is_left() -> None:
    broken = Budget("75%").broken(live=10, healthy=7, chosen=10, unreachable=0)
    assert broken is not None
    assert broken.to_json() == {"code": "too_few_healthy", "count": 7, "of": 10, "bound": "75%", "least": 8}
    assert wording.run.ended([broken.to_json()]) == (
        "Stopped: 7 of the 10 hosts that were live at the start are left healthy, "
        "and the stage's minimum_healthy of 75% asks for 8."
    )


@pytest.mark.parametrize("text", ["", "0", "3", " 75% ", "100%"])
def test_it_takes_numbers_and_shares(text: str) -> None:
    assert check_amount(text, "minimum_healthy") == text.strip()


@pytest.mark.parametrize("text", ["-1", "101%", "half", "1.5", "%", "3 %", "٣", "9" * 7])
def test_it_rejects_what_is_no_amount(text: str) -> None:
    with pytest.raises(InvalidError, match="is no amount of hosts"):
        check_amount(text, "minimum_healthy")
