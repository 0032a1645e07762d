"""What people read about scaling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from inventory_service.codes.scaling import Failure, Finding, Lifecycle, Plan, Preview, Reading
from inventory_service.reasons import Code
from inventory_service.wording import event, scaling

SEEN = {"policy": "cpu", "statistic": "avg", "metric": "load", "window_seconds": 60, "value": 0.912, "target": 0.6}
STEPPED = {**SEEN, "threshold": 100}
ENDED = {"instance": "i-1", "host": "web-1", "state": "terminated"}
PLANS: list[tuple[Code, dict[str, Any], str]] = [
    (Plan.TARGET_ABOVE, {**SEEN, "capacity": 3}, "cpu: avg load over 60 s is 0.912, the target 0.6: 3 hosts."),
    (Plan.TARGET_BELOW, {**SEEN, "capacity": 1}, "cpu: avg load over 60 s is 0.912, the target 0.6: 1 host is enough."),
    (Plan.TARGET_MET, {**SEEN, "capacity": 3}, "cpu: avg load over 60 s is 0.912, the target 0.6: 3 hosts are right."),
    (Plan.STEP_NONE, STEPPED, "cpu: avg load over 60 s is 0.912, the threshold 100: no step."),
    (Plan.STEP, {**STEPPED, "capacity": 7},
     "cpu: avg load over 60 s is 0.912, the threshold 100: 7 hosts by its step."),
    (Plan.SCHEDULE, {"policy": "morning", "capacity": 1}, "morning: at least 1 host by schedule."),
    (Plan.NO_READING, {"policy": "cpu", "problem": {"code": "no_value"}}, "cpu: there is no value."),
    (Plan.BOUNDED, {"capacity": 6, "minimum": 1, "maximum": 6}, "Bounded to 6: there are to be 1 to 6."),
    (Plan.COOLDOWN_IN, {"seconds": 59.6}, "No change: the cooldown after removing hosts lasts 60 s more."),
    (Plan.RUN_ACTIVE, {"run": 17}, "No change: run 17 works on the hosts."),
    (Plan.NOT_SERVING, {"hosts": 1}, "No change: 1 host does not serve yet."),
    (Plan.NOT_SERVING, {"hosts": 2}, "No change: 2 hosts do not serve yet."),
    (Plan.READING_MISSING, {"policies": ["cpu", "jobs"]}, "No change: without a reading of cpu, jobs no host goes."),
    (Plan.OTHER, {"text": "As it was said then."}, "As it was said then."),
]  # fmt: skip


@pytest.mark.parametrize(("code", "params", "sentence"), PLANS)
def test_a_decisions_reason_is_a_sentence(code: Code, params: Mapping[str, Any], sentence: str) -> None:
    assert scaling.plan(code, params) == sentence


OTHERS: list[tuple[Callable[[str, Mapping[str, Any]], str], Code, dict[str, Any], str]] = [
    (scaling.reading, Reading.REPORTED_BEFORE, {"metric": "load", "seconds": 240.2},
     "load was last reported 240 s ago"),
    (scaling.failure, Failure.PROTECTED, {"instances": ["i-1", "i-2"]},
     "i-1, i-2 are protected from scale-in by now; no machine was ended, and its hosts serve again."),
    (scaling.failure, Failure.REFUSED, {"text": "There is no 'drain.yml'."}, "There is no 'drain.yml'."),
    (scaling.finding, Finding.ENDED, ENDED, "EC2 says that i-1 is terminated; web-1 is gone."),
    (scaling.finding, Finding.BEATS_AFTER_END, ENDED, "web-1 beats, but EC2 says that i-1 is terminated."),
    (scaling.lifecycle, Lifecycle.NOT_WAITING, {"state": None},
     "The group does not wait any more: it says nothing of it."),
    (scaling.lifecycle, Lifecycle.NOT_TAKEN, {"answer": {"code": "drained"}},
     "It drained. The group did not wait for that answer any more."),
    (scaling.lifecycle, Lifecycle.QUARANTINED, {"quarantine": None}, "Its host is quarantined."),
    (scaling.lifecycle, Lifecycle.QUARANTINED, {"quarantine": {"code": "person", "text": "its disk"}}, "its disk"),
    (scaling.answer, Lifecycle.READY, {"host": "web-1", "instance": "i-1", "transition": "launching"},
     "i-1 (launching): web-1 is live and runs what it should."),
    (scaling.preview, Preview.RECORDED, {"seconds": 7 * 86400.0}, "Played what was recorded in the last 7.0 days."),
    (scaling.preview, Preview.TOO_LITTLE_RECORDED, {"metrics": ["load"], "seconds": 5400.0},
     "There is only 1.5 hours of load on record; played the shipped trace, a week of a web shop's traffic."),
    (scaling.preview, Preview.TOO_LITTLE_RECORDED, {"metrics": ["load"], "seconds": None},
     "There is nothing of load on record; played the shipped trace, a week of a web shop's traffic."),
]  # fmt: skip


@pytest.mark.parametrize(("say", "code", "params", "sentence"), OTHERS)
def test_a_code_is_a_sentence(
    say: Callable[[str, Mapping[str, Any]], str], code: Code, params: Mapping[str, Any], sentence: str
) -> None:
    assert say(code, params) == sentence


ANYTHING: dict[str, Any] = {
    **dict.fromkeys(("policy", "metric", "about", "text", "error", "group", "region"), "x"),
    **dict.fromkeys(("host", "instance", "state"), "x"),
    **dict.fromkeys(("run", "capacity", "minimum", "maximum", "reporting", "expected", "release", "hosts"), 2),
    **dict.fromkeys(("seconds", "value", "target", "threshold"), 1.5),
    "statistic": "avg", "window_seconds": 60, "status": "failed", "policies": ["x"], "metrics": ["x"],
    "instances": ["x"], "problem": {"code": "no_value"}, "conflict": {"code": "other", "text": "x"},
    "quarantine": {"code": "person", "text": "x"}, "answer": {"code": "drained"},
}  # fmt: skip
NOUNS = ((Plan, scaling.plan), (Reading, scaling.reading), (Failure, scaling.failure), (Finding, scaling.finding),
         (Lifecycle, scaling.lifecycle), (Preview, scaling.preview))  # fmt: skip


@pytest.mark.parametrize("code", [code for codes, _ in NOUNS for code in codes])
def test_every_code_has_a_sentence(code: Code) -> None:
    say = next(say for codes, say in NOUNS if isinstance(code, codes))
    sentence = say(code, ANYTHING)
    assert sentence != code
    assert "{" not in sentence


def test_an_event_tells_its_reason() -> None:
    assert event.reason("scaling.fail", "expired", {}).startswith("It was not carried out in time")
    assert event.reason("scaling.in", "bounded", {"capacity": 2, "minimum": 1, "maximum": 2, "decision": 7}) != ""
    assert event.reason("stage.lock", None, {"reason": "mine"}) == "mine", "of an earlier version"
