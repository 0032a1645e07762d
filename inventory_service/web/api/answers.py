"""What the API answers, field by field, for the OpenAPI document. `present` makes the values; tests hold it to this.

A route names its model: `responses={"200": answers.Project}`. Unknown fields are an error, so that none stays
undocumented.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from inventory_service import events
from inventory_service.accounts import roles
from inventory_service.codes import statuses
from inventory_service.deployments.comparing import run_diff
from inventory_service.deployments.prompting import prompts
from inventory_service.registry import liveness

State = Literal[liveness.STATES]  # type: ignore[valid-type]
Status = Literal[statuses.STATUSES]  # type: ignore[valid-type]
Kind = Literal[statuses.KINDS]  # type: ignore[valid-type]
Role = Literal[roles.ROLES]  # type: ignore[valid-type]
Item = TypeVar("Item")


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Page(Answer, Generic[Item]):
    items: list[Item]
    next: str | None = Field(description="The `cursor` of the following page; null on the last one")

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """`ProjectPage`, as a schema's name in the document."""
        return f"{params[0].__name__}Page"


class AuditEntry(Answer):
    id: int
    at: str
    action: str = Field(description="`stage.lock`, `host.refuse`, …")
    actor: str = Field(description="Its name: of a person, `token:<name>`, `enrolment`, or `callboard` itself")
    actor_kind: events.ActorKind = Field(description="Who has that name")
    actor_id: str | None = Field(description="Which one of its kind; null where there is but one, or it is forgotten")
    peer: str | None = Field(description="The address that the caller had")
    target: str = Field(description="Its name at that moment: `shop`, `shop/production`, `shop/production/web-1`")
    target_kind: Literal[tuple(map(str, events.TargetKind))]  # type: ignore[valid-type]
    target_id: str | None
    changes: dict[str, tuple[Any, Any]] = Field(description="What changed, field by field: before and after")
    details: dict[str, Any]


class DesiredRelease(Answer):
    number: int
    revision: str


class Freeze(Answer):
    since: dt.datetime
    reason: str
    scope: Literal["stage", "all"]


class Lock(Answer):
    locked_by: str
    code: str = Field(description="person, rollout_stopped, rollback_failed")
    reason: str
    locked_at: dt.datetime


class Stage(Answer):
    stage: str = Field(description="project/stage")
    project: str
    name: str
    description: str
    variables: dict[str, Any]
    ansible_user: str | None
    interval_seconds: int
    ttl_seconds: int
    simple_join: bool
    converge: bool
    default_revision: str
    deploy_playbook: str
    rollback_playbook: str
    strategy: Literal["linear", "mitogen"]
    batches: list[int | str] | None = Field(description="Hosts at a time; null: as the playbook says")
    auto_rollback: bool
    minimum_healthy: str
    maximum_unreachable: str
    run_timeout_seconds: int
    idle_timeout_seconds: int
    desired_release: DesiredRelease | None
    frozen: Freeze | None = Field(description="Why expiry stands still, when it does")
    approval: bool
    generation: int = Field(description="Rises with every recorded transition of a host")
    lock: Lock | None = Field(description="A person's lock")
    held_by_run: int | None = Field(description="The run that holds the stage")
    created_at: dt.datetime


class Project(Answer):
    name: str
    description: str
    source: str
    source_kind: str
    variables: dict[str, Any]
    created_at: dt.datetime


class ProjectWithStages(Project):
    stages: list[Stage]


class Host(Answer):
    id: str
    name: str
    address: str
    port: int
    stage: str
    state: State
    suspect: bool = Field(description="Listed only because expiry is frozen")
    conflict: str | None
    acknowledged_run: int | None = Field(description="The last run that reached the host, by its own word")
    host_key_mismatch: str | None = Field(description="What a run met in the place of the key on record")
    groups: list[str]
    description: str
    draining: bool
    quarantined: bool
    quarantine_reason: str | None
    release: int | None = Field(description="The release that the host reports")
    revision: str | None
    held_release: int | None
    is_converged: bool
    enrolled_at: dt.datetime
    last_seen_at: dt.datetime
    stale_at: dt.datetime | None
    gone_at: dt.datetime | None
    gone_reason: str | None
    converge_attempts: int = Field(description="Converge runs that failed on it since its last success")
    converge_after: dt.datetime | None = Field(description="Convergence leaves it alone until then")
    desired_release: int | None = Field(description="The release that its stage should run")
    healthy: bool | None = Field(description="What the host says of itself; null when it says nothing")
    health_reason: str | None
    boot_id: str | None
    agent_version: str | None
    facts: dict[str, Any]
    metrics: dict[str, float]
    host_keys: list[str]


class Transition(Answer):
    at: dt.datetime
    from_: State | None = Field(alias="from", description="Null for the first")
    to: State
    reason: str


class RunOfHost(Answer):
    run: int
    kind: Kind
    status: str
    ended_at: dt.datetime | None


class LastWord(Answer):
    state: str = Field(description="`gone` stands alone: there is no such host in the stage")
    id: str | None = None
    agent: str | None = Field(None, description="The agent's version")
    last_seen_at: dt.datetime | None = None
    reported_at: dt.datetime | None = Field(None, description="When the heartbeat with this release was received")
    release: int | None = None
    revision: str | None = None
    healthy: bool | None = None
    reason: str | None = None


class LastWords(Answer):
    stage: str
    server_time: dt.datetime
    interval_seconds: int
    ttl_seconds: int
    hosts: dict[str, LastWord]


class HostWithHistory(Host):
    transitions: list[Transition]
    runs: list[RunOfHost]


class Enrolled(Answer):
    host: str
    name: str
    stage: str
    token: str = Field(description="The host's own token, shown this once")
    interval_seconds: int
    ttl_seconds: int


class Rotated(Answer):
    host: str
    token: str


class Renewed(Answer):
    server_time: dt.datetime
    state: State
    duplicate: bool
    generation: int
    next_in_seconds: float
    ttl_seconds: int
    desired_release: DesiredRelease | None
    send_facts: bool
    token_age_seconds: int | None
    rotate: bool


class Gone(Answer):
    host: str
    state: Literal["gone"]


class Expired(Answer):
    expired: int


class JoinToken(Answer):
    id: str
    description: str
    groups: list[str]
    networks: list[str]
    uses: int
    maximum_uses: int | None
    created_by: str
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None


class NewJoinToken(JoinToken):
    token: str = Field(description="The secret, shown this once")


class Release(Answer):
    number: int
    revision: str
    revision_name: str
    variables: dict[str, Any]
    created_by: str
    created_at: dt.datetime
    succeeded_at: dt.datetime | None


class Secret(Answer):
    name: str
    kind: str
    of: Literal["project", "stage"]
    created_by: str
    created_at: dt.datetime
    updated_by: str
    updated_at: dt.datetime


class Playbook(Answer):
    playbook: str
    description: str


class Prompt(Answer):
    name: str = Field(description="The extra var that holds the answer")
    question: str
    type: Literal[prompts.TYPES]  # type: ignore[valid-type]
    help: str
    required: bool
    default: str | int | float | bool | list[str] | None
    secret: bool = Field(description="To be answered in extra_vars_secret")
    choices: list[str]
    min: float | None = Field(description="Of a number, of a text's length, or of how many are chosen")
    max: float | None
    pattern: str | None = Field(description="A regular expression (Python's) that fits the whole text")
    vars_prompt: bool = Field(description="Whether a play asks for it by itself")
    fallback: Any = Field(
        description="What is taken where nobody answers: of the stage, of the release's deploy, or the default"
    )
    open: bool = Field(description="Whether it has to be answered")


class Prompts(Answer):
    playbook: str
    items: list[Prompt]
    next: str | None


class Queue(Answer):
    position: int = Field(description="1 comes next of its stage")
    waits_for: str


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
    created_by: str
    created_at: dt.datetime
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    duration_seconds: float | None
    error: str | None
    end_code: str | None = Field(description="Why it ended; `error` says it in a sentence")
    end_reasons: list[dict[str, Any]] = Field(description="All reasons: `code` and its parameters")
    rolls_back: int | None = Field(description="The stopped run that the service undoes by this one")
    cancel_requested_by: str | None
    override_lock: str | None = Field(description="Why it goes past a person's lock")
    queue: Queue | None = Field(description="Of a queued run: its place and what it waits for")
    repeat_of: int | None
    repeat_mode: Literal["exact", "live"] | None
    origin: Literal["service", "external"] = Field(
        description="Who executed it: the service, or a person's ansible-playbook"
    )
    events_removed_at: dt.datetime | None = Field(description="Since when its events and log are no more")
    url: str


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


class RunWithHosts(Run):
    snapshot: dict[str, Any] | None
    hosts: list[RunHost]
    rolled_back_by: int | None = Field(description="The run by which the service undoes this one, which stopped")
    log_bytes: int
    log_cut: bool


class VariableValue(Answer):
    value: Any
    from_: str | None = Field(alias="from", description="project, stage, release, run or server; null: not there")


class Variable(VariableValue):
    name: str
    overridden: list[VariableValue] = Field(description="What it beats, the nearest first")


class VariableChange(Answer):
    name: str
    change: Literal["added", "removed", "changed"]
    before: VariableValue
    after: VariableValue


class RunVariables(Page[Variable]):
    run: int


class StageVariables(Page[Variable]):
    stage: str
    changed_since_release: list[VariableChange]


class Commit(Answer):
    commit: str
    author: str
    at: dt.datetime
    subject: str
    in_: Literal["before", "after"] = Field(alias="in", description="Which of the two runs has it")


class FileChange(Answer):
    path: str
    added: int | None = Field(description="Lines; null where they were not counted")
    removed: int | None


class CommitDiff(Answer):
    before: str | None
    after: str | None
    relation: Literal[run_diff.RELATIONS]  # type: ignore[valid-type]
    reason: str | None = Field(description="Why the relation is not known")
    log: list[Commit]
    log_cut: bool
    files: list[FileChange]
    files_in_all: int
    added: int
    removed: int


class HostDifference(Answer):
    host: str
    changes: list[str]


class HostDiff(Answer):
    added: list[str]
    removed: list[str]
    same: list[str]
    changed: list[HostDifference]


class Pair(Answer):
    name: str
    before: Any
    after: Any


class TaskSide(Answer):
    counts: dict[str, int] = Field(description="On how many hosts it came to what")
    longest_seconds: float | None = Field(description="On the slowest host")


class TaskResult(Answer):
    status: str
    seconds: float | None


class TaskHost(Answer):
    host: str
    different: bool = Field(description="Both runs worked on the host, with another outcome")
    before: TaskResult | None
    after: TaskResult | None


class TaskDiff(Answer):
    play: str
    task: str
    number: int = Field(description="Counts the tasks of that name in its play")
    different: bool
    before: TaskSide | None
    after: TaskSide | None
    hosts: list[TaskHost]


class RunDiff(Answer):
    before: Run
    after: Run
    notes: list[str]
    commits: CommitDiff
    variables: list[VariableChange]
    hosts: HostDiff
    options: list[Pair]
    versions: list[Pair]
    secrets: list[Pair] = Field(description="Those that were set at another time")
    tasks: list[TaskDiff]
    tasks_cut: bool


class Finding(Answer):
    level: Literal["impossible", "unwise"]
    code: str
    detail: str
    advice: str = Field(description="What to do next")


class Check(Answer):
    is_possible: bool
    items: list[Finding]


class Launched(Answer):
    id: int
    status: Status
    url: str


class Recorded(Launched):
    kind: Kind
    page: str = Field(description="Where people look at it")
    log_bytes: int = Field(description="How much of its log is known: where the next batch's log begins")
    desired_release: DesiredRelease | None
    converge: bool = Field(description="Whether the service brings hosts back to the desired release by itself")


class Event(Answer):
    counter: int
    at: dt.datetime
    event: str
    host: str | None
    play: str | None
    task: str | None
    action: str | None
    status: str | None
    changed: bool
    duration_seconds: float | None
    message: str | None
    log_start: int
    log_end: int


class User(Answer):
    name: str
    role: Role
    projects: list[str] | None = Field(description="Null means all")
    disabled: bool
    created_at: dt.datetime


class ApiToken(Answer):
    id: str
    name: str
    role: Role
    projects: list[str] | None
    created_by: str
    created_at: dt.datetime
    expires_at: dt.datetime | None


class NewApiToken(ApiToken):
    token: str = Field(description="The secret, shown this once")


class Caller(Answer):
    name: str
    role: Role
    projects: list[str] | None


class Schedule(Answer):
    name: str
    cron: str
    timezone: str
    enabled: bool
    kind: Kind
    playbook: str | None
    request: dict[str, Any] = Field(description="The run request's fields")
    next_at: dt.datetime | None
    last_at: dt.datetime | None
    last_run: int | None
    last_error: str | None
    last_failure: str | None = Field(description="The code of `last_error`")
    created_by: str


class Webhook(Answer):
    id: str
    provider: str
    description: str
    refs: list[str]
    extra_vars: dict[str, Any] = Field(description="Of its deploys")
    url: str = Field(description="What GitHub or GitLab is to call")
    created_by: str


class NewWebhook(Webhook):
    secret: str = Field(description="Shown this once")


class Delivery(Answer):
    at: dt.datetime
    event: str
    ref: str | None
    revision: str | None
    outcome: Literal["deployed", "ignored", "refused"]
    code: str
    detail: str
    run: int | None


class WebhookWithDeliveries(Webhook):
    deliveries: list[Delivery]


class Received(Answer):
    outcome: Literal["deployed", "ignored", "refused", "repeated"]
    detail: str
    run: int | None


class Notification(Answer):
    id: str
    description: str
    events: list[str]
    created_by: str
    last_event: str | None
    last_sent_at: dt.datetime | None
    last_error: str | None


class Sent(Answer):
    sent: bool


class MetricNames(Answer):
    items: list[str]


class MetricPoint(Answer):
    at: dt.datetime
    value: float
    reporting: int = Field(description="How many hosts the value is made of")


class Series(Answer):
    seconds: int = Field(description="What one point stands for")
    items: list[MetricPoint]


class Chart(Answer):
    metric: str
    seconds: int = Field(description="What one value stands for")
    since: dt.datetime = Field(description="When the first step begins; step n begins n times `seconds` later")
    columns: dict[str, list[float | None]] = Field(description="By statistic, one value a step; null: nobody reported")


class ScalingFinding(Answer):
    code: str
    kind: str = Field(description="The code in a word or two")
    instance: str
    host: str | None
    since: dt.datetime | None
    detail: str


class Scaling(Answer):
    limits: dict[str, Any]
    policies: list[dict[str, Any]]
    actuator: dict[str, Any] | None = Field(description="Null: decisions are only recorded")
    enabled: bool
    dry_run: bool
    drain_playbook: str | None
    findings: list[ScalingFinding] = Field(description="Where EC2 and the registry differ")
    last_out_at: dt.datetime | None
    last_in_at: dt.datetime | None
    problem: str | None = Field(description="Why the last look failed")
    problem_code: str | None
    problem_at: dt.datetime | None
    hook_problem: str | None = Field(description="Why lifecycle hooks could not be answered at the last look")
    hook_problem_code: str | None
    updated_by: str
    updated_at: dt.datetime


class LifecycleAction(Answer):
    instance: str
    transition: Literal["launching", "terminating"]
    hook: str
    status: Literal["waiting", "continued", "abandoned", "over"] = Field(description="over: AWS stopped waiting")
    reason: str | None = Field(description="What it waits for, or why it was answered so")
    reason_code: str | None
    run: int | None = Field(description="The drain playbook's run")
    at: dt.datetime
    heartbeat_at: dt.datetime | None = Field(description="When the group was last asked to wait longer")
    ended_at: dt.datetime | None


class BacktestResult(Answer):
    violation_minutes: int = Field(description="Minutes in which a machine bore more than the objective")
    host_hours: float
    cost: float
    peak: int = Field(description="The most machines at once")
    changes: int
    capacity: list[int | None] = Field(description="The most machines in each step; null: the trace has a gap")
    value: list[float | None] = Field(description="The highest value per machine in each step")


class Backtest(Answer):
    source: Literal["recorded", "shipped", "given"]
    note: str = Field(description="What was played, and what could not be")
    metric: str
    objective: float
    since: dt.datetime
    seconds: int = Field(description="What one value stands for")
    results: dict[str, BacktestResult] = Field(description="`new` and, where it could be played, `present`")


class ScalingDecision(Answer):
    id: int
    at: dt.datetime
    action: Literal["out", "in", "hold"]
    from_capacity: int
    to_capacity: int
    serving: int
    reasons: list[str] = Field(description="A line for each policy, the bounds, and the rule that forbade a change")
    reason_codes: list[dict[str, Any]] = Field(description="The same as codes with their parameters")
    readings: dict[str, Any] = Field(description="What each signal was, by `avg load1_per_cpu over 300 s`")
    status: Literal["unchanged", "planned", "acting", "done", "failed", "dry_run"]
    instances: list[str]
    run: int | None = Field(description="The drain playbook's run")
    error: str | None
    error_code: str | None
    ended_at: dt.datetime | None


_TEXT_SCHEMA: dict[str, Any] = {"schema": {"type": "string"}}
_INVENTORY_SCHEMA = {"schema": {"type": "object", "required": ["_meta"], "additionalProperties": {"type": "object"}}}


def text(description: str, *others: str) -> dict[str, Any]:
    """A response of plain text, or of one of the other content types."""
    return {"description": description, "content": dict.fromkeys(("text/plain", *others), _TEXT_SCHEMA)}


INVENTORY: Any = {"description": "Ansible's --list JSON", "content": {"application/json": _INVENTORY_SCHEMA}}
EXPORT: Any = {
    "description": "The run as a folder, or as JUnit XML",
    "content": {"application/gzip": _TEXT_SCHEMA, "application/xml": {}},
}
TOO_MANY: Any = {
    "description": "Refused too often; try again after Retry-After seconds",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
NOT_MODIFIED: Any = {"description": "The inventory is the one that If-None-Match names"}
