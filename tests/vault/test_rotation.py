"""Rotation of the keys, interrupted wherever it can be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from inventory_service.models import Run, Secret, Stage
from inventory_service.settings import Settings
from inventory_service.vault import keyring, rotation, store
from inventory_service.vault.keyring import Keyring
from inventory_service.vault.rotation import rotate
from inventory_service.vault.store import Scope
from tests.support import ADA, FakeClock


@pytest.fixture
def put(stage: Stage, clock: FakeClock) -> Callable[..., Secret]:
    def set_(settings: Settings, *names: str) -> None:
        for name in names:
            store.put(
                Scope(stage.project, stage),
                name,
                kind="variable",
                value=f"value-of-{name}".encode(),
                settings=settings,
                actor=ADA,
                at=clock.now(),
            )

    return set_


def values(stage: Stage, settings: Settings) -> set[str]:
    return {one.text for one in store.open_for_stage(stage, keyring.load(settings)).values()}


class Interrupted(BaseException):
    """As Ctrl-C or a power cut would."""


def interrupt_after(rows: int) -> Callable[[], None]:
    left = iter(range(rows))

    def look() -> None:
        if next(left, None) is None:
            raise Interrupted

    return look


def test_it_brings_everything_under_a_new_key(put: Callable[..., None], stage: Stage, settings: Settings) -> None:
    put(settings, "a", "b")
    old = keyring.load(settings)
    done = rotate(settings)
    assert (done.count, done.unreadable, done.has_new_key) == (2, 0, True)
    new = keyring.load(settings)
    assert len(new.texts) == 1
    assert new.texts[0] not in old.texts
    assert values(stage, settings) == {"value-of-a", "value-of-b"}
    assert (settings.data_dir / "keyring").stat().st_mode & 0o777 == 0o600
    assert not any(old.is_current(row.sealed) for row in Secret.select())


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_it_can_be_interrupted_and_goes_on(
    put: Callable[..., None], stage: Stage, settings: Settings, rows: int
) -> None:
    put(settings, "a", "b", "c")
    with pytest.raises(Interrupted):
        rotate(settings, on_row=interrupt_after(rows))
    assert values(stage, settings) == {"value-of-a", "value-of-b", "value-of-c"}
    first = keyring.load(settings).texts[0]
    assert rotate(settings).has_new_key is False
    assert keyring.load(settings).texts == (first,)
    assert values(stage, settings) == {"value-of-a", "value-of-b", "value-of-c"}


def test_it_loses_no_secret_that_is_set_meanwhile(put: Callable[..., None], stage: Stage, settings: Settings) -> None:
    put(settings, "a", "b")
    rotate(settings, on_row=lambda: put(settings, "b", "late"))
    rotate(settings)
    assert values(stage, settings) == {"value-of-a", "value-of-b", "value-of-late"}


def test_it_follows_a_rotation_that_ended_while_a_secret_was_set(
    put: Callable[..., None], stage: Stage, settings: Settings
) -> None:
    put(settings, "a")
    before = keyring.load(settings)
    rotate(settings)
    row = Secret.get()
    Secret.update(sealed=before.seal("eA==", context="c")).execute()
    store._follow_rotation(Secret.get(Secret.id == row.id), before, settings)
    assert keyring.load(settings).open(Secret.get().sealed, context="c") == "eA=="


def test_it_keeps_the_old_keys_while_something_needs_an_unknown_one(
    put: Callable[..., None], stage: Stage, settings: Settings
) -> None:
    put(settings, "a", "b")
    Secret.update(sealed=Keyring(("of another world",)).seal("x", context="")).where(Secret.name == "b").execute()
    done = rotate(settings)
    assert (done.count, done.unreadable, len(keyring.load(settings).texts)) == (1, 1, 2)


def test_it_takes_the_keys_that_the_setting_names(put: Callable[..., None], stage: Stage, settings: Settings) -> None:
    old, new = "o" * 40, "n" * 40
    put(dataclasses.replace(settings, keyring=(old,)), "a")
    done = rotate(dataclasses.replace(settings, keyring=(new, old)))
    assert (done.count, done.has_new_key) == (1, False)
    assert values(stage, dataclasses.replace(settings, keyring=(new,))) == {"value-of-a"}
    assert not (settings.data_dir / "keyring").exists()


def test_it_finds_every_sealed_column() -> None:
    found = {f"{column.model.__name__}.{column.name}" for column in rotation.sealed_columns()}
    assert found >= {"Secret.sealed", "Run.sealed_vars", "Webhook.sealed_secret", "Notification.sealed_url"}


def test_it_rotates_the_secret_extra_vars_of_waiting_runs(stage: Stage, settings: Settings, clock: FakeClock) -> None:
    sealed = keyring.load(settings).seal({"pin": "canary"}, context="launch")
    run = Run.create(
        stage=stage, kind="deploy", status="queued", playbook="deploy.yml", exclude=[], tags=[], skip_tags=[],
        extra_vars={}, created_by="ada", created_by_kind="person", created_at=clock.now(), sealed_vars=sealed,
    )  # fmt: skip
    rotate(settings)
    fresh = Run.get_by_id(run.id).sealed_vars
    assert fresh != sealed
    assert keyring.load(settings).open(fresh, context="launch") == {"pin": "canary"}
