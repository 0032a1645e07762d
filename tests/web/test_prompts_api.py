"""Prompts over the API: told, validated at the launch, and held to in schedules and webhooks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inventory_service.models import Run, Stage
from inventory_service.settings import Settings
from inventory_service.vault import keyring
from inventory_service.vault import sealed_vars as launch_secrets
from tests.support import Caller

PATH = "/api/v1/stages/shop/production"
DECLARED = "- {name: amount, type: integer, max: 9}\n- {name: pin, secret: true}\n- {name: colour, default: red}\n"
ANSWERS = {"extra_vars": {"amount": "5"}, "extra_vars_secret": {"pin": "4711-canary"}}


@pytest.fixture(autouse=True)
def declared(source: Path, stage: Stage) -> None:
    (source / "deploy.prompts.yml").write_text(DECLARED)
    (source / "ops.yml").write_text("- hosts: all\n  vars_prompt: [{name: why, prompt: Why?, private: false}]\n")


def locations(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [".".join(error["loc"]) for error in answer.json["errors"]]


def test_it_tells_what_a_run_would_ask(operator: Caller) -> None:
    told = operator.get(f"{PATH}/prompts?kind=playbook&playbook=ops.yml").json
    assert (told["playbook"], len(told["items"])) == ("ops.yml", 1)
    assert told["items"][0] == {
        "name": "why",
        "question": "Why?",
        "type": "text",
        "help": "",
        "required": True,
        "default": None,
        "secret": False,
        "choices": [],
        "min": None,
        "max": None,
        "pattern": None,
        "vars_prompt": True,
        "fallback": None,
        "open": True,
    }
    assert [one["name"] for one in operator.get(f"{PATH}/prompts").json["items"]] == ["amount", "pin", "colour"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("kind=playbook", 422),
        ("kind=playbook&playbook=../x.yml", 422),
        ("kind=rollback", 409),
        ("kind=converge", 409),
        ("revision=no-such", 422),
        ("kind=deploy&playbook=ops.yml", 422),
    ],
)
def test_it_rejects_a_question_about_no_run(operator: Caller, query: str, status: int) -> None:
    assert operator.get(f"{PATH}/prompts?{query}").status_code == status


def test_it_launches_with_typed_answers(launch: Callable[..., Any], settings: Settings) -> None:
    assert launch(**ANSWERS).status_code == 202
    run = Run.get()
    assert run.extra_vars == {"amount": 5, "pin": {"$secret": "pin"}}
    assert launch_vars(run, settings) == {"pin": "4711-canary"}


def launch_vars(run: Run, settings: Settings) -> dict[str, Any]:
    return launch_secrets.open_for(run, keyring.load(settings))


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, ["extra_vars.amount", "extra_vars_secret.pin"]),
        ({**ANSWERS, "extra_vars": {"amount": 10, "colour": []}}, ["extra_vars.amount"]),
        ({"extra_vars": {"amount": 1, "pin": "4711-canary"}}, ["extra_vars.pin"]),
        ({"extra_vars": {"amount": 1}, "extra_vars_secret": {"pin": 12}}, ["extra_vars_secret.pin"]),
        ({"kind": "playbook", "playbook": "ops.yml"}, ["extra_vars.why"]),
    ],
)
def test_it_rejects_a_launch_and_names_the_field(
    launch: Callable[..., Any], body: dict[str, Any], at: list[str]
) -> None:
    answer = launch(**body)
    assert locations(answer) == at
    assert "canary" not in answer.text
    assert Run.select().count() == 0


def test_it_answers_a_repeated_key_though_the_prompts_have_changed(launch: Callable[..., Any], source: Path) -> None:
    key = {"Idempotency-Key": "build-42"}
    first = launch(headers=key, **ANSWERS).json["id"]
    (source / "deploy.prompts.yml").write_text("- {name: other}")
    assert launch(headers=key, **ANSWERS).json["id"] == first
    changed = {**ANSWERS, "extra_vars_secret": {"pin": "4712-canary"}}
    assert launch(headers=key, **changed).status_code == 409


def test_it_rejects_a_schedule_that_nobody_would_answer(operator: Caller, admin: Caller) -> None:
    def add(name: str, **extra_vars: Any) -> Any:
        body = {"name": name, "cron": "0 3 * * *", "kind": "deploy", "extra_vars": extra_vars}
        return operator.post(f"{PATH}/schedules", body)

    assert locations(add("nightly")) == ["extra_vars.amount", "extra_vars_secret.pin"]
    assert locations(add("nightly", amount=5, pin="4711-canary")) == ["extra_vars.pin"]
    admin.put(f"{PATH}/secrets/pin", {"kind": "variable", "value": "4711-canary"})
    made = add("nightly", amount="5")
    assert (made.status_code, made.json["request"]["extra_vars"]) == (201, {"amount": 5})


def test_it_rejects_a_webhook_that_nobody_would_answer(admin: Caller) -> None:
    def add(**extra_vars: Any) -> Any:
        body = {"provider": "github", "refs": ["branch:main"], "extra_vars": extra_vars}
        return admin.post(f"{PATH}/webhooks", body)

    assert locations(add(amount=50)) == ["extra_vars.amount", "extra_vars_secret.pin"]
    admin.put(f"{PATH}/secrets/other", {"kind": "variable", "value": "4711-canary"})
    made = add(amount="5", pin={"$secret": "other"})
    assert (made.status_code, made.json["extra_vars"]) == (201, {"amount": 5, "pin": {"$secret": "other"}})
