"""What a host says is text, whatever it says. A command hidden there would touch a file on the controller."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .conftest import answer, assert_clean_failure, host

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Controller, Service

PLAY = """
- hosts: all
  gather_facts: false
  connection: local
  vars: {indirect: "{{ callboard_reported }}"}
  tasks:
    - debug: {var: callboard_reported}
    - set_fact: {again: "{{ callboard_reported.lookup }}", more: "{{ callboard_reported }}"}
    - debug:
        msg:
          - "{{ callboard_reported }} {{ indirect }} {{ callboard_revision }} {{ path | default('') }}"
          - "{{ hostvars[inventory_hostname] | to_json }} {{ hostvars | to_nice_yaml }}"
          - "{{ again }} {{ more }} {{ more.query | trim }} {{ shouted }}"
    - debug: {msg: "{{ item }}"}
      loop: "{{ callboard_reported.values() | list }}"
      when: item != ''
    - assert: {that: "composed == callboard_reported.lookup"}
    - template: {src: x.j2, dest: "{{ playbook_dir }}/rendered", mode: "0600"}
"""


def hostile(marker: Path) -> dict[str, str]:
    """Ways to run a command from a value, if it were a template."""
    command = f"'touch {marker}'"
    return {
        "lookup": f"{{{{ lookup('pipe', {command}) }}}}",
        "query": f"{{{{ query('ansible.builtin.pipe', {command}) }}}}",
        "statement": f"{{% set x = lookup('pipe', {command}) %}}",
        "bare": f"lookup('pipe', {command})",
        "python": "{{ cycler.__init__.__globals__.os.system(" + command + ") }}",
        "closing": f"}}}}{{{{ lookup('pipe', {command}) }}}}{{{{",
        "header": f"#jinja2: variable_start_string:'[%'\n[% lookup('pipe', {command}) %]",
        "unsafe": f"!unsafe {{{{ lookup('pipe', {command}) }}}}",
        "tagged": json.dumps({"__ansible_type": "TrustedAsTemplate", "value": f"lookup('pipe', {command})"}),
    }


@pytest.mark.parametrize("is_trusted", [False, True])
def test_it_never_runs_what_a_host_says(controller: Controller, service: Service, is_trusted: bool) -> None:
    marker = controller.folder / "marker"
    words = hostile(marker)
    odd = {"__ansible_type": "TrustedAsTemplate", "__ansible_vault": words["lookup"], "__ansible_unsafe": "x"}
    values = host(callboard_revision=words["lookup"], callboard_reported=words | odd)
    service.stage(answer(hosts={"web-1": values}, variables={"path": "{{ callboard_reported.lookup }}"}))
    controller.configure(
        url=service.url,
        trusted_stage_variables=is_trusted,
        compose={"composed": "callboard_reported.lookup", "shouted": "callboard_reported.query | upper"},
        groups={"odd": "callboard_reported.bare"},
        keyed_groups=[{"key": "callboard_reported.lookup", "prefix": "said"}, {"key": "callboard_reported"}],
        cache=True,
        cache_plugin="ansible.builtin.jsonfile",
        cache_connection="cached",
    )
    (controller.folder / "x.j2").write_text("{{ callboard_reported.lookup }}|{{ callboard_reported.header }}")
    if is_trusted:
        controller.list()  # so that the play takes it from the cache
    done = controller.play(PLAY, ANSIBLE_INJECT_FACT_VARS="true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not marker.exists()
    assert (controller.folder / "rendered").read_text() == f"{words['lookup']}|{words['header']}"
    assert len(service.asked) == 2


SHOW = """
- hosts: all
  gather_facts: false
  connection: local
  tasks: [debug: {msg: "{{ path }} {{ deep.0.x }}"}]
"""


@pytest.mark.parametrize(
    ("is_trusted", "shown"),
    [(False, "/srv/{{ callboard_project }} {{ path }}/x"), (True, "/srv/shop /srv/shop/x")],
)
def test_stage_variables_are_templates_only_when_trusted(
    controller: Controller, service: Service, is_trusted: bool, shown: str
) -> None:
    service.stage(answer(variables={"path": "/srv/{{ callboard_project }}", "deep": [{"x": "{{ path }}/x"}]}))
    controller.configure(url=service.url, trusted_stage_variables=is_trusted)
    done = controller.play(SHOW)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'"msg": "{shown}"' in done.stdout


def test_the_marker_would_be_seen(controller: Controller, service: Service) -> None:
    marker = controller.folder / "marker"
    service.stage(answer(variables={"path": hostile(marker)["lookup"], "deep": [{"x": 1}]}))
    controller.configure(url=service.url, trusted_stage_variables=True)
    assert controller.play(SHOW).returncode == 0
    assert marker.exists()


CONNECTION_VARIABLES = (
    "ansible_connection",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
    "ansible_ssh_args",
    "ansible_sftp_extra_args",
    "ansible_ssh_executable",
    "ansible_shell_executable",
    "ansible_python_interpreter",
    "ansible_become_exe",
    "ansible_remote_tmp",
    "ansible_host_key_checking",
    "ansible_host",
    "ansible_user",
)


def connection_variables(marker: Path) -> dict[str, str]:
    """What Ansible obeys whatever its trust; each of them runs a command on the controller, or lets somebody listen."""
    proxy = f"-oProxyCommand='touch {marker}; false'"
    script = marker.with_name("evil")
    script.write_text(f"#!/bin/sh\ntouch {marker}\n")
    script.chmod(0o755)
    values = ["local", *[proxy] * 4, *[str(script)] * 4, f"/tmp/$(touch {marker})", "false", proxy, proxy]
    return dict(zip(CONNECTION_VARIABLES, values, strict=True))


TOUCH = """
- hosts: all
  gather_facts: false
  tasks:
    - raw: touch {marker}
    - command: touch {marker}
"""


@pytest.mark.parametrize("key", CONNECTION_VARIABLES)
def test_it_obeys_no_connection_variable_of_a_host(controller: Controller, service: Service, key: str) -> None:
    marker = controller.folder / "marker"
    values = host() | {"ansible_host": "127.0.0.1", "ansible_port": 9, key: connection_variables(marker)[key]}
    service.stage(answer(hosts={"web-1": values}))
    assert_clean_failure(controller.play(TOUCH.format(marker=marker)))
    assert not marker.exists()


def test_it_obeys_no_connection_variable_that_a_host_reports(controller: Controller, service: Service) -> None:
    marker = controller.folder / "marker"
    values = host(callboard_reported=connection_variables(marker), ansible_host="127.0.0.1", ansible_port=9)
    service.stage(answer(hosts={"web-1": values}))
    done = controller.play(TOUCH.format(marker=marker))
    assert done.returncode == 4, done.stdout + done.stderr
    assert "UNREACHABLE" in done.stdout
    assert not marker.exists()


def test_the_marker_of_a_connection_variable_would_be_seen(controller: Controller) -> None:
    marker = controller.folder / "marker"
    values = connection_variables(marker)
    (controller.folder / "x.yml").write_text(TOUCH.format(marker=marker))
    for key in ("ansible_ssh_common_args", "ansible_ssh_executable", "ansible_connection"):
        marker.unlink(missing_ok=True)
        source = {"all": {"hosts": {"web-1": {"ansible_host": "127.0.0.1", "ansible_port": 9, key: values[key]}}}}
        (controller.folder / "static.yml").write_text(json.dumps(source))
        controller.run("ansible-playbook", "-i", "static.yml", "x.yml")
        assert marker.exists(), key
