"""Tokens: how the file is read, who may do what, and how a changed file is followed."""

import asyncio
import logging
import os
from hashlib import sha256
from pathlib import Path

import pytest

from dumbkv_server import files
from dumbkv_server.auth import (
    Authenticator,
    Brake,
    TokenFileError,
    TooManyFailuresError,
    UnauthenticatedError,
    parse_tokens,
)


def line(name: str, scopes: str, token: str) -> str:
    return f"{name} {scopes} sha256:{sha256(token.encode()).hexdigest()}\n"


FILE = (
    "# tokens\n"
    + line("reader", "read", "r")
    + "\n"
    + line("both", "read,write", "b")
    + line("a", "admin", "a")
)


@pytest.mark.parametrize(
    ("token", "allowed"),
    [("r", {"read"}), ("b", {"read", "write"}), ("a", {"read", "write", "admin"})],
)
def test_a_token_may_do_what_its_scopes_say_and_admin_everything(token: str, allowed: set[str]) -> None:
    assert Authenticator.create(FILE, None).scopes(f"Bearer {token}".encode()) == allowed


@pytest.mark.parametrize(
    "header", [None, b"", b"Bearer", b"Bearer ", b"Bearer x", b"Basic r", b"r", b"Bearer \xff"]
)
def test_no_token_or_an_unknown_one_is_not_let_in(header: bytes | None) -> None:
    with pytest.raises(UnauthenticatedError):
        Authenticator.create(FILE, None).scopes(header)


def test_the_scheme_may_be_written_in_any_case() -> None:
    assert Authenticator.create(FILE, None).scopes(b"bearer r") == {"read"}


def test_without_a_file_everybody_may_do_everything_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert "admin" in Authenticator.create(None, None).scopes(None)
    assert "authentication is off" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "name read",
        "name read md5:00",
        "name read sha256:00",
        "name read sha256:" + "zz" * 32,
        "name owner sha256:" + "00" * 32,
        "name read, sha256:" + "00" * 32,
        "name read sha256:" + "00" * 32 + " more",
    ],
)
def test_a_wrong_line_is_named_by_its_number_only(text: str) -> None:
    with pytest.raises(TokenFileError, match="line 2") as caught:
        parse_tokens("# comment\n" + text)
    assert "zz" not in str(caught.value)


def test_a_file_without_a_token_is_refused() -> None:
    with pytest.raises(TokenFileError, match="no token"):
        parse_tokens("# nobody\n")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the file with each request, so that no test waits."""
    monkeypatch.setattr(files, "SECONDS_BETWEEN_LOOKS", 0.0)


@pytest.mark.usefixtures("at_once")
def test_a_changed_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(line("old", "read", "old"))
    authenticator = Authenticator.create(path.read_text(), path)
    assert authenticator.scopes(b"Bearer old") == {"read"}
    path.write_text(line("newer", "read", "new"))
    assert authenticator.scopes(b"Bearer new") == {"read"}
    with pytest.raises(UnauthenticatedError):
        authenticator.scopes(b"Bearer old")


@pytest.mark.usefixtures("at_once")
def test_a_volume_that_swaps_a_link_is_followed(tmp_path: Path) -> None:
    """How the kubelet updates a mounted Secret: `tokens` -> `..data/tokens`, and `..data` is replaced."""
    for name, token in (("first", "old"), ("second", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokens").write_text(line("app", "read", token))
    data, path = tmp_path / "..data", tmp_path / "tokens"
    data.symlink_to("first")
    path.symlink_to("..data/tokens")
    authenticator = Authenticator.create(path.read_text(), path)
    replacement = tmp_path / "..new"
    replacement.symlink_to("second")
    os.replace(replacement, data)  # noqa: PTH105 (renames the link itself)
    assert authenticator.scopes(b"Bearer new") == {"read"}


@pytest.mark.usefixtures("at_once")
def test_a_file_that_became_wrong_or_went_away_changes_nothing_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens"
    path.write_text(line("app", "read", "t"))
    authenticator = Authenticator.create(path.read_text(), path)
    path.write_text("broken line of a secret")
    assert authenticator.scopes(b"Bearer t") == {"read"}
    path.unlink()
    assert authenticator.scopes(b"Bearer t") == {"read"}
    assert caplog.text.count("is not used") == 2
    assert "secret" not in caplog.text


def test_answers_to_unknown_tokens_take_turns_and_few_wait() -> None:
    brake = Brake(interval=2.0, waiting=3)
    assert [brake.delay(100.0) for _ in range(4)] == [0.0, 2.0, 4.0, 6.0]
    for _ in range(3):
        with pytest.raises(TooManyFailuresError) as caught:
            brake.delay(100.5)
        # Who is told to come back takes no turn from others.
        assert caught.value.seconds == 2
    assert brake.delay(102.0) == 6.0
    # After a while of quiet nobody waits.
    assert brake.delay(1000.0) == 0.0


async def test_only_an_unknown_token_is_slowed_and_each_refusal_is_counted() -> None:
    counted: list[str] = []
    brake = Brake(interval=3600.0, waiting=1)
    authenticator = Authenticator.create(FILE, None, brake=brake, on_failure=counted.append)

    async def refused(header: bytes | None) -> None:
        with pytest.raises(UnauthenticatedError) as caught:
            authenticator.scopes(header)
        await authenticator.refuse(caught.value)

    await refused(b"Bearer unknown")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(refused(b"Bearer unknown"))
        await asyncio.sleep(0)
        assert counted == ["unknown"] * 2
        with pytest.raises(TooManyFailuresError):
            await refused(b"Bearer unknown")
        await refused(None)
        await refused(b"Basic r")
        assert authenticator.scopes(b"Bearer r") == {"read"}
        assert not waiting.done()
        waiting.cancel()
    assert counted == ["unknown"] * 3 + ["missing", "malformed"]
