"""Secrets in the table: encrypted, bound to their place, set and removed with an entry in the audit log."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from inventory_service.errors import CallboardError, ConflictError, InvalidError, NotFoundError
from inventory_service.models import Event, Secret, Stage
from inventory_service.settings import Settings
from inventory_service.vault import keyring, store
from inventory_service.vault.keyring import SealError
from inventory_service.vault.store import Scope
from tests.support import ADA, FakeClock

Put = Callable[..., Secret]
KEY = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
LOCKED_KEY = Ed25519PrivateKey.generate().private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pass phrase")
)


@pytest.fixture
def put(stage: Stage, settings: Settings, clock: FakeClock) -> Put:
    """Set a secret of shop/production, or of shop with is_project=True."""

    def set_(name: str, value: bytes = b"canary", kind: str = "variable", *, is_project: bool = False) -> Secret:
        scope = Scope(stage.project, None if is_project else stage)
        return store.put(scope, name, kind=kind, value=value, settings=settings, actor=ADA, at=clock.now())[0]

    return set_


def opened(stage: Stage, settings: Settings) -> dict[str, bytes]:
    return {name: one.value for name, one in store.open_for_stage(stage, keyring.load(settings)).items()}


def test_it_gives_a_stage_its_own_over_the_projects(put: Put, stage: Stage, settings: Settings) -> None:
    put("a", b"of the project", is_project=True)
    put("b", b"of the project", is_project=True)
    put("b", b"of the stage")
    assert opened(stage, settings) == {"a": b"of the project", "b": b"of the stage"}


def test_it_keeps_no_value_in_the_clear(put: Put, settings: Settings) -> None:
    row = put("a", b"canary-in-the-mine")
    assert "canary" not in repr(row.__data__)
    assert all(b"canary-in" not in file.read_bytes() for file in settings.data_dir.glob("callboard.db*"))
    assert "canary" not in repr(store.Opened("a", "variable", b"canary"))


def test_it_records_who_set_and_removed_what(put: Put, stage: Stage, clock: FakeClock) -> None:
    put("a")
    store.remove(Scope(stage.project, stage), "a", actor=ADA, at=clock.now())
    entries = [(row.name, row.target_path, row.details) for row in Event.select().order_by(Event.id)][-2:]
    details = {"name": "a", "kind": "variable"}
    assert entries == [("secret.set", "shop/production", details), ("secret.remove", "shop/production", details)]
    with pytest.raises(NotFoundError, match="no secret 'a'"):
        store.get(Scope(stage.project, stage), "a")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "no-name"}, "no name for a secret"),
        ({"name": "callboard_run"}, "service's own"),
        ({"value": b"abc"}, "shorter than 4"),
        ({"value": b"   a   \n"}, "shorter than 4"),
        ({"value": b"x" * 70000}, "larger than"),
        ({"value": b"\xff\xfe\xfd\xfc"}, "text in UTF-8"),
        ({"value": b"two\nlines", "kind": "vault_password"}, "one line"),
        ({"value": b"to ken", "kind": "git_token", "is_project": True}, "token alone"),
        ({"value": b"no key", "kind": "ssh_key"}, "-----BEGIN"),
        ({"value": LOCKED_KEY, "kind": "ssh_key"}, "without a passphrase"),
        ({"value": KEY, "kind": "git_key"}, "belongs to the project"),
        ({"kind": "nonsense"}, "no kind of secret"),
    ],
)
def test_it_rejects_what_could_not_be_used(put: Put, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        put(**{"name": "a", **fields})


def test_it_rejects_a_second_credential_for_one_source(put: Put) -> None:
    put("token", b"abcdef", "git_token", is_project=True)
    put("token", b"ghijkl", "git_token", is_project=True)
    with pytest.raises(ConflictError, match="has the git_token 'token'"):
        put("key", KEY, "git_key", is_project=True)


def test_it_takes_any_bytes_for_a_file(put: Put, stage: Stage, settings: Settings) -> None:
    put("blob", b"\0\xff\xfe\xfd\n", "file")
    assert opened(stage, settings) == {"blob": b"\0\xff\xfe\xfd\n"}


def test_it_rejects_a_value_that_was_moved_to_another_row(put: Put, stage: Stage, settings: Settings) -> None:
    put("harmless", b"canary")
    sealed = put("root_password", b"of great worth").sealed
    Secret.update(sealed=sealed).where(Secret.name == "harmless").execute()
    with pytest.raises(SealError, match="stored for something else"):
        opened(stage, settings)


def test_it_says_what_to_do_when_the_key_is_another(put: Put, stage: Stage, settings: Settings) -> None:
    put("a")
    with pytest.raises(CallboardError, match="can't be decrypted with the present keys"):
        opened(stage, dataclasses.replace(settings, secret_key="another key than before"))
