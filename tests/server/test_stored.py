"""What is in the database: nothing that can be read; old rows move; what was altered is not answered."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from cryptography.fernet import Fernet

from dumbkv_server.crypto import legacy_row_key
from tests.support import server
from tests.support.command import dumbkv
from tests.support.server import Environment

FIRST, SECOND = f"1 {'11' * 32}", f"2 {'22' * 32}"
LEGACY_TABLE = """CREATE TABLE kv (database_id INTEGER, key TEXT, value TEXT,
    CONSTRAINT unique_keys UNIQUE (database_id, key))"""


def execute(database: Environment, statement: str, parameters: Sequence[object] = ()) -> list[Any]:
    """One statement on the database itself, which no server uses at this moment."""
    location = database["DATABASE_LOCATION"]
    if database["DATABASE_TYPE"] == "postgres":
        with psycopg.connect(location, autocommit=True) as connection:
            cursor = connection.execute(statement.replace("?", "%s").encode(), parameters)
            return cursor.fetchall() if cursor.description else []
    Path(location).parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(location)) as file, file:
        return file.execute(statement, parameters).fetchall()


def put(client: httpx.Client, key: str, value: str) -> int:
    response = client.put("/kv", json={"key": key, "value": value})
    assert response.status_code == 200, response.text
    revision: int = response.json()["revision"]
    return revision


def get(client: httpx.Client, key: str) -> tuple[str, int]:
    response = client.post("/kv", json={"key": key})
    assert response.status_code == 200, response.text
    return response.json()["value"], response.json()["revision"]


def peppers(client: httpx.Client) -> dict[int, int]:
    """How many keys are under each pepper."""
    return {each["pepper"]: each["keys"] for each in client.get("/databases").json()["peppers"]}


def test_the_database_holds_neither_key_nor_value_nor_their_hash(
    database: Environment, tmp_path: Path, key: str
) -> None:
    with server.running(tmp_path / "log", {**database, "DUMBKV_PEPPER": FIRST}) as process:
        with process.client() as client:
            put(client, key, "canary-value")
        process.stop()
    (row,) = execute(database, "SELECT row_id, blob, database, revision, expires_at FROM dumbkv_rows")
    stored = bytes(row[0]) + bytes(row[1])
    for secret in (key.encode(), b"canary-value", sha256(key.encode()).digest(), bytes.fromhex("11" * 32)):
        assert secret not in stored
        for path in tmp_path.rglob("dumbkv.db*"):
            assert secret not in path.read_bytes()
    assert row[2:] == (0, 1, None)


def test_peppers_rotate_and_a_row_moves_when_it_is_read(database: Environment, tmp_path: Path) -> None:
    with server.running(tmp_path / "1", {**database, "DUMBKV_PEPPER": FIRST}) as process:
        with process.client() as client:
            revisions = {key: put(client, key, "old") for key in ("read", "written", "deleted", "left")}
        process.stop()
    both = f"{SECOND}\n{FIRST}"
    with server.running(tmp_path / "2", {**database, "DUMBKV_PEPPER": both}) as process:
        with process.client() as client:
            # Its value is the same, and so is its revision; twice, as the second comes from the new place.
            assert get(client, "read") == get(client, "read") == ("old", revisions["read"])
            assert put(client, "written", "new") > max(revisions.values())
            assert client.request("DELETE", "/kv", json={"key": "deleted"}).json()["deleted"]
            assert client.post("/kv", json={"key": "deleted"}).status_code == 404
            assert peppers(client) == {1: 1, 2: 2}
        process.stop()
    with (
        pytest.raises(server.StartError, match="rows are still stored under pepper 1"),
        server.running(tmp_path / "3", {**database, "DUMBKV_PEPPER": SECOND}),
    ):
        pass
    with server.running(tmp_path / "4", {**database, "DUMBKV_PEPPER": both}) as process:
        with process.client() as client:
            assert get(client, "left") == ("old", revisions["left"])
            assert peppers(client) == {1: 0, 2: 3}
        process.stop()
    with server.running(tmp_path / "5", {**database, "DUMBKV_PEPPER": SECOND}) as process:
        assert "no row is left under pepper 1" in process.log()
        with process.client() as client:
            assert get(client, "left") == ("old", revisions["left"])
            assert get(client, "written")[0] == "new"
            assert peppers(client) == {2: 3}
        process.stop()


def test_rows_without_a_pepper_are_reached_by_number_zero(database: Environment, tmp_path: Path) -> None:
    with server.running(tmp_path / "1", database) as process:
        with process.client() as client:
            revision = put(client, "k", "v")
        process.stop()
    with server.running(tmp_path / "2", {**database, "DUMBKV_PEPPER": f"{FIRST}\n0 {'00' * 32}"}) as process:
        with process.client() as client:
            assert get(client, "k") == ("v", revision)
        process.stop()


def test_another_pepper_under_a_used_number_is_refused(database: Environment, tmp_path: Path) -> None:
    with server.running(tmp_path / "1", {**database, "DUMBKV_PEPPER": FIRST}) as process:
        process.stop()
    with (
        pytest.raises(server.StartError) as caught,
        server.running(tmp_path / "2", {**database, "DUMBKV_PEPPER": f"1 {'33' * 32}"}),
    ):
        pass
    assert "pepper 1 is not the one" in caught.value.log
    assert "Traceback" not in caught.value.log


def test_altered_and_swapped_rows_are_errors_and_not_answers(database: Environment, tmp_path: Path) -> None:
    with server.running(tmp_path / "1", database) as process:
        with process.client() as client:
            for key in ("first", "second"):
                put(client, key, f"value of {key}")
        process.stop()
    rows = execute(database, "SELECT row_id, blob FROM dumbkv_rows")
    (first_id, first_blob), (second_id, second_blob) = [(bytes(row), bytes(blob)) for row, blob in rows]
    for row_id, blob in ((first_id, second_blob), (second_id, first_blob[:-1])):
        execute(database, "UPDATE dumbkv_rows SET blob = ? WHERE row_id = ?", (blob, row_id))
    with server.running(tmp_path / "2", database) as process:
        with process.client() as client:
            for key in ("first", "second"):
                response = client.post("/kv", json={"key": key})
                assert (response.status_code, response.json()["code"]) == (500, "damaged-value")
        process.stop()


def test_a_database_of_the_original_answers_and_becomes_ours_row_by_row(
    database: Environment, tmp_path: Path
) -> None:
    execute(database, LEGACY_TABLE)
    for number, key in enumerate(("read", "written", "deleted", "left", "päß \U0001f511")):
        row_key = legacy_row_key(key)
        token = Fernet(row_key).encrypt(f"value of {key}".encode()).decode()
        for database_id in (0, number + 1):
            execute(database, "INSERT INTO kv VALUES (?, ?, ?)", (database_id, row_key, token))
    with server.running(tmp_path / "log", {**database, "DUMBKV_PEPPER": FIRST}) as process:
        with process.client() as client:
            value, revision = get(client, "read")
            assert value == "value of read"
            assert revision > 0
            assert get(client, "read") == (value, revision)
            assert put(client, "written", "new") > revision
            assert get(client, "written")[0] == "new"
            assert client.request("DELETE", "/kv", json={"key": "deleted"}).json()["deleted"]
            assert client.post("/kv", json={"key": "deleted"}).status_code == 404
            assert get(client, "päß \U0001f511")[0] == "value of päß \U0001f511"
            # The same key in another database is another row.
            elsewhere = client.post("/kv", json={"database": 1, "key": "read"}).json()
            assert (elsewhere["value"], elsewhere["revision"] > revision) == ("value of read", True)
        process.stop()
    left = execute(database, "SELECT database_id, key FROM kv ORDER BY database_id")
    assert left == [(0, legacy_row_key("left"))] + [
        (number, legacy_row_key(key))
        for number, key in ((2, "written"), (3, "deleted"), (4, "left"), (5, "päß \U0001f511"))
    ]
    assert execute(database, "SELECT count(*) FROM dumbkv_rows")[0][0] == 4


def test_rows_of_the_original_are_in_batches_counts_and_drops(database: Environment, tmp_path: Path) -> None:
    execute(database, LEGACY_TABLE)
    for key in ("read", "guarded", "left"):
        row_key = legacy_row_key(key)
        token = Fernet(row_key).encrypt(f"value of {key}".encode()).decode()
        execute(database, "INSERT INTO kv VALUES (?, ?, ?)", (0, row_key, token))
    with server.running(tmp_path / "log", database) as process:
        with process.client() as client:
            assert client.get("/databases").json()["databases"] == [{"database": 0, "keys": 3}]
            refused = client.put("/kv", json={"key": "guarded", "value": "v", "if_absent": True})
            assert refused.status_code == 409
            operations = [{"op": "get", "key": "read"}, {"op": "delete", "key": "guarded"}]
            results = client.post("/kv/batch", json={"operations": operations}).json()["results"]
            assert results[0]["value"] == "value of read"
            assert results[0]["revision"] > 0
            assert results[1]["deleted"] is True
            assert client.get("/databases").json()["databases"] == [{"database": 0, "keys": 2}]
            assert client.delete("/databases/0").json()["deleted"] == 2
            assert client.get("/databases").json()["databases"] == []
        process.stop()
    assert execute(database, "SELECT count(*) FROM kv")[0][0] == 0


def test_rows_of_the_original_are_in_no_export_and_that_is_told(
    database: Environment, tmp_path: Path
) -> None:
    execute(database, LEGACY_TABLE)
    row_key = legacy_row_key("old")
    token = Fernet(row_key).encrypt(b"v").decode()
    execute(database, "INSERT INTO kv VALUES (?, ?, ?)", (0, row_key, token))
    file = tmp_path / "export"
    with server.running(tmp_path / "log", database) as process, process.client() as client:
        put(client, "new", "v")
        at = {"DUMBKV_URL": process.url}
        refused = dumbkv("export", str(file), **at)
        assert refused.returncode == 1
        assert "1 rows of the original DumbKV" in refused.stderr
        assert not file.exists()
        without = dumbkv("export", str(file), "--without-legacy", **at)
        assert without.returncode == 0
        assert "1 rows of the original DumbKV are not among them" in without.stderr
        assert row_key not in file.read_text()
        over = dumbkv("import", str(file), "--existing", "keep", **at)
        assert over.returncode == 1
        assert "1 rows of the original DumbKV" in over.stderr
        # Once it has been read it is a row like any other.
        assert get(client, "old")[0] == "v"
        assert dumbkv("export", str(file), **at).stderr.startswith("exported 2 rows")


def test_an_altered_row_of_the_original_is_an_error(database: Environment, tmp_path: Path) -> None:
    execute(database, LEGACY_TABLE)
    execute(database, "INSERT INTO kv VALUES (?, ?, ?)", (0, legacy_row_key("k"), "not a token"))
    with server.running(tmp_path / "log", database) as process:
        with process.client() as client:
            assert client.post("/kv", json={"key": "k"}).json()["code"] == "damaged-value"
            put(client, "k", "repaired")
            assert get(client, "k")[0] == "repaired"
        process.stop()


def test_what_a_database_of_the_original_and_ours_hold_together_is_one_store(
    database: Environment, tmp_path: Path
) -> None:
    """Ours beside theirs, theirs in several databases, and every call on both; then again after a restart."""

    def add(number: int, key: str) -> None:
        row_key = legacy_row_key(key)
        token = Fernet(row_key).encrypt(f"value of {key} in {number}".encode()).decode()
        execute(database, "INSERT INTO kv VALUES (?, ?, ?)", (number, row_key, token))

    def call(client: httpx.Client, **operation: object) -> Any:
        response = client.post("/kv/batch", json={"operations": [operation]})
        return response.json()["results"][0] if response.status_code == 200 else response.status_code

    execute(database, LEGACY_TABLE)
    for key in ("a", "b", "c", "d", "e", "f"):
        add(0, key)
        add(3, key)
    environment = {**database, "DUMBKV_PEPPER": FIRST}
    with server.running(tmp_path / "1", environment) as process:
        with process.client() as client:
            assert put(client, "ours", "v") > 0
            # A put through a batch and a read move a row, a delete removes it, a condition sees it.
            assert call(client, op="put", key="a", value="new")["revision"]
            assert call(client, op="get", key="b")["value"] == "value of b in 0"
            assert call(client, op="delete", key="c") == {"status": "success", "deleted": True}
            assert call(client, op="delete", key="c") == {"status": "success", "deleted": False}
            assert call(client, op="put", key="d", value="v", if_absent=True) == 409
            revision = get(client, "d")[1]
            assert call(client, op="put", key="d", value="new", if_revision=revision)["revision"] > revision
            assert client.put("/kv", json={"key": "e", "value": "v", "if_revision": 1}).status_code == 409
            assert client.put("/kv", json={"key": "e", "value": "short", "ttl": 1000}).status_code == 200
            listed = client.get("/databases").json()
            assert listed["databases"] == [{"database": 0, "keys": 6}, {"database": 3, "keys": 6}]
            # What is still the original's is under no pepper.
            assert listed["peppers"] == [{"pepper": 1, "keys": 5}]
        process.stop()
    assert execute(database, "SELECT count(*) FROM kv WHERE database_id = 0")[0][0] == 1
    with server.running(tmp_path / "2", environment) as process:
        with process.client() as client:
            expected = {"ours": "v", "a": "new", "b": "value of b in 0", "d": "new", "e": "short"}
            assert {key: get(client, key)[0] for key in expected} == expected
            assert client.post("/kv", json={"key": "c"}).status_code == 404
            assert client.delete("/databases/3").json()["deleted"] == 6
            assert client.post("/kv", json={"database": 3, "key": "a"}).status_code == 404
            assert get(client, "f")[0] == "value of f in 0"
            assert client.get("/databases").json()["databases"] == [{"database": 0, "keys": 6}]
            assert client.delete("/databases/0").json()["deleted"] == 6
        process.stop()
    assert execute(database, "SELECT count(*) FROM kv")[0][0] == 0
    assert execute(database, "SELECT count(*) FROM dumbkv_rows")[0][0] == 0
