"""What stands on top of the scaling page, as the last look at EC2 left it."""

from __future__ import annotations

import re

from flask.testing import FlaskClient

from inventory_service.accounts import users
from inventory_service.models import Stage, StageScaling
from inventory_service.scaling import settings
from tests.support import ADA, FakeClock

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
    finding = {"kind": "agent dead", "instance": "i-1", "host": "web-1", "detail": "web-1 runs, and is silent."}
    StageScaling.update(problem="AWS refused <b>it</b>", problem_at=clock.now(), findings=[finding]).execute()
    page = client.get(PATH).text
    assert "AWS refused &lt;b&gt;it" in page
    assert "web-1 runs, and is silent." in page


def test_what_a_newer_version_left_breaks_no_page(client: FlaskClient, stage: Stage, clock: FakeClock) -> None:
    sign_in(client, clock)
    settings.configure(
        stage, limits={}, policy_texts=[], actuator=None, is_enabled=True, is_dry_run=False, actor=ADA, at=clock.now()
    )
    StageScaling.update(policies=[{"type": "oracle", "name": "x"}]).execute()
    answer = client.get(PATH)
    assert answer.status_code == 200
    assert "no type of policy" in answer.text
