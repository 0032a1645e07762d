from __future__ import annotations

from typing import Any

import pytest

from inventory_service.deployments.prompting import prompt_files
from inventory_service.deployments.prompting.prompts import Prompt
from inventory_service.errors import SourceError

DECLARED = """
- name: amount
  question: How much?
  help: In cents
  type: integer
  min: 1
  max: 100
- name: regions
  type: multiple_choice
  choices: [eu, us, 3]
  default: [us]
- name: pin
  secret: true
  pattern: "[0-9]{4,8}"
- {name: note, type: textarea, required: false}
"""
ASKING = """
- name: First
  hosts: all
  vars_prompt:
    - name: version
      prompt: "Which
        version?"
      private: no
      default: 3
    - name: password
    - {name: amount, private: false}
- ansible.builtin.import_playbook: ../common/more.yml
- import_playbook: "{{ other }}.yml"
- import_playbook: /etc/passwd.yml
- import_playbook: ../../../outside.yml
- hosts: all
  vars:
    x: !vault |
      $ANSIBLE_VAULT;1.1;AES256
      6162
"""
MORE = """
- hosts: db
  vars_prompt: {name: table, private: "no", encrypt: sha512_crypt, default: "{{ tables[0] }}"}
- import_playbook: more.yml
"""


def find(playbook: str = "ops/charge.yml", **files: str) -> list[Prompt]:
    known = {name.replace("__", "/").replace("_yml", ".yml"): text for name, text in files.items()}
    return prompt_files.find(lambda path: known[path].encode() if path in known else None, playbook)


def prompts_in(text: str) -> list[Prompt]:
    return prompt_files.parse(text.encode(), "x.prompts.yml")


def test_it_reads_the_file_beside_the_playbook() -> None:
    assert prompt_files.file_beside("ops/charge.yaml") == "ops/charge.prompts.yml"
    amount, regions, pin, note = prompts_in(DECLARED)
    assert amount == Prompt("amount", "How much?", "integer", "In cents", minimum=1, maximum=100)
    assert (regions.question, regions.choices, regions.default, regions.is_required) == (
        "regions",
        ("eu", "us", "3"),
        ["us"],
        False,
    )
    assert (pin.is_secret, pin.pattern, pin.is_required, note.is_required) == (True, "[0-9]{4,8}", True, False)


def test_it_finds_what_plays_and_imported_playbooks_ask() -> None:
    found = find(ops__charge_yml=ASKING, common__more_yml=MORE)
    assert [(one.name, one.question, one.default, one.is_secret, one.is_required) for one in found] == [
        ("version", "Which version?", "3", False, False),
        ("password", "password", None, True, True),
        ("amount", "amount", None, False, True),
        ("table", "table", None, False, True),
    ]
    assert all(one.is_asked for one in found)
    assert "password_hash" in found[-1].help


def test_it_lets_the_file_say_more_about_what_a_play_asks() -> None:
    found = find(ops__charge_yml=ASKING, **{"ops__charge.prompts_yml": DECLARED})
    assert [(one.name, one.type, one.is_asked) for one in found] == [
        ("amount", "integer", True),
        ("regions", "multiple_choice", False),
        ("pin", "text", False),
        ("note", "textarea", False),
        ("version", "text", True),
        ("password", "text", True),
    ]


@pytest.mark.parametrize(
    "text", ["", "- [1, 2]", "{a: 1}", "$ANSIBLE_VAULT;1.1", "- hosts: [", "- " * 900 + "x", "- vars_prompt: 3"]
)
def test_it_leaves_an_odd_playbook_to_ansible(text: str) -> None:
    assert find("x.yml", x_yml=text) == []


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("3", "has the keys"),
        ("{name: x, colour: red}", "unknown key 'colour'"),
        ("{question: x}", "name is the name"),
        ("{name: a-b}", "name is the name"),
        ("{name: ansible_user}", "name is the name"),
        ("{name: x, type: date}", "type is one of text"),
        ("{name: x, question: [a]}", "question is a text"),
        ("{name: x, required: 1}", "required is true or false"),
        ("{name: x, type: choice}", "choices belong"),
        ("{name: x, choices: [a]}", "choices belong"),
        ("{name: x, type: choice, choices: [yes, no]}", "quote words"),
        ("{name: x, type: choice, choices: []}", "1 to 200 texts"),
        ("{name: x, type: choice, choices: [a, a]}", "differ"),
        ("{name: x, min: a}", "min is a number"),
        ("{name: x, min: 1.5}", "whole number"),
        ("{name: x, type: boolean, max: 1}", "max is a number"),
        ("{name: x, pattern: '('}", "no regular expression"),
        ("{name: x, type: integer, pattern: a}", "for texts"),
        ("{name: x, type: integer, default: a}", "the default 'a' is no answer"),
        ("{name: x, type: integer, max: 3, default: 4}", "integer, at most 3"),
        ("{name: x, secret: true, default: abcd}", "has no default"),
        ("{name: x, type: integer, secret: true}", "is a text"),
    ],
)
def test_it_rejects_an_odd_entry_and_says_where(entry: str, words: str) -> None:
    with pytest.raises(SourceError, match=f"x.prompts.yml, prompt 2: .*{words}"):
        prompts_in(f"- {{name: a}}\n- {entry}\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{a: 1}", "no list of at most 50"),
        ("- a: [", r"can't be read: no YAML \(line [12]: "),
        ("- {name: a}\n" * 2, "asked for twice"),
        ("- {name: a}\n" * 51, "at most 50"),
        ("x" * (512 * 1024 + 1), "larger than 512 KB"),
    ],
)
def test_it_rejects_an_odd_file(text: str, words: Any) -> None:
    with pytest.raises(SourceError, match=words):
        prompts_in(text)


def test_it_survives_a_file_that_unfolds_without_end() -> None:
    nested = "&x0 [lol]"
    for n in range(1, 30):
        nested = f"&x{n} [{nested}, {', '.join([f'*x{n - 1}'] * 8)}]"
    for key in ("default", "type", "question", "choices", "pattern", "min", "required"):
        with pytest.raises(SourceError, match="prompt 1"):
            prompts_in(f"- name: a\n  {key}: {nested}\n")
    asking = f"- hosts: all\n  vars_prompt: {{name: a, prompt: {nested}, private: *x29, default: *x29}}\n"
    assert [(one.name, one.question, one.default) for one in find("x.yml", x_yml=asking)] == [("a", "a", None)]
