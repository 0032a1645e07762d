from __future__ import annotations

import datetime as dt

import pytest

from inventory_service.accounts import api_tokens
from inventory_service.errors import InvalidError, NotFoundError, UnauthorizedError
from inventory_service.models import ApiToken
from tests.support import ADA, START

pytestmark = pytest.mark.usefixtures("database")
HOUR = dt.timedelta(hours=1)


def make(**fields: object) -> tuple[ApiToken, str]:
    return api_tokens.create("ci", **{"role": "operator", "projects": None, **fields}, actor=ADA, at=START)


def test_it_knows_the_token_that_it_made() -> None:
    principal = api_tokens.authenticate(make(projects=["shop"])[1], at=START, peer="192.0.2.1")
    assert (principal.actor.name, principal.actor.peer, principal.role) == ("token:ci", "192.0.2.1", "operator")
    assert principal.projects == ("shop",)


def test_it_reaches_no_project_where_the_list_is_empty() -> None:
    assert not api_tokens.authenticate(make(projects=[])[1], at=START, peer=None).reaches("shop")


def test_it_keeps_only_the_digest() -> None:
    row, token = make()
    assert token.split(".")[1] not in str(row.__data__)


def test_it_takes_a_token_until_the_moment_it_expires() -> None:
    _, token = make(expires_at=START + HOUR)
    assert api_tokens.authenticate(token, at=START + HOUR - dt.timedelta(microseconds=1), peer=None)
    with pytest.raises(UnauthorizedError):
        api_tokens.authenticate(token, at=START + HOUR, peer=None)


def test_it_rejects_a_revoked_token_at_once() -> None:
    row, token = make()
    api_tokens.revoke(row.id, actor=ADA, at=START)
    with pytest.raises(UnauthorizedError):
        api_tokens.authenticate(token, at=START, peer=None)
    assert api_tokens.list_tokens() == []


@pytest.mark.parametrize("token", ["", "cbu_", "Bearer x", "cbu_abcdefghijkl." + "x" * 43, "\x00", "é" * 9999])
def test_it_rejects_a_text_that_is_no_token(token: str) -> None:
    with pytest.raises(UnauthorizedError, match="This token does not hold"):
        api_tokens.authenticate(token, at=START, peer=None)


def test_it_rejects_the_secret_under_another_prefix() -> None:
    with pytest.raises(UnauthorizedError):
        api_tokens.authenticate(make()[1].replace("cbu_", "cbh_"), at=START, peer=None)


def test_it_rejects_a_role_that_there_is_not() -> None:
    with pytest.raises(InvalidError):
        make(role="root")


def test_it_rejects_to_revoke_what_there_is_not() -> None:
    with pytest.raises(NotFoundError):
        api_tokens.revoke("x" * 500, actor=ADA, at=START)
