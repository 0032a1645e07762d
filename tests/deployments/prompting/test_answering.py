"""What is asked at a launch, and what a run gets when it starts. With Ansible itself: tests/e2e/test_prompts.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inventory_service.deployments import releases
from inventory_service.deployments.launching import launch
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.deployments.prompting import answering
from inventory_service.deployments.source.sources import folder_reader
from inventory_service.errors import CallboardError, InvalidError, SourceError
from inventory_service.models import Project, Release, Run, Stage
from inventory_service.settings import Settings
from inventory_service.vault import keyring, sealed_vars, store
from inventory_service.vault.store import Scope
from tests.support import ADA, START, FakeClock, Repository, expiry

Queue = Callable[..., Run]
PLAY = "- hosts: all\n"
ASKING = PLAY + "  vars_prompt:\n    - {name: version, private: false}\n    - {name: ansible_become_password}\n"
CHARGE = """
- {name: amount, type: integer, min: 1}
- {name: pin, secret: true}
- {name: colour, type: choice, choices: [red, blue], default: red}
- {name: note, required: false}
"""
PIN = {"pin": "4711-canary"}


@pytest.fixture
def asked(source: Path, stage: Stage, settings: Settings) -> Callable[..., Any]:
    """(extra vars, secret ones) of a launch of charge.yml with these answers: asked(secret={}, **plain)."""
    (source / "charge.yml").write_text(PLAY)
    (source / "charge.prompts.yml").write_text(CHARGE)

    def settle(secret: dict[str, Any] | None = None, **plain: Any) -> Any:
        request = RunRequest(kind="playbook", playbook="charge.yml", extra_vars=plain, secret_vars=secret or {})
        return answers(Stage.get(), request, settings)

    return settle


def answers(stage: Stage, request: RunRequest, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """(extra vars, secret ones) as the run would have them."""
    run = launch.launch(stage, request, actor=ADA, expiry=expiry(START), settings=settings)
    secret = sealed_vars.open_for(run, keyring.load(settings))
    return {name: value for name, value in run.extra_vars.items() if name not in secret}, secret


def asks(stage: Stage, request: RunRequest, settings: Settings) -> list[answering.Question]:
    return launch.questions(stage, launch.check(stage, request), settings, patience_seconds=15)


def errors_of(work: Callable[[], Any]) -> list[tuple[Any, ...]]:
    with pytest.raises(InvalidError) as caught:
        work()
    return [(*error["loc"], error["msg"]) for error in caught.value.errors]  # type: ignore[misc]


def test_it_takes_answers_in_their_types(asked: Callable[..., Any]) -> None:
    assert asked(PIN, amount="5", note="", other=[1]) == ({"amount": 5, "note": "", "other": [1]}, PIN)
    assert asked({**PIN, "amount": "5000"}) == ({}, {**PIN, "amount": 5000})


def test_it_takes_a_stored_secret_by_reference(
    asked: Callable[..., Any], stage: Stage, settings: Settings, clock: FakeClock
) -> None:
    named = {"settings": settings, "actor": ADA, "at": clock.now()}
    store.put(Scope(stage.project), "x", kind="variable", value=b"4711-canary", **named)
    assert asked(amount=5, pin={"$secret": "x"}) == ({"amount": 5, "pin": {"$secret": "x"}}, {})


def test_it_rejects_a_launch_without_its_answers_and_names_all(asked: Callable[..., Any]) -> None:
    assert errors_of(lambda: asked(colour="green", amount="")) == [
        ("extra_vars", "amount", "Required: integer, at least 1."),
        ("extra_vars_secret", "pin", "Required: secret text."),
        ("extra_vars", "colour", '"green" does not fit. Wanted: one of red, blue.'),
    ]


def test_it_rejects_a_secret_among_what_everybody_sees_without_repeating_it(asked: Callable[..., Any]) -> None:
    (error,) = errors_of(lambda: asked(amount=5, **PIN))
    assert error[:2] == ("extra_vars", "pin")
    assert "secret extra vars" in error[2]
    assert "canary" not in error[2]
    (short,) = errors_of(lambda: asked({"pin": "47"}, amount=5))
    assert short == ("extra_vars_secret", "pin", "It is shorter than 4 characters and could not be masked.")


def test_it_takes_what_the_stage_knows_where_nobody_answers(
    asked: Callable[..., Any], stage: Stage, settings: Settings, clock: FakeClock
) -> None:
    Stage.update(variables={"amount": "7", "colour": "{{ other }}"}).execute()
    named = {"settings": settings, "actor": ADA, "at": clock.now()}
    store.put(Scope(stage.project), "pin", kind="variable", value=b"4711-canary", **named)
    assert asked() == ({}, {})
    request = RunRequest(kind="playbook", playbook="charge.yml")
    found = asks(Stage.get(), request, settings)
    assert [(one.prompt.name, one.fallback, one.is_open) for one in found] == [
        ("amount", 7, False),
        ("pin", {"$secret": "pin"}, False),
        ("colour", "red", False),
        ("note", None, False),
    ]


def test_it_checks_nothing_where_the_source_cannot_be_read(stage: Stage, settings: Settings) -> None:
    request = RunRequest(kind="deploy", revision="no-such-branch", extra_vars={"a": 1})
    assert answers(stage, request, settings) == ({"a": 1}, {})


def test_it_rejects_a_launch_where_the_file_is_wrong(source: Path, asked: Callable[..., Any]) -> None:
    (source / "charge.prompts.yml").write_text("- {name: amount, type: money}")
    with pytest.raises(SourceError, match=r"charge.prompts.yml, prompt 1: type is one of"):
        asked(PIN)


def test_it_asks_what_the_named_revision_asks(
    repository: Repository, project: Project, stage: Stage, settings: Settings
) -> None:
    Project.update(source=str(repository.folder), source_kind="git").execute()
    repository.commit(deploy__yml=PLAY)
    repository.git("tag", "v1")
    (repository.folder / "deploy.prompts.yml").write_text("- {name: why}")
    (repository.folder / "link.yml").symlink_to("deploy.yml")
    repository.commit(deploy__yml=ASKING)
    fresh = Stage.get()

    def names(**fields: Any) -> list[str]:
        request = RunRequest(**{"kind": "deploy", **fields})
        return [one.prompt.name for one in asks(fresh, request, settings)]

    assert (names(), names(revision="v1")) == (["why", "version", "ansible_become_password"], [])
    assert names(kind="playbook", playbook="link.yml") == ["version", "ansible_become_password"]


def test_it_rejects_what_nobody_can_answer_per_run(source: Path, stage: Stage, settings: Settings) -> None:
    (source / "deploy.yml").write_text(ASKING)
    found = errors_of(lambda: answers(stage, RunRequest(kind="deploy"), settings))
    assert [error[1] for error in found] == ["version", "ansible_become_password"]
    assert "can't be given per run" in found[1][2]


# when the run starts


def filled(run: Run, source: Path, number: int | None = None) -> dict[str, Any]:
    answering.fill_in(run, folder_reader(source), releases.numbered(run.stage, number))
    kept: dict[str, Any] = Run.get_by_id(run.id).extra_vars
    assert kept == run.extra_vars
    return kept


def test_it_fills_in_what_nobody_answered_and_keeps_it(
    *, source: Path, stage: Stage, queue: Queue, settings: Settings, clock: FakeClock
) -> None:
    named = {"settings": settings, "actor": ADA, "at": clock.now()}
    store.put(Scope(stage.project, stage), "become", kind="become_password", value=b"canary", **named)
    (source / "deploy.yml").write_text(ASKING)
    (source / "deploy.prompts.yml").write_text(CHARGE + "- {name: version, required: false}\n")
    run = queue(stage, extra_vars={"amount": "5", "other": 1}, secret_vars={"pin": "4711-canary"})
    assert filled(run, source) == {
        "amount": 5,
        "other": 1,
        "pin": {"$secret": "pin"},
        "colour": "red",
        "version": "",
        "ansible_become_password": {"$secret": "become"},
    }


def test_it_rejects_a_start_that_would_have_to_ask(source: Path, stage: Stage, queue: Queue) -> None:
    run = queue(stage, extra_vars={"amount": 0})
    (source / "deploy.prompts.yml").write_text(CHARGE)
    with pytest.raises(CallboardError) as caught:
        filled(run, source)
    assert caught.value.detail == (
        "deploy.yml asks for what was not answered, or not rightly: amount, pin. "
        "amount: 0 does not fit. Wanted: integer, at least 1. pin: Required: secret text."
    )


def test_it_brings_a_release_with_the_answers_of_its_deploy(
    *, source: Path, stage: Stage, queue: Queue, release: Callable[..., Release], clock: FakeClock
) -> None:
    (source / "deploy.prompts.yml").write_text("- {name: amount, type: integer, default: 1}\n- {name: pin}\n")
    deployed = queue(stage, extra_vars={"amount": 5, "pin": "x", "other": 1}, secret_vars={"token": "4711-canary"})
    Run.update(release_number=release(stage).number, status="successful").where(Run.id == deployed.id).execute()
    assert filled(queue(stage, "converge"), source, 1) == {"amount": 5, "pin": "x"}
    with pytest.raises(CallboardError, match="pin"):
        filled(queue(stage), source)
    releases.make_desired(stage, release(stage), at=clock.now())
    rollback = queue(stage, "rollback", release=1, extra_vars={"amount": 7})
    Run.update(playbook="deploy.yml").where(Run.id == rollback.id).execute()
    assert filled(Run.get_by_id(rollback.id), source, 1) == {"amount": 7, "pin": "x"}
