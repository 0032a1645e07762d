"""Who is let in, what the refused ones hear, and what an operator can read about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from inventory_service.errors import ConflictError, RefusedError
from inventory_service.models import Event, Host, JoinToken, Stage
from inventory_service.registry import enrolment, join_tokens
from inventory_service.registry.enrolment import Enrolment, IdentityRules
from tests.registry.test_instance_identity import ACCOUNT, INSTANCE, REGION, sign, text, trusted
from tests.support import ADA, FakeClock, Machine, expiry, key_line

RULES = IdentityRules(REGION, (ACCOUNT,), trusted())


@pytest.fixture
def token(stage: Stage, clock: FakeClock) -> str:
    return join_tokens.create(stage, actor=ADA, at=clock.now(), networks=["10.0.0.0/8"])[1]


@pytest.fixture
def enrol(token: str, clock: FakeClock) -> Callable[..., Host]:
    def call(given: str = token, *, peer: str = "10.0.0.1", rules: IdentityRules | None = RULES, **said: Any) -> Host:
        request = Enrolment(**{"name": "web-1", "host_keys": (key_line(),), "identity": (text(), sign(text())), **said})
        return enrolment.enrol(given, request, peer=peer, expiry=expiry(clock.now()), rules=rules)[0]

    return call


def reason() -> str:
    return str(Event.select().where(Event.name == "host.refuse").get().details["reason"])


def test_it_lets_an_instance_in_by_awss_word(enrol: Callable[..., Host]) -> None:
    assert enrol().instance == f"{ACCOUNT}/{REGION}/{INSTANCE}"


FORGED = text(accountId="999999999999")
REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "no document": ({"identity": None}, "signature"),
    "another signature": ({"identity": (text(), sign(text(), "forger"))}, "signature"),
    "another account": ({"identity": (FORGED, sign(FORGED))}, "account"),
    "no certificate": ({"rules": dataclasses.replace(RULES, region="us-moon-1")}, "no_certificate"),
    "another network": ({"peer": "192.0.2.1"}, "192.0.2.1 lies outside of the join token's networks, 10.0.0.0/8"),
    "nonsense": ({"given": "nonsense"}, "the join token is unknown"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_it_tells_everybody_the_same_and_the_operator_why(enrol: Callable[..., Host], name: str) -> None:
    said, why = REFUSALS[name]
    with pytest.raises(RefusedError) as caught:
        enrol(**said)
    assert (caught.value.detail, reason()) == (RefusedError("any").detail, why)
    assert Host.select().count() == 0


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("expires_at", "the join token has expired"),
        ("maximum_uses", "the join token is used up"),
        ("revoked_at", "the join token was revoked"),
    ],
)
def test_it_tells_the_operator_how_a_token_ended(
    enrol: Callable[..., Host], stage: Stage, clock: FakeClock, field: str, why: str
) -> None:
    row, given = join_tokens.create(stage, actor=ADA, at=clock.now())
    JoinToken.update({field: 0 if field == "maximum_uses" else clock.now()}).where(JoinToken.id == row.id).execute()
    with pytest.raises(RefusedError) as caught:
        enrol(given)
    entry = Event.select().where(Event.name == "host.refuse").get()
    assert (caught.value.detail, entry.details["reason"]) == (RefusedError("any").detail, why)
    assert (entry.details["join_token"], entry.details["stage"]) == (row.id, "shop/production")
    assert (entry.actor_name, entry.peer, entry.target_path) == ("enrolment", "10.0.0.1", "shop/production/web-1")
    assert given.split(".")[1] not in str(entry.__data__)


def test_it_takes_a_document_once(enrol: Callable[..., Host]) -> None:
    enrol()
    with pytest.raises(RefusedError) as caught:
        enrol(name="web-2", peer="10.0.0.2", host_keys=(key_line(seed=2),))
    assert caught.value.detail == RefusedError("any").detail
    assert "replays" in reason()


def test_it_takes_a_document_again_from_the_machine_it_is_about(enrol: Callable[..., Host]) -> None:
    assert enrol().id == enrol().id


def test_it_shows_a_person_that_a_machine_claims_to_be_another(web_1: Machine, clock: FakeClock) -> None:
    for _ in range(2):
        with pytest.raises(ConflictError):
            Machine(web_1.stage, keys=(key_line(seed=2),)).enrol(clock.now())
    assert web_1.why["key_mismatch"] == "a machine at 10.0.0.1 asked to enrol under its name with other keys"
    assert web_1.row.host_keys == [key_line()]
    told = Event.select().where(Event.name == "host.key_mismatch")
    assert [(entry.target_path, entry.details) for entry in told] == [("shop/production/web-1", {"peer": "10.0.0.1"})]
    assert web_1.beat(clock.now()).state == "live"
