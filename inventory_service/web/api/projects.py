"""Projects."""

from __future__ import annotations

from typing import Any

from flask import Response
from pydantic import Field

from inventory_service.accounts.roles import ADMIN, VIEWER
from inventory_service.deployments.source import source_credentials
from inventory_service.errors import ForbiddenError
from inventory_service.registry import stages
from inventory_service.web import answers, auth, context
from inventory_service.web.api.common import Paging, ProjectPath, Slug, Strict, blueprint

api = blueprint("projects", "Applications: where their playbooks and releases come from")


class ProjectBody(Strict):
    name: Slug = Field(max_length=60)
    source: str = Field(
        max_length=1000,
        description="A git URL, or the absolute path of a repository or folder/. A token in it becomes a secret.",
    )
    description: str = Field("", max_length=500)
    variables: dict[str, Any] = {}


class ProjectChange(Strict):
    source: str | None = Field(None, max_length=1000)
    description: str | None = Field(None, max_length=500)
    variables: dict[str, Any] | None = None


@api.get("/projects", summary="All projects", responses={"200": answers.Page[answers.Project]})
@auth.access(VIEWER)
def list_projects(query: Paging) -> answers.Page[answers.Project]:
    """By name; only those that the caller reaches."""
    rows = [row for row in stages.list_projects() if auth.caller().reaches(row.name)]
    shown = [answers.Project.of(row) for row in rows if query.cursor is None or row.name > query.cursor]
    return answers.page(shown, limit=query.limit, cursor_of=lambda one: one.name)


@api.post("/projects", summary="Add a project", responses={"201": answers.Project})
@auth.access(ADMIN)
def create_project(body: ProjectBody) -> tuple[answers.Project, int]:
    """201 with the project. An admin of some projects can add only those."""
    if not auth.caller().reaches(body.name):
        raise ForbiddenError(f"{auth.caller().actor.name} is no admin of a project {body.name!r}.")
    row = source_credentials.create_project(
        name=body.name,
        source=body.source,
        settings=context.services().settings,
        description=body.description,
        variables=body.variables,
        actor=auth.caller().actor,
        at=context.now(),
    )
    return answers.Project.of(row), 201


@api.get("/projects/<project>", summary="One project with its stages", responses={"200": answers.ProjectWithStages})
@auth.access(VIEWER)
def get_project(path: ProjectPath) -> answers.ProjectWithStages:
    """With its stages."""
    row = auth.reach_project(path.project)
    return answers.ProjectWithStages.with_stages(row, stages.list_stages(row))


@api.patch("/projects/<project>", summary="Change a project", responses={"200": answers.Project})
@auth.access(ADMIN)
def patch_project(path: ProjectPath, body: ProjectChange) -> answers.Project:
    """Only the given fields change."""
    row = auth.reach_project(path.project)
    changes = body.model_dump(exclude_none=True)
    changed = source_credentials.update_project(
        row, changes=changes, settings=context.services().settings, actor=auth.caller().actor, at=context.now()
    )
    return answers.Project.of(changed)


@api.delete("/projects/<project>", summary="Archive a project", responses={"204": None})
@auth.access(ADMIN)
def delete_project(path: ProjectPath) -> Response:
    """Out of sight with its stages; its history stays."""
    stages.archive_project(auth.reach_project(path.project), actor=auth.caller().actor, at=context.now())
    return Response(status=204)
