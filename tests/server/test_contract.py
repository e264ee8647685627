"""Expiry, conditions, batches and databases, on the real server."""

import secrets
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.support import server
from tests.support.server import Environment

DAY = 86400


def put(client: httpx.Client, key: str, value: str = "v", **more: Any) -> httpx.Response:
    return client.put("/kv", json={"key": key, "value": value, **more})


def get(client: httpx.Client, key: str) -> httpx.Response:
    return client.post("/kv", json={"key": key})


def delete(client: httpx.Client, key: str, **more: object) -> httpx.Response:
    return client.request("DELETE", "/kv", json={"key": key, **more})


def batch(client: httpx.Client, *operations: dict[str, Any]) -> httpx.Response:
    return client.post("/kv/batch", json={"operations": operations})


def wait_until_gone(client: httpx.Client, key: str) -> None:
    while get(client, key).status_code == 200:
        time.sleep(0.01)


@pytest.fixture
def number() -> int:
    """A database that no other test uses."""
    return secrets.randbelow(2**31)


def test_a_key_with_a_ttl_says_when_it_expires_and_then_is_gone(client: httpx.Client, key: str) -> None:
    assert put(client, key, ttl=DAY).status_code == 200
    assert get(client, key).json()["expires_at"].endswith("Z")
    assert put(client, key).status_code == 200
    assert get(client, key).json()["expires_at"] is None
    assert put(client, key, ttl=0.05).status_code == 200
    wait_until_gone(client, key)
    assert get(client, key).json()["code"] == "key-not-found"
    assert delete(client, key).json()["deleted"] is False


def test_what_expired_is_absent_to_conditions_too(client: httpx.Client, key: str) -> None:
    revision = put(client, key, ttl=0.05).json()["revision"]
    wait_until_gone(client, key)
    assert put(client, key, if_revision=revision).status_code == 409
    assert delete(client, key, if_revision=revision).status_code == 409
    assert put(client, key, "new", if_absent=True).status_code == 200
    assert get(client, key).json()["value"] == "new"


def test_a_put_with_a_condition_is_made_only_where_it_holds(client: httpx.Client, key: str) -> None:
    first = put(client, key, "1", if_absent=True).json()["revision"]
    refused = put(client, key, "2", if_absent=True)
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "condition-failed"
    second = put(client, key, "2", if_revision=first).json()["revision"]
    assert second > first
    assert put(client, key, "3", if_revision=first).status_code == 409
    assert get(client, key).json() == {"value": "2", "revision": second, "expires_at": None}


def test_a_delete_with_a_condition_is_made_only_where_it_holds(client: httpx.Client, key: str) -> None:
    assert delete(client, key, if_revision=1).status_code == 409
    revision = put(client, key).json()["revision"]
    assert delete(client, key, if_revision=revision + 1).status_code == 409
    assert delete(client, key, if_revision=revision).json()["deleted"] is True
    assert get(client, key).status_code == 404


@pytest.mark.parametrize(
    "more",
    [
        {"ttl": 0},
        {"ttl": -1},
        {"ttl": "1h"},
        {"ttl": 1e300},
        {"if_revision": 0},
        {"if_revision": "7"},
        {"if_revision": 2**63},
        {"if_revision": 1.5},
        {"if_absent": 1},
        {"if_absent": True, "if_revision": 1},
    ],
)
def test_an_expiry_or_a_condition_that_makes_no_sense_is_422(
    client: httpx.Client, key: str, more: dict[str, Any]
) -> None:
    response = put(client, key, **more)
    assert response.status_code == 422
    assert any(name in response.json()["detail"] for name in more)
    assert get(client, key).status_code == 404


def test_a_batch_is_done_in_order_and_sees_itself(client: httpx.Client, key: str) -> None:
    results = batch(
        client,
        {"op": "get", "key": key},
        {"op": "put", "key": key, "value": "1", "if_absent": True},
        {"op": "get", "key": key},
        {"op": "put", "key": key, "value": "2", "ttl": DAY},
        {"op": "delete", "key": f"{key}-other"},
        {"op": "delete", "key": key},
        {"op": "get", "key": key},
        {"op": "put", "key": key, "value": "3"},
    ).json()["results"]
    assert results[0] == {"value": None, "revision": None, "expires_at": None}
    assert results[2] == {"value": "1", "revision": results[1]["revision"], "expires_at": None}
    assert results[3]["revision"] > results[1]["revision"]
    assert results[4] == {"deleted": False, "status": "success"}
    assert results[5] == {"deleted": True, "status": "success"}
    assert results[6] == results[0]
    assert get(client, key).json() == {
        "value": "3",
        "revision": results[7]["revision"],
        "expires_at": None,
    }


def test_a_batch_with_one_condition_that_fails_changes_nothing(client: httpx.Client, key: str) -> None:
    revision = put(client, key, "before").json()["revision"]
    response = batch(
        client,
        {"op": "put", "key": f"{key}-new", "value": "v"},
        {"op": "delete", "key": key},
        {"op": "put", "key": key, "value": "after", "if_revision": revision},
    )
    assert response.status_code == 409
    assert "operation 2" in response.json()["detail"]
    assert get(client, f"{key}-new").status_code == 404
    assert get(client, key).json() == {"value": "before", "revision": revision, "expires_at": None}


@pytest.mark.parametrize(
    "operations",
    [
        [],
        [{"op": "get", "key": "k"}] * 1001,
        [{"op": "move", "key": "k"}],
        [{"key": "k"}],
        [{"op": "put", "key": "k"}],
        [{"op": "get", "key": "k", "value": "v"}],
        {"op": "get"},
    ],
)
def test_a_batch_of_the_wrong_shape_is_422(client: httpx.Client, operations: object) -> None:
    response = client.post("/kv/batch", json={"operations": operations})
    assert response.status_code == 422
    assert response.json()["code"] == "wrong-shape"


def test_a_thousand_operations_are_one_batch(client: httpx.Client, key: str) -> None:
    puts = [{"op": "put", "key": f"{key}/{n}", "value": str(n)} for n in range(1000)]
    revisions = [result["revision"] for result in batch(client, *puts).json()["results"]]
    assert revisions == sorted(set(revisions))
    gets = [{"op": "get", "key": f"{key}/{n}"} for n in range(1000)]
    assert [result["value"] for result in batch(client, *gets).json()["results"]] == [
        str(n) for n in range(1000)
    ]


def test_a_batch_whose_answer_is_too_large_changes_nothing(client: httpx.Client, key: str) -> None:
    put(client, key, "v" * (1024 * 1024))
    reading = {"op": "get", "key": key}
    assert batch(client, *[reading] * 7).status_code == 200
    refused = batch(client, {"op": "put", "key": f"{key} too", "value": "v"}, *[reading] * 9)
    assert (refused.status_code, refused.json()["code"]) == (413, "answer-too-large")
    assert get(client, f"{key} too").status_code == 404


def test_a_batch_has_limits(client: httpx.Client, key: str) -> None:
    long = batch(client, {"op": "put", "key": "k" * 1025, "value": "v"})
    assert (long.status_code, long.json()["code"]) == (413, "key-too-large")
    large = batch(client, {"op": "put", "key": key, "value": "v" * (9 * 1024 * 1024)})
    assert (large.status_code, large.json()["code"]) == (413, "body-too-large")


def test_databases_are_counted_and_dropped(client: httpx.Client, number: int) -> None:
    for n in range(3):
        put(client, f"{n}", database=number)
    put(client, "short", database=number, ttl=0.01)
    time.sleep(0.05)
    counts = {entry["database"]: entry["keys"] for entry in client.get("/databases").json()["databases"]}
    assert counts[number] == 3
    assert client.delete(f"/databases/{number}").json() == {"status": "success", "deleted": 3}
    assert client.delete(f"/databases/{number}").json() == {"status": "success", "deleted": 0}
    listed = client.get("/databases").json()["databases"]
    assert number not in {entry["database"] for entry in listed}
    assert [entry["database"] for entry in listed] == sorted(entry["database"] for entry in listed)


@pytest.mark.parametrize("text", ["-1", "x", "2147483648", "1.0", "%31x", "99999999999", "\u0661"])
def test_a_database_that_cannot_be_is_422(client: httpx.Client, text: str) -> None:
    response = client.delete(f"/databases/{text}")
    assert (response.status_code, response.json()["code"]) == (422, "wrong-shape")


@pytest.fixture
def rows(location: str | None, database: Environment) -> Callable[[], int]:
    """How many rows the database has, asked beside the server."""

    def count() -> int:
        if location is not None:
            with psycopg.connect(database["DATABASE_LOCATION"]) as connection:
                row = connection.execute("SELECT count(*) FROM dumbkv_rows").fetchone()
                return int(row[0]) if row else 0
        path = Path(database["DATABASE_LOCATION"])
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM dumbkv_rows").fetchone()[0])

    return count


def test_expired_rows_are_swept_and_others_stay(
    database: Environment, rows: Callable[[], int], tmp_path: Path
) -> None:
    environment = {**database, "DUMBKV_SWEEP_INTERVAL": "0.05"}
    with server.running(tmp_path / "log", environment) as process, process.client() as client:
        put(client, "stays")
        put(client, "stays longer", ttl=DAY)
        for start in range(0, 1200, 400):
            batch(
                client,
                *[{"op": "put", "key": f"{n}", "value": "v", "ttl": 0.01} for n in range(start, start + 400)],
            )
        while rows() > 2:
            time.sleep(0.05)
        assert get(client, "stays").status_code == 200
        assert get(client, "stays longer").status_code == 200


def test_scopes_of_batches_and_databases(tmp_path: Path) -> None:
    lines = [
        f"{scope} {scope} sha256:{sha256(scope.encode()).hexdigest()}" for scope in ("read", "write", "admin")
    ]
    environment = {"DATABASE_LOCATION": ":memory:", "DUMBKV_AUTH_TOKENS": "\n".join(lines)}
    reading, writing = {"op": "get", "key": "k"}, {"op": "put", "key": "k", "value": "v"}
    with server.running(tmp_path / "log", environment) as process:
        with process.client() as nobody:
            assert batch(nobody, reading).status_code == 401
            assert nobody.get("/databases").status_code == 401
            assert nobody.delete("/databases/0").status_code == 401
        allowed = {
            "read": (200, 403, 403, 200, 403),
            "write": (403, 200, 403, 403, 403),
            "admin": (200, 200, 200, 200, 200),
        }
        for token, expected in allowed.items():
            with process.client(token) as client:
                statuses = (
                    batch(client, reading).status_code,
                    batch(client, writing).status_code,
                    batch(client, reading, writing).status_code,
                    client.get("/databases").status_code,
                    client.delete("/databases/0").status_code,
                )
            assert statuses == expected


def test_bodies_that_fill_their_room_are_503_for_others_until_it_is_free(tmp_path: Path) -> None:
    environment = {
        "DATABASE_LOCATION": ":memory:",
        "DUMBKV_MAX_BATCH_BYTES": "1000",
        "DUMBKV_MAX_BYTES_IN_WORK": "1000",
    }
    body = b'{"key": "slow", "value": "%s"}' % (b"v" * 900)
    with server.running(tmp_path / "log", environment) as process, process.client() as client:
        port = int(process.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
            slow.sendall(b"PUT /kv HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
            slow.sendall(body[:-1])
            while (refused := put(client, "other", "v" * 100)).status_code == 200:
                time.sleep(0.01)
            assert (refused.status_code, refused.json()["code"]) == (503, "too-many-requests")
            assert refused.headers["retry-after"]
            assert get(client, "k").status_code == 404
            assert client.get("/readyz").status_code == 200
            slow.sendall(body[-1:])
            assert slow.recv(65536).startswith(b"HTTP/1.1 200")
        assert put(client, "other", "v" * 900).status_code == 200
