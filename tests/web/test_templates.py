"""Templates get answers: what they ask of one is a field of it. (Jinja itself writes nothing for what is not there.)"""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest
from flask import Flask
from jinja2 import nodes

import inventory_service
from inventory_service.web import answers
from inventory_service.web.answers import Answer

TEMPLATES = Path(inventory_service.__file__).parent / "web" / "templates"
# The answers by the names that all templates have for them.
ANSWERS: dict[str, type[Answer]] = {
    "stage": answers.Stage,
    "stage.desired_release": answers.DesiredRelease,
    "stage.expiry_paused": answers.ExpiryPaused,
    "stage.lock": answers.Lock,
    "host": answers.HostWithHistory,
    "desired": answers.Release,
    "run": answers.RunWithHosts,
    "running": answers.Run,
    "before": answers.Run,
    "after": answers.Run,
    "event": answers.Event,
    "schedule": answers.Schedule,
    "hook": answers.WebhookWithDeliveries,
    "delivery": answers.Delivery,
    "place": answers.Notification,
    "secret": answers.Secret,
}
# Where the name stands for something else.
OTHERS = {
    **dict.fromkeys(("_timeline.html", "timeline.html", "metrics.html", "run_diff.html"), ("host",)),
    "automation.html": ("event",),
    "webhook.html": ("hook",),
}


def asked(code: str, environment: jinja2.Environment) -> set[tuple[str, str]]:
    """(what, field) of each `what.field` that a template asks for."""
    found = environment.parse(code).find_all(nodes.Getattr)
    return {(path, one.attr) for one in found if (path := _path(one.node))}


def _path(node: nodes.Node) -> str:
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr():
            return f"{_path(node.node)}.{node.attr}"
    return ""


@pytest.mark.parametrize("file", sorted(TEMPLATES.glob("*.html")), ids=lambda file: file.name)
def test_it_asks_an_answer_for_its_fields(file: Path, app: Flask) -> None:
    told = {name: kind for name, kind in ANSWERS.items() if name not in OTHERS.get(file.name, ())}
    found = {(what, field) for what, field in asked(file.read_text(), app.jinja_env) if what in told}
    unknown = {
        f"{what}.{field}"
        for what, field in found
        if field not in {**told[what].model_fields, **told[what].model_computed_fields}
    }
    assert unknown == set()
