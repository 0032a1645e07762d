"""The service's parts, real ones: a migrated database, the Flask application, tokens, a project with a stage.

The database is a SQLite file; with `pytest --postgresql` it is on a PostgreSQL server. What is marked `each_database`
runs on both without being asked.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peewee
import pytest
from flask import Flask
from flask.testing import FlaskClient
from xdist.scheduler import LoadScopeScheduling

from inventory_service import settings as settings_module
from inventory_service.accounts import api_tokens
from inventory_service.accounts.roles import ADMIN, OPERATOR, VIEWER
from inventory_service.database import migrate, open_database
from inventory_service.models import Project, Stage
from inventory_service.postgresql import Postgresql
from inventory_service.registry import stages
from inventory_service.registry.stage_settings import StageChange
from inventory_service.settings import Settings
from inventory_service.web.app import _services, create_app
from tests import git_server
from tests.postgresql import PostgreSQL
from tests.support import ADA, Caller, FakeClock, Machine, Repository
from tests.test_writers import check_writer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--postgresql", action="store_true", help="Have every test's database on a PostgreSQL server.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if "database_url" in metafunc.fixturenames and "each_database" in marks and "sqlite" not in marks:
        metafunc.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A server with a migrated database."""
    server = PostgreSQL()
    server.start()
    server.migrate()
    yield server
    server.clean_up()


def _database_of(request: pytest.FixtureRequest) -> str:
    usual = "postgresql" if request.config.getoption("--postgresql") else "sqlite"
    marked = (name for name in ("sqlite", "postgresql") if request.node.get_closest_marker(name))
    return getattr(request, "param", None) or next(marked, usual)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """Where this test's database is; empty for a SQLite file in the data folder."""
    if _database_of(request) == "sqlite":
        return ""
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.cleared()


# What uses one service, or looks for what a demo leaves behind.
_TOGETHER = {
    "tests/e2e/test_readme.py": "demo",
    "tests/e2e/test_service.py": "demo",
    "tests/demo/": "demo",
    "tests/browser/": "browser",
    "tests/roles/": "roles",
}
_WITH_MANY_PROCESSES = ("/tests/e2e/", "/tests/browser/", "/tests/roles/", "/tests/demo/", "/tests/jobs/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of many real processes take long: they come first, so that workers end together."""
    items.sort(key=_has_many_processes, reverse=True)


def _has_many_processes(item: pytest.Item) -> bool:
    return any(folder in str(item.path) for folder in _WITH_MANY_PROCESSES)


class _FileByFile(LoadScopeScheduling):
    """Several workers (`pytest -n 2`) get whole files, and all of what belongs together."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((name for folder, name in _TOGETHER.items() if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    config.option.loadscopereorder = False
    return _FileByFile(config, log)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with every migration applied, to copy from."""
    file = tmp_path_factory.mktemp("migrated") / "callboard.db"
    opened = open_database(f"sqlite:///{file}")
    migrate(opened)
    opened.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    opened.close()
    return file


@pytest.fixture(scope="session", autouse=True)
def _written_by_their_writers() -> Iterator[None]:
    """Each statement to a database is looked at: see tests/test_writers.py."""
    sent = peewee.Database.execute_sql

    def execute_sql(self: peewee.Database, sql: str, params: Any = None) -> Any:
        check_writer(sql)
        return sent(self, sql, params)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peewee.Database, "execute_sql", execute_sql)
        yield


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return settings_module.load({}, data_dir=tmp_path / "data", database_url=database_url)


@pytest.fixture
def database(settings: Settings, migrated: Path) -> Iterator[peewee.Database]:
    """The models are bound to this test's own database."""
    if settings.database_url.startswith("sqlite:"):
        shutil.copyfile(migrated, settings.data_dir / "callboard.db")
    opened = open_database(settings.database_url)
    if isinstance(opened, peewee.SqliteDatabase):
        opened.pragma("synchronous", 0, permanent=True)  # a test does not outlive a power cut
    yield opened
    opened.close()
    if isinstance(opened, Postgresql):
        opened.close_all()


@pytest.fixture(scope="session")
def shared_app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """Compiling seventy routes takes longer than most tests; they differ between tests in nothing."""
    return create_app(settings_module.load({}, data_dir=tmp_path_factory.mktemp("app")), FakeClock())


@pytest.fixture
def app(shared_app: Flask, database: peewee.Database, settings: Settings, clock: FakeClock) -> Flask:
    """The application with this test's settings, clock and database."""
    shared_app.config["SECRET_KEY"] = settings.secret_key
    shared_app.extensions["callboard"] = _services(settings, clock)
    return shared_app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def make_token(database: peewee.Database, clock: FakeClock) -> Callable[..., str]:
    """A `cbu_` token: make_token(role, projects=None)."""

    def make(role: str, projects: list[str] | None = None) -> str:
        name = f"{role}-{'-'.join(projects or ['everywhere'])}"
        return api_tokens.create(name, role=role, projects=projects, actor=ADA, at=clock.now())[1]

    return make


@pytest.fixture
def admin(client: FlaskClient, make_token: Callable[..., str]) -> Caller:
    return Caller(client, make_token(ADMIN))


@pytest.fixture
def operator(client: FlaskClient, make_token: Callable[..., str]) -> Caller:
    return Caller(client, make_token(OPERATOR))


@pytest.fixture
def viewer(client: FlaskClient, make_token: Callable[..., str]) -> Caller:
    return Caller(client, make_token(VIEWER))


@pytest.fixture
def nobody(client: FlaskClient) -> Caller:
    return Caller(client, None)


@pytest.fixture
def stranger(client: FlaskClient, make_token: Callable[..., str]) -> Caller:
    """An admin of another project than `shop`."""
    return Caller(client, make_token(ADMIN, ["blog"]))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a playbook."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "deploy.yml").write_text("# Put it on the hosts\n- hosts: all\n")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def project(database: peewee.Database, source: Path, clock: FakeClock) -> Project:
    """`shop`, whose source is a folder."""
    return stages.create_project(
        name="shop", source=f"{source}/", description="", variables={}, actor=ADA, at=clock.now()
    )


@pytest.fixture
def make_stage(project: Project, clock: FakeClock) -> Callable[..., Stage]:
    """A stage of `shop`: make_stage(name, **fields of StageChange)."""

    def make(name: str, **fields: object) -> Stage:
        return stages.create_stage(project, name=name, change=StageChange(**fields), actor=ADA, at=clock.now())

    return make


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    """`shop/production`: interval 60, ttl 300."""
    return make_stage("production")


@pytest.fixture
def web_1(stage: Stage, clock: FakeClock) -> Machine:
    return Machine(stage).enrol(clock.now())


@pytest.fixture
def web_2(stage: Stage, clock: FakeClock) -> Machine:
    return Machine(stage, name="web-2", address="10.0.0.2").enrol(clock.now())


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a git server that takes connections and says nothing."""
    with git_server.silent() as address:
        yield address
