"""Whoever can write to the database cannot make the server answer what was not stored there.

Each row is edited behind the server's back, on the real database. It is never somebody else's value and never
'not found': it is an error, it is counted, and the other keys go on.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet

from dumbkv_server.crypto import legacy_row_key
from tests.server.test_stored import LEGACY_TABLE, execute, get, peppers, put
from tests.support import server
from tests.support.server import Environment

PEPPERS = f"2 {'22' * 32}\n1 {'11' * 32}"
VALUE = "the value that must not be answered"


def flip(position: int) -> Callable[[bytes], bytes]:
    def edit(blob: bytes) -> bytes:
        at = position % len(blob)
        return blob[:at] + bytes((blob[at] ^ 0x40,)) + blob[at + 1 :]

    return edit


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "format": flip(0),
    "format 0": lambda blob: b"\x00" + blob[1:],
    "pepper number": flip(1),
    "another pepper's number": lambda blob: blob[:1] + b"\x01" + blob[2:],
    "first byte of the nonce": flip(2),
    "last byte of the nonce": flip(13),
    "first byte of the ciphertext": flip(14),
    "last byte of the ciphertext": flip(-17),
    "first byte of the tag": flip(-16),
    "last byte of the tag": flip(-1),
    "empty": lambda _: b"",
    "format only": lambda blob: blob[:1],
    "header only": lambda blob: blob[:2],
    "half a nonce": lambda blob: blob[:8],
    "no ciphertext": lambda blob: blob[:14],
    "half a tag and no value": lambda blob: blob[:14] + blob[-8:],
    "tag and no value": lambda blob: blob[:14] + blob[-16:],
    "without its last byte": lambda blob: blob[:-1],
    "without its tag": lambda blob: blob[:-16],
    "half the value": lambda blob: blob[:25],
    "one byte more": lambda blob: blob + b"\x00",
    "twice": lambda blob: blob + blob,
    "zeros": lambda blob: bytes(len(blob)),
}


@pytest.fixture
def running(database: Environment, tmp_path: Path) -> Iterator[tuple[Environment, server.Process]]:
    with server.running(tmp_path / "log", {**database, "DUMBKV_PEPPER": PEPPERS}) as process:
        yield database, process


def row_of(database: Environment, revision: int) -> tuple[bytes, bytes]:
    """The row id and the blob of what was put with this revision."""
    ((row_id, blob),) = execute(
        database, "SELECT row_id, blob FROM dumbkv_rows WHERE revision = ?", (revision,)
    )
    return bytes(row_id), bytes(blob)


def set_blob(database: Environment, row_id: bytes, blob: object) -> None:
    execute(database, "UPDATE dumbkv_rows SET blob = ? WHERE row_id = ?", (blob, row_id))


def counted(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("dumbkv_damaged_values_total"))


def is_damaged(process: server.Process, client: httpx.Client, key: str, database: int = 0) -> None:
    """A get, and a batch with that get in it, are the same clean problem, and are counted."""
    before = counted(client)
    place = {"database": database, "key": key}
    for response in (
        client.post("/kv", json=place),
        client.post("/kv/batch", json={"operations": [{"op": "get", **place}]}),
    ):
        assert (response.status_code, response.json()["code"]) == (500, "damaged-value")
        assert response.headers["content-type"] == "application/problem+json"
        assert VALUE[:8] not in response.text
        assert key not in response.text
    assert counted(client) == before + 2
    assert "a value was not answered" in process.log()
    assert "Traceback" not in process.log()


def test_an_edit_of_any_part_of_a_stored_value_is_noticed(
    running: tuple[Environment, server.Process],
) -> None:
    database, process = running
    with process.client() as client:
        kept = put(client, "kept", "v")
        for name, edit in EDITS.items():
            row_id, blob = row_of(database, put(client, "edited-key", VALUE))
            assert edit(blob) != blob, name
            set_blob(database, row_id, edit(blob))
            is_damaged(process, client, "edited-key")
            # What is put back is right again: nothing else was touched.
            set_blob(database, row_id, blob)
            assert get(client, "edited-key")[0] == VALUE, name
        assert get(client, "kept") == ("v", kept)
        set_blob(database, row_id, blob[:-1])
        put(client, "edited-key", "repaired")
        assert get(client, "edited-key")[0] == "repaired"


@pytest.mark.parametrize("other", [("another-key", 0), ("edited-key", 7)], ids=["key", "database"])
def test_values_that_were_swapped_between_rows_are_noticed(
    running: tuple[Environment, server.Process], other: tuple[str, int]
) -> None:
    database, process = running
    key, number = other
    with process.client() as client:
        first_id, first = row_of(database, put(client, "edited-key", VALUE))
        response = client.put("/kv", json={"database": number, "key": key, "value": VALUE})
        second_id, second = row_of(database, response.json()["revision"])
        set_blob(database, first_id, second)
        set_blob(database, second_id, first)
        is_damaged(process, client, "edited-key")
        is_damaged(process, client, key, number)
        set_blob(database, first_id, first)
        assert get(client, "edited-key")[0] == VALUE


def test_an_older_value_of_the_same_key_is_the_one_thing_that_cannot_be_told(
    running: tuple[Environment, server.Process],
) -> None:
    """A limit, written down: who can write to the database can restore what was stored there before."""
    database, process = running
    with process.client() as client:
        row_id, old = row_of(database, put(client, "k", "old"))
        put(client, "k", "new")
        set_blob(database, row_id, old)
        assert get(client, "k")[0] == "old"


def test_a_value_under_an_old_pepper_that_was_edited_is_noticed_and_not_moved(
    database: Environment, tmp_path: Path
) -> None:
    with server.running(tmp_path / "old", {**database, "DUMBKV_PEPPER": f"1 {'11' * 32}"}) as process:
        with process.client() as client:
            row_id, blob = row_of(database, put(client, "edited-key", VALUE))
        process.stop()
    set_blob(database, row_id, flip(20)(blob))
    environment = {**database, "DUMBKV_PEPPER": PEPPERS}
    with server.running(tmp_path / "log", environment) as process, process.client() as client:
        is_damaged(process, client, "edited-key")
        assert peppers(client) == {1: 1, 2: 0}
        set_blob(database, row_id, blob)
        assert get(client, "edited-key")[0] == VALUE
        assert peppers(client) == {1: 0, 2: 1}


@pytest.mark.parametrize(
    "given", [f"1 {'33' * 32}", f"2 {'11' * 32}", None], ids=["secret", "number", "none"]
)
def test_a_wrong_pepper_is_an_error_and_never_an_empty_store(
    database: Environment, tmp_path: Path, given: str | None
) -> None:
    with server.running(tmp_path / "log", {**database, "DUMBKV_PEPPER": f"1 {'11' * 32}"}) as process:
        with process.client() as client:
            put(client, "k", "v")
        process.stop()
    environment = {**database, **({"DUMBKV_PEPPER": given} if given else {})}
    with (
        pytest.raises(server.StartError, match="pepper 1") as caught,
        server.running(tmp_path / "again", environment),
    ):
        pass
    assert "Traceback" not in caught.value.log
    for secret in ("11" * 32, "33" * 32):
        assert secret not in caught.value.log


@pytest.mark.parametrize("blob", ["a text", 17, 1.5])
def test_another_type_in_the_column_is_noticed(tmp_path: Path, blob: object) -> None:
    """SQLite keeps any type in any column."""
    database = {"DATABASE_TYPE": "sqlite", "DATABASE_LOCATION": str(tmp_path / "data" / "dumbkv.db")}
    with server.running(tmp_path / "log", database) as process, process.client() as client:
        row_id, _ = row_of(database, put(client, "edited-key", VALUE))
        set_blob(database, row_id, blob)
        is_damaged(process, client, "edited-key")


def test_an_edited_token_of_the_original_is_noticed(database: Environment, tmp_path: Path) -> None:
    execute(database, LEGACY_TABLE)
    row_key, other = legacy_row_key("edited-key"), legacy_row_key("another-key")
    token = Fernet(row_key).encrypt(VALUE.encode()).decode()
    edits = [token[:-10] + "A" * 10, token[:40], "", "no token", Fernet(other).encrypt(b"theirs").decode()]
    execute(database, "INSERT INTO kv VALUES (?, ?, ?)", (0, row_key, token))
    with server.running(tmp_path / "log", database) as process, process.client() as client:
        for edited in edits:
            execute(database, "UPDATE kv SET value = ?", (edited,))
            is_damaged(process, client, "edited-key")
        execute(database, "UPDATE kv SET value = ?", (token,))
        assert get(client, "edited-key")[0] == VALUE
