"""Settings come from the environment, from `.env` and from files; what is wrong is said in one line."""

import os
from pathlib import Path

import pytest

from dumbkv_server.crypto import NO_PEPPER, Pepper
from dumbkv_server.settings import Settings, SettingsError, load, parse_peppers

ONE, TWO = "11" * 32, "22" * 32


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting and no `.env` of whoever runs this."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("DATABASE_", "DUMBKV_")):
            monkeypatch.delenv(name)


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load()
    assert settings.database_type == "sqlite"
    assert settings.database_location.get_secret_value() == "dumbkvstore/dumbkv.db"
    assert (settings.max_key_bytes, settings.max_value_bytes) == (1024, 1024 * 1024)
    assert (settings.max_waiting_writes, settings.max_requests, settings.body_timeout) == (256, 512, 30)
    assert settings.peppers() == ()
    assert settings.tokens() is None


def test_a_dot_env_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("DATABASE_LOCATION=from-file.db\nDUMBKV_LOG_LEVEL=debug\nOTHER=ignored\n")
    monkeypatch.setenv("DUMBKV_LOG_LEVEL", "error")
    settings = load()
    assert settings.database_location.get_secret_value() == "from-file.db"
    assert settings.log_level == "error"


def test_every_secret_can_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {
        "DATABASE_LOCATION": "postgres://user:password@host/name\n",
        "DUMBKV_PEPPER": f"2 {TWO}\n1 {ONE}\n",
        "DUMBKV_AUTH_TOKENS": f"app read sha256:{ONE}\n",
    }
    monkeypatch.setenv("DATABASE_TYPE", "postgres")
    for name, text in files.items():
        path = tmp_path / name
        path.write_text(text)
        monkeypatch.setenv(f"{name}_FILE", str(path))
    settings = load()
    assert settings.database_location.get_secret_value() == "postgres://user:password@host/name"
    assert settings.peppers() == (Pepper(2, bytes.fromhex(TWO)), Pepper(1, bytes.fromhex(ONE)))
    assert settings.tokens() == f"app read sha256:{ONE}"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_TYPE", "mysql", "DATABASE_TYPE"),
        ("DATABASE_LOCATION", "postgres://u:secret@h/d", "DATABASE_TYPE=postgres"),
        ("DATABASE_LOCATION_FILE", "/nonexistent/uri", "/nonexistent/uri"),
        ("DUMBKV_LOG_LEVEL", "loud", "DUMBKV_LOG_LEVEL"),
        ("DUMBKV_MAX_KEY_BYTES", "0", "DUMBKV_MAX_KEY_BYTES"),
        ("DUMBKV_BODY_TIMEOUT", "soon", "DUMBKV_BODY_TIMEOUT"),
        ("DUMBKV_WAIT_FOR_OWNER", "a while", "DUMBKV_WAIT_FOR_OWNER"),
        ("DUMBKV_PEPPER", "1 secret", "line 1"),
        ("DUMBKV_AUTH_TOKENS", "secret", "line 1"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load()
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_postgres_needs_a_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_TYPE", "postgres")
    with pytest.raises(SettingsError, match="postgres:// URI"):
        load()


def test_secrets_do_not_show_in_a_settings_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMBKV_PEPPER", f"1 {ONE}")
    monkeypatch.setenv("DATABASE_TYPE", "postgres")
    monkeypatch.setenv("DATABASE_LOCATION", "postgres://u:password@h/d")
    text = repr(load())
    assert ONE not in text
    assert "password" not in text


def test_peppers_are_read_newest_first_with_comments() -> None:
    text = f"# rotated in May\n2 {TWO}  # newest\n\n1 {ONE}\n0 {'00' * 32}\n"
    assert [pepper.number for pepper in parse_peppers(text)] == [2, 1, 0]
    assert parse_peppers(text)[2] == Pepper(0, NO_PEPPER)


@pytest.mark.parametrize(
    "text",
    ["1", f"256 {ONE}", f"-1 {ONE}", f"x {ONE}", "1 abc", f"1 {ONE}00", f"0 {ONE}", f"1 {'00' * 32}"],
)
def test_a_wrong_pepper_line_is_named_by_its_number(text: str) -> None:
    with pytest.raises(ValueError, match="pepper file, line 2") as caught:
        parse_peppers(f"# comment\n{text}")
    assert ONE not in str(caught.value)


def test_a_pepper_number_is_given_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        parse_peppers(f"1 {ONE}\n1 {TWO}")


def test_every_setting_has_a_name_that_begins_with_its_prefix() -> None:
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        assert alias is None or str(alias).startswith("DATABASE_"), name


@pytest.mark.parametrize("text", ["", "\n", "# 1 was lost\n"])
def test_a_pepper_file_without_a_pepper_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    path = tmp_path / "peppers"
    path.write_text(text)
    monkeypatch.setenv("DUMBKV_PEPPER_FILE", str(path))
    with pytest.raises(SettingsError, match="there is none in it"):
        load()
