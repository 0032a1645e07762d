"""Runs recorded from laptops: what the callback plugin `callboard` sends."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from inventory_service.accounts.roles import OPERATOR
from inventory_service.deployments.runs import external, run_secrets
from inventory_service.deployments.runs.outcome import HostCount
from inventory_service.errors import BusyError
from inventory_service.models import Stage
from inventory_service.vault.keyring import SealError
from inventory_service.vault.masking import Masker
from inventory_service.web import answers, auth, context
from inventory_service.web.api.common import Moment, Strict, blueprint

api = blueprint("recorded", "Runs that ansible-playbook executed elsewhere")

_MOST_EVENTS = 1000
_MOST_HOSTS = 10_000


EVENTS = (
    "playbook_on_play_start",
    "playbook_on_task_start",
    "runner_on_ok",
    "runner_on_failed",
    "runner_on_unreachable",
    "runner_on_skipped",
)
Name = Annotated[str, Field(max_length=255)]
Line = Annotated[str, Field(max_length=1000)]
Text = Annotated[str, Field(max_length=20_000)]
Status = Literal["ok", "changed", "failed", "unreachable", "skipped", "ignored"]
Count = Annotated[int, Field(ge=0, le=10**9)]
Offset = Annotated[int, Field(ge=0, le=2**62)]


class RecordedEvent(Strict):
    counter: int = Field(ge=1, le=10**9, description="Its number within the run")
    at: Moment
    event: Literal[EVENTS]  # type: ignore[valid-type]
    host: Name | None = None
    play: Line | None = None
    task: Line | None = None
    action: Line | None = None
    status: Status | None = None
    changed: bool = False
    duration_seconds: float | None = Field(None, ge=0, le=10**9)
    message: Text | None = None
    log_start: Offset
    log_end: Offset


class RecordedCounts(Strict):
    ok: Count = 0
    changed: Count = 0
    failed: Count = 0
    unreachable: Count = 0
    skipped: Count = 0
    rescued: Count = 0
    ignored: Count = 0


class RecordedEnding(Strict):
    ended_at: Moment
    interrupted: bool = False
    hosts: dict[Name, RecordedCounts] = Field({}, max_length=_MOST_HOSTS)


class RecordedBody(Strict):
    id: str = Field(pattern=r"^[0-9a-f]{32}$", description="Random, of the sender's making; the same in each batch")
    stage: str = Field(max_length=130, description="project/stage", pattern=r"^[^/]+/[^/]+$")
    playbook: Name
    started_at: Moment
    user: Name
    machine: Name
    commit: str | None = Field(None, pattern=r"^[0-9a-f]{40,64}$", description="Of the checkout with the playbook")
    branch: Name | None = None
    dirty: bool | None = Field(None, description="Whether the checkout has changes that are not committed")
    limit: Text | None = None
    tags: list[Name] = Field([], max_length=100)
    skip_tags: list[Name] = Field([], max_length=100)
    check: bool = False
    diff: bool = False
    extra_vars: list[Name] = Field([], max_length=500, description="Their names; the values stay where they are")
    versions: dict[Name, Name] = Field({}, max_length=20)
    hosts: list[Name] = Field([], max_length=_MOST_HOSTS, description="Hosts that are to be worked on")
    events: list[RecordedEvent] = Field([], max_length=_MOST_EVENTS)
    log: str = Field("", max_length=512 * 1024)
    log_start: Offset = 0
    ending: RecordedEnding | None = None


@api.post(
    "/runs/recorded",
    summary="Record a run from a laptop",
    responses={"200": answers.Recorded, "201": answers.Recorded},
)
@auth.access(OPERATOR)
def record_run(body: RecordedBody) -> tuple[answers.Recorded, int]:
    """One batch of a run that ansible-playbook executes elsewhere: 201 for the first, 200 for those after it.

    A batch may be sent again; each must come after the one before it. The stage's secrets are masked before anything
    is kept. Offsets are those of the log as it was sent; so is `log_bytes` of the answer.
    """
    stage = auth.reach_stage(*body.stage.split("/", 1))
    masker, actor = _masker(stage), auth.caller().actor
    run, is_new = external.record(stage, _head(body), _batch(body), masker=masker, actor=actor, at=context.now())
    return answers.Recorded.in_stage(run, stage), 201 if is_new else 200


def _masker(stage: Stage) -> Masker:
    """Without its keys the service can't tell what is secret: the laptop keeps it, and sends it later."""
    try:
        return run_secrets.masker_of(stage, context.services().settings)
    except SealError as error:
        raise BusyError(f"The stage's secrets can't be opened, so nothing can be masked. {error.detail}") from error


def _head(body: RecordedBody) -> external.Head:
    return external.Head(
        client_id=body.id,
        playbook=body.playbook,
        started_at=body.started_at,
        user=body.user,
        machine=body.machine,
        commit=body.commit,
        branch=body.branch,
        is_dirty=body.dirty,
        limit=body.limit,
        tags=tuple(body.tags),
        skip_tags=tuple(body.skip_tags),
        is_check=body.check,
        is_diff=body.diff,
        extra_vars=tuple(body.extra_vars),
        versions=body.versions,
    )


def _batch(body: RecordedBody) -> external.Batch:
    rows = [{**event.model_dump(exclude={"changed"}), "is_changed": event.changed} for event in body.events]
    ending = _ending(body.ending) if body.ending else None
    return external.Batch(tuple(body.hosts), rows, body.log, body.log_start, ending)


def _ending(body: RecordedEnding) -> external.Ending:
    counts = {name: HostCount(**counts.model_dump()) for name, counts in body.hosts.items()}
    return external.Ending(body.ended_at, counts, is_interrupted=body.interrupted)
