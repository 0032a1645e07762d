from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_service.errors import InvalidError
from inventory_service.registry import names

LONG = "a" * 5000
NEVER = [
    "",
    " ",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc/passwd",
    "a b",
    "web-1\n",
    "web-1\ndb-1",
    "web\x00",
    "web\t1",
    "-oProxyCommand=id",
    "-x",
    "@/etc/passwd",
    "~(a+)+$",
    "web[1:9]",
    "web,db",
    "web:db",
    "!web",
    "&web",
    "*",
    "{{ lookup('pipe', 'id') }}",
    "$(id)",
    "web;id",
    "wéb",
    "web\u202e1",
    LONG,
    "a" * 64 + ".example.org",
    "web..example.org",
    ".example.org",
    "example.org.",
]


def host_name(name: str, address: str = "10.0.0.1") -> str:
    return names.check_host_name(name, address=address)


@pytest.mark.parametrize("name", ["web-1", "web-1.shop.example.org", "10.0.0.1", "a", "ip-10-0-0-1", "x_1", "0ad"])
def test_it_takes_a_host_name(name: str) -> None:
    assert host_name(name) == name


def test_it_writes_host_names_in_lower_case() -> None:
    assert host_name("Web-1.Example.ORG") == "web-1.example.org"


@pytest.mark.parametrize("name", [*NEVER, "localhost", "LOCALHOST", "127.0.0.1", "::1", "all", "All", "ungrouped"])
def test_it_rejects_a_host_name_that_breaks_or_redirects_a_play(name: str) -> None:
    with pytest.raises(InvalidError):
        host_name(name)


@pytest.mark.parametrize(
    "name", ["out_of_date", "behind", "draining", "serving", "stage_shop_production", "release_12", "Release_x"]
)
def test_it_rejects_a_host_named_like_a_group_that_the_service_makes(name: str) -> None:
    with pytest.raises(InvalidError):
        host_name(name)


@pytest.mark.parametrize("name", ["10.0.0.2", "2001:db8::1", "fe80::1%eth0", "[::1]", "0:0:0:0:0:0:0:1"])
def test_it_rejects_a_name_that_is_the_address_of_another(name: str) -> None:
    with pytest.raises(InvalidError):
        host_name(name)


@pytest.mark.parametrize("name", ["127.0.0.1", "::1"])
def test_it_rejects_the_controllers_own_address_even_of_a_host_that_has_it(name: str) -> None:
    with pytest.raises(InvalidError):
        host_name(name, address=name)


def test_it_takes_an_ipv6_name_that_is_the_hosts_own_address() -> None:
    assert host_name("2001:DB8::1", address="2001:db8::1") == "2001:db8::1"


@given(st.text(max_size=300))
def test_it_lets_no_text_through_that_has_a_meaning_elsewhere(text: str) -> None:
    try:
        name = host_name(text)
    except InvalidError:
        return
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789.-_:")
    assert not name.startswith(("-", "."))
    assert len(name) <= 253


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("Web-1.Example.org", "web-1.example.org"),
        ("127.0.0.2", "127.0.0.2"),
        ("0:0::1:2", "::1:2"),
    ],
)
def test_it_writes_addresses_one_way(given_: str, kept: str) -> None:
    assert names.check_address(given_) == kept


@pytest.mark.parametrize(
    "address",
    [
        *NEVER,
        "localhost",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "fe80::1%eth0",
        "[2001:db8::1]",
        "10.0.0.1:22",
        "127.1",
        "2130706433",
        "010.0.0.1",
        "10.0.0.256",
        "10.0.0.1/8",
    ],
)
def test_it_rejects_what_is_no_address_of_one_machine(address: str) -> None:
    with pytest.raises(InvalidError):
        names.check_address(address)


@pytest.mark.parametrize("group", ["web", "db_2", "a"])
def test_it_takes_a_group(group: str) -> None:
    assert names.check_group(group) == group


@pytest.mark.parametrize(
    "group",
    [
        *NEVER,
        "Web",
        "2web",
        "web-1",
        "all",
        "ungrouped",
        "behind",
        "draining",
        "serving",
        "localhost",
        "stage_x",
        "release_1",
        "_x",
    ],
)
def test_it_rejects_a_group_that_ansible_or_the_service_owns(group: str) -> None:
    with pytest.raises(InvalidError):
        names.check_group(group)


@pytest.mark.parametrize("slug", ["shop", "shop-2", "a", "a1-b2-c3"])
def test_it_takes_a_project_name(slug: str) -> None:
    assert names.check_slug(slug, "name") == slug


@pytest.mark.parametrize("slug", [*NEVER, "Shop", "2shop", "shop-", "shop--2", "shop_2", "a" * 41])
def test_it_rejects_a_project_name_that_could_be_a_path_or_two_words(slug: str) -> None:
    with pytest.raises(InvalidError):
        names.check_slug(slug, "name")


@pytest.mark.parametrize("user", ["deploy", "_www", "a.b-c"])
def test_it_takes_a_login(user: str) -> None:
    assert names.check_user(user) == user


@pytest.mark.parametrize("user", [*sorted(set(NEVER) - {"web..example.org", "example.org."}), "Root", "1st", "root@h"])
def test_it_rejects_a_login_that_ssh_could_take_for_something_else(user: str) -> None:
    with pytest.raises(InvalidError):
        names.check_user(user)


def test_it_writes_networks_canonically() -> None:
    assert names.check_network("10.1.2.3/8") == "10.0.0.0/8"


@pytest.mark.parametrize("network", ["", "10.0.0.0/33", "everybody", "10.0.0.0/8\n", "fe80::%eth0/64x"])
def test_it_rejects_what_is_no_network(network: str) -> None:
    with pytest.raises(InvalidError):
        names.check_network(network)


@pytest.mark.parametrize(
    ("address", "is_in"),
    [("10.9.9.9", True), ("11.0.0.1", False), ("2001:db8::5", True), ("web-1", False), ("::ffff:10.0.0.1", False)],
)
def test_it_tells_whether_an_address_lies_in_the_networks(address: str, is_in: bool) -> None:
    assert names.is_in_networks(address, ["10.0.0.0/8", "2001:db8::/32"]) is is_in


def test_it_names_a_stages_group_as_ansible_takes_it() -> None:
    assert names.stage_group("my-shop", "pre-production") == "stage_my_shop_pre_production"
