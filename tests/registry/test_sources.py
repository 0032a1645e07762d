from __future__ import annotations

import pytest

from inventory_service.errors import InvalidError
from inventory_service.registry.stages import GIT, shown_source, source_kind


@pytest.mark.parametrize("source", ["https://[2001:db8::1]/shop.git", "ssh://git@git.example/shop.git"])
def test_it_takes_a_git_address(source: str) -> None:
    assert source_kind(source) == GIT


@pytest.mark.parametrize("source", ["ext::sh -c id", "fd::7", "::x"])
def test_it_rejects_a_program_in_the_place_of_an_address(source: str) -> None:
    with pytest.raises(InvalidError):
        source_kind(source)


@pytest.mark.parametrize("secret", ["ada:secret", "ghp_0123456789"])
def test_it_shows_an_address_without_its_secret(secret: str) -> None:
    assert shown_source(f"https://{secret}@git.example/shop.git") == "https://…@git.example/shop.git"


def test_it_shows_other_addresses_as_they_are() -> None:
    assert shown_source("git@git.example:shop.git") == "git@git.example:shop.git"
