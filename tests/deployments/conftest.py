from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inventory_service.deployments import releases
from inventory_service.deployments.executor import execution
from inventory_service.deployments.launching import requests
from inventory_service.models import Release, Run, Stage
from inventory_service.registry import stages
from inventory_service.settings import Settings
from tests.support import FakeClock, launched


@pytest.fixture
def queue(clock: FakeClock, settings: Settings) -> Callable[..., Run]:
    """Ask for a run: queue(stage, kind="deploy", **fields of RunRequest)."""

    def ask(stage: Stage, kind: str = "deploy", **fields: Any) -> Run:
        fresh = stages.get_stage(stage.project.name, stage.name)
        known = settings if {"idempotency_key", "secret_vars"} & fields.keys() else None
        return launched(fresh, kind, at=clock.now(), settings=known, **fields)

    return ask


@pytest.fixture
def release(clock: FakeClock) -> Callable[..., Release]:
    """Make the next release of a stage, and the desired one unless told otherwise."""

    def make(stage: Stage, revision: str = "a" * 40, *, is_good: bool = True) -> Release:
        row = releases.create(
            stage, revision=revision, revision_name="v", variables={}, created_by="ada", at=clock.now()
        )
        if is_good:
            releases.make_desired(stage, row, at=clock.now())
        return row

    return make


@pytest.fixture
def execute(settings: Settings, clock: FakeClock) -> Callable[..., Run]:
    """Claim and execute a run here; only for runs that end before Ansible is started."""

    def carry(run: Run, settings: Settings = settings) -> Run:
        claimed = execution.claim(run.id, at=clock.now())
        assert claimed is not None
        execution.execute(claimed, settings=settings, clock=clock)
        return requests.get(run.id)

    return carry
