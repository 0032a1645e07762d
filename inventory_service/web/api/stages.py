"""Stages: settings, lock, join tokens, releases, playbooks."""

from __future__ import annotations

from typing import Literal

from flask import Response
from pydantic import BaseModel, Field

from inventory_service.accounts.roles import ADMIN, OPERATOR, VIEWER
from inventory_service.deployments import locks, releases, variables
from inventory_service.deployments.launching import checks, launch, requests
from inventory_service.deployments.source import playbooks
from inventory_service.models import JoinToken
from inventory_service.registry import join_tokens, stages, sweep
from inventory_service.registry.stage_settings import StageChange, check_playbook, check_revision_name
from inventory_service.registry.stages import stage_name
from inventory_service.web import answers, auth, context
from inventory_service.web.api.common import (
    Group,
    Moment,
    Paging,
    ProjectPath,
    Slug,
    StagePath,
    StageTokenPath,
    Strict,
    blueprint,
)

api = blueprint("stages", "Deployment targets: their timings, lock, join tokens and releases")


class StageBody(StageChange):
    name: Slug = Field(max_length=60)


class CheckQuery(BaseModel):
    revision: str | None = Field(
        None, max_length=200, description="Branch, tag or commit; the stage's own when left out"
    )
    playbook: str | None = Field(None, max_length=255, description="For a run of this playbook instead of a deploy")


class PromptsQuery(BaseModel):
    kind: Literal["deploy", "rollback", "converge", "playbook"] = "deploy"
    playbook: str | None = Field(None, max_length=255, description="For the kind playbook")
    revision: str | None = Field(None, max_length=200, description="For deploy and playbook")
    release: int | None = Field(None, ge=1, le=2**31, description="For rollback")


class LockBody(Strict):
    reason: str = Field(min_length=1, max_length=500)


class JoinTokenBody(Strict):
    description: str = Field("", max_length=200)
    groups: list[Group] = Field(default=[], max_length=32)
    networks: list[str] = Field(default=[], max_length=64)
    maximum_uses: int | None = Field(None, ge=1, le=1_000_000)
    expires_at: Moment | None = None


@api.get("/projects/<project>/stages", summary="A project's stages", responses={"200": answers.Page[answers.Stage]})
@auth.access(VIEWER)
def list_stages(path: ProjectPath, query: Paging) -> answers.Page[answers.Stage]:
    """By name."""
    rows = stages.list_stages(auth.reach_project(path.project))
    shown = [answers.Stage.of(row) for row in rows if query.cursor is None or row.name > query.cursor]
    return answers.page(shown, limit=query.limit, cursor_of=lambda one: one.name)


@api.post("/projects/<project>/stages", summary="Add a stage", responses={"201": answers.Stage})
@auth.access(ADMIN)
def create_stage(path: ProjectPath, body: StageBody) -> tuple[answers.Stage, int]:
    """201 with the stage."""
    project = auth.reach_project(path.project)
    row = stages.create_stage(project, name=body.name, change=body, actor=auth.caller().actor, at=context.now())
    return answers.Stage.of(row), 201


@api.get("/stages/<project>/<stage>", summary="One stage", responses={"200": answers.Stage})
@auth.access(VIEWER)
def get_stage(path: StagePath) -> answers.Stage:
    """With its locks and its desired release."""
    return answers.Stage.of(auth.reach_stage(path.project, path.stage))


@api.patch("/stages/<project>/<stage>", summary="Change a stage", responses={"200": answers.Stage})
@auth.access(ADMIN)
def patch_stage(path: StagePath, body: StageChange) -> answers.Stage:
    """Only the given fields change."""
    row = auth.reach_stage(path.project, path.stage)
    return answers.Stage.of(stages.update_stage(row, change=body, actor=auth.caller().actor, at=context.now()))


@api.delete("/stages/<project>/<stage>", summary="Archive a stage", responses={"204": None})
@auth.access(ADMIN)
def delete_stage(path: StagePath) -> Response:
    """Out of sight; its hosts' tokens end, its history stays."""
    stages.archive_stage(auth.reach_stage(path.project, path.stage), actor=auth.caller().actor, at=context.now())
    return Response(status=204)


@api.put("/stages/<project>/<stage>/lock", summary="Lock a stage: queued runs wait", responses={"200": answers.Lock})
@auth.access(OPERATOR)
def put_lock(path: StagePath, body: LockBody) -> answers.Lock:
    """The reason is shown to everybody who would deploy."""
    stage = auth.reach_stage(path.project, path.stage)
    row = locks.lock(stage, reason=body.reason, actor=auth.caller().actor, at=context.now())
    return answers.Lock.of(row)


@api.delete("/stages/<project>/<stage>/lock", summary="Unlock a stage", responses={"204": None})
@auth.access(OPERATOR)
def delete_lock(path: StagePath) -> Response:
    """204, also when it was not locked."""
    locks.unlock(auth.reach_stage(path.project, path.stage), actor=auth.caller().actor, at=context.now())
    return Response(status=204)


@api.post(
    "/stages/<project>/<stage>/expire",
    summary="Believe the silence: late hosts become stale now",
    responses={"200": answers.Expired},
)
@auth.access(OPERATOR)
def expire_hosts(path: StagePath) -> answers.Expired:
    """Ends the stage's freeze. For the operator who knows that the silent machines are really gone."""
    stage = auth.reach_stage(path.project, path.stage)
    count = sweep.expire_late(stage, actor=auth.caller().actor, expiry=context.expiry())
    return answers.Expired(expired=count)


@api.get(
    "/stages/<project>/<stage>/join-tokens",
    summary="A stage's join tokens",
    responses={"200": answers.Page[answers.JoinToken]},
)
@auth.access(OPERATOR)
def list_join_tokens(path: StagePath) -> answers.Page[answers.JoinToken]:
    """Without their secrets."""
    stage = auth.reach_stage(path.project, path.stage)
    rows = JoinToken.select().where(JoinToken.stage == stage).order_by(JoinToken.created_at.desc())
    return answers.whole([answers.JoinToken.of(row) for row in rows])


@api.post("/stages/<project>/<stage>/join-tokens", summary="Make a join token", responses={"201": answers.NewJoinToken})
@auth.access(OPERATOR)
def create_join_token(path: StagePath, body: JoinTokenBody) -> tuple[answers.NewJoinToken, int]:
    """201; the answer's `token` is the secret, shown this once."""
    stage = auth.reach_stage(path.project, path.stage)
    row, token = join_tokens.create(
        stage,
        actor=auth.caller().actor,
        at=context.now(),
        description=body.description,
        groups=body.groups,
        networks=body.networks,
        maximum_uses=body.maximum_uses,
        expires_at=body.expires_at,
    )
    return answers.NewJoinToken.with_secret(row, token), 201


@api.delete("/stages/<project>/<stage>/join-tokens/<token>", summary="Revoke a join token", responses={"204": None})
@auth.access(OPERATOR)
def delete_join_token(path: StageTokenPath) -> Response:
    """Hosts that it let in stay."""
    stage = auth.reach_stage(path.project, path.stage)
    join_tokens.revoke(stage, path.token, actor=auth.caller().actor, at=context.now())
    return Response(status=204)


@api.get(
    "/stages/<project>/<stage>/releases",
    summary="A stage's releases, newest first",
    responses={"200": answers.Page[answers.Release]},
)
@auth.access(VIEWER)
def list_releases(path: StagePath) -> answers.Page[answers.Release]:
    """The newest fifty."""
    stage = auth.reach_stage(path.project, path.stage)
    return answers.whole([answers.Release.of(row) for row in releases.list_releases(stage)])


@api.get(
    "/stages/<project>/<stage>/variables",
    summary="A stage's effective variables",
    responses={"200": answers.StageVariables},
)
@auth.access(VIEWER)
def list_variables(path: StagePath) -> answers.StageVariables:
    """What a run of now would see: each with where it comes from and what it overrides.

    `changed_since_release`: what convergence and rollbacks to the desired release still see otherwise.
    """
    stage = auth.reach_stage(path.project, path.stage)
    found = variables.effective(variables.of_stage(stage))
    return answers.StageVariables.of(stage_name(stage), found, variables.changed_since_release(stage))


@api.get(
    "/stages/<project>/<stage>/playbooks",
    summary="What the stage's source offers",
    responses={"200": answers.Page[answers.Playbook]},
)
@auth.access(VIEWER)
def list_playbooks(path: StagePath) -> answers.Page[answers.Playbook]:
    """Playbooks of the default revision, with the first comment line of each as its description."""
    stage = auth.reach_stage(path.project, path.stage)
    return answers.whole(
        [answers.Playbook.of(one) for one in playbooks.list_playbooks(stage, context.services().settings)]
    )


@api.get(
    "/stages/<project>/<stage>/prompts",
    summary="What a run would ask at its launch",
    responses={"200": answers.Prompts},
)
@auth.access(OPERATOR)
def list_prompts(path: StagePath, query: PromptsQuery) -> answers.Prompts:
    """The prompts of the playbook that such a run would use, in order; looks into the source as it is now."""
    stage = auth.reach_stage(path.project, path.stage)
    checked = launch.check(stage, requests.RunRequest(**query.model_dump()))
    settings = context.services().settings
    found = launch.questions(stage, checked, settings, patience_seconds=launch.QUESTION_SECONDS)
    items = [answers.Prompt.of(one) for one in found]
    return answers.Prompts(playbook=checked.playbook, items=items, next=None)


@api.get(
    "/stages/<project>/<stage>/check",
    summary="Every reason why a deploy is impossible or unwise now",
    responses={"200": answers.Check},
)
@auth.access(OPERATOR)
def check_stage(path: StagePath, query: CheckQuery) -> answers.Check:
    """Looks at hosts, lock, worker, disk, source and the playbooks' syntax; takes a second or more."""
    stage = auth.reach_stage(path.project, path.stage)
    revision = check_revision_name(query.revision) if query.revision else None
    playbook = check_playbook(query.playbook) if query.playbook else None
    settings, expiry = context.services().settings, context.expiry()
    return answers.Check.of(checks.check_stage(stage, settings, expiry=expiry, revision=revision, playbook=playbook))
