"""Writes docs/settings.md, docs/cli.md and docs/api.md from the tables that the product itself uses."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from inventory_service import settings
from inventory_service.cli import main
from inventory_service.database import migrate, open_database
from inventory_service.web.app import create_app

DOCS = Path(__file__).parents[1] / "docs"


def settings_page() -> str:
    rows = [f"| `{row.variable}` | {_code(row.default)} | {row.help} |" for row in settings.TABLE]
    return (
        "# Settings\nFrom the environment, or from the TOML file that `CALLBOARD_CONFIG` names, with keys in lower "
        "case and without the prefix.\n`callboard doctor` prints each value with its source.\n\n"
        "| setting | default | what it is |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"
        "## Settings of earlier versions\nThey do no harm; the service's log and `callboard doctor` name those that "
        "are given.\n\n" + "\n".join(f"- {line}" for line in _earlier()) + "\n"
    )


def _earlier() -> list[str]:
    renamed = [
        f"`{settings.variable(row.former)}` is called `{row.variable}` now." for row in settings.TABLE if row.former
    ]
    return renamed + [f"`{settings.variable(name)}` is ignored: {why}." for name, why in settings.IGNORED.items()]


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def cli_page() -> str:
    blocks = ["# Command line\nClient commands speak HTTP and take `CALLBOARD_URL` and `CALLBOARD_TOKEN`."]
    context = click.Context(main, info_name="callboard")
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        blocks += _help_of(command, context, name)
    return "\n\n".join(blocks) + "\n"


def _help_of(command: click.Command, parent: click.Context, name: str) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100)
    blocks = [f"## {context.command_path}\n```\n{command.get_help(context)}\n```"]
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            assert child is not None
            blocks += [block.replace("## ", "### ", 1) for block in _help_of(child, context, child_name)]
    return blocks


def api_page() -> str:
    with tempfile.TemporaryDirectory() as folder:
        found = settings.load({"CALLBOARD_DATA_DIR": folder})
        migrate(open_database(found.database_url))
        document = create_app(found).api_doc
    rows = [
        f"| `{method.upper()}` | `{path}` | {operation['summary']} |"
        for path, item in sorted(document["paths"].items())
        for method, operation in item.items()
        if method in ("get", "put", "post", "patch", "delete")
    ]
    return (
        "# HTTP API\nThe live OpenAPI document is at `/openapi/openapi.json`, a page to browse it at `/openapi/`.\n\n"
        "`Authorization: Bearer …`; errors are JSON problems (RFC 9457); lists page with `?limit=` and `?cursor=`, "
        "which takes the `next` of the page before; times are ISO 8601 in UTC.\n\n"
        "| method | path | what it does |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"
        "Beside it: `/agent`, `/agent.sha256`, `/healthz`, `/readyz`, `/metrics`.\n"
    )


PAGES = {"settings.md": settings_page, "cli.md": cli_page, "api.md": api_page}

if __name__ == "__main__":
    stale = [name for name, page in PAGES.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != page()]
    if "--check" in sys.argv and stale:
        sys.exit(f"docs/{', docs/'.join(stale)} differ from the product; run: python tools/docs.py")
    for name in stale:
        (DOCS / name).write_text(PAGES[name]())
