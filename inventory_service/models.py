"""The tables. Singular nouns, no behaviour: rules live in the rooms that own them.

Peewee's own `id` keys are used where people like to say the number (runs), random text where a number
would tell too much or be guessed (hosts, tokens).
"""

from __future__ import annotations

import peewee as pw

from inventory_service.database import UtcDateTimeField, database


class _Table(pw.Model):
    class Meta:
        database = database
        legacy_table_names = False


class ServiceState(_Table):
    """What the service remembers about itself, such as the moment from which silence counts."""

    key = pw.TextField(primary_key=True)
    value = pw.JSONField()


class JobTick(_Table):
    """One row per periodic job: whoever moves `next_at` forward owns that tick."""

    name = pw.TextField(primary_key=True)
    next_at = UtcDateTimeField()
    last_finished_at = UtcDateTimeField(null=True)


class User(_Table):
    """A person who signs in. `projects` lists the project names they reach; null means all."""

    id = pw.AutoField()
    name = pw.TextField(unique=True)
    password_hash = pw.TextField()
    role = pw.TextField()
    projects = pw.JSONField(null=True)
    is_disabled = pw.BooleanField(default=False)
    created_at = UtcDateTimeField()
    session_nonce = pw.TextField()


class ApiToken(_Table):
    """A `cbu_` token of a person or a CI job; only the SHA-256 of its secret is kept."""

    id = pw.TextField(primary_key=True)
    secret_sha256 = pw.TextField()
    name = pw.TextField()
    role = pw.TextField()
    projects = pw.JSONField(null=True)
    created_by = pw.TextField()
    created_at = UtcDateTimeField()
    expires_at = UtcDateTimeField(null=True)
    revoked_at = UtcDateTimeField(null=True)


class Event(_Table):
    """Something that happened (events.py is its one writer and knows the words). `target_path` is the target's name
    at that moment; `changes` holds {field: [old, new]}; `details` the parameters of `reason_code`, and more.
    """

    id = pw.AutoField()
    at = UtcDateTimeField(index=True)
    name = pw.TextField()
    target_kind = pw.TextField()
    target_id = pw.TextField(null=True)
    target_path = pw.TextField()
    stage_id = pw.IntegerField(null=True)
    actor_kind = pw.TextField()
    actor_id = pw.TextField(null=True)
    actor_name = pw.TextField()
    peer = pw.TextField(null=True)
    changes = pw.JSONField()
    reason_code = pw.TextField(null=True)
    details = pw.JSONField()

    class Meta:
        indexes = ((("stage_id", "name", "at"), False), (("target_kind", "target_id"), False))


class Project(_Table):
    """An application: where its playbooks and releases come from, and its default variables."""

    id = pw.AutoField()
    name = pw.TextField(unique=True)
    description = pw.TextField(default="")
    source = pw.TextField()
    source_kind = pw.TextField()
    variables = pw.JSONField()
    created_at = UtcDateTimeField()
    archived_at = UtcDateTimeField(null=True)


class Stage(_Table):
    """A named deployment target of a project. `generation` rises with every recorded transition."""

    id = pw.AutoField()
    project_id: int
    project = pw.ForeignKeyField(Project, backref="stages")
    name = pw.TextField()
    description = pw.TextField(default="")
    variables = pw.JSONField()
    ansible_user = pw.TextField(null=True)
    interval_seconds = pw.IntegerField(default=60)
    ttl_seconds = pw.IntegerField(default=300)
    has_agentless = pw.BooleanField(default=False)
    has_convergence = pw.BooleanField(default=True)
    default_revision = pw.TextField(default="HEAD")
    deploy_playbook = pw.TextField(default="deploy.yml")
    rollback_playbook = pw.TextField(default="rollback.yml")
    batches = pw.JSONField(null=True)
    has_auto_rollback = pw.BooleanField(default=False)
    strategy = pw.TextField(default="linear")
    minimum_healthy = pw.TextField(default="")
    maximum_unreachable = pw.TextField(default="")
    run_timeout_seconds = pw.IntegerField(default=0)
    idle_timeout_seconds = pw.IntegerField(default=0)
    desired_release_number = pw.IntegerField(null=True)
    generation = pw.IntegerField(default=0)
    has_approval = pw.BooleanField(default=False)
    grace_from = UtcDateTimeField(null=True)
    expiry_paused_at = UtcDateTimeField(null=True)
    expiry_pause_code = pw.TextField(null=True)
    expiry_pause_params = pw.JSONField(null=True)
    expiry_pause_calm_sweeps = pw.IntegerField(default=0)
    expiry_pause_not_before = UtcDateTimeField(null=True)
    created_at = UtcDateTimeField()
    archived_at = UtcDateTimeField(null=True)

    class Meta:
        indexes = ((("project", "name"), True),)


class StageLock(_Table):
    """A stage is taken by a run while it works (`holder` = run), or queued runs wait (`holder` = person) since a
    person, or the service after a rollout that stopped, has locked it.
    `reasons`: [{code, …}], whose first one is `code`.
    """

    id = pw.AutoField()
    stage_id: int
    stage = pw.ForeignKeyField(Stage, backref="locks")
    holder = pw.TextField()
    run_id = pw.IntegerField(null=True)
    locked_by = pw.TextField()
    locked_by_kind = pw.TextField()
    locked_by_id = pw.TextField(null=True)
    code = pw.TextField()
    reasons = pw.JSONField()
    locked_at = UtcDateTimeField()

    class Meta:
        indexes = ((("stage", "holder"), True),)


class JoinToken(_Table):
    """A stage's secret that lets machines enrol. Empty `networks` means any."""

    id = pw.TextField(primary_key=True)
    stage_id: int
    stage = pw.ForeignKeyField(Stage, backref="join_tokens")
    secret_sha256 = pw.TextField()
    description = pw.TextField(default="")
    groups = pw.JSONField()
    networks = pw.JSONField()
    maximum_uses = pw.IntegerField(null=True)
    uses = pw.IntegerField(default=0)
    created_by = pw.TextField()
    created_at = UtcDateTimeField()
    expires_at = UtcDateTimeField(null=True)
    revoked_at = UtcDateTimeField(null=True)


class Secret(_Table):
    """An encrypted value of a project (`stage` null) or of a stage. `sealed` is a Fernet token (vault/keyring.py)."""

    id = pw.AutoField()
    project_id: int
    stage_id: int | None
    project = pw.ForeignKeyField(Project, backref="secrets")
    stage = pw.ForeignKeyField(Stage, null=True, backref="secrets")
    name = pw.TextField()
    kind = pw.TextField()
    sealed = pw.TextField()
    created_by = pw.TextField()
    created_at = UtcDateTimeField()
    updated_by = pw.TextField()
    updated_at = UtcDateTimeField()

    class Meta:
        indexes = ((("stage", "name"), True),)


Secret.add_index(
    Secret.index(Secret.project, Secret.name, unique=True, name="secret_project_name").where(Secret.stage.is_null())
)


class Host(_Table):
    """One machine. `recorded_state` is the last state that was written to its history; what a host's
    state *is* follows from `last_seen_at` (registry/liveness.py). Each `…_code` is of codes/host.py, with its
    parameters beside it; records/hosts.py is the one writer.
    """

    id = pw.TextField(primary_key=True)
    stage_id: int
    join_token_id: str | None
    stage = pw.ForeignKeyField(Stage, backref="hosts")
    name = pw.TextField()
    address = pw.TextField()
    port = pw.IntegerField(default=22)
    description = pw.TextField(default="")
    groups = pw.JSONField()
    host_keys = pw.JSONField()
    secret_sha256 = pw.TextField(null=True)
    secret_made_at = UtcDateTimeField(null=True)
    previous_secret_sha256 = pw.TextField(null=True)  # several with spaces between, the one in use first
    instance = pw.TextField(null=True)
    join_token = pw.ForeignKeyField(JoinToken, null=True, backref="hosts")
    enrolled_at = UtcDateTimeField()
    last_seen_at = UtcDateTimeField()
    recorded_state = pw.TextField()
    expired_at = UtcDateTimeField(null=True)
    stale_since = UtcDateTimeField(null=True)
    gone_at = UtcDateTimeField(null=True)
    gone_code = pw.TextField(null=True)
    gone_params = pw.JSONField(null=True)
    is_draining = pw.BooleanField(default=False)
    leaving_at = UtcDateTimeField(null=True)  # since when its machine is to be ended; new runs leave it out
    quarantine_code = pw.TextField(null=True)  # not null: excluded from convergence
    quarantine_params = pw.JSONField(null=True)
    conflict_code = pw.TextField(null=True)  # not null: in no inventory
    conflict_params = pw.JSONField(null=True)
    key_mismatch_code = pw.TextField(null=True)
    key_mismatch_params = pw.JSONField(null=True)
    boot_id = pw.TextField(null=True)
    earlier_boots = pw.TextField(null=True)
    sequence = pw.BigIntegerField(null=True)
    agent_version = pw.TextField(null=True)
    facts = pw.JSONField()
    facts_hash = pw.TextField(null=True)
    metrics = pw.JSONField()
    release_number = pw.IntegerField(null=True)
    revision = pw.TextField(null=True)
    release_reported_at = UtcDateTimeField(null=True)
    acknowledged_run = pw.IntegerField(null=True)
    pinned_release_number = pw.IntegerField(null=True)
    is_healthy = pw.BooleanField(null=True)
    health_reason = pw.TextField(null=True)
    converge_attempts = pw.IntegerField(default=0)
    converge_after = UtcDateTimeField(null=True)
    tag_groups = pw.JSONField(null=True)  # those of its groups that EC2's tags gave it

    class Meta:
        indexes = ((("stage", "gone_at"), False),)


# A name belongs to one present host of a stage; hosts of the past keep theirs in the history.
Host.add_index(Host.index(Host.stage, Host.name, unique=True, name="host_present_name").where(Host.gone_at.is_null()))
# AWS's word on an instance lets it in once.
Host.add_index(Host.index(Host.instance, unique=True, name="host_present_instance").where(Host.gone_at.is_null()))


class Transition(_Table):
    """A host changed its state. The rows of a host, in order, are its whole history."""

    id = pw.AutoField()
    stage_id: int
    host_id: str
    host = pw.ForeignKeyField(Host, backref="transitions")
    stage = pw.ForeignKeyField(Stage, backref="transitions")
    at = UtcDateTimeField()
    from_state = pw.TextField(null=True)
    to_state = pw.TextField()
    reason_code = pw.TextField()
    reason_params = pw.JSONField()

    class Meta:
        indexes = ((("stage", "at"), False),)


class Conflict(_Table):
    """A time in which a host was in conflict, and so in no inventory whatever its state; `until` None: it still is."""

    id = pw.AutoField()
    host_id: str
    host = pw.ForeignKeyField(Host, backref="conflicts")
    stage = pw.ForeignKeyField(Stage, backref="conflicts", index=False)
    since = UtcDateTimeField()
    until = UtcDateTimeField(null=True)
    reason_code = pw.TextField()
    reason_params = pw.JSONField()

    class Meta:
        indexes = ((("stage", "since"), False),)


class Release(_Table):
    """A numbered, immutable "this revision, with these variables" of a stage."""

    id = pw.AutoField()
    stage_id: int
    stage = pw.ForeignKeyField(Stage, backref="releases")
    number = pw.IntegerField()
    revision = pw.TextField()
    revision_name = pw.TextField()
    variables = pw.JSONField()
    created_by = pw.TextField()
    created_at = UtcDateTimeField()
    succeeded_at = UtcDateTimeField(null=True)

    class Meta:
        indexes = ((("stage", "number"), True),)


class Run(_Table):
    """One tracked execution of a playbook on a stage. The queued rows are the queue.

    `attempt` rises whenever somebody takes the run over, so that whoever had it before can tell (leases.py).
    `in_flight` holds {host: task} as of the last written events. `override_lock` is the reason to go past a
    person's lock that was there when the run was asked for. `end_reasons`: [{code, …}], whose first one is `end_code`.
    `received_bytes`: how much of its log an external run has sent, which is kept masked.
    """

    id = pw.AutoField()
    stage_id: int
    stage = pw.ForeignKeyField(Stage, backref="runs")
    kind = pw.TextField()
    status = pw.TextField(index=True)
    playbook = pw.TextField()
    revision = pw.TextField(null=True)
    release_number = pw.IntegerField(null=True)
    limit = pw.TextField(null=True)
    exclude = pw.JSONField()
    tags = pw.JSONField()
    skip_tags = pw.JSONField()
    is_check = pw.BooleanField(default=False)
    is_diff = pw.BooleanField(default=False)
    extra_vars = pw.JSONField()
    comment = pw.TextField(default="")
    created_by = pw.TextField()
    created_by_kind = pw.TextField()
    created_by_id = pw.TextField(null=True)
    created_at = UtcDateTimeField()
    started_at = UtcDateTimeField(null=True)
    ended_at = UtcDateTimeField(null=True)
    sent_at = UtcDateTimeField(null=True)
    end_code = pw.TextField(null=True)
    end_reasons = pw.JSONField(default=list)
    return_code = pw.IntegerField(null=True)
    snapshot = pw.JSONField(null=True)
    executor = pw.JSONField(null=True)
    attempt = pw.IntegerField(default=0)
    in_flight = pw.JSONField(null=True)
    lease_at = UtcDateTimeField(null=True)
    cancel_requested_at = UtcDateTimeField(null=True)
    cancel_requested_by = pw.TextField(null=True)
    cancel_requested_by_kind = pw.TextField(null=True)
    cancel_requested_by_id = pw.TextField(null=True)
    idempotency_key = pw.TextField(null=True, unique=True)
    idempotency_hash = pw.TextField(null=True)
    override_lock = pw.TextField(null=True)
    allows_paused_expiry = pw.BooleanField(default=False)
    repeat_of = pw.IntegerField(null=True)
    rolls_back = pw.IntegerField(null=True)
    repeat_mode = pw.TextField(null=True)
    source_commit = pw.TextField(null=True)
    log_bytes = pw.BigIntegerField(default=0)
    received_bytes = pw.BigIntegerField(default=0)
    is_log_cut = pw.BooleanField(default=False)
    sealed_vars = pw.TextField(null=True)
    origin = pw.TextField(default="service")
    events_removed_at = UtcDateTimeField(null=True)

    class Meta:
        indexes = ((("stage", "status"), False),)


class RunInventory(_Table):
    """The inventory that a run froze, as gzipped JSON: large, and read on its own."""

    run_id: int
    run = pw.ForeignKeyField(Run, primary_key=True, on_delete="CASCADE")
    content = pw.BlobField()


class RunHost(_Table):
    """What a run did on one host; keeps the name, so history never changes when a host leaves."""

    id = pw.AutoField()
    run_id: int
    host_id: str | None
    run = pw.ForeignKeyField(Run, backref="hosts", on_delete="CASCADE")
    host = pw.ForeignKeyField(Host, null=True)
    name = pw.TextField()
    address = pw.TextField()
    port = pw.IntegerField(null=True)
    keys_sha256 = pw.TextField(null=True)
    status = pw.TextField()
    ok = pw.IntegerField(default=0)
    changed = pw.IntegerField(default=0)
    failed = pw.IntegerField(default=0)
    unreachable = pw.IntegerField(default=0)
    skipped = pw.IntegerField(default=0)
    rescued = pw.IntegerField(default=0)
    ignored = pw.IntegerField(default=0)
    message_code = pw.TextField(null=True)
    message_params = pw.JSONField(null=True)

    class Meta:
        indexes = ((("run", "name"), True),)


class RunEvent(_Table):
    """One record that ansible-runner emitted. `log_start` and `log_end` are byte offsets in the run's log."""

    run = pw.ForeignKeyField(Run, backref="events", on_delete="CASCADE", index=False)  # the key begins with it
    counter = pw.IntegerField()
    at = UtcDateTimeField()
    event = pw.TextField()
    host = pw.TextField(null=True)
    play = pw.TextField(null=True)
    task = pw.TextField(null=True)
    action = pw.TextField(null=True)
    status = pw.TextField(null=True)
    is_changed = pw.BooleanField(default=False)
    duration_seconds = pw.FloatField(null=True)
    message = pw.TextField(null=True)
    log_start = pw.BigIntegerField()
    log_end = pw.BigIntegerField()

    class Meta:
        primary_key = pw.CompositeKey("run", "counter")


class RunLogChunk(_Table):
    """A piece of a run's log, from byte `start` on; for web processes that do not see the machine with the file."""

    run = pw.ForeignKeyField(Run, backref="log_chunks", on_delete="CASCADE", index=False)
    start = pw.BigIntegerField()
    data = pw.BlobField()

    class Meta:
        primary_key = pw.CompositeKey("run", "start")


class Schedule(_Table):
    """A run that a clock starts. `request` holds the run request's fields; `next_at` None: never (again)."""

    id = pw.AutoField()
    stage_id: int
    stage = pw.ForeignKeyField(Stage, backref="schedules")
    name = pw.TextField()
    cron = pw.TextField()
    timezone = pw.TextField()
    request = pw.JSONField()
    is_enabled = pw.BooleanField(default=True)
    next_at = UtcDateTimeField(null=True)
    last_at = UtcDateTimeField(null=True)
    last_run_id = pw.IntegerField(null=True)
    last_failure_code = pw.TextField(null=True)
    last_failure_params = pw.JSONField(null=True)
    created_by = pw.TextField()
    created_at = UtcDateTimeField()

    class Meta:
        indexes = ((("stage", "name"), True),)


class Webhook(_Table):
    """A push at GitHub or GitLab that deploys, with these extra vars. `refs` are patterns: branch:main, tag:v*."""

    id = pw.TextField(primary_key=True)
    stage_id: int
    stage = pw.ForeignKeyField(Stage, backref="webhooks")
    provider = pw.TextField()
    description = pw.TextField(default="")
    refs = pw.JSONField()
    extra_vars = pw.JSONField(null=True)
    sealed_secret = pw.TextField()
    created_by = pw.TextField()
    created_at = UtcDateTimeField()


class WebhookDelivery(_Table):
    """One authentic delivery. `digest` is the SHA-256 of its body: the same one is taken in once."""

    id = pw.AutoField()
    webhook_id: str
    webhook = pw.ForeignKeyField(Webhook, backref="deliveries", on_delete="CASCADE")
    digest = pw.TextField()
    at = UtcDateTimeField()
    event = pw.TextField()
    ref = pw.TextField(null=True)
    revision = pw.TextField(null=True)
    outcome = pw.TextField()
    detail_code = pw.TextField()
    detail_params = pw.JSONField()
    run_id = pw.IntegerField(null=True)

    class Meta:
        indexes = ((("webhook", "digest"), True),)


class Notification(_Table):
    """Where word of a stage's events goes: an Apprise URL, sealed, since it holds tokens."""

    id = pw.TextField(primary_key=True)
    stage_id: int
    stage = pw.ForeignKeyField(Stage, backref="notifications")
    description = pw.TextField(default="")
    events = pw.JSONField()
    sealed_url = pw.TextField()
    created_by = pw.TextField()
    created_at = UtcDateTimeField()


class Notice(_Table):
    """One message on its way to one place. `sent_at` None: not yet; `attempts` and `next_at` say when it is tried."""

    id = pw.AutoField()
    notification_id: str
    notification = pw.ForeignKeyField(Notification, backref="notices", on_delete="CASCADE")
    entry_id = pw.IntegerField()
    event = pw.TextField()
    title = pw.TextField()
    body = pw.TextField()
    created_at = UtcDateTimeField()
    attempts = pw.IntegerField(default=0)
    next_at = UtcDateTimeField(null=True)
    sent_at = UtcDateTimeField(null=True)
    error = pw.TextField(null=True)

    class Meta:
        indexes = ((("notification", "entry_id"), True),)


class MetricFrame(_Table):
    """One metric of one stage in one span of `seconds`: statistics over its hosts, and their own values packed."""

    id = pw.AutoField()
    stage_id: int
    stage = pw.ForeignKeyField(Stage, backref="metric_frames", index=False)
    metric = pw.TextField()
    seconds = pw.IntegerField()
    at = UtcDateTimeField()
    expected = pw.IntegerField()
    reporting = pw.IntegerField()
    avg = pw.DoubleField()
    p50 = pw.DoubleField()
    p95 = pw.DoubleField()
    max = pw.DoubleField()
    min = pw.DoubleField()
    sum = pw.DoubleField()
    packed = pw.BlobField()

    class Meta:
        indexes = ((("stage", "seconds", "metric", "at"), True), (("seconds", "at"), False))


class StageScaling(_Table):
    """How a stage scales (scaling/settings.py), and what came of it last.

    `problem_…` and `hook_problem_…`: why the last look, or the last answer to hooks, failed (codes.scaling.Failure).
    `findings`: codes of Finding with their parameters.
    `expected`: ids of the instances that ran and had not enrolled when EC2 was asked at `looked_at`.
    """

    id = pw.AutoField()
    stage_id: int
    stage = pw.ForeignKeyField(Stage, unique=True, backref="scaling")
    limits = pw.JSONField()
    policies = pw.JSONField()
    actuator = pw.JSONField(null=True)
    drain_playbook = pw.TextField(null=True)
    is_enabled = pw.BooleanField(default=False)
    is_dry_run = pw.BooleanField(default=False)
    updated_by = pw.TextField()
    updated_at = UtcDateTimeField()
    last_out_at = UtcDateTimeField(null=True)
    last_in_at = UtcDateTimeField(null=True)
    problem_code = pw.TextField(null=True)
    problem_params = pw.JSONField(null=True)
    problem_at = UtcDateTimeField(null=True)
    findings = pw.JSONField(default=list)
    hook_problem_code = pw.TextField(null=True)
    hook_problem_params = pw.JSONField(null=True)
    expected = pw.JSONField(null=True)
    looked_at = UtcDateTimeField(null=True)


class ScalingDecision(_Table):
    """One decision with the numbers it saw. `status`: unchanged, planned, acting, done, failed or dry_run.

    `reasons`: codes of codes.scaling.Plan with their parameters; `veto_code`: the last one, where it forbade a change.
    `readings`: what each signal was. `error_…`: why it failed (Failure).
    """

    id = pw.AutoField()
    stage_id: int
    stage = pw.ForeignKeyField(Stage, backref="scaling_decisions", index=False)
    at = UtcDateTimeField()
    action = pw.TextField()
    from_capacity = pw.IntegerField()
    to_capacity = pw.IntegerField()
    serving = pw.IntegerField()
    reasons = pw.JSONField()
    veto_code = pw.TextField(null=True)
    readings = pw.JSONField()
    status = pw.TextField()
    token = pw.TextField()
    instances = pw.JSONField(default=list)
    run_id = pw.IntegerField(null=True)
    error_code = pw.TextField(null=True)
    error_params = pw.JSONField(null=True)
    ended_at = UtcDateTimeField(null=True)

    class Meta:
        indexes = ((("stage", "at"), False),)


class LifecycleAction(_Table):
    """An Auto Scaling group waits for an answer about an instance (scaling/lifecycle/).

    `transition`: launching or terminating. `status`: waiting, continued, abandoned or over (AWS stopped waiting).
    `reason_…`: what it waits for, or why it was answered as it was (codes.scaling.Lifecycle).
    """

    id = pw.AutoField()
    stage_id: int
    stage = pw.ForeignKeyField(Stage, backref="lifecycle_actions", index=False)
    instance = pw.TextField()
    transition = pw.TextField()
    hook = pw.TextField()
    token = pw.TextField(null=True)
    status = pw.TextField()
    reason_code = pw.TextField(null=True)
    reason_params = pw.JSONField(null=True)
    run_id = pw.IntegerField(null=True)
    at = UtcDateTimeField()
    heartbeat_at = UtcDateTimeField(null=True)
    ended_at = UtcDateTimeField(null=True)

    class Meta:
        indexes = ((("stage", "at"), False),)


LifecycleAction.add_index(
    LifecycleAction.index(
        LifecycleAction.stage,
        LifecycleAction.instance,
        LifecycleAction.transition,
        unique=True,
        name="lifecycle_action_open",
    ).where(LifecycleAction.ended_at.is_null())
)


TABLES: tuple[type[pw.Model], ...] = (
    ServiceState,
    JobTick,
    User,
    ApiToken,
    Event,
    Project,
    Stage,
    StageLock,
    JoinToken,
    Secret,
    Host,
    Transition,
    Conflict,
    Release,
    Run,
    RunInventory,
    RunHost,
    RunEvent,
    RunLogChunk,
    Schedule,
    Webhook,
    WebhookDelivery,
    Notification,
    Notice,
    MetricFrame,
    StageScaling,
    ScalingDecision,
    LifecycleAction,
)
