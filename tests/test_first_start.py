from __future__ import annotations

import subprocess

import peewee

from inventory_service import first_start
from inventory_service.accounts import api_tokens, users
from inventory_service.settings import Settings
from tests.support import START


def test_it_makes_an_admin_who_can_sign_in(database: peewee.Database) -> None:
    made = first_start.make_first_admin(at=START)
    assert made is not None
    assert users.sign_in(made.user, made.password).role == "admin"
    assert api_tokens.authenticate(made.token, at=START, peer=None).role == "admin"


def test_it_makes_the_admin_once(database: peewee.Database) -> None:
    first_start.make_first_admin(at=START)
    assert first_start.make_first_admin(at=START) is None


def test_it_makes_a_private_ssh_key_and_keeps_it(settings: Settings) -> None:
    first_start.make_ssh_key(settings)
    made = settings.ssh_key_path.read_bytes()
    first_start.make_ssh_key(settings)
    assert settings.ssh_key_path.read_bytes() == made
    assert settings.ssh_key_path.stat().st_mode & 0o777 == 0o600


def test_it_makes_a_key_that_ssh_reads(settings: Settings) -> None:
    first_start.make_ssh_key(settings)
    told = subprocess.run(["ssh-keygen", "-y", "-f", settings.ssh_key_path], capture_output=True, text=True, check=True)
    assert settings.ssh_key_path.with_suffix(".pub").read_text().startswith(told.stdout.strip())
