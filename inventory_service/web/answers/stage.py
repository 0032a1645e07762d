"""Stages, their locks, and why expiry is paused."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from inventory_service import models
from inventory_service.codes.stage import ExpiryPause
from inventory_service.deployments import locks
from inventory_service.records.stages import pause_of
from inventory_service.registry import expiry_guard, hosts
from inventory_service.registry.stages import stage_name
from inventory_service.web import context
from inventory_service.web.answers.base import Answer, Moment, old_name, one_of
from inventory_service.web.answers.release import DesiredRelease
from inventory_service.wording import lock as wording
from inventory_service.wording import stage as stage_wording


class ExpiryPaused(Answer):
    since: Moment
    reason: str
    scope: Annotated[str, one_of("stage", "all")]

    @classmethod
    def of(cls, row: models.Stage) -> ExpiryPaused | None:
        """Why and since when nobody of a stage expires: for it alone, else for all."""
        for pause, scope in ((pause_of(row), "stage"), (expiry_guard.pause_of_all(), "all")):
            if pause.paused_at is not None:
                why = pause.reason
                sentence = stage_wording.expiry_pause(why.code, why.params) if why else None
                return ExpiryPaused(since=pause.paused_at, reason=sentence or "", scope=scope)
        failing_since = context.services().intake.failing_since()
        if failing_since is None:
            return None
        sentence = stage_wording.expiry_pause(ExpiryPause.WRITES_FAIL, None)
        return ExpiryPaused(since=failing_since, reason=sentence or "", scope="all")


class Lock(Answer):
    locked_by: str
    code: str = Field(description="person, rollout_stopped, rollback_failed")
    reason: str
    locked_at: Moment

    @classmethod
    def of(cls, row: models.StageLock) -> Lock:
        """A person's lock."""
        reason = wording.why(row.reasons)
        return Lock(locked_by=row.locked_by, code=row.code, reason=reason, locked_at=row.locked_at)


class Stage(Answer):
    stage: str = Field(description="project/stage")
    project: str
    name: str
    description: str
    variables: dict[str, Any]
    ansible_user: str | None
    interval_seconds: int
    ttl_seconds: int
    agentless: bool = Field(description="Whether it takes agentless heartbeats with a join token")
    converge: bool
    default_revision: str
    deploy_playbook: str
    rollback_playbook: str
    strategy: Annotated[str, one_of("linear", "mitogen")]
    batches: list[int | str] | None = Field(description="Hosts at a time; null: as the playbook says")
    auto_rollback: bool
    minimum_healthy: str
    maximum_unreachable: str
    run_timeout_seconds: int
    idle_timeout_seconds: int
    desired_release: DesiredRelease | None
    expiry_paused: ExpiryPaused | None = Field(description="Why nobody leaves for silence, while that is so")
    approval: bool
    generation: int = Field(description="Rises with every recorded transition of a host")
    lock: Lock | None = Field(description="A person's lock")
    locked_by_run: int | None = Field(description="The run at work, for which others wait")
    created_at: Moment

    frozen = old_name("expiry_paused", ExpiryPaused | None)  # type: ignore[pydantic-field]
    held_by_run = old_name("locked_by_run", int | None)  # type: ignore[pydantic-field]
    simple_join = old_name("agentless", bool)  # type: ignore[pydantic-field]

    @classmethod
    def of(cls, row: models.Stage) -> Stage:
        """With its locks and its desired release."""
        by_person, by_run = locks.find(row, locks.BY_PERSON), locks.find(row, locks.BY_RUN)
        return Stage(
            stage=stage_name(row),
            project=row.project.name,
            name=row.name,
            description=row.description,
            variables=row.variables,
            ansible_user=row.ansible_user,
            interval_seconds=row.interval_seconds,
            ttl_seconds=row.ttl_seconds,
            agentless=row.has_agentless,
            converge=row.has_convergence,
            default_revision=row.default_revision,
            deploy_playbook=row.deploy_playbook,
            rollback_playbook=row.rollback_playbook,
            strategy=row.strategy,
            batches=row.batches,
            auto_rollback=row.has_auto_rollback,
            minimum_healthy=row.minimum_healthy,
            maximum_unreachable=row.maximum_unreachable,
            run_timeout_seconds=row.run_timeout_seconds,
            idle_timeout_seconds=row.idle_timeout_seconds,
            desired_release=DesiredRelease.of(hosts.desired_release(row)),
            expiry_paused=ExpiryPaused.of(row),
            approval=row.has_approval,
            generation=row.generation,
            lock=Lock.of(by_person) if by_person else None,
            locked_by_run=by_run.run_id if by_run else None,
            created_at=row.created_at,
        )


class Expired(Answer):
    expired: int
