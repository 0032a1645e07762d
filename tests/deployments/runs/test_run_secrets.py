"""What a run asks for and gets; real runs with real secrets: tests/e2e/test_secrets.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inventory_service.deployments import variables
from inventory_service.deployments.executor import recovery
from inventory_service.deployments.launching import requests
from inventory_service.deployments.runs import run_secrets
from inventory_service.deployments.runs.run_secrets import RunSecrets
from inventory_service.errors import CallboardError, InvalidError
from inventory_service.models import Run, Stage
from inventory_service.settings import Settings
from inventory_service.vault import sealed_vars, store
from inventory_service.vault.store import Scope
from tests.support import ADA, FakeClock, Machine, launched

Queue = Callable[..., Run]
PIN = {"pin": "4711-canary"}


@pytest.fixture
def put(stage: Stage, settings: Settings, clock: FakeClock) -> Callable[..., None]:
    def set_(name: str, kind: str = "variable", value: str = "canary", *, is_project: bool = False) -> None:
        scope = Scope(stage.project, None if is_project else stage)
        store.put(scope, name, kind=kind, value=value.encode(), settings=settings, actor=ADA, at=clock.now())

    return set_


@pytest.fixture
def opened(stage: Stage, queue: Queue, settings: Settings) -> Callable[..., RunSecrets]:
    """What a run gets: opened(**secret extra vars)."""

    def open_(**secret: Any) -> RunSecrets:
        return run_secrets.open_for(with_secret(queue, stage, settings, **secret), settings)

    return open_


def with_secret(queue: Queue, stage: Stage, settings: Settings, **secret: Any) -> Run:
    return queue(stage, secret_vars=secret)


def test_it_puts_values_in_the_place_of_references(put: Callable[..., None], opened: Callable[..., RunSecrets]) -> None:
    put("db", value="{{ lookup('pipe', 'id') }}")
    put("conf", "file", "content")
    values = {"db": "{{ lookup('pipe', 'id') }}", "conf": "/run/secrets/conf", **PIN}
    asked = {"a": {"b": [{"$secret": "db"}]}, "c": {"$secret": "pin"}, "d": {"$secret": "conf", "more": 1}}
    assert opened(**PIN).resolve(asked, Path("/run/secrets")) == {
        "a": {"b": [values["db"]]},
        "c": values["pin"],
        "d": {"$secret": "conf", "more": 1},
        "callboard_secrets": values,
    }


def test_it_puts_templates_into_the_inventory_on_disk(
    put: Callable[..., None], opened: Callable[..., RunSecrets]
) -> None:
    put("db")
    found = opened().templated({"url": "{{ db }}", "deep": [{"$secret": "db"}]})
    assert found == {"url": "{{ db }}", "deep": ["{{ callboard_secrets['db'] }}"]}


@pytest.mark.parametrize(
    ("name", "words"), [("nothing", "shop/production does not have"), ("main", "is a vault_password")]
)
def test_it_rejects_a_reference_that_leads_nowhere(
    put: Callable[..., None], opened: Callable[..., RunSecrets], name: str, words: str
) -> None:
    put("main", "vault_password")
    held = opened()
    with pytest.raises(CallboardError, match=words):
        held.resolve({"a": {"$secret": name}}, Path())
    with pytest.raises(CallboardError, match=words):
        held.templated({"a": {"$secret": name}})


def test_it_shows_secrets_among_the_variables_by_reference(put: Callable[..., None], stage: Stage) -> None:
    put("db", is_project=True)
    put("main", "vault_password")
    put("root", "become_password", is_project=True)
    put("own", "become_password")
    found = {one.name: (one.value, one.source) for one in variables.effective(variables.of_stage(stage))}
    assert found["db"] == ({"$secret": "db"}, "secret")
    assert found["ansible_become_password"] == ({"$secret": "own"}, "secret")
    assert "main" not in found


def test_it_lays_files_out_and_takes_them_back(
    put: Callable[..., None], opened: Callable[..., RunSecrets], tmp_path: Path
) -> None:
    put("conf", "file", "content\n")
    put("main", "vault_password", "a pass phrase\n")
    folder = tmp_path / "secrets"
    with opened().laid_out(folder, tmp_path / "agent") as handed:
        files = {path.name: (path.read_text(), path.stat().st_mode & 0o777) for path in folder.iterdir()}
        assert folder.stat().st_mode & 0o777 == 0o700
    assert files == {"conf": ("content\n", 0o600), "vault-main": ("a pass phrase\n", 0o600)}
    assert handed.vault_ids == (("main", folder / "vault-main"),)
    assert not folder.exists()


def test_it_refers_to_no_secret_that_there_is_not(queue: Queue, stage: Stage) -> None:
    with pytest.raises(InvalidError, match="has no secret 'nothing'"):
        queue(stage, extra_vars={"a": [{"$secret": "nothing"}]})


@pytest.mark.parametrize("value", ["abc", "", None, True, {"a": None}, ["canary", "x"]])
def test_it_rejects_a_secret_extra_var_that_could_not_be_masked(stage: Stage, settings: Settings, value: Any) -> None:
    with pytest.raises(InvalidError, match="could not be masked"):
        sealed_vars.seal(stage, {"pin": value}, settings)


def test_it_rejects_one_name_twice_and_reserved_ones(queue: Queue, stage: Stage, settings: Settings) -> None:
    with pytest.raises(InvalidError, match="twice"):
        queue(stage, extra_vars={"pin": 1}, secret_vars=PIN)
    with pytest.raises(InvalidError, match="can't be set per run"):
        queue(stage, secret_vars={"ansible_password": "4711-canary"})


def test_it_keeps_a_secret_extra_var_sealed_and_erases_it_at_the_end(
    *, queue: Queue, stage: Stage, settings: Settings, execute: Callable[..., Run], clock: FakeClock
) -> None:
    run = with_secret(queue, stage, settings, **PIN)
    assert run.extra_vars == {"pin": {"$secret": "pin"}}
    assert "canary" not in run.sealed_vars
    assert execute(run).sealed_vars is None
    canceled = with_secret(queue, stage, settings, **PIN)
    assert requests.cancel(canceled, actor=ADA, at=clock.now()).sealed_vars is None


def test_it_erases_what_a_dead_executor_left(queue: Queue, stage: Stage, settings: Settings, tmp_path: Path) -> None:
    runs = [with_secret(queue, stage, settings, **PIN) for _ in range(2)]
    for run in runs:
        folder, sockets = settings.run_dir(run.id), tmp_path / f"cb-{run.id}"
        (folder / "work" / "secrets").mkdir(parents=True)
        (folder / "work" / "control").symlink_to(sockets)
        (folder / "reserve").touch()
        sockets.mkdir()
    Run.update(status="lost").where(Run.id == runs[0].id).execute()
    recovery.erase_leftovers(settings)
    assert [requests.get(run.id).sealed_vars is None for run in runs] == [True, False]
    assert [(settings.run_dir(run.id) / "work").exists() for run in runs] == [False, True]
    assert [(settings.run_dir(run.id) / "reserve").exists() for run in runs] == [False, True]
    assert [(tmp_path / f"cb-{run.id}").exists() for run in runs] == [False, True]


def test_it_asks_for_secret_extra_vars_again(
    *, web_1: Machine, queue: Queue, settings: Settings, execute: Callable[..., Run], clock: FakeClock
) -> None:
    run = execute(with_secret(queue, web_1.stage, settings, **PIN))

    def again(**secret: Any) -> Run:
        asked = {"repeats": run, "repeat_mode": "live", "secret_vars": secret}
        return launched(run.stage, run.kind, at=clock.now(), settings=settings, **asked)

    with pytest.raises(InvalidError, match=r"are not kept: pin\. Give them again"):
        again()
    with pytest.raises(InvalidError, match="no secret extra var 'other'"):
        again(**PIN, other="canary")
    assert sealed_vars.texts(run_secrets.open_for(again(**PIN), settings).launched) == ["4711-canary"]
