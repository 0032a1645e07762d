"""Answers to a playbook's prompts: from `--prompt`, and on a terminal by asking."""

from __future__ import annotations

import sys
from typing import Any

import click

from inventory_service.cli.arguments import stage_path
from inventory_service.client import Client, ClientError
from inventory_service.deployments.prompting.prompts import TEXTAREA, AnswerError, Prompt
from inventory_service.text import harmless, shown_value

prompt_option = click.option(
    "--prompt",
    "answers",
    multiple=True,
    metavar="NAME=VALUE",
    help="Answer a prompt of the playbook; repeatable. On a terminal, what is missing is asked for.",
)
_ADVICE = "Answer with --prompt NAME=VALUE, secret ones with --secret-vars FILE."
_SELECTING = ("kind", "playbook", "revision", "release")


def with_answers(client: Client, body: dict[str, Any], answers: tuple[str, ...]) -> dict[str, Any]:
    """The run request with answers in its extra vars. Raises UsageError for a prompt that there is not."""
    is_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if not answers and not is_terminal:
        return body
    selecting = {key: body[key] for key in _SELECTING if key in body}
    try:
        answer = client.get(f"{stage_path(body['stage'])}/prompts", **selecting)
    except ClientError:
        if answers:
            raise
        return body  # the launch itself will be refused, and say why
    items = {item["name"]: item for item in answer["items"]}
    plain = {**body.get("extra_vars", {}), **_named(answers, items, answer["playbook"])}
    secret = dict(body.get("extra_vars_secret", {}))
    for name, item in items.items() if is_terminal else ():
        if name not in plain and name not in secret:
            (secret if item["secret"] else plain).update(_ask(item))
    return {**body, **({"extra_vars": plain} if plain else {}), **({"extra_vars_secret": secret} if secret else {})}


def _named(answers: tuple[str, ...], items: dict[str, dict[str, Any]], playbook: str) -> dict[str, str]:
    found = {}
    for pair in answers:
        name, equals, value = pair.partition("=")
        if not equals or name not in items:
            known = ", ".join(items) or "none"
            raise click.BadParameter(
                f"{pair!r} answers no prompt of {playbook}; it has {known}.", param_hint="--prompt"
            )
        if items[name]["secret"]:
            message = f"{name} is secret, and every user of this machine can read command lines: use --secret-vars."
            raise click.BadParameter(message, param_hint="--prompt")
        found[name] = value
    return found


def _ask(item: dict[str, Any]) -> dict[str, Any]:
    """{name: answer}, or nothing where Enter leaves it to what stands in. Asks again until the answer fits."""
    prompt = Prompt.from_json(item)
    if prompt.help:
        click.echo(_plain(prompt.help), err=True)
    while True:
        text = _read(prompt, _label(prompt, item["fallback"]))
        if not text and not item["open"]:
            return {}
        try:
            if text:
                return {prompt.name: prompt.settle(text)}
            click.echo("It is required.", err=True)
        except AnswerError as error:
            click.echo(_plain(str(error)), err=True)


def _read(prompt: Prompt, label: str) -> str:
    if prompt.type != TEXTAREA:
        hidden = prompt.is_secret
        return str(click.prompt(label, default="", show_default=False, hide_input=hidden, err=True))
    lines: list[str] = []
    while line := str(click.prompt(label if not lines else "", default="", show_default=False, err=True)):
        lines.append(line)
    return "\n".join(lines)


def _label(prompt: Prompt, fallback: Any) -> str:
    rules = prompt.rules + ("; an empty line ends it" if prompt.type == TEXTAREA else "")
    shown = ", ".join(fallback) if isinstance(fallback, list) else shown_value(fallback)
    return _plain(f"{prompt.question} ({rules})" + ("" if fallback is None else f" [{shown}]"))


def _plain(text: str) -> str:
    """Words of the source, which may be anybody's."""
    return harmless(text, colours=False)


def advised(error: ClientError) -> ClientError:
    """The refusal of a launch; where answers are missing or wrong, with how to give them."""
    is_about_answers = any(len(item["loc"]) == 2 for item in error.errors)  # type: ignore[arg-type] # noqa: PLR2004
    detail = f"{error.detail} {_ADVICE}" if is_about_answers else error.detail
    return ClientError(detail, status=error.status, errors=error.errors)
