"""Runs: asked for, at work, ended, recorded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field

from inventory_service import models
from inventory_service.codes import statuses
from inventory_service.codes.run import Wait
from inventory_service.deployments import rollout
from inventory_service.deployments.launching import run_queue
from inventory_service.registry import hosts
from inventory_service.registry.stages import stage_name
from inventory_service.web import context
from inventory_service.web.answers.base import Answer, Kind, Moment, Status, one_of
from inventory_service.web.answers.release import DesiredRelease
from inventory_service.wording import run as wording


class Queue(Answer):
    position: int = Field(description="1 comes next of its stage")
    waits_for: str
    code: Annotated[str, one_of(*Wait)] = Field(description="What `waits_for` is about")

    @classmethod
    def of(cls, row: models.Run) -> Queue | None:
        """A queued run's place among those of its stage, and what it waits for."""
        if row.status != statuses.QUEUED:
            return None
        waiting = run_queue.waiting(row)
        return Queue(position=waiting.position, waits_for=waiting.reason, code=str(waiting.why.code))


class Run(Answer):
    id: int
    stage: str
    kind: Kind
    status: Status
    playbook: str
    revision: str | None
    commit: str | None
    release: int | None
    limit: str | None
    exclude: list[str]
    tags: list[str]
    skip_tags: list[str]
    check: bool
    diff: bool
    extra_vars: dict[str, Any]
    comment: str
    override_lock: str | None = Field(description="Why it goes past a person's lock")
    queue: Queue | None = Field(description="Of a queued run: its place and what it waits for")
    repeat_of: int | None
    repeat_mode: Annotated[str, one_of("exact", "live")] | None
    created_by: str
    created_at: Moment
    started_at: Moment | None
    ended_at: Moment | None
    duration_seconds: float | None
    error: str | None
    end_code: str | None = Field(description="Why it ended; `error` says it in a sentence")
    end_reasons: list[dict[str, Any]] = Field(description="All reasons: `code` and its parameters")
    rolls_back: int | None = Field(description="The stopped run that the service undoes by this one")
    cancel_requested_by: str | None
    origin: Annotated[str, one_of("service", "external")] = Field(
        description="Who executed it: the service, or a person's ansible-playbook"
    )
    events_removed_at: Moment | None = Field(description="Since when its events and log are no more")
    url: str

    @classmethod
    def of(cls, row: models.Run) -> Run:
        """As lists show it."""
        return Run(
            id=row.id,
            stage=stage_name(row.stage),
            kind=row.kind,
            status=row.status,
            playbook=row.playbook,
            revision=row.revision,
            commit=row.source_commit,
            release=row.release_number,
            limit=row.limit,
            exclude=row.exclude,
            tags=row.tags,
            skip_tags=row.skip_tags,
            check=row.is_check,
            diff=row.is_diff,
            extra_vars=row.extra_vars,
            comment=row.comment,
            override_lock=row.override_lock,
            queue=Queue.of(row),
            repeat_of=row.repeat_of,
            repeat_mode=row.repeat_mode,
            created_by=row.created_by,
            created_at=row.created_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
            duration_seconds=_seconds(row),
            error=wording.ended(row.end_reasons),
            end_code=row.end_code,
            end_reasons=row.end_reasons,
            rolls_back=row.rolls_back,
            cancel_requested_by=row.cancel_requested_by,
            origin=row.origin,
            events_removed_at=row.events_removed_at,
            url=_url(row),
        )


def _seconds(row: models.Run) -> float | None:
    if row.started_at is None or row.ended_at is None:
        return None
    return round(float((row.ended_at - row.started_at).total_seconds()), 3)


def _url(row: models.Run) -> str:
    return f"/api/v1/runs/{row.id}"


class RunHost(Answer):
    host: str
    address: str
    status: str
    ok: int
    changed: int
    failed: int
    unreachable: int
    skipped: int
    rescued: int
    ignored: int
    message: str | None
    message_code: str | None

    @classmethod
    def of(cls, row: models.RunHost) -> RunHost:
        """What a run did on one host."""
        return RunHost(
            host=row.name,
            address=row.address,
            status=row.status,
            ok=row.ok,
            changed=row.changed,
            failed=row.failed,
            unreachable=row.unreachable,
            skipped=row.skipped,
            rescued=row.rescued,
            ignored=row.ignored,
            message=wording.host_note(row.message_code, row.message_params),
            message_code=row.message_code,
        )


class RunWithHosts(Run):
    snapshot: dict[str, Any] | None = Field(description="Without the inventory, which has its own route")
    hosts: list[RunHost]
    rolled_back_by: int | None = Field(description="The run by which the service undoes this one, which stopped")
    log_bytes: int
    log_cut: bool

    @classmethod
    def with_hosts(cls, row: models.Run, results: Iterable[models.RunHost]) -> RunWithHosts:
        """With its snapshot and what it did on each host."""
        return RunWithHosts(
            **Run.of(row).fields(),
            snapshot=_snapshot(row),
            hosts=[RunHost.of(result) for result in results],
            rolled_back_by=rollout.rolled_back_by(row),
            log_bytes=row.log_bytes,
            log_cut=row.is_log_cut,
        )


def _snapshot(row: models.Run) -> dict[str, Any] | None:
    if not row.snapshot:
        return None
    frozen = {key: value for key, value in row.snapshot.items() if key != "inventory"}
    if "sender" in frozen:
        frozen["laptop"] = frozen["sender"]  # as earlier versions named it
    if "missing" in frozen:
        frozen["missing"] = [_missing(one) for one in frozen["missing"]]
    if "notes" in frozen:
        frozen["notes"] = [wording.snapshot_note(note) for note in frozen["notes"]]
    return frozen


def _missing(one: dict[str, Any]) -> dict[str, Any]:
    reason = wording.host_note(one["code"], one["params"])
    return {"host": one["host"], "status": one["status"], "code": one["code"], "reason": reason}


class Launched(Answer):
    id: int
    status: Status
    url: str

    @classmethod
    def of(cls, row: models.Run) -> Launched:
        """What who asked for a run goes on with."""
        return Launched(id=row.id, status=row.status, url=_url(row))


class Recorded(Launched):
    kind: Kind
    page: str = Field(description="Where people look at it")
    log_bytes: int = Field(description="How much of its log is known: where the next batch's log begins")
    desired_release: DesiredRelease | None
    converge: bool = Field(description="Whether the service brings hosts back to the desired release by itself")

    @classmethod
    def in_stage(cls, row: models.Run, stage: models.Stage) -> Recorded:
        """With what the sender may want to say to its user."""
        return Recorded(
            **Launched.of(row).fields(),
            kind=row.kind,
            page=f"{context.services().settings.url}/runs/{row.id}",
            log_bytes=row.received_bytes,
            desired_release=DesiredRelease.of(hosts.desired_release(stage)),
            converge=stage.has_convergence,
        )
