"""Inventories for Ansible, and known_hosts for ssh."""

from __future__ import annotations

import datetime as dt
import gzip

from flask import Response, request
from pydantic import BaseModel, Field
from pydantic_core import to_json

from inventory_service.accounts.roles import VIEWER
from inventory_service.deployments.launching import requests
from inventory_service.deployments.runs import snapshot
from inventory_service.errors import InvalidError
from inventory_service.registry import inventory as rendering
from inventory_service.registry import known_hosts, liveness, names, past
from inventory_service.registry.listing import read_present
from inventory_service.web import answers, auth, context
from inventory_service.web.api.common import Moment, RunPath, StagePath, blueprint, checked_states

api = blueprint("inventory", "Who is live, in Ansible's own format")

_GZIP_FROM = 1024


class InventoryQuery(BaseModel):
    state: str | None = Field(None, max_length=80, description="States to list; live and late when left out")
    at: Moment | None = Field(None, description="As it was at this time")
    group: str | None = Field(
        None,
        max_length=400,
        description="Only hosts in one of these groups of the stage, comma-separated; not with `at`",
    )


class KnownHostsQuery(BaseModel):
    group: str | None = Field(None, max_length=400, description="Only hosts in one of these groups")


@api.get(
    "/stages/<project>/<stage>/inventory",
    summary="Ansible's --list JSON",
    responses={"200": answers.INVENTORY, "304": answers.NOT_MODIFIED},
)
@auth.access(VIEWER)
def get_inventory(path: StagePath, query: InventoryQuery) -> Response:
    """Live hosts only, unless asked. Carries an ETag and is compressed where the client takes gzip."""
    stage = auth.reach_stage(path.project, path.stage)
    if query.at is None:
        states, groups = _states(query.state), _groups(query.group)
        listing = rendering.render(stage, expiry=context.expiry(), states=states, groups=groups)
        return _answer(*rendering.to_text(listing))
    if query.group is not None:
        raise InvalidError.at("group", "Groups of the past are not known; leave out `group` or `at`.")
    moment = query.at.astimezone(dt.UTC)
    then = context.states_at(stage, moment)
    apart = past.conflicts_at(stage, moment)
    members = {host: state for host, state in then.items() if host.id not in apart}
    about = past.about(stage, moment)
    return _answer(to_json(rendering.render_past(stage, members, about=about, states=_states(query.state))))


def _states(text: str | None) -> tuple[str, ...]:
    states = checked_states(text) if text else liveness.LISTED
    if liveness.GONE in states:
        raise InvalidError.at("state", "Hosts that have gone are in no inventory; `at` tells who was there before.")
    return states


def _groups(text: str | None) -> frozenset[str]:
    """The groups asked for, checked; empty when all hosts are."""
    return frozenset(names.check_group(group, "group") for group in text.split(",")) if text else frozenset()


def _answer(body: bytes, tag: str | None = None) -> Response:
    response = Response(body, mimetype="application/json")
    response.headers["Vary"] = "Accept-Encoding, Authorization"
    response.headers["Cache-Control"] = "private, no-cache"
    if tag is not None:
        response.set_etag(tag)
        response.make_conditional(request)
    return _compress(response) if response.status_code == 200 else response  # noqa: PLR2004


def _compress(response: Response) -> Response:
    body = response.get_data()
    if len(body) >= _GZIP_FROM and request.accept_encodings["gzip"] > 0:
        response.set_data(gzip.compress(body, compresslevel=1))
        response.headers["Content-Encoding"] = "gzip"
    return response


@api.get(
    "/stages/<project>/<stage>/known_hosts",
    summary="known_hosts of the stage's live hosts",
    responses={"200": answers.text("known_hosts")},
)
@auth.access(VIEWER)
def get_known_hosts(path: StagePath, query: KnownHostsQuery) -> Response:
    """Text for ssh's UserKnownHostsFile: the keys that hosts reported when they enrolled."""
    stage = auth.reach_stage(path.project, path.stage)
    expiry, present = context.expiry(), read_present(stage, groups=_groups(query.group))
    lines = known_hosts.render(host for host in present if expiry.is_listed(host, stage))
    return Response(lines, mimetype="text/plain")


@api.get("/runs/<int:run>/inventory", summary="The inventory that a run froze", responses={"200": answers.INVENTORY})
@auth.access(VIEWER)
def get_run_inventory(path: RunPath) -> Response:
    """404 until the run has started."""
    return _answer(to_json(snapshot.inventory(auth.reach_run(requests.get(path.run)))))
