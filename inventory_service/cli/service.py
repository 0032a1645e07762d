"""Commands that are the service, or act on its data folder."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import sys
from pathlib import Path

import click

from inventory_service import serve as serving
from inventory_service import settings as settings_module
from inventory_service.adapters.trial_run import try_ansible
from inventory_service.content import content_dir
from inventory_service.database import migrate as apply_migrations
from inventory_service.database import open_database
from inventory_service.errors import CallboardError, SourceError
from inventory_service.first_start import FirstSignIn, check_keys, make_ssh_key
from inventory_service.jobs import worker as jobs_worker
from inventory_service.settings import Settings
from inventory_service.terminal import print_fields

log = logging.getLogger(__name__)

_NEEDED_PROGRAMS = {"git": "git", "ssh": "openssh-client", "ssh-keygen": "openssh-client"}

_data_dir = click.option("--data-dir", type=click.Path(path_type=Path), help="Folder for all data.")


def _log_to_stderr(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )


def _prepare(settings: Settings, *, hears: bool = True) -> FirstSignIn | None:
    for sentence in settings_module.outdated(os.environ):
        log.warning(sentence)
    sign_in = serving.prepare(settings, hears=hears)
    _print_first_sign_in(sign_in, settings)
    return sign_in


def _print_first_sign_in(sign_in: FirstSignIn | None, settings: Settings) -> None:
    if sign_in is not None:
        click.echo(
            "First start. These are shown once:\n"
            f"  sign in at   {settings.url}\n"
            f"  user         {sign_in.user}\n"
            f"  password     {sign_in.password}\n"
            f"  admin token  {sign_in.token}\n"
        )


@click.command()
@click.option("--host", help="Address to listen on (CALLBOARD_HOST).")
@click.option("--port", type=int, help="Port to listen on (CALLBOARD_PORT).")
@_data_dir
def serve(host: str | None, port: int | None, data_dir: Path | None) -> None:
    """Run everything: web, worker, periodic jobs."""
    settings = settings_module.load(host=host, port=port, data_dir=data_dir)
    _log_to_stderr(settings)
    _prepare(settings)
    click.echo(f"Callboard is at {settings.url} (data in {settings.data_dir}); Ctrl-C stops it.")
    passed_on = {
        "CALLBOARD_HOST": settings.host,
        "CALLBOARD_PORT": str(settings.port),
        "CALLBOARD_DATA_DIR": str(settings.data_dir),
    }
    sys.exit(serving.Supervisor({**os.environ, **passed_on}).run())


_unprepared = click.option("--unprepared", is_flag=True, hidden=True, help="The database is prepared already.")


@click.command()
@_unprepared
def web(unprepared: bool) -> None:
    """Run the HTTP part alone."""
    settings = settings_module.load()
    _log_to_stderr(settings)
    if not unprepared:
        _prepare(settings)
    serving.serve_web(settings)


@click.command()
@_unprepared
def worker(unprepared: bool) -> None:
    """Run the background part alone.

    CALLBOARD_PUBLIC_URL says where the web processes are.
    """
    settings = settings_module.load()
    _log_to_stderr(settings)
    if not unprepared:
        _prepare(settings, hears=False)
    url = settings.own_url if unprepared else settings.url
    serving.work_in_background(settings, lambda given: jobs_worker.work(given, service_url=url))


@click.command()
@_data_dir
@click.option("--take-keys", is_flag=True, help="Let this machine's keys be those of all machines of the database.")
def init(data_dir: Path | None, take_keys: bool) -> None:
    """Make the data folder, the database and the first admin."""
    settings = settings_module.load(data_dir=data_dir)
    if take_keys:
        make_ssh_key(settings)
        apply_migrations(open_database(settings.database_url))
        check_keys(settings, takes_over=True)
    if _prepare(settings) is None:
        click.echo(f"{settings.data_dir} was set up already; nothing was changed.")


@click.command()
def migrate() -> None:
    """Apply pending database migrations."""
    settings = settings_module.load()
    applied = apply_migrations(open_database(settings.database_url))
    click.echo(f"Applied: {', '.join(applied)}." if applied else "The database is up to date.")


@click.command()
def doctor() -> None:
    """Show every setting with its source, and check the surroundings."""
    rows = settings_module.read_texts(os.environ)
    for row in rows:
        shown = "…" if row.setting.is_secret and row.text else row.text or "(empty)"
        click.echo(f"{row.setting.variable:<34} {shown:<28} {row.source:<12} {row.setting.help}")
    for sentence in settings_module.outdated(os.environ):
        click.echo(sentence)
    settings = settings_module.load()
    free = shutil.disk_usage(settings.data_dir).free // 2**20
    checks = {name: _program(name, package) for name, package in _NEEDED_PROGRAMS.items()}
    checks["ansible-core"] = _ansible()
    click.echo()
    found = {name: text for name, (_, text) in checks.items()}
    print_fields({"data folder": str(settings.data_dir), "free space": f"{free} MB", **found})
    if not all(is_well for is_well, _ in checks.values()):
        sys.exit(1)


def _program(name: str, package: str) -> tuple[bool, str]:
    """Whether it is there, and where."""
    path = shutil.which(name)
    return path is not None, path or f"missing: install {package}"


def _ansible() -> tuple[bool, str]:
    """Whether runs can use it, and its version, or why they can't."""
    try:
        return True, try_ansible(content_dir())
    except SourceError as error:
        return False, f"unusable: {error}"


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Write a consistent copy of the data folder's database."""
    source = _sqlite_file(settings_module.load())
    if not source.is_file():
        raise CallboardError(f"There is no database at {source}. Name the service's data folder in CALLBOARD_DATA_DIR.")
    if file.exists():
        raise CallboardError(f"{file} exists; name a file that does not.")
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with sqlite3.connect(source) as live, sqlite3.connect(file) as copy:
        live.backup(copy)
    click.echo(f"Wrote {file} ({file.stat().st_size // 1024} KB). Keep secret_key, keyring and ssh/ beside it.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore(file: Path, yes: bool) -> None:
    """Put a backup in the place of the database."""
    target = _sqlite_file(settings_module.load())
    _check_backup(file)
    if target.exists() and not yes:
        click.confirm(f"Replace {target} by {file}? Stop the service first.", abort=True)
    os.umask(0o077)
    partial = target.with_suffix(".restoring")
    shutil.copyfile(file, partial)
    for suffix in ("-wal", "-shm"):
        Path(f"{target}{suffix}").unlink(missing_ok=True)
    partial.replace(target)
    click.echo(f"Restored {target}. Start the service again.")


def _sqlite_file(settings: Settings) -> Path:
    if not settings.database_url.startswith("sqlite:///"):
        raise CallboardError("The database is not SQLite; use PostgreSQL's own pg_dump and pg_restore.")
    return Path(settings.database_url.removeprefix("sqlite:///"))


def _check_backup(file: Path) -> None:
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as copy:
            copy.execute("SELECT count(*) FROM schema_migration").fetchone()
    except sqlite3.DatabaseError as error:
        raise CallboardError(f"{file} is no backup of Callboard: {error}.") from error
