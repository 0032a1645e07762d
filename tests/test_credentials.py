from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_service import credentials


def test_it_mints_a_token_that_it_can_split_and_check() -> None:
    minted = credentials.mint("cbu_")
    prefix, owner, secret = credentials.split(minted.token) or ("", "", "")
    assert (prefix, owner) == ("cbu_", minted.id)
    assert credentials.matches(secret, minted.secret_sha256)


def test_it_keeps_no_part_of_the_secret() -> None:
    minted = credentials.mint("cbh_")
    assert minted.token.split(".")[1] not in minted.secret_sha256 + minted.id


def test_it_never_mints_the_same_twice() -> None:
    assert len({credentials.mint("cbj_").token for _ in range(500)}) == 500


@pytest.mark.parametrize("stored", [None, "", "0" * 64])
def test_it_rejects_a_secret_of_another(stored: str | None) -> None:
    assert not credentials.matches("anything", stored)


@pytest.mark.parametrize("prefix", ["cbx_", "CBU_", " cbu_", ""])
def test_it_rejects_an_unknown_prefix(prefix: str) -> None:
    assert credentials.split(credentials.mint(prefix).token) is None


def test_it_rejects_a_token_with_a_newline() -> None:
    assert credentials.split(credentials.mint("cbu_").token + "\n") is None


@given(st.text(max_size=120))
def test_it_takes_no_text_for_a_token(text: str) -> None:
    assert credentials.split(text) is None
