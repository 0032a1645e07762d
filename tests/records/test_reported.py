from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_service.agent import callboard_agent
from inventory_service.errors import InvalidError
from inventory_service.records import reported
from tests.support import key_line

ED25519 = key_line()
BLOB = ED25519.split()[1]


def test_it_keeps_scalar_facts_as_they_are() -> None:
    facts = {"zone": "eu-1a", "memory_mb": 512, "load_1": 0.25, "is_spot": True, "rack": None, "greeting": "grüß Gott"}
    assert reported.check_facts(facts) == facts


def test_it_keeps_a_template_as_the_text_it_is() -> None:
    facts = {"motd": "{{ lookup('pipe', 'id') }}"}
    assert reported.check_facts(facts) == facts


@pytest.mark.parametrize(
    "key",
    ["", "A", "1a", "_a", "a-b", "a.b", "ansible host", "a\n", "é", "a" * 33, "ansible_Host", "{{ x }}", "__class__"],
)
def test_it_rejects_a_fact_name(key: str) -> None:
    with pytest.raises(InvalidError):
        reported.check_facts({key: 1})


@pytest.mark.parametrize(
    "value",
    [
        "a\nb",
        "a\rb",
        "a\x00b",
        "\x1b[31mred",
        "\x9b31m",
        "\u202egnp.exe",
        "\u2066x\u2069",
        "\u200f",
        "zero\u200bwidth",
        "a\u2028b",
        "\ud800",
        "x" * 257,
        float("nan"),
        float("inf"),
        -float("inf"),
        2**63 + 1,
        -(10**30),
        ["a"],
        {"a": 1},
        (1,),
    ],
)
def test_it_rejects_a_fact_that_is_no_plain_scalar(value: Any) -> None:
    with pytest.raises(InvalidError):
        reported.check_facts({"a": value})


def test_it_rejects_more_than_4_kb_of_facts() -> None:
    facts = {f"fact_{number}": "x" * 200 for number in range(18)}
    reported.check_facts(facts)
    with pytest.raises(InvalidError, match="larger than 4096"):
        reported.check_facts({**facts, "one": "x" * 250, "two": "x" * 250})


def test_it_counts_the_facts_as_the_agent_does() -> None:
    facts = {"a" * 30 + str(number % 10) + chr(97 + number // 10): "x" * 217 for number in range(16)}
    facts["a"] = "x" * (callboard_agent.FACTS_BYTES - len(callboard_agent.canonical(facts)) - len(',"a":""'))
    assert len(callboard_agent.canonical(facts)) == callboard_agent.FACTS_BYTES
    assert reported.check_facts(facts) == facts


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,3}", fullmatch=True) | st.text(max_size=40), json_values, max_size=4))
def test_it_keeps_only_facts_that_are_one_line_of_plain_json(facts: dict[str, Any]) -> None:
    try:
        kept = reported.check_facts(facts)
    except InvalidError:
        return
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept
    assert all(len(str(value).splitlines()) <= 1 for value in kept.values())


def test_it_keeps_metrics() -> None:
    assert reported.check_metrics({"load_1": 0.5}) == {"load_1": 0.5}


@pytest.mark.parametrize("metrics", [{"A": 1.0}, {"a": float("nan")}, {"a": float("inf")}, {"a b": 1.0}, {"": 1.0}])
def test_it_rejects_a_metric_without_a_name_or_a_number(metrics: dict[str, float]) -> None:
    with pytest.raises(InvalidError):
        reported.check_metrics(metrics)


def test_it_rejects_65_metrics() -> None:
    with pytest.raises(InvalidError, match="More than 64"):
        reported.check_metrics({f"m{number}": 1.0 for number in range(65)})


@pytest.mark.parametrize("revision", ["3f2c1d0", "v1.2.3", "2026-11-23_14:03+00", "feature/x", "main@0f3c"])
def test_it_keeps_a_revision(revision: str) -> None:
    assert reported.check_revision(revision) == revision


@pytest.mark.parametrize("revision", ["", "-x", "a b", "a\n", "x" * 129, "{{ x }}", "../x", "x/../y", "\x1b[31m"])
def test_it_rejects_a_revision_that_no_tool_writes(revision: str) -> None:
    with pytest.raises(InvalidError):
        reported.check_revision(revision)


def test_it_rebuilds_host_keys_sorted_and_once() -> None:
    rsa = key_line("ssh-rsa")
    assert reported.check_host_keys([rsa, f"{ED25519} root@web-1", ED25519]) == [ED25519, rsa]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        BLOB,
        f"{ED25519}\n* {ED25519}",
        f"{ED25519} root@web-1\n* {ED25519}",
        f"{ED25519}\r* {ED25519}",
        f"* {ED25519}",
        f"@cert-authority * {ED25519}",
        f"10.0.0.1 {ED25519}",
        f"ssh-dss {BLOB}",
        f"ssh-rsa {BLOB}",
        f"SSH-ED25519 {BLOB}",
        f" {ED25519}",
        f"ssh-ed25519  {BLOB}",
        f"ssh-ed25519\t{BLOB}",
        "ssh-ed25519 not*base64",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 ",
        f"ssh-ed25519 {BLOB[:-4]}\u202e",
        f"ssh-ed25519 {base64.b64encode(b'ssh-ed25519').decode()}",
        f"ssh-ed25519 {'A' * 5000}",
        f"ssh-ed25519-cert-v01@openssh.com {BLOB}",
    ],
)
def test_it_rejects_a_host_key_that_is_not_one_key(line: str) -> None:
    with pytest.raises(InvalidError):
        reported.check_host_keys([line])


def test_it_rejects_17_host_keys() -> None:
    with pytest.raises(InvalidError, match="More than 16"):
        reported.check_host_keys([key_line(seed=seed) for seed in range(17)])


@given(st.text(max_size=60), st.text(max_size=60))
def test_it_writes_a_host_key_as_exactly_two_words(before: str, after: str) -> None:
    try:
        kept = reported.check_host_keys([f"{before}{ED25519}{after}"])
    except InvalidError:
        return
    assert kept == [ED25519]
