"""Tables for the plugin's pure functions: what an answer and an inventory file may hold."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.callboard.callboard.plugins.plugin_utils import (
    answers,
    kept,
    live_inventory,
    options,
    problems,
)

from .conftest import KEY, answer, host


def refusal(value: Any) -> str:
    """Why an answer is refused."""
    source = answers.Source("shop/production", value if isinstance(value, str) else json.dumps(value))
    with pytest.raises(problems.Problem) as caught:
        answers.check_source(source)
    return caught.value.happened


@pytest.mark.parametrize(
    "name",
    [
        "web-1", "Web_1", "a", "1", "10.0.0.1", "2001:db8::1", "a" * 253, "x.example.com", "_x",
    ],
)  # fmt: skip
def test_it_takes_host_names(name: str) -> None:
    plan = answers.check_source(answers.Source("shop/production", json.dumps(answer(hosts={name: host()}))))
    assert list(plan.hosts) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "localhost", "LOCALHOST", "127.0.0.1", "::1", "all", "ungrouped", "_meta", "web", "release_12",
        "stage_shop_production", "", "-x", ".x", "../x", "a b", "a\n", "a\nb", "a,b", "a:b", "!a", "&a", "~a",
        "web[1:3]", "*", "{{ x }}", "a" * 254, "é", "a/b", "a@b", "fe80::1%-oProxyCommand=x",
    ],
)  # fmt: skip
def test_it_rejects_host_names(name: str) -> None:
    words = refusal(answer(hosts={name: host()}))
    assert "named" in words or "not a name for a host" in words
    assert "\n" not in words


@pytest.mark.parametrize(
    "name", ["ungrouped", "localhost", "", "a-b", "1a", "a b", "a\n", "{{x}}", "stage_shop_x", "é"]
)
def test_it_rejects_group_names(name: str) -> None:
    words = refusal(answer(groups={name: {"hosts": []}}))
    assert "not a name for a group" in words or "another stage" in words


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "::1", "2001:db8::1", "web-1", "a.b.example", "127.0.8.11", "1a.example"]
)
def test_it_takes_addresses(address: str) -> None:
    assert answers.is_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "", "-oProxyCommand=x", "a b", "a\n", "a;b", "$(x)", "{{ x }}", "fe80::1%eth0", "fe80::1%-oX", "2130706433",
        "1.2.3", "a..b", ".a", "a.", "user@a", "a:22", "[::1]", "a" * 254, "a" * 64, "é", 1, None, True, ["a"], {},
    ],
)  # fmt: skip
def test_it_rejects_addresses(address: Any) -> None:
    words = refusal(answer(hosts={"web-1": host(ansible_host=address)}))
    assert words.endswith("host web-1 has a variable or value that is not allowed: ansible_host")


@pytest.mark.parametrize("port", [0, -1, 65536, "22", 22.0, True, None])
def test_it_rejects_ports(port: Any) -> None:
    assert refusal(answer(hosts={"web-1": host(ansible_port=port)})).endswith("not allowed: ansible_port")


@pytest.mark.parametrize(
    "key",
    [
        "ansible_connection", "ansible_user", "ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args",
        "ansible_ssh_executable", "ansible_sftp_extra_args", "ansible_shell_executable", "ansible_remote_tmp",
        "ansible_host_key_checking", "ansible_python_interpreter", "ansible_become", "role", "callboard", "Callboard_x",
        "callboard_", "callboard_{{x}}", "callboard_x\n", "",
    ],
)  # fmt: skip
def test_it_rejects_other_host_variables(key: str) -> None:
    assert "host web-1 has a variable" in refusal(answer(hosts={"web-1": host(**{key: "local"})}))


@pytest.mark.parametrize("reported", [[], "x", {"a": {"b": 1}}, {"a": [1]}])
def test_it_rejects_reports_that_are_no_scalars_by_name(reported: Any) -> None:
    words = refusal(answer(hosts={"web-1": host(callboard_reported=reported)}))
    assert words.endswith("callboard_reported")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_meta": None}, "_meta is not an object"),
        ({"_meta": {"hostvars": {}}}, "_meta.callboard is not an object"),
        ({"_meta": {"callboard": {"stage": "shop/production"}}}, "_meta.hostvars is not an object"),
        (
            {"_meta": {"callboard": {"stage": "x"}, "hostvars": {}}},
            "_meta.callboard.stage does not name a stage",
        ),
        ({"all": {"children": ["nowhere"]}}, "the group nowhere is listed but not defined"),
        ({"all": {"vars": {"a": 1}}}, "the group all has more than children"),
        ({"all": []}, "the group all is not an object"),
        ({"web": {"hosts": ["web-1"], "vars": {"a": 1}}}, "the group web has vars"),
        ({"web": {"children": ["release_12"]}}, "the group web has children"),
        ({"web": []}, "the group web is not an object"),
        ({"web": {"hosts": {"web-1": {}}}}, "hosts of the group web is not a list of names"),
        ({"web": {"hosts": [1]}}, "hosts of the group web is not a list of names"),
        ({"web": {"hosts": ["web-2"]}}, "host web-2 is in the group web but not described"),
        ({"stage_shop_production": {"hosts": []}}, "host web-1 is not in the group stage_shop_production"),
        (
            {"stage_shop_production": {"hosts": ["web-1"], "vars": []}},
            "vars of the stage's group is not an object",
        ),
        (
            {"stage_shop_production": {"hosts": ["web-1"], "vars": {"a-b": 1}}},
            "a-b is not a name for a stage variable",
        ),
    ],
)
def test_it_rejects_other_shapes(change: dict[str, Any], words: str) -> None:
    assert words in refusal(answer() | change)


def test_it_rejects_a_stage_without_its_group() -> None:
    whole = answer(hosts={})
    del whole["stage_shop_production"]
    whole["all"] = {}
    assert "the group stage_shop_production is missing" in refusal(whole)


@pytest.mark.parametrize("as_of", [None, "soon", 5, "2026-11-23T14:03:01Z", "2026-11-23T14:03:00"])
def test_it_rejects_an_answer_about_another_time(as_of: Any) -> None:
    asked = "2026-11-23T14:03:00Z"
    told = answers.Source("shop/production", json.dumps(answer(as_of="2026-11-23T14:03:00+00:00")), None, asked)
    assert answers.check_source(told).stage == "shop/production"
    with pytest.raises(problems.Problem, match=r"the answer is about .*, not 2026-11-23T14:03:00Z"):
        answers.check_source(told._replace(inventory=json.dumps(answer(as_of=as_of))))


def test_a_host_of_one_stage_may_not_be_named_like_a_group_of_another() -> None:
    one, two = answer(hosts={"db": host("db")}), answer("shop/x", groups={"db": {"hosts": []}})
    plans = [answers.check_source(answers.Source(None, json.dumps(each))) for each in (one, two)]
    with pytest.raises(problems.Problem, match="a host of shop/production is named db like a group"):
        answers.check_between(plans)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x", "file:///etc/passwd", "x", "", "http://", "http://u:p@x", "http://x?y", "http://x#y",
        "http://x:99999", "http://x y", "http://x\n", "http://[::1", "javascript:x",
    ],
)  # fmt: skip
def test_it_rejects_urls(url: str) -> None:
    with pytest.raises(problems.Problem, match="'url'"):
        options.check_url(url)


@pytest.mark.parametrize("token", ["a b", "a\nX-Evil: 1", "é", "a" * 4097, "a\x00"])
def test_it_rejects_tokens_without_showing_them(token: str) -> None:
    with pytest.raises(problems.Problem) as caught:
        options.read_token(token, None, Path())
    assert token not in caught.value.happened


@pytest.mark.parametrize("stage", ["shop", "shop/", "/x", "a/b/c", "../x", "a/..", "a b/c", "a/b?x", "a/b%2f", 7, None])
def test_it_rejects_stages(stage: Any) -> None:
    with pytest.raises(problems.Problem, match="is not a stage"):
        options.check_stages([stage])


def test_it_rejects_stages_that_ansible_cannot_tell_apart() -> None:
    assert options.check_stages(["a/b", "a/b", "a/c"]) == ("a/b", "a/c")
    with pytest.raises(problems.Problem, match="same group name"):
        options.check_stages(["a-b/c", "a/b-c"])


@pytest.mark.parametrize("at", ["yesterday", "2026-11-23", "2026-11-23T14:03:00", dt.date(2026, 11, 23), 5, "", []])
def test_it_rejects_times(at: Any) -> None:
    with pytest.raises(problems.Problem, match="is not a time"):
        options.check_at(at)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 3601])
def test_it_rejects_timeouts(timeout: float) -> None:
    with pytest.raises(problems.Problem, match="timeout"):
        options.check_timeout(timeout)


@pytest.mark.parametrize("state", ["", "live&at=1", "a b", 5, None])
def test_it_rejects_states(state: Any) -> None:
    with pytest.raises(problems.Problem, match="is not a state"):
        options.check_state(state)


@pytest.mark.parametrize(
    "line",
    [
        f"* ssh-ed25519 {KEY}", f"10.0.0.? ssh-ed25519 {KEY}", f"a,* ssh-ed25519 {KEY}", f"!a ssh-ed25519 {KEY}",
        f"@cert-authority a ssh-ed25519 {KEY}", f"a ssh-dss {KEY}", "a ssh-ed25519", f"a ssh-ed25519 {KEY} comment",
        f"a ssh-ed25519 {KEY}\r", f"a  ssh-ed25519 {KEY}", "a ssh-ed25519 !!!!!!!!!!!!!!!!!!!!", "<html>", "# x",
        f"[a] ssh-ed25519 {KEY}",
    ],
)  # fmt: skip
def test_it_rejects_known_hosts(line: str) -> None:
    good = f"10.0.0.1 ssh-ed25519 {KEY}\n"
    assert kept.check_known_hosts(good + "\n" + good) == good * 2
    with pytest.raises(problems.Problem, match="line 2"):
        kept.check_known_hosts(f"{good}{line}\n")


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("registry.yml", True), ("shop.registry.yaml", True), ("callboard.yml", True), ("callboard.yaml", True),
        ("hosts.yml", False), ("registry.yml.bak", False), ("registry", False), ("registry.json", False),
    ],
)  # fmt: skip
def test_it_knows_its_files_by_name(tmp_path: Path, name: str, is_ours: bool) -> None:
    (tmp_path / name).touch()
    assert live_inventory.InventoryModule().verify_file(str(tmp_path / name)) is is_ours


def test_it_asks_about_a_time_as_exactly_as_the_service_answers() -> None:
    asked = options.check_at("2026-11-23T15:03:00.123456+01:00")
    answers.check_time("2026-11-23T14:03:00.123Z", asked)
