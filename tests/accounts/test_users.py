from __future__ import annotations

from collections.abc import Callable

import argon2
import peewee
import pytest

from inventory_service.accounts import users
from inventory_service.accounts.roles import Principal
from inventory_service.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, UnauthorizedError
from inventory_service.events import Actor, ActorKind
from inventory_service.models import Event, User
from tests.support import ADA, START, at_once

PASSWORD = "correct horse"


def make(name: str = "grace", role: str = "admin", projects: list[str] | None = None) -> User:
    return users.create(name, PASSWORD, role=role, projects=projects, actor=ADA, at=START)


@pytest.fixture(scope="session")
def password_hash() -> str:
    """Hashing takes long on purpose: once is enough for the tests that are about something else."""
    return users._hash(PASSWORD)


@pytest.fixture
def add(database: peewee.Database, password_hash: str) -> Callable[..., User]:
    def add_row(name: str, role: str = "admin", projects: list[str] | None = None) -> User:
        fields = {"name": name, "role": role, "projects": projects, "created_at": START, "session_nonce": name}
        return User.create(**fields, password_hash=password_hash)

    return add_row


@pytest.fixture
def grace(add: Callable[..., User]) -> User:
    return add("grace")


def change(user: User, **fields: object) -> User:
    return users.update(user, actor=ADA, at=START, **fields)


def test_it_keeps_a_password_as_an_argon2id_hash(database: peewee.Database) -> None:
    grace = make()
    assert grace.password_hash.startswith("$argon2id$")
    assert argon2.extract_parameters(grace.password_hash).memory_cost >= 19_456  # OWASP's least


def test_it_writes_no_password_into_the_audit_log(grace: User) -> None:
    change(grace, password="another password")
    kept = str([entry.__data__ for entry in Event.select()])
    assert "user.update" in kept
    assert "another" not in kept
    assert Event.get(Event.name == "user.update").changes == {"password": ["…", "…"]}


def test_the_audit_log_shows_a_role_before_and_after(grace: User) -> None:
    viv = users.create("viv", PASSWORD, role="viewer", projects=None, actor=ADA, at=START)
    change(viv, role="admin")
    (told,) = Event.select().where(Event.name == "user.update")
    assert (told.target_id, told.changes) == (str(viv.id), {"role": ["viewer", "admin"]})


@pytest.mark.parametrize("name", ["callboard", "scaling", "enrolment"])
def test_nobody_takes_the_services_own_names(database: object, name: str) -> None:
    with pytest.raises(InvalidError, match="the service's own name in the audit log; choose another"):
        users.create(name, PASSWORD, role="viewer", projects=None, actor=ADA, at=START)


def test_it_lets_a_user_in(grace: User) -> None:
    assert users.sign_in("grace", PASSWORD).id == grace.id


def wrong_password(user: User) -> tuple[str, str]:
    return "grace", "wrong horse"


def unknown_name(user: User) -> tuple[str, str]:
    return "nobody", PASSWORD


def disabled(user: User) -> tuple[str, str]:
    User.update(is_disabled=True).execute()
    return "grace", PASSWORD


def odd_text(user: User) -> tuple[str, str]:
    return "grace\x00", "\x00"


@pytest.mark.parametrize("attempt", [wrong_password, unknown_name, disabled, odd_text])
def test_it_refuses_everybody_else_with_the_same_words(grace: User, attempt: object) -> None:
    with pytest.raises(UnauthorizedError, match=r"^The name or the password is not right\.$"):
        users.sign_in(*attempt(grace))


@pytest.mark.parametrize("name", ["", "Grace", "a b", "-x", "grace\n", "x" * 65, "../x", "gräce", "{{x}}"])
def test_it_rejects_a_name(database: peewee.Database, name: str) -> None:
    with pytest.raises(InvalidError):
        make(name)


def test_it_rejects_a_name_that_is_taken(grace: User) -> None:
    with pytest.raises(ConflictError):
        make()


def test_it_rejects_a_short_password(database: peewee.Database) -> None:
    with pytest.raises(InvalidError, match="at least 10"):
        users.create("grace", "123456789", role="viewer", projects=None, actor=ADA, at=START)


def test_it_rejects_a_role_that_there_is_not(database: peewee.Database) -> None:
    with pytest.raises(InvalidError, match="'root' is no role"):
        make(role="root")


@pytest.mark.parametrize("fields", [{"role": "operator"}, {"is_disabled": True}])
def test_it_rejects_to_lose_the_last_admin(grace: User, add: Callable[..., User], fields: dict[str, object]) -> None:
    add("ada", role="operator")
    with pytest.raises(ConflictError, match="last admin"):
        change(grace, **fields)


def test_it_does_not_count_an_admin_of_some_projects_as_the_last(grace: User, add: Callable[..., User]) -> None:
    add("ada", projects=["shop"])
    with pytest.raises(ConflictError, match="last admin"):
        change(grace, is_disabled=True)


def test_it_does_not_count_a_disabled_admin(grace: User, add: Callable[..., User]) -> None:
    change(add("ada"), is_disabled=True)
    with pytest.raises(ConflictError, match="last admin"):
        change(grace, role="viewer")


def test_it_lets_an_admin_go_when_there_is_another(grace: User, add: Callable[..., User]) -> None:
    add("ada")
    assert change(grace, role="viewer").role == "viewer"


@pytest.mark.each_database
def test_it_keeps_one_admin_when_two_send_each_other_away(grace: User, add: Callable[..., User]) -> None:
    both = [grace, add("ada")]
    results = at_once(lambda number: change(both[number], is_disabled=True), 2)
    assert sorted(type(result).__name__ for result in results) == ["ConflictError", "User"]


@pytest.mark.parametrize("fields", [{"password": "another password"}, {"is_disabled": True}])
def test_it_ends_the_users_sessions(grace: User, add: Callable[..., User], fields: dict[str, object]) -> None:
    add("ada")
    before = grace.session_nonce
    assert change(grace, **fields).session_nonce != before


def test_it_keeps_the_sessions_when_only_the_role_changes(grace: User, add: Callable[..., User]) -> None:
    add("ada")
    assert change(grace, role="viewer").session_nonce == grace.session_nonce


def test_it_finds_no_user_of_another_name(grace: User) -> None:
    with pytest.raises(NotFoundError):
        users.get("nobody")


def test_it_tells_what_a_user_reaches(grace: User, add: Callable[..., User]) -> None:
    limited = users.principal_of(add("ada", "operator", ["shop"]), peer="192.0.2.1")
    assert (limited.reaches("shop"), limited.reaches("blog")) == (True, False)
    assert users.principal_of(grace, peer=None).reaches("anything")


@pytest.mark.parametrize(
    ("role", "needed", "is_enough"),
    [
        ("viewer", "viewer", True),
        ("viewer", "operator", False),
        ("operator", "viewer", True),
        ("operator", "admin", False),
        ("admin", "operator", True),
        ("admin", "admin", True),
    ],
)
def test_it_ranks_the_roles(role: str, needed: str, is_enough: bool) -> None:
    principal = Principal(Actor("ada", kind=ActorKind.PERSON), role)
    assert principal.may(needed) is is_enough
    if not is_enough:
        with pytest.raises(ForbiddenError, match=f"needs the role {needed}; ada has the role {role}"):
            principal.require(needed)
