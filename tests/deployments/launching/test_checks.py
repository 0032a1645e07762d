"""What stands in the way of a deploy: real sources, real Ansible, real rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from inventory_service.deployments import locks
from inventory_service.deployments.launching import checks
from inventory_service.models import Host, JobTick, Project, Stage
from inventory_service.settings import Settings
from inventory_service.vault import store
from inventory_service.vault.store import Scope
from tests.support import ADA, FakeClock, Machine, expiry


@pytest.fixture
def worker(database: object, clock: FakeClock) -> None:
    """A worker looked for runs just now."""
    JobTick.create(name="sweep", next_at=clock.now(), last_finished_at=clock.now())


@pytest.fixture
def ready(settings: Settings) -> Settings:
    """Settings under which this machine's disk never matters."""
    return dataclasses.replace(settings, free_space_mb=0)


Codes = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def codes(ready: Settings, clock: FakeClock) -> Codes:
    """codes(stage, revision=…): (level, code) of each finding."""

    def found_for(stage: Stage, **more: str) -> list[tuple[str, str]]:
        found = checks.check_stage(stage, ready, expiry=expiry(clock.now()), **more)
        assert all(finding.detail and finding.advice for finding in found)
        return [(finding.level, finding.code) for finding in found]

    return found_for


pytestmark = pytest.mark.usefixtures("worker")


def test_it_finds_nothing_where_all_is_well(web_1: Machine, stage: Stage, codes: Codes) -> None:
    assert codes(stage) == []


def test_it_names_every_reason_at_once(stage: Stage, settings: Settings, clock: FakeClock, source: Path) -> None:
    locks.lock(stage, reason="migration", actor=ADA, at=clock.now())
    full = dataclasses.replace(settings, free_space_mb=10**9)
    (source / "deploy.yml").write_text("- hosts: all\n  tasks:\n    - no_such_module: {}\n")
    found = checks.check_stage(stage, full, expiry=expiry(clock.advance(61)))
    impossible = {finding.code for finding in found if finding.level == checks.IMPOSSIBLE}
    assert impossible == {"no-live-hosts", "locked", "no-worker", "disk-space", "playbook-syntax"}


def test_it_says_what_ansible_says(web_1: Machine, stage: Stage, ready: Settings, source: Path) -> None:
    (source / "deploy.yml").write_text("- hosts: all\n  tasks:\n    - no_such_module: {}\n")
    found = checks.check_stage(stage, ready, expiry=expiry(web_1.row.last_seen_at))
    assert "no_such_module" in found[0].detail
    assert "/source/" not in found[0].detail


def test_it_minds_hosts_without_keys_in_conflict_or_quarantine(
    web_1: Machine, web_2: Machine, stage: Stage, codes: Codes
) -> None:
    Host.update(host_keys=[], quarantine_code="person").where(Host.id == web_1.host_id).execute()
    assert codes(stage) == [(checks.UNWISE, "no-host-key"), (checks.UNWISE, "quarantined")]
    Host.update(conflict_code="cloned").where(Host.id == web_2.host_id).execute()
    impossible, *unwise = codes(stage)
    assert impossible == (checks.IMPOSSIBLE, "no-host-key")
    assert unwise == [(checks.UNWISE, "conflict"), (checks.UNWISE, "quarantined")]


def test_it_rejects_a_stage_with_paused_expiry(web_1: Machine, stage: Stage, codes: Codes, clock: FakeClock) -> None:
    stage.expiry_paused_at = clock.now()
    stage.save()
    assert codes(stage) == [(checks.IMPOSSIBLE, "expiry_paused")]


@pytest.mark.parametrize(("source_kind", "url"), [("git", "/nowhere/shop.git"), ("folder", "/nowhere/")])
def test_it_rejects_a_source_that_is_not_there(
    web_1: Machine, stage: Stage, codes: Codes, source_kind: str, url: str
) -> None:
    Project.update(source=url, source_kind=source_kind).execute()
    assert codes(Stage.get_by_id(stage.id)) == [(checks.IMPOSSIBLE, "source")]


def test_it_rejects_a_revision_that_the_source_lacks(web_1: Machine, stage: Stage, codes: Codes) -> None:
    assert codes(stage, revision="v9") == [(checks.IMPOSSIBLE, "source")]


def test_it_misses_a_playbook(web_1: Machine, stage: Stage, codes: Codes) -> None:
    stage.deploy_playbook, stage.rollback_playbook = "ship.yml", "unship.yml"
    assert codes(stage) == [(checks.IMPOSSIBLE, "playbook-missing"), (checks.UNWISE, "playbook-missing")]


def test_it_names_secrets_that_variables_refer_to_in_vain(web_1: Machine, make_stage: Callable[..., Stage]) -> None:
    stage = make_stage("other", variables={"db": {"password": {"$secret": "db_password"}}})
    assert [finding.code for finding in checks._about_secrets(stage)] == ["secret-missing"]
    assert list(checks._about_secrets(web_1.stage)) == []


def test_it_rejects_prompts_that_can_not_be_read(web_1: Machine, stage: Stage, codes: Codes, source: Path) -> None:
    (source / "deploy.prompts.yml").write_text("- {name: amount, type: money}")
    assert codes(stage) == [(checks.IMPOSSIBLE, "prompts")]


def test_it_minds_a_secret_prompt_that_convergence_could_not_answer(
    web_1: Machine, stage: Stage, codes: Codes, source: Path
) -> None:
    (source / "deploy.prompts.yml").write_text("- {name: amount}\n- {name: pin, secret: true}")
    assert codes(stage) == [(checks.UNWISE, "secret-prompt")]
    stage.has_convergence = False
    assert codes(stage) == []


def test_it_asks_for_the_password_of_a_vault_and_leaves_the_rest_to_the_run(
    web_1: Machine, ready: Settings, codes: Codes, source: Path, clock: FakeClock
) -> None:
    stage = web_1.stage
    (source / "roles" / "app" / "vars").mkdir(parents=True)
    (source / "roles" / "app" / "vars" / "main.yml").write_text(f"$ANSIBLE_VAULT;1.1;AES256\n{'33' * 40}\n")
    (source / "deploy.yml").write_text("- hosts: all\n  roles: [app]\n")
    assert codes(stage) == [(checks.IMPOSSIBLE, "vault-password")]
    scope = Scope(stage.project, stage)
    store.put(scope, "main", kind="vault_password", value=b"hunter2", settings=ready, actor=ADA, at=clock.now())
    assert codes(stage) == []


def test_it_looks_at_the_playbook_that_is_named(web_1: Machine, stage: Stage, codes: Codes, source: Path) -> None:
    (source / "ops.yml").write_text("- hosts: all\n  tasks:\n    - no_such_module: {}\n")
    assert codes(stage, playbook="deploy.yml") == []
    assert codes(stage, playbook="ops.yml") == [(checks.IMPOSSIBLE, "playbook-syntax")]
    assert codes(stage, playbook="rollback.yml") == [(checks.IMPOSSIBLE, "playbook-missing")]
