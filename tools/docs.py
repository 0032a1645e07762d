"""Writes what the docs repeat of the product, from the tables that the product itself uses: docs/settings.md,
docs/cli.md, docs/api.md, the tables of docs/architecture.md and docs/webhooks.md, and the version where a file has to
spell it out.
"""

from __future__ import annotations

import ast
import re
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import click

import inventory_service
from inventory_service import settings
from inventory_service.cli import main
from inventory_service.database import migrate, open_database
from inventory_service.events import NOTIFIED
from inventory_service.jobs import periodic
from inventory_service.web.app import create_app

ROOT = Path(__file__).parents[1]
DOCS, PACKAGE = ROOT / "docs", ROOT / "inventory_service"
VERSION = inventory_service.__version__


def settings_page() -> str:
    rows = [f"| `{row.variable}` | {_code(row.default)} | {row.help} |" for row in settings.TABLE]
    return (
        "# Settings\nFrom the environment, or from the TOML file that `CALLBOARD_CONFIG` names, with keys in\nlower "
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
        "`Authorization: Bearer …`; errors are JSON problems (RFC 9457); lists page with `?limit=` and\n`?cursor=`, "
        "which takes the `next` of the page before; times are ISO 8601 in UTC.\n\n"
        "| method | path | what it does |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"
        "Beside it: `/agent`, `/agent.sha256`, `/healthz`, `/readyz`, `/metrics`.\n"
    )


# docs/architecture.md: what stands between the marks of a table is made here, the rest is written by hand


def architecture_page() -> str:
    return _with_tables("architecture.md", {"rooms": rooms, "imports": imports, "jobs": jobs})


def webhooks_page() -> str:
    return _with_tables("webhooks.md", {"events": notified})


def notified() -> str:
    """What notifications can be about."""
    rows = [f"| `{one.word}`{' *' if one.is_usual else ''} | {one.when} |" for one in NOTIFIED]
    return "| event | when |\n|---|---|\n" + "\n".join(rows)


def _with_tables(page: str, tables: dict[str, Callable[[], str]]) -> str:
    text = (DOCS / page).read_text()
    for name, table in tables.items():
        marked = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end -->)", re.DOTALL)
        if len(marked.findall(text)) != 1:
            sys.exit(f"docs/{page} needs exactly one table marked `<!-- {name}: … -->` … `<!-- end -->`")
        made = table()
        text = marked.sub(lambda found: f"{found[1]}{made}\n{found[2]}", text)  # noqa: B023 - called at once
    return text


def rooms() -> str:
    """Every package and the modules beside them, with the first sentence of their docstrings."""
    folders = sorted(file.parent for file in PACKAGE.rglob("__init__.py") if file.parent != PACKAGE)
    shown = [folder for folder in folders if PACKAGE in (folder.parent, folder.parent.parent)]
    rows = [(f"{folder.relative_to(ROOT)}/", folder / "__init__.py") for folder in shown]
    rows += [(str(file.relative_to(ROOT)), file) for file in sorted(PACKAGE.glob("[!_]*.py"))]
    return "| room | what it is |\n|---|---|\n" + "\n".join(
        f"| `{name}` | {_first_line(file)} |" for name, file in rows
    )


def _first_line(file: Path) -> str:
    told = ast.get_docstring(ast.parse(file.read_text())) or sys.exit(f"{file} does not say what it is")
    return re.sub(r"\s+", " ", told.partition("\n\n")[0]).replace("|", "\\|")


def imports() -> str:
    """The layers that import-linter holds the package to, the upper ones first."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    return "\n".join(f"{number}. {_layer(one)}" for number, one in enumerate(contract["layers"], 1))


def _layer(names: str) -> str:
    parts = re.split(r" ([|:]) ", names)
    shown = [f"`{part.removeprefix('inventory_service.')}`" for part in parts[::2]]
    return (", ".join(shown)) + (" (which may ask each other)" if ":" in parts else "")


def jobs() -> str:
    with tempfile.TemporaryDirectory() as folder:
        table = periodic.jobs(settings.load({"CALLBOARD_DATA_DIR": folder}))
    rows = [
        f"| `{job.title}`{' (each machine)' if job.is_local else ''} | {job.seconds:g} s | {job.help} |"
        for job in table
    ]
    return "| job | every | what it does |\n|---|---|---|\n" + "\n".join(rows)


# the version: inventory_service/__init__.py has it, these spell it out


def galaxy() -> str:
    return re.sub(r"(?m)^version: .*$", f"version: {VERSION}", (ROOT / "galaxy.yml").read_text())


def agent() -> str:
    return re.sub(r'(?m)^__version__ = ".*"$', f'__version__ = "{VERSION}"', (ROOT / AGENT).read_text())


AGENT = "inventory_service/agent/callboard_agent.py"
FILES: dict[str, Callable[[], str]] = {
    "docs/settings.md": settings_page,
    "docs/cli.md": cli_page,
    "docs/api.md": api_page,
    "docs/architecture.md": architecture_page,
    "docs/webhooks.md": webhooks_page,
    "galaxy.yml": galaxy,
    AGENT: agent,
}

if __name__ == "__main__":
    stale = [name for name, made in FILES.items() if not (ROOT / name).exists() or (ROOT / name).read_text() != made()]
    if "--check" in sys.argv and stale:
        sys.exit(f"{', '.join(stale)} differ from the product; run: python tools/docs.py")
    for name in stale:
        (ROOT / name).write_text(FILES[name]())
