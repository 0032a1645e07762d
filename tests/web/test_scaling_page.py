"""What stands on top of the scaling page, as the last look at EC2 left it."""

from __future__ import annotations

import re

from flask.testing import FlaskClient

from inventory_service.accounts import users
from inventory_service.clock import iso
from inventory_service.codes import scaling as codes
from inventory_service.models import ScalingDecision, Stage, StageScaling
from inventory_service.reasons import because, columns
from inventory_service.scaling import settings
from tests.support import ADA, Caller, FakeClock

PATH = "/stages/shop/production/scaling"


def sign_in(client: FlaskClient, clock: FakeClock) -> None:
    users.create("vera", "correct horse battery", role="viewer", projects=None, actor=ADA, at=clock.now())
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/sign-in").text)
    assert token
    form = {"csrf_token": token[1], "name": "vera", "password": "correct horse battery"}
    assert client.post("/sign-in", data=form).status_code in (302, 303)


def test_problems_and_differences_stand_on_top(client: FlaskClient, stage: Stage, clock: FakeClock) -> None:
    sign_in(client, clock)
    assert client.get(PATH).status_code == 200
    settings.configure(
        stage, limits={}, policy_texts=[], actuator=None, is_enabled=True, is_dry_run=False, actor=ADA, at=clock.now()
    )
    finding = {"code": "agent_silent", "instance": "i-1", "host": "web-1", "since": iso(clock.now())}
    problem = because(codes.Failure.REFUSED, text="AWS refused <b>it</b>")
    StageScaling.update(problem_at=clock.now(), findings=[finding], **columns("problem", problem)).execute()
    page = client.get(PATH).text
    assert "AWS refused &lt;b&gt;it" in page
    assert "web-1 runs at EC2 as i-1, and its agent is silent." in page


def test_what_a_newer_version_left_breaks_no_page(client: FlaskClient, stage: Stage, clock: FakeClock) -> None:
    sign_in(client, clock)
    settings.configure(
        stage, limits={}, policy_texts=[], actuator=None, is_enabled=True, is_dry_run=False, actor=ADA, at=clock.now()
    )
    StageScaling.update(policies=[{"type": "oracle", "name": "x"}]).execute()
    answer = client.get(PATH)
    assert answer.status_code == 200
    assert "no type of policy" in answer.text


def test_a_decision_is_told_in_codes_and_in_sentences(
    client: FlaskClient, viewer: Caller, stage: Stage, clock: FakeClock
) -> None:
    signal = {"statistic": "avg", "metric": "load", "window_seconds": 60}
    silent = because(codes.Reading.NOT_REPORTED, metric="load", seconds=60).to_json()
    veto = because(codes.Plan.READING_MISSING, policies=["cpu"])
    reasons = [because(codes.Plan.NO_READING, policy="cpu", problem=silent).to_json(), veto.to_json()]
    reading = {**signal, "value": None, "reporting": 0, "expected": 2, "problem": silent}
    fields = {"stage": stage, "at": clock.now(), "from_capacity": 2, "to_capacity": 2, "serving": 2, "token": "t"}
    ScalingDecision.create(
        action="hold", status="unchanged", reasons=reasons, veto_code=veto.code, readings=[reading], **fields
    )
    failure = because(codes.Failure.DRAIN_FAILED, run=7, status="lost")
    ScalingDecision.create(action="in", status="failed", reasons=[], readings=[], **fields, **columns("error", failure))
    failed, unchanged = viewer.get(f"/api/v1{PATH}/decisions").json["items"]
    assert unchanged["reasons"] == [
        "cpu: nobody reported load for 60 s.",
        "No change: without a reading of cpu no host goes.",
    ]
    assert unchanged["reason_codes"] == reasons
    assert unchanged["readings"]["avg load over 60 s"]["problem_code"] == "not_reported"
    assert (failed["error_code"], failed["error"][:27]) == ("drain_failed", "The drain run 7 was lost; n")
    sign_in(client, clock)
    page = client.get(PATH).text
    for text in (
        "unchanged at",
        "No change: without a reading of cpu",
        "The drain run 7 was lost",
        "avg load over 60 s",
    ):
        assert text in page
