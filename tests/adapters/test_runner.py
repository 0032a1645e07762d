from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from inventory_service.adapters import runner
from inventory_service.content import content_dir
from inventory_service.errors import SourceError


@pytest.fixture
def call(tmp_path: Path) -> runner.PlaybookCall:
    return runner.PlaybookCall(
        private_dir=tmp_path,
        project_dir=tmp_path / "source",
        playbook=tmp_path / "source" / "deploy.yml",
        inventory=tmp_path / "registry.yml",
        known_hosts=tmp_path / "known hosts",
        control_dir=tmp_path / "c",
        exclusion_socket=tmp_path / "c" / "exclusion",
        identities=(tmp_path / "identity-0.pub",),
        agent_socket=tmp_path / "c" / "agent",
        vault_ids=(("main", tmp_path / "vault-main"),),
        content_dir=content_dir(),
        extra_vars={"greeting": "{{ lookup('pipe', 'id') }}", "size": 3},
        limit=("web-1", "2001:db8::1"),
        tags=(),
        skip_tags=(),
        is_check=False,
        is_diff=False,
        forks=20,
        has_mitogen=False,
        marker=("CALLBOARD_RUN", "/data#1"),
    )


def test_it_says_exactly_what_is_to_be_run(call: runner.PlaybookCall) -> None:
    folder = call.private_dir
    expected = ["-e", f"@{folder}/extra_vars.json", "--limit", f"@{folder}/limit", "--forks", "20"]
    expected += ["--vault-id", f"main@{folder}/vault-main"]
    assert runner.command_line(call) == expected


def test_it_passes_tags_check_and_diff_on(call: runner.PlaybookCall) -> None:
    asked = dataclasses.replace(call, tags=("a", "b"), skip_tags=("c",), is_check=True, is_diff=True)
    assert runner.command_line(asked)[8:] == ["--tags", "a,b", "--skip-tags", "c", "--check", "--diff"]


def test_it_keeps_limit_and_extra_vars_off_the_process_list(call: runner.PlaybookCall) -> None:
    assert "lookup" not in str(runner.command_line(call))
    files = [call.private_dir / name for name in ("limit", "extra_vars.json")]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    assert files[0].read_text() == "web-1\n2001:db8::1\n"


def test_it_marks_every_extra_var_as_data(call: runner.PlaybookCall) -> None:
    runner.command_line(call)
    written = json.loads((call.private_dir / "extra_vars.json").read_text())
    assert written == {"greeting": {"__ansible_unsafe": "{{ lookup('pipe', 'id') }}"}, "size": 3}


@pytest.mark.parametrize(
    ("value", "marked"),
    [
        ("a", {"__ansible_unsafe": "a"}),
        (["a", 1], [{"__ansible_unsafe": "a"}, 1]),
        ({"a": {"b": ["c"]}}, {"a": {"b": [{"__ansible_unsafe": "c"}]}}),
        (None, None),
        (True, True),
        (1.5, 1.5),
    ],
)
def test_it_marks_text_wherever_it_is(value: Any, marked: Any) -> None:
    assert runner.mark_unsafe(value) == marked


def test_it_insists_on_known_host_keys(call: runner.PlaybookCall) -> None:
    environment = runner.environment(call)
    assert environment["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    arguments = environment["ANSIBLE_SSH_ARGS"]
    assert "StrictHostKeyChecking=yes" in arguments
    assert f"'UserKnownHostsFile=\"{call.private_dir}/known hosts\"'" in arguments
    assert "GlobalKnownHostsFile=/dev/null" in arguments
    assert f"'IdentityFile=\"{call.identities[0]}\"'" in arguments
    assert environment["SSH_AUTH_SOCK"] == str(call.agent_socket)
    assert environment["ANSIBLE_SSH_CONTROL_PATH_DIR"] == str(call.control_dir)


def test_it_turns_ansibles_silent_successes_into_errors(call: runner.PlaybookCall) -> None:
    environment = runner.environment(call)
    assert environment["ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED"] == "True"
    assert environment["ANSIBLE_HOST_PATTERN_MISMATCH"] == "error"
    assert environment["ANSIBLE_INVENTORY_ENABLED"] == "registry"
    assert environment["ANSIBLE_CACHE_PLUGIN"] == "memory"


def test_it_marks_its_processes(call: runner.PlaybookCall) -> None:
    assert runner.environment(call)["CALLBOARD_RUN"] == "/data#1"


def test_it_puts_a_guard_in_front_of_ansible_playbook(call: runner.PlaybookCall) -> None:
    guard = runner._write_guard(call) / "ansible-playbook"
    assert guard.stat().st_mode & 0o777 == 0o700
    assert "playbook_guard.py" in guard.read_text()


def test_it_finds_ansible_of_this_python() -> None:
    assert runner.find_program("ansible-playbook").is_file()
    with pytest.raises(SourceError, match="was not found"):
        runner.find_program("ansible-nonsense")


def test_it_names_the_versions_that_a_run_used() -> None:
    assert runner.versions()["ansible_core"].startswith("2.")


def test_it_takes_mitogen_where_the_stage_asks_for_it(call: runner.PlaybookCall) -> None:
    assert "ANSIBLE_STRATEGY" not in runner.environment(call)
    taken = runner.environment(dataclasses.replace(call, has_mitogen=True))
    assert taken["ANSIBLE_STRATEGY"] == "mitogen_linear"
    assert (Path(taken["ANSIBLE_STRATEGY_PLUGINS"]) / "mitogen_linear.py").exists()
