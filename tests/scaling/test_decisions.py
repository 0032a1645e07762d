from __future__ import annotations

import datetime as dt

from inventory_service.codes import scaling as codes
from inventory_service.models import ScalingDecision, Stage
from inventory_service.reasons import Reason, because
from inventory_service.scaling import decisions
from tests.support import START


def decide(stage: Stage, minute: int, action: str = "hold", capacity: int = 2, veto: Reason | None = None) -> None:
    ScalingDecision.create(
        stage=stage, at=START + dt.timedelta(minutes=minute), action=action, from_capacity=capacity,
        to_capacity=capacity + (action == "out"), serving=capacity, readings=[],
        reasons=[veto.to_json()] if veto else [], veto_code=veto and veto.code,
        status="done" if action != "hold" else "unchanged", token="t",
    )  # fmt: skip


def test_what_changed_nothing_for_the_same_reason_is_one(stage: Stage) -> None:
    for minute in range(3):
        decide(stage, minute)
    decide(stage, 3, veto=because(codes.Plan.COOLDOWN_OUT, seconds=60.0))
    decide(stage, 4, veto=because(codes.Plan.COOLDOWN_OUT, seconds=0.5))
    decide(stage, 5, "out")
    decide(stage, 6, "out", 3)
    decide(stage, 7, capacity=4)
    found, is_more = decisions.between(stage, START, START + dt.timedelta(hours=1), most=10)
    assert [(group.newest.action, group.count, group.is_change) for group in found] == [
        ("hold", 1, False), ("out", 1, True), ("out", 1, True), ("hold", 2, False), ("hold", 3, False),
    ]  # fmt: skip
    assert (found[-1].since, found[-1].newest.at, is_more) == (START, START + dt.timedelta(minutes=2), False)
    assert decisions.between(stage, START, START + dt.timedelta(hours=1), most=4) == (found[:4], True)
    assert len(decisions.between(stage, START + dt.timedelta(minutes=6), START + dt.timedelta(hours=1), most=9)[0]) == 2
