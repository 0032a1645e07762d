"""Playbooks that ask, run by real Ansible where nobody sits at a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from inventory_service.client import ClientError
from tests.e2e.conftest import Site
from tests.support import Repository

CANARY = "tweet-4711-tweet"
CHARGE = """
- name: Charge
  hosts: all
  gather_facts: false
  vars_prompt:
    - {name: version, private: false, default: v1}
    - {name: pin}
  tasks:
    - ansible.builtin.debug:
        msg: "{{ version }} {{ amount + 1 }} {{ regions | join('+') }} {{ pin | length }} {{ pin }} {{ odd }}"
      vars: {odd: "{{ note }}"}
    - name: Nobody presses Enter
      ansible.builtin.pause: {prompt: Go on}
"""
PROMPTS = """
- {name: amount, question: How much?, type: integer, min: 1}
- {name: regions, type: multiple_choice, choices: [eu, us], default: [us]}
- {name: note, default: "{{ lookup('pipe', 'id') }}"}
"""
HIDDEN = """
- hosts: all
  gather_facts: false
- ansible.builtin.import_playbook: "{{ 'more' }}.yml"
"""
MORE = "- hosts: all\n  gather_facts: false\n  vars_prompt: [{name: unseen, private: false}]\n"
ON_DEPLOY = "- {name: why, default: because}\n"


@pytest.fixture
def asking(site: Site, tmp_path: Path) -> Site:
    """A stage with a host, whose project has playbooks that ask."""
    repository = Repository(tmp_path / "asking")
    (repository.folder / "charge.prompts.yml").write_text(PROMPTS)
    (repository.folder / "deploy.prompts.yml").write_text(ON_DEPLOY)
    repository.commit(charge__yml=CHARGE, hidden__yml=HIDDEN, more__yml=MORE)
    project = site.stage.partition("/")[0]
    site.client.send("PATCH", f"/api/v1/projects/{project}", {"source": str(repository.folder)})
    site.client.send("PATCH", site.path, {"default_revision": "main"})
    site.boot("web-1")
    return site


def said(site: Site, run_id: int) -> list[str]:
    return [line for line in site.log(run_id).splitlines() if '"msg"' in line]


def test_it_hands_answers_to_the_playbook_and_never_waits(asking: Site) -> None:
    site = asking
    answers = {"extra_vars": {"amount": "4", "regions": ["us", "eu"]}, "extra_vars_secret": {"pin": CANARY}}
    run_id = site.launch(playbook="charge.yml", **answers)
    run = site.ended(run_id)
    assert (run["status"], run["error"]) == ("successful", None), site.log(run_id)
    shown = "{{ lookup('pipe', 'id') }}"
    assert f'"msg": "v1 5 eu+us {len(CANARY)} ******** {shown}"' in said(site, run_id)[0]
    kept = {"amount": 4, "regions": ["eu", "us"], "note": shown, "version": "v1", "pin": {"$secret": "pin"}}
    assert run["extra_vars"] == kept
    with pytest.raises(ClientError, match="Give them again"):
        site.client.send("POST", f"/api/v1/runs/{run_id}/repeat")
    again = site.client.send("POST", f"/api/v1/runs/{run_id}/repeat", {"extra_vars_secret": {"pin": CANARY}})
    assert (site.ended(again["id"])["status"], said(site, again["id"])) == ("successful", said(site, run_id))


def test_it_refuses_to_start_without_an_answer(asking: Site) -> None:
    done = asking.callboard("run", asking.stage, "charge.yml", "--detach")
    assert (done.returncode, done.stdout) == (1, "")
    lines = [line.strip() for line in done.stderr.splitlines()]
    advice = "Answer with --prompt NAME=VALUE, secret ones with --secret-vars FILE."
    assert lines == [
        f"callboard: charge.yml asks for what was not answered, or not rightly: amount, pin. {advice}",
        "extra_vars.amount: Required: integer, at least 1.",
        "extra_vars_secret.pin: Required: secret text.",
    ]


def test_it_ends_a_run_that_asks_what_nobody_could_foresee(asking: Site) -> None:
    run_id = asking.launch(playbook="hidden.yml")
    run = asking.ended(run_id)
    assert run["status"] == "failed"
    assert "asks for unseen, which was not answered at the launch" in asking.log(run_id)


def test_it_asks_on_a_terminal(asking: Site) -> None:
    answers = ["0", "5", "us", "", "", CANARY]
    shown, code = on_terminal(asking, ["run", asking.stage, "charge.yml"], answers)
    assert code == 0, shown
    for question in ("How much? (integer, at least 1)", "Wanted: integer, at least 1.", "regions", "pin"):
        assert question in shown
    assert "v1 6 us" in shown
    assert CANARY not in shown


def on_terminal(site: Site, words: list[str], answers: list[str]) -> tuple[str, int]:
    """What the command shows on a terminal where these lines are typed, each when it waits; and its exit code."""
    main, other = pty.openpty()
    command = [sys.executable, "-m", "inventory_service.cli", *words]
    process = subprocess.Popen(command, env=site.environment, stdin=other, stdout=other, stderr=other, cwd=site.folder)
    os.close(other)
    shown = b""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            piece = os.read(main, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
        if answers and shown.rstrip(b" ").endswith(b":"):
            os.write(main, f"{answers.pop(0)}\n".encode())
            shown += b"\n"
    return shown.decode(), process.wait(timeout=60)


def test_it_tells_what_a_run_would_ask(asking: Site) -> None:
    told = asking.callboard("stage", "prompts", asking.stage, "charge.yml", "--json")
    rows: list[dict[str, Any]] = json.loads(told.stdout)
    assert [(row["name"], row["open"], row["fallback"]) for row in rows] == [
        ("amount", True, None),
        ("regions", False, ["us"]),
        ("note", False, "{{ lookup('pipe', 'id') }}"),
        ("version", False, "v1"),
        ("pin", True, None),
    ]
    assert asking.callboard("stage", "prompts", asking.stage).stdout.split()[:2] == ["PROMPT", "QUESTION"]
