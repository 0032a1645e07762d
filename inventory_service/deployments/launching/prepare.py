"""From what somebody asks for to a request that can be queued: signed, its answers checked, its secrets sealed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from inventory_service.deployments.launching import requests
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.deployments.prompting import answering
from inventory_service.models import Stage
from inventory_service.settings import Settings
from inventory_service.vault import launch


def prepare(stage: Stage, request: RunRequest, secret: Mapping[str, Any], settings: Settings) -> RunRequest:
    """The request as `request_run` takes it. `secret`: its secret extra vars.

    A key that made a run before asks nothing again. Raises InvalidError, and as `requests.check` does.
    """
    signed = requests.signed(stage, request, settings, secret=secret)
    plain, hidden = request.extra_vars, dict(secret)
    if not requests.is_known(request.idempotency_key):
        plain, hidden = answering.settle(stage, signed, secret, settings)
    return dataclasses.replace(
        signed, extra_vars=plain, secret_names=tuple(hidden), sealed_vars=launch.seal(stage, hidden, settings)
    )
