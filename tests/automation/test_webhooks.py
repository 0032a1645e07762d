"""Pushes that deploy: signatures over real bytes, through the real route."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from inventory_service.codes import statuses
from inventory_service.deployments.launching import requests
from inventory_service.models import Run, Stage, Webhook, WebhookDelivery
from inventory_service.registry import stages
from inventory_service.settings import Settings
from inventory_service.vault import rotation
from tests.automation.test_pushes import GITHUB_PUSH, GITLAB_TAG, SHA
from tests.support import ADA, Caller, FakeClock, at_once

Deliver = Callable[..., tuple[int, dict[str, Any]]]
PATH = "/api/v1/stages/shop/production/webhooks"


@pytest.fixture
def github(admin: Caller, stage: Stage) -> dict[str, Any]:
    return made(admin, "github", ["branch:main", "tag:v*"])


@pytest.fixture
def gitlab(admin: Caller, stage: Stage) -> dict[str, Any]:
    return made(admin, "gitlab", ["branch:main", "tag:v*"])


def made(admin: Caller, provider: str, refs: list[str]) -> dict[str, Any]:
    answer = admin.post(PATH, {"provider": provider, "refs": refs})
    assert answer.status_code == 201, answer.text
    return answer.get_json()


@pytest.fixture
def deliver(client: FlaskClient) -> Deliver:
    """deliver(webhook, body, **headers): (status, answer)."""

    def send(webhook: dict[str, Any], body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        path = webhook["url"].partition("8500")[2]
        answer = client.post(path, data=body, headers={"Content-Type": "application/json", **headers})
        return answer.status_code, answer.get_json()

    return send


def text(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def by_github(webhook: dict[str, Any], body: bytes, event: str = "push") -> dict[str, str]:
    digest = hmac.new(webhook["secret"].encode(), body, hashlib.sha256).hexdigest()
    return {"X-GitHub-Event": event, "X-GitHub-Delivery": "1", "X-Hub-Signature-256": f"sha256={digest}"}


def by_gitlab(webhook: dict[str, Any], body: bytes, at: float) -> dict[str, str]:
    sent = str(int(at))
    key = base64.b64decode(webhook["secret"].removeprefix("whsec_"))
    digest = hmac.new(key, b"id-1." + sent.encode() + b"." + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    headers = {"X-Gitlab-Event": "Tag Push Hook", "webhook-id": "id-1", "webhook-timestamp": sent}
    return {**headers, "webhook-signature": f"v1,b2xk {signature}"}


def test_it_deploys_the_pushed_commit(github: dict[str, Any], deliver: Deliver) -> None:
    body = text(GITHUB_PUSH)
    status, answer = deliver(github, body, by_github(github, body))
    assert (status, answer["outcome"]) == (202, "deployed")
    run = Run.get_by_id(answer["run"])
    assert (run.kind, run.revision, run.created_by) == ("deploy", SHA, f"webhook:{github['id']}")
    assert run.comment == "branch:main by ada: Sell compasses"


def test_it_deploys_a_tag_of_gitlab(gitlab: dict[str, Any], deliver: Deliver, clock: FakeClock) -> None:
    body = text(GITLAB_TAG)
    assert deliver(gitlab, body, by_gitlab(gitlab, body, clock.now().timestamp()))[1]["outcome"] == "deployed"
    assert Run.get().revision == SHA


def test_it_takes_the_plain_token_of_an_older_gitlab(gitlab: dict[str, Any], deliver: Deliver) -> None:
    headers = {"X-Gitlab-Event": "Tag Push Hook", "X-Gitlab-Token": gitlab["secret"]}
    assert deliver(gitlab, text(GITLAB_TAG), headers)[1]["outcome"] == "deployed"


def test_it_deploys_once_however_often_it_is_sent(github: dict[str, Any], deliver: Deliver) -> None:
    """The header with the delivery's id is not signed: a replay may carry another."""
    body = text(GITHUB_PUSH)
    _, first = deliver(github, body, by_github(github, body))
    _, again = deliver(github, body, by_github(github, body) | {"X-GitHub-Delivery": "2"})
    assert (again["outcome"], again["run"]) == ("repeated", first["run"])
    assert Run.select().count() == 1


def test_it_deploys_once_when_two_come_at_once(github: dict[str, Any], deliver: Deliver) -> None:
    body = text(GITHUB_PUSH)
    found = at_once(lambda _: deliver(github, body, by_github(github, body))[1]["outcome"], 6)
    assert sorted(found) == ["deployed"] + ["repeated"] * 5
    assert Run.select().count() == 1


def test_it_rejects_a_forged_delivery(github: dict[str, Any], gitlab: dict[str, Any], deliver: Deliver) -> None:
    body, other = text(GITHUB_PUSH), text(GITHUB_PUSH | {"after": "c" * 40})
    signed = by_github(github, body)
    unsigned = {name: value for name, value in signed.items() if "Signature" not in name}
    forged = [
        (github, other, signed),
        (github, body, unsigned),
        (github, body, unsigned | {"X-Hub-Signature-256": ""}),
        (github, body, unsigned | {"X-Hub-Signature": signed["X-Hub-Signature-256"]}),
        (github, body, unsigned | {"X-Gitlab-Token": github["secret"]}),
        (github, body, by_github(gitlab, body)),
        ({"url": "8500/api/v1/webhooks/nosuchwebhook"}, body, signed),
    ]
    answers = [deliver(*one) for one in forged]
    assert {status for status, _ in answers} == {401}
    assert len({answer["detail"] for _, answer in answers}) == 1
    assert (Run.select().count(), WebhookDelivery.select().count()) == (0, 0)


def test_it_rejects_a_stale_or_spoilt_signature_of_gitlab(
    gitlab: dict[str, Any], deliver: Deliver, clock: FakeClock
) -> None:
    body, now = text(GITLAB_TAG), clock.now().timestamp()
    good = by_gitlab(gitlab, body, now)
    token = {"X-Gitlab-Token": gitlab["secret"]}
    for headers in (
        by_gitlab(gitlab, body, now - 301),
        by_gitlab(gitlab, body, now + 301),
        good | {"webhook-timestamp": "soon"},
        good | {"webhook-id": "id-2"},
        good | {"webhook-signature": "v1,AAAA"} | token,
    ):
        assert deliver(gitlab, body, headers)[0] == 401
    assert deliver(gitlab, body, good)[0] == 202


@pytest.mark.parametrize(
    ("change", "event", "words"),
    [
        ({"ref": "refs/heads/feature"}, "push", "branch:feature is none of"),
        ({"deleted": True}, "push", "was deleted"),
        ({}, "ping", "Only pushes"),
    ],
)
def test_it_passes_by_other_pushes(
    github: dict[str, Any], deliver: Deliver, change: dict[str, Any], event: str, words: str
) -> None:
    body = text(GITHUB_PUSH | change)
    status, answer = deliver(github, body, by_github(github, body, event))
    assert (status, answer["outcome"]) == (202, "ignored")
    assert words in answer["detail"]


def test_it_supersedes_older_pushes_that_still_wait(github: dict[str, Any], deliver: Deliver, stage: Stage) -> None:
    numbers = []
    for letter in "abc":
        body = text(GITHUB_PUSH | {"after": letter * 40})
        numbers.append(deliver(github, body, by_github(github, body))[1]["run"])
    assert [requests.get(number).status for number in numbers] == ["canceled", "canceled", statuses.QUEUED]


def test_it_says_why_a_push_was_refused(
    github: dict[str, Any], deliver: Deliver, operator: Caller, clock: FakeClock
) -> None:
    Stage.update(expiry_paused_at=clock.now()).execute()
    body = text(GITHUB_PUSH)
    assert deliver(github, body, by_github(github, body))[1]["outcome"] == "refused"
    shown = operator.get(f"{PATH}/{github['id']}").get_json()["deliveries"]
    assert "is paused" in shown[0]["detail"]


def test_it_ends_with_its_stage(github: dict[str, Any], deliver: Deliver, stage: Stage, clock: FakeClock) -> None:
    stages.archive_stage(stage, actor=ADA, at=clock.now())
    body = text(GITHUB_PUSH)
    assert deliver(github, body, by_github(github, body))[0] == 401


def test_it_holds_after_the_keys_were_rotated(github: dict[str, Any], deliver: Deliver, settings: Settings) -> None:
    before = Webhook.get().sealed_secret
    rotation.rotate(settings)
    assert Webhook.get().sealed_secret != before
    body = text(GITHUB_PUSH)
    assert deliver(github, body, by_github(github, body))[0] == 202


def test_it_shows_its_secret_once(github: dict[str, Any], operator: Caller) -> None:
    assert github["secret"] not in operator.get(PATH).text
    assert github["secret"] not in operator.get(f"{PATH}/{github['id']}").text
    assert github["secret"] not in Webhook.get().sealed_secret


@pytest.mark.parametrize("refs", [[], ["main"], ["branch:"], ["branch:-x"], ["tag:v 1"], ["branch:main"] * 21])
def test_it_rejects_refs_that_are_none(admin: Caller, stage: Stage, refs: list[str]) -> None:
    assert admin.post(PATH, {"provider": "github", "refs": refs}).status_code == 422


def test_only_admins_add_one(operator: Caller, stage: Stage) -> None:
    assert operator.post(PATH, {"provider": "github", "refs": ["branch:main"]}).status_code == 403


def test_it_is_removed_with_its_deliveries(github: dict[str, Any], deliver: Deliver, admin: Caller) -> None:
    body = text(GITHUB_PUSH)
    deliver(github, body, by_github(github, body))
    assert admin.delete(f"{PATH}/{github['id']}").status_code == 204
    assert WebhookDelivery.select().count() == 0
    assert deliver(github, body, by_github(github, body))[0] == 401
