"""Runs: launch, follow, cancel."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Response, request, send_file
from pydantic import BaseModel, Field

from inventory_service.accounts.roles import OPERATOR, VIEWER
from inventory_service.codes import statuses
from inventory_service.deployments.comparing import run_diff
from inventory_service.deployments.launching import launch, requests
from inventory_service.deployments.runs import history, logs, snapshot
from inventory_service.errors import InvalidError
from inventory_service.models import Run
from inventory_service.web import answers, auth, context, export, log_stream
from inventory_service.web.api.common import Paging, RunPairPath, RunPath, Strict, blueprint

api = blueprint("runs", "Tracked executions of playbooks")

_HIGHEST = 2**62
Word = Annotated[str, Field(max_length=253)]


class LaunchBody(Strict):
    """What a launch may say, whether it is a new one or a repeat."""

    if_locked: Literal["wait", "refuse"] = "wait"
    allow_paused_expiry: bool = Field(default=False, description="Run although it is unclear which hosts are live")
    allow_frozen: bool = Field(
        default=False, description="As allow_paused_expiry", json_schema_extra={"deprecated": True}
    )
    override_lock: str | None = Field(
        None, min_length=1, max_length=500, description="Why to go past the lock that a person holds; audited"
    )

    @property
    def allows_paused_expiry(self) -> bool:
        """By its name or by the former one."""
        return self.allow_paused_expiry or self.allow_frozen


class RunBody(LaunchBody):
    stage: str = Field(
        max_length=130, description="project/stage", pattern=r"^[^/]+/[^/]+$", examples=["shop/production"]
    )
    kind: Literal["deploy", "rollback", "converge", "playbook"]
    playbook: str | None = Field(None, max_length=255)
    revision: str | None = Field(None, max_length=200)
    release: int | None = Field(None, ge=1, le=2**31)
    limit: str | None = Field(None, max_length=20_000)
    exclude: list[Word] = Field(default=[], max_length=1000)
    tags: list[Word] = Field(default=[], max_length=50)
    skip_tags: list[Word] = Field(default=[], max_length=50)
    check: bool = False
    diff: bool = False
    extra_vars: dict[str, Any] = Field({}, description='A value {"$secret": "NAME"} stands for that secret')
    extra_vars_secret: dict[str, Any] = Field(
        {}, description="Extra vars that are encrypted, masked in all output, and erased when the run has ended"
    )
    comment: str = Field("", max_length=2000)
    release_quarantined: bool = Field(
        default=False, description="Converge: every quarantined host of the stage is let go first"
    )


class RepeatBody(LaunchBody):
    mode: Literal["exact", "live"] = "exact"
    comment: str | None = Field(None, max_length=2000, description="The run's own when left out")
    extra_vars_secret: dict[str, Any] = Field({}, description="The run's secret extra vars again, which were not kept")


class RunQuery(Paging):
    stage: str | None = Field(None, max_length=130)
    status: Literal["queued", "running", "successful", "failed", "canceled", "timeout", "lost"] | None = None
    kind: Literal["deploy", "rollback", "converge", "playbook"] | None = None
    user: str | None = Field(None, max_length=100)
    q: str | None = Field(None, max_length=100, description="Part of the comment, the revision or the playbook")


class EventQuery(BaseModel):
    after: int = Field(0, ge=0, le=2**62)
    limit: int = Field(200, ge=1, le=2000)
    host: str | None = Field(None, max_length=253, description="The host's name")
    task: str | None = Field(None, max_length=1000, description="Part of the task's name")
    status: Literal["ok", "changed", "failed", "unreachable", "skipped", "ignored"] | None = None
    q: str | None = Field(None, max_length=200, description="Part of a message, or of what Ansible printed for it")
    failed: bool | None = Field(None, description="Only what failed or was unreachable")


class LogQuery(BaseModel):
    follow: bool = False
    start: int = Field(0, ge=0, le=2**62, description="Byte offset to begin at")
    end: int | None = Field(None, ge=0, le=2**62, description="Byte offset to end before; an event's log_end")


class ExportQuery(BaseModel):
    format: Literal["tar", "junit"] = Field("tar", description="Everything as .tar.gz, or the results as JUnit XML")


@api.post("/runs", summary="Launch a run", responses={"202": answers.Launched})
@auth.access(OPERATOR)
def create_run(body: RunBody) -> tuple[answers.Launched, int]:
    """202 at once; the run goes on by itself. A repeated Idempotency-Key answers the run that it made before;
    with another body it is refused with 409.

    Prompts of the playbook are answered in `extra_vars`, secret ones in `extra_vars_secret`; what is missing or does
    not fit is answered 422 with `errors`, one for each prompt.
    """
    stage = auth.reach_stage(*body.stage.split("/", 1))
    wanted = requests.RunRequest(
        kind=body.kind,
        playbook=body.playbook,
        revision=body.revision,
        release=body.release,
        limit=body.limit,
        exclude=tuple(body.exclude),
        tags=tuple(body.tags),
        skip_tags=tuple(body.skip_tags),
        is_check=body.check,
        is_diff=body.diff,
        extra_vars=body.extra_vars,
        secret_vars=body.extra_vars_secret,
        comment=body.comment,
        if_locked=body.if_locked,
        allows_paused_expiry=body.allows_paused_expiry,
        idempotency_key=_idempotency_key(),
        override_lock=body.override_lock,
        releases_quarantined=body.release_quarantined,
    )
    settings = context.services().settings
    run = launch.launch(stage, wanted, actor=auth.caller().actor, expiry=context.expiry(), settings=settings)
    return answers.Launched.of(run), 202


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and (not key.isascii() or not key.isprintable() or not 0 < len(key) <= 200):  # noqa: PLR2004
        raise InvalidError.at("Idempotency-Key", "The header Idempotency-Key needs 1 to 200 printable characters.")
    return f"{auth.caller().actor.name}:{key}" if key else None


@api.get("/runs", summary="Runs, newest first", responses={"200": answers.Page[answers.Run]})
@auth.access(VIEWER)
def list_runs(query: RunQuery) -> answers.Page[answers.Run]:
    """Filtered by stage, status, kind, user, or text of comment, revision and playbook."""
    project, _, name = (query.stage or "").partition("/")
    stage = auth.reach_stage(project, name) if query.stage else None
    before = min(int(query.cursor), _HIGHEST) if query.cursor and query.cursor.isdecimal() else None
    rows = requests.list_runs(
        stage=stage,
        status=query.status,
        kind=query.kind,
        user=query.user,
        text=query.q,
        projects=auth.caller().projects,
        before=before,
        limit=query.limit + 1,
    )
    return answers.page([answers.Run.of(row) for row in rows], limit=query.limit, cursor_of=lambda one: one.id)


@api.get(
    "/runs/<int:run>", summary="One run with snapshot and per-host results", responses={"200": answers.RunWithHosts}
)
@auth.access(VIEWER)
def get_run(path: RunPath) -> answers.RunWithHosts:
    """The snapshot lacks the inventory, which has its own route."""
    row = _run(path)
    return answers.RunWithHosts.with_hosts(row, history.hosts_of_run(row))


def _run(path: RunPath) -> Run:
    return auth.reach_run(requests.get(path.run))


@api.get("/runs/<int:run>/variables", summary="A run's effective variables", responses={"200": answers.RunVariables})
@auth.access(VIEWER)
def get_run_variables(path: RunPath) -> answers.RunVariables:
    """Each with where it came from (project, stage, release, run, server) and what it overrides.

    404 until the run has started. Secrets are named, never shown.
    """
    row = _run(path)
    return answers.RunVariables.of(row.id, snapshot.effective_variables(row))


@api.get("/runs/<int:run>/events", summary="A run's events", responses={"200": answers.Page[answers.Event]})
@auth.access(VIEWER)
def list_events(path: RunPath, query: EventQuery) -> answers.Page[answers.Event]:
    """In order; `next` is the `after` of the following page. Filters add up; text is found whatever its case."""
    row = _run(path)
    rows = history.list_events(
        row,
        log=logs.open_log(row, context.services().settings),
        after=query.after,
        limit=query.limit + 1,
        wanted=history.EventFilter(query.host, query.task, query.status, query.q, is_failed=bool(query.failed)),
    )
    return answers.page([answers.Event.of(row) for row in rows], limit=query.limit, cursor_of=lambda one: one.counter)


@api.get("/runs/<int:run>/log", summary="A run's log", responses={"200": answers.text("The log", "text/event-stream")})
@auth.access(VIEWER)
def get_log(path: RunPath, query: LogQuery) -> Response:
    """Text; with ?follow=1 until the run has ended, as server-sent events where the client accepts those.

    A follower resumes with the header Last-Event-ID (server-sent events) or with ?start= (text).
    """
    row = _run(path)
    log = logs.open_log(row, context.services().settings)
    start = log_stream.resume_from(request.headers.get("Last-Event-ID"), query.start)
    if not query.follow:
        return Response(log_stream.whole(log, start, query.end), mimetype="text/plain; charset=utf-8")
    streams = context.services().streams
    pieces = log_stream.follow(log, start, is_ended=lambda: _ended_as(row.id), stopping=streams.stopping)
    is_sse = request.accept_mimetypes.best == "text/event-stream"
    body = streams.counted(log_stream.as_events(pieces) if is_sse else log_stream.as_text(pieces))
    response = Response(body, mimetype="text/event-stream" if is_sse else "text/plain; charset=utf-8")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _ended_as(run_id: int) -> str | None:
    status = requests.get(run_id).status
    return status if status in statuses.ENDED else None


@api.get("/runs/<int:run>/export", summary="A run to take away", responses={"200": answers.EXPORT})
@auth.access(VIEWER)
def export_run(path: RunPath, query: ExportQuery) -> Response:
    """tar: run, snapshot, inventory, results, events as JSON lines, log and JUnit XML in one folder. Of a run whose
    events were removed it holds the rest; JUnit is then answered 410. A run that has not ended: 409.
    """
    row = _run(path)
    export.check_ended(row)
    settings = context.services().settings
    if query.format == "junit":
        logs.open_log(row, settings)
        response = Response(export.junit(row), mimetype="application/xml")
    else:
        log = None if row.events_removed_at else logs.open_log(row, settings)
        response = send_file(export.tar(row, log), mimetype="application/gzip")
    name = f"run-{row.id}.{'xml' if query.format == 'junit' else 'tar.gz'}"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@api.post("/runs/<int:run>/cancel", summary="Stop a run", responses={"202": answers.Launched})
@auth.access(OPERATOR)
def cancel_run(path: RunPath) -> tuple[answers.Launched, int]:
    """202: a running playbook is ended within seconds; the tasks in flight may complete on their hosts."""
    row = requests.cancel(_run(path), actor=auth.caller().actor, at=context.now())
    return answers.Launched.of(row), 202


@api.post("/runs/<int:run>/repeat", summary="Repeat a run", responses={"202": answers.Launched})
@auth.access(OPERATOR)
def repeat_run(path: RunPath, body: RepeatBody) -> tuple[answers.Launched, int]:
    """202. Honours Idempotency-Key.

    `exact`: the same commit, release, variables, extra vars and hosts; hosts that have left are listed as `gone`.
    `live`: the same release or commit with the same options, on the hosts that are live now.
    """
    row = _run(path)
    wanted = requests.RunRequest(
        kind=row.kind,
        repeats=row,
        repeat_mode=body.mode,
        secret_vars=body.extra_vars_secret,
        comment=row.comment if body.comment is None else body.comment,
        if_locked=body.if_locked,
        allows_paused_expiry=body.allows_paused_expiry,
        idempotency_key=_idempotency_key(),
        override_lock=body.override_lock,
    )
    settings = context.services().settings
    run = launch.launch(row.stage, wanted, actor=auth.caller().actor, expiry=context.expiry(), settings=settings)
    return answers.Launched.of(run), 202


@api.get("/runs/<int:run>/diff/<int:other>", summary="Two runs side by side", responses={"200": answers.RunDiff})
@auth.access(VIEWER)
def diff_runs(path: RunPairPath) -> answers.RunDiff:
    """What differs from `run` to `other`: commits, files, variables, hosts, options, versions; every task on each host.

    The runs may be of different stages. Secrets are compared by name and by when they were set.
    """
    before, after = (auth.reach_run(requests.get(number)) for number in (path.run, path.other))
    return answers.RunDiff.of(run_diff.compare(before, after, context.services().settings))
