"""What the API's modules share: blueprints, path and query models, paging."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any

from flask_openapi import APIBlueprint, Tag
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from inventory_service.accounts import roles
from inventory_service.errors import InvalidError
from inventory_service.registry import liveness
from inventory_service.web import auth

_PROBLEM = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
_RESPONSES: Any = {
    "400": {"description": "The body or the request is malformed", **_PROBLEM},
    "401": {"description": "No token, or one that does not hold", **_PROBLEM},
    "403": {"description": "The token does not reach this far", **_PROBLEM},
    "404": {"description": "There is no such thing, or not for this caller", **_PROBLEM},
    "409": {"description": "It contradicts the present state", **_PROBLEM},
    "410": {
        "description": "It existed and has ended: a host that has left must enrol again, an old log was removed",
        **_PROBLEM,
    },
    "413": {"description": "The body is too large", **_PROBLEM},
    "415": {"description": "The body is not JSON", **_PROBLEM},
    "422": {"description": "A value is not acceptable", **_PROBLEM},
    "503": {"description": "Busy; try again after Retry-After seconds", **_PROBLEM},
}


def _as_utc(moment: dt.datetime) -> dt.datetime:
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError as error:
        raise ValueError("this moment lies beyond the years 1 to 9999 of UTC") from error


def said(**schema: Any) -> Any:
    """A field whose rule the domain checks, in better words than a validator's; here it is told to clients."""
    return Field(json_schema_extra=schema)


Slug = Annotated[str, said(pattern="^[a-z][a-z0-9]*(-[a-z0-9]+)*$", minLength=1, maxLength=40)]
Group = Annotated[str, said(pattern="^[a-z][a-z0-9_]{0,62}$")]
Role = Annotated[str, said(enum=list(roles.ROLES))]
Password = Annotated[str, said(minLength=10)]


def _as_text(value: Any) -> Any:
    """Seconds since 1970 would be taken as well, and milliseconds, by a guess; the document says text."""
    if not isinstance(value, dt.datetime) and not re.match(r"\d{4}-\d\d-\d\d[Tt ]", str(value)):
        raise ValueError("write the time like 2026-11-23T14:03:00Z")
    if not isinstance(value, dt.datetime) and not re.search(r"[Tt ].*([Zz]|[+-]\d\d(:?\d\d)?)$", str(value)):
        raise ValueError("write the time with its zone, like 2026-11-23T14:03:00Z")
    return value


Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_as_text), AfterValidator(_as_utc)]


class Strict(BaseModel):
    """A request body: unknown fields are refused, so that a typing error is not lost, and 0 is not taken for false."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None


def blueprint(name: str, description: str) -> APIBlueprint:
    """An API blueprint under /api/v1, behind the access check."""
    made = APIBlueprint(
        name,
        __name__,
        url_prefix="/api/v1",
        abp_tags=[Tag(name=name, description=description)],
        abp_security=[{"token": []}],
        abp_responses=_RESPONSES,
    )
    made.before_request(auth.check_request)
    return made


class ProjectPath(BaseModel):
    project: str = Field(description="The project's name")


class StagePath(ProjectPath):
    stage: str = Field(description="The stage's name")


class StageHostPath(StagePath):
    address: str = Field(description="The host's IP address or DNS name")


class HostPath(BaseModel):
    host: str = Field(description="The host's id")


class RunPath(BaseModel):
    run: int = Field(description="The run's number")


class RunPairPath(RunPath):
    other: int = Field(description="The number of the run to compare with")


class TokenPath(BaseModel):
    token: str = Field(description="The token's id")


class StageTokenPath(StagePath):
    token: str = Field(description="The join token's id")


class ProjectSecretPath(ProjectPath):
    name: str = Field(description="The secret's name")


class StageSecretPath(StagePath):
    name: str = Field(description="The secret's name")


class UserPath(BaseModel):
    user: str = Field(description="The user's name")


def checked_states(text: str) -> tuple[str, ...]:
    """The states of a comma-separated list. Raises InvalidError for a word that is none: it would find nothing."""
    states = tuple(state.strip() for state in text.split(","))
    unknown = sorted(set(states) - set(liveness.STATES))
    if unknown:
        known = ", ".join(liveness.STATES)
        raise InvalidError.at("state", f"{', '.join(unknown)[:80]!r} is no state of a host. The states are {known}.")
    return states


class Paging(BaseModel):
    limit: int = Field(50, ge=1, le=500, description="How many at most")
    cursor: str | None = Field(None, max_length=64, description="The `next` of the page before")
