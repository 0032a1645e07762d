from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from inventory_service import settings as module
from inventory_service.errors import SettingsError
from tests.support import at_once


def load(tmp_path: Path, **environ: str) -> module.Settings:
    return module.load({"CALLBOARD_DATA_DIR": str(tmp_path / "data"), **environ})


def write_toml(tmp_path: Path, text: str) -> str:
    file = tmp_path / "callboard.toml"
    file.write_text(text)
    return str(file)


def test_it_has_a_field_for_each_row_of_the_table() -> None:
    assert [field.name for field in dataclasses.fields(module.Settings)] == [row.name for row in module.TABLE]


def test_it_explains_each_setting() -> None:
    assert all(row.help.endswith(".") for row in module.TABLE)


def test_it_starts_with_the_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.host, settings.port, settings.url) == ("127.0.0.1", 8500, "http://127.0.0.1:8500")
    assert settings.database_url == f"sqlite:///{tmp_path}/data/callboard.db"


def test_it_reads_the_environment(tmp_path: Path) -> None:
    settings = load(tmp_path, CALLBOARD_PORT="9000", CALLBOARD_SECURE_COOKIES="yes", CALLBOARD_SWEEP_SECONDS="2.5")
    assert (settings.port, settings.secure_cookies, settings.sweep_seconds) == (9000, True, 2.5)


def test_it_reads_the_file(tmp_path: Path) -> None:
    file = write_toml(tmp_path, 'port = 9001\nsecure_cookies = true\ntrusted_proxies = "10.0.0.0/8, 192.0.2.1"')
    settings = load(tmp_path, CALLBOARD_CONFIG=file)
    assert (settings.port, settings.secure_cookies) == (9001, True)
    assert settings.trusted_proxies == ("10.0.0.0/8", "192.0.2.1/32")


def test_it_prefers_the_environment_to_the_file_and_an_option_to_both(tmp_path: Path) -> None:
    environ = {"CALLBOARD_CONFIG": write_toml(tmp_path, "port = 9001"), "CALLBOARD_DATA_DIR": str(tmp_path / "data")}
    assert module.load({**environ, "CALLBOARD_PORT": "9002"}).port == 9002
    assert module.load({**environ, "CALLBOARD_PORT": "9002"}, port=9003, host=None).port == 9003


def test_it_says_where_each_value_came_from(tmp_path: Path) -> None:
    file = write_toml(tmp_path, "port = 9001")
    rows = {row.setting.name: row for row in module.read_texts({"CALLBOARD_CONFIG": file, "CALLBOARD_HOST": "::1"})}
    assert [rows[name].source for name in ("host", "port", "forks")] == ["environment", file, "default"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("FORKS", "0"),
        ("FORKS", "2.5"),
        ("SWEEP_SECONDS", "0"),
        ("SWEEP_SECONDS", "nan"),
        ("SWEEP_SECONDS", "inf"),
        ("SECURE_COOKIES", "perhaps"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,everybody"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_it_rejects_a_bad_value_naming_variable_and_value(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, **{f"CALLBOARD_{name}": text})
    assert f"CALLBOARD_{name} is {text!r} (environment)" in caught.value.detail


def test_it_rejects_a_misspelt_setting_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown settings: prot"):
        load(tmp_path, CALLBOARD_CONFIG=write_toml(tmp_path, "prot = 9001"))


def test_it_takes_a_setting_by_its_former_name_unless_the_new_one_is_given(tmp_path: Path) -> None:
    file = write_toml(tmp_path, "canary_seconds = 20")
    assert load(tmp_path, CALLBOARD_CONFIG=file).self_check_seconds == 20
    assert load(tmp_path, CALLBOARD_CONFIG=file, CALLBOARD_CANARY_SECONDS="30").self_check_seconds == 30
    both = {"CALLBOARD_CANARY_SECONDS": "30", "CALLBOARD_SELF_CHECK_SECONDS": "40"}
    assert load(tmp_path, **both).self_check_seconds == 40
    told = module.outdated(both)
    assert told == ["CALLBOARD_CANARY_SECONDS (environment) is called CALLBOARD_SELF_CHECK_SECONDS now."]


def test_it_ignores_what_was_a_setting_once_and_says_so(tmp_path: Path) -> None:
    file = write_toml(tmp_path, 'queue_url = "redis://:hunter2@queue.example/0"')
    environ = {"CALLBOARD_CONFIG": file, "CALLBOARD_DATA_DIR": str(tmp_path / "data")}
    module.load(environ)
    (of_file,) = module.outdated(environ)
    assert of_file.startswith(f"CALLBOARD_QUEUE_URL ({file}) is ignored: "), of_file
    (of_both,) = module.outdated({**environ, "CALLBOARD_QUEUE_URL": "redis://:hunter2@queue.example/0"})
    assert of_both.startswith("CALLBOARD_QUEUE_URL (environment) is ignored: "), of_both
    assert "hunter2" not in of_file + of_both
    assert module.outdated({}) == []


@pytest.mark.parametrize("text", ["port = ", "port 9000", "\x00"])
def test_it_rejects_a_file_that_is_no_toml(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="CALLBOARD_CONFIG names"):
        load(tmp_path, CALLBOARD_CONFIG=write_toml(tmp_path, text))


def test_it_rejects_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "callboard.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="CALLBOARD_CONFIG names"):
        load(tmp_path, CALLBOARD_CONFIG=str(tmp_path / "callboard.toml"))


def test_it_rejects_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        load(tmp_path, CALLBOARD_CONFIG=str(tmp_path / "none.toml"))


def test_it_rejects_a_data_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="Set CALLBOARD_DATA_DIR"):
        module.load({"CALLBOARD_DATA_DIR": str(tmp_path / "file" / "data")})


def test_it_does_not_show_a_secret_in_an_error() -> None:
    def refuse(text: str) -> str:
        raise ValueError("wrong")

    row = module.Sourced(module.Setting("secret_key", "", "", refuse, is_secret=True), "hunter2", "environment")
    with pytest.raises(SettingsError) as caught:
        module._parse(row)
    assert "hunter2" not in caught.value.detail


def test_it_marks_what_may_hold_a_password_as_secret() -> None:
    assert {row.name for row in module.TABLE if row.is_secret} == {"database_url", "secret_key", "keyring"}


def test_it_makes_the_key_once_and_private(tmp_path: Path) -> None:
    first, second = load(tmp_path).secret_key, load(tmp_path).secret_key
    assert first == second
    assert len(first) >= 43
    assert (tmp_path / "data" / "secret_key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_it_agrees_on_the_key_when_many_processes_start_at_once(tmp_path: Path) -> None:
    for attempt in range(10):
        keys = at_once(lambda _, folder=tmp_path / str(attempt): load(folder).secret_key, 8)
        assert len(set(keys)) == 1
        assert keys[0]


def test_it_takes_a_key_from_outside_and_writes_none(tmp_path: Path) -> None:
    assert load(tmp_path, CALLBOARD_SECRET_KEY="given").secret_key == "given"
    assert not (tmp_path / "data" / "secret_key").exists()


def test_it_takes_the_public_url_without_its_slash(tmp_path: Path) -> None:
    assert load(tmp_path, CALLBOARD_PUBLIC_URL="https://callboard.example/").url == "https://callboard.example"
