"""Secrets of projects and stages: set, listed and removed. No answer holds a value."""

from __future__ import annotations

import base64
from typing import Literal

from flask import Response
from pydantic import Field

from inventory_service.accounts.roles import ADMIN, VIEWER
from inventory_service.errors import InvalidError
from inventory_service.vault import kinds, store
from inventory_service.vault.store import Scope
from inventory_service.web import answers, auth, context
from inventory_service.web.api.common import (
    ProjectPath,
    ProjectSecretPath,
    StagePath,
    StageSecretPath,
    Strict,
    blueprint,
)

api = blueprint("secrets", "Encrypted values that runs get: variables, files, passwords, keys")


class SecretBody(Strict):
    kind: Literal["variable", "file", "vault_password", "become_password", "ssh_key", "git_token", "git_key"] = Field(
        "variable", description="What the value becomes in a run"
    )
    value: str | None = Field(None, max_length=kinds.LARGEST, description="Text; never answered again")
    value_base64: str | None = Field(
        None, max_length=2 * kinds.LARGEST, description="Instead of `value`, for a file of any bytes"
    )

    def content(self) -> bytes:
        """The value's bytes. Raises InvalidError."""
        if (self.value is None) == (self.value_base64 is None):
            raise InvalidError.at("value", "Give the value as `value`, or as `value_base64`.")
        if self.value is not None:
            return self.value.encode()
        try:
            return base64.b64decode(self.value_base64 or "", validate=True)
        except ValueError as error:
            raise InvalidError.at("value_base64", "value_base64 is not base64.") from error


@api.get(
    "/projects/<project>/secrets",
    summary="A project's secrets, without values",
    responses={"200": answers.Page[answers.Secret]},
)
@auth.access(VIEWER)
def list_project_secrets(path: ProjectPath) -> answers.Page[answers.Secret]:
    """By name: kind, who set it, when."""
    rows = store.list_own(Scope(auth.reach_project(path.project)))
    return answers.whole([answers.Secret.of(row) for row in rows])


@api.put(
    "/projects/<project>/secrets/<name>",
    summary="Set a project's secret",
    responses={"200": answers.Secret, "201": answers.Secret},
)
@auth.access(ADMIN)
def put_project_secret(path: ProjectSecretPath, body: SecretBody) -> tuple[answers.Secret, int]:
    """201 for a new one, 200 for one that was there. Every stage's runs get it, unless the stage has its own."""
    return _put(Scope(auth.reach_project(path.project)), path.name, body)


@api.delete("/projects/<project>/secrets/<name>", summary="Remove a project's secret", responses={"204": None})
@auth.access(ADMIN)
def delete_project_secret(path: ProjectSecretPath) -> Response:
    """Runs that have begun keep it until they end."""
    return _delete(Scope(auth.reach_project(path.project)), path.name)


@api.get(
    "/stages/<project>/<stage>/secrets",
    summary="What a stage's runs get, without values",
    responses={"200": answers.Page[answers.Secret]},
)
@auth.access(VIEWER)
def list_stage_secrets(path: StagePath) -> answers.Page[answers.Secret]:
    """By name: the stage's own, and the project's that it does not override (`of` says which)."""
    rows = store.list_for_stage(auth.reach_stage(path.project, path.stage))
    return answers.whole([answers.Secret.of(row) for row in rows])


@api.put(
    "/stages/<project>/<stage>/secrets/<name>",
    summary="Set a stage's secret",
    responses={"200": answers.Secret, "201": answers.Secret},
)
@auth.access(ADMIN)
def put_stage_secret(path: StageSecretPath, body: SecretBody) -> tuple[answers.Secret, int]:
    """201 for a new one, 200 for one that was there. It beats the project's of the same name."""
    return _put(_scope(path), path.name, body)


@api.delete("/stages/<project>/<stage>/secrets/<name>", summary="Remove a stage's secret", responses={"204": None})
@auth.access(ADMIN)
def delete_stage_secret(path: StageSecretPath) -> Response:
    """The project's of the same name, if there is one, holds again."""
    return _delete(_scope(path), path.name)


def _scope(path: StagePath) -> Scope:
    stage = auth.reach_stage(path.project, path.stage)
    return Scope(stage.project, stage)


def _put(scope: Scope, name: str, body: SecretBody) -> tuple[answers.Secret, int]:
    row, is_new = store.put(
        scope,
        name,
        kind=body.kind,
        value=body.content(),
        settings=context.services().settings,
        actor=auth.caller().actor,
        at=context.now(),
    )
    return answers.Secret.of(row), 201 if is_new else 200


def _delete(scope: Scope, name: str) -> Response:
    store.remove(scope, name, actor=auth.caller().actor, at=context.now())
    return Response(status=204)
