"""A store that is exported and imported: what of it arrives, and what must not."""

import json
import socket
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import postgres, server
from tests.support.command import dumbkv, start
from tests.support.eventually import eventually
from tests.support.server import Environment, Process

pytestmark = pytest.mark.slow

PEPPER = f"1 {'ab' * 32}"
MEBIBYTE = 1024 * 1024
Values = dict[tuple[int, str], str]


@contextmanager
def serving(folder: Path, name: str, settings: Mapping[str, str] = {}, **more: str) -> Iterator[Process]:
    """A server; without settings it has an SQLite file of its own."""
    location = {"DATABASE_LOCATION": str(folder / f"{name}.db"), "DUMBKV_PEPPER": PEPPER}
    with server.running(folder / f"{name}.log", {**location, **settings, **more}) as process:
        yield process


def narrow(process: Process) -> httpx.Client:
    """A client on whose behalf the kernel takes little: what it does not read, the server keeps."""
    options = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)]
    return httpx.Client(
        base_url=process.url, transport=httpx.HTTPTransport(socket_options=options), timeout=60
    )


def put(client: httpx.Client, database: int, key: str, value: str, ttl: float | None = None) -> int:
    body = {"database": database, "key": key, "value": value} | ({"ttl": ttl} if ttl else {})
    response = client.put("/kv", json=body)
    assert response.is_success, response.text
    return int(response.json()["revision"])


def got(client: httpx.Client, database: int, key: str) -> dict[str, Any] | None:
    response = client.post("/kv", json={"database": database, "key": key})
    return dict(response.json()) if response.is_success else None


def export(process: Process, file: Path, *more: str) -> dict[str, Any]:
    done = dumbkv("export", str(file), "-o", "json", *more, DUMBKV_URL=process.url)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def imported(process: Process, file: Path, *more: str) -> tuple[int, int, int]:
    done = dumbkv("import", str(file), "-o", "json", *more, DUMBKV_URL=process.url)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return answer["imported"], answer["existing"], answer["expired"]


def keys(client: httpx.Client) -> int:
    return sum(each["keys"] for each in client.get("/databases").json()["databases"])


def test_a_store_goes_from_one_backend_to_the_other_and_back(
    own_postgres_database: Environment, tmp_path: Path
) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    with (
        serving(tmp_path, "first") as first,
        serving(tmp_path, "postgres", own_postgres_database) as second,
        serving(tmp_path, "third") as third,
    ):
        with first.client() as client:
            for number in range(1500):
                put(client, number % 3, f"a key {number}", f"välue\n{number}", None if number % 5 else 3600)
            client.request("DELETE", "/kv", json={"database": 2, "key": "a key 2"})
            before = {number: got(client, number % 3, f"a key {number}") for number in range(1500)}
        assert export(first, there)["rows"] == 1499
        assert imported(second, there) == (1499, 0, 0)
        export(second, back)
        assert imported(third, back) == (1499, 0, 0)
        for process in (second, third):
            with process.client() as client:
                assert {
                    number: got(client, number % 3, f"a key {number}") for number in range(1500)
                } == before
                # The last revision was that of a put; what comes now comes after it.
                assert put(client, 0, "new", "v") == 1501
    text = there.read_text()
    for secret in ("a key 7", "välue"):
        assert secret not in text
        assert secret.encode().hex() not in text
        assert b64encode(secret.encode()).decode().rstrip("=")[:-1] not in text
    assert there.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def large(database: Environment, tmp_path: Path) -> Iterator[Process]:
    """A server whose store has more than sockets and buffers hold: 48 values of a mebibyte."""
    with serving(tmp_path, "large", database) as process:
        with process.client() as client:
            for number in range(48):
                put(client, number, "k", f"{number:04d}" * (MEBIBYTE // 4))
        yield process


def test_an_export_is_one_moment_whatever_is_written_meanwhile(large: Process, tmp_path: Path) -> None:
    file = tmp_path / "export"
    with narrow(large) as reader, large.client() as writer:
        with reader.stream("GET", "/export") as response, file.open("wb") as target:
            chunks = response.iter_bytes()
            target.write(next(chunks))
            for number in range(0, 48, 3):
                put(writer, number, "k", "changed")
                writer.request("DELETE", "/kv", json={"database": number + 1, "key": "k"})
                put(writer, number + 1, "another", "new")
            for number in range(40, 48):
                writer.delete(f"/databases/{number}")
                put(writer, number, "again", "new")
            for chunk in chunks:
                target.write(chunk)
        with serving(tmp_path, "target") as target_process, target_process.client() as client:
            assert imported(target_process, file) == (48, 0, 0)
            for number in range(48):
                entry = got(client, number, "k")
                assert entry is not None
                assert entry["value"] == f"{number:04d}" * (MEBIBYTE // 4)
                assert entry["revision"] == number + 1
        again = tmp_path / "again"
        assert export(large, again)["rows"] == keys(writer)


def test_neither_side_has_the_store_in_memory(large: Process, tmp_path: Path) -> None:
    def peak() -> int:
        status = Path(f"/proc/{large.popen.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    before = peak()
    file = tmp_path / "export"
    assert export(large, file)["bytes"] > 64 * MEBIBYTE
    with serving(tmp_path, "target") as target:
        assert imported(target, file) == (48, 0, 0)
    assert peak() - before < 24 * MEBIBYTE


def test_there_is_one_export_at_a_time_and_a_client_that_leaves_ends_its_own(large: Process) -> None:
    with narrow(large) as client:
        with client.stream("GET", "/export") as response:
            chunks = response.iter_bytes()
            next(chunks)
            with large.client() as other:
                refused = other.get("/export")
                assert (refused.status_code, refused.json()["code"]) == (503, "export-running")
                assert refused.headers["retry-after"]
        eventually(lambda: client.get("/export").is_success, "the export of a client that left ends")


@pytest.mark.parametrize(
    ("settings", "code"),
    [({"DUMBKV_EXPORT_TIMEOUT": "1"}, "export-timeout"), ({"DUMBKV_ANSWER_TIMEOUT": "1"}, None)],
)
def test_a_client_that_takes_nothing_does_not_keep_an_export(
    large: Process, database: Environment, tmp_path: Path, settings: Environment, code: str | None
) -> None:
    large.stop()
    with (
        serving(tmp_path, "strict", database, **settings) as process,
        narrow(process) as client,
        client.stream("GET", "/export") as response,
    ):
        chunks = response.iter_bytes()
        text = next(chunks)
        eventually(lambda: "an export " in process.log() or _one_more(process), "the export ends")
        if code is None:
            with pytest.raises(httpx.TransportError):
                list(chunks)
            return
        text += b"".join(chunks)
    assert json.loads(text.splitlines()[-1])["code"] == code


def _one_more(process: Process) -> bool:
    """Whether another client could have an export now."""
    with process.client() as client, client.stream("GET", "/export") as response:
        return response.status_code == 200


def test_an_export_ends_where_more_is_written_than_can_be_set_aside(tmp_path: Path) -> None:
    """SQLite only: PostgreSQL keeps what is overwritten on disk."""
    file = tmp_path / "export"
    file.write_text("the former one")
    with serving(tmp_path, "busy") as process, process.client() as client:
        for number in range(100):
            put(client, number, "k", "v" * MEBIBYTE)
        with narrow(process) as reader, reader.stream("GET", "/export") as response:
            chunks = response.iter_bytes()
            next(chunks)
            with process.client() as writer:
                for number in range(100):
                    put(writer, number, "k", "w")
            text = b""
            for chunk in chunks:
                text = (text + chunk)[-MEBIBYTE * 2 :]
        assert json.loads(text.splitlines()[-1])["code"] == "too-many-changes"
        # Nothing of it stays: neither in the way of writes, nor of the next export.
        assert export(process, file)["rows"] == 100


def test_what_is_not_whole_is_refused_or_told_of(tmp_path: Path) -> None:
    file, cut = tmp_path / "export", tmp_path / "cut"
    with serving(tmp_path, "source") as source, source.client() as client:
        for number in range(20):
            put(client, 0, f"k{number}", "v")
        export(source, file)
    text = "".join(file.read_text().splitlines(keepends=True)[:-1])
    cut.write_text(text)
    with serving(tmp_path, "target") as target, target.client() as client:
        refused = dumbkv("import", str(cut), DUMBKV_URL=target.url)
        assert refused.returncode == 1
        assert "breaks off after 20 rows (nothing was imported)" in refused.stderr
        assert keys(client) == 0
        # A pipe cannot be looked through before: what was done of it is told.
        begun = dumbkv("import", "-", given=text, DUMBKV_URL=target.url)
        assert begun.returncode == 1
        assert "breaks off after 20 rows (before that: imported 20 rows" in begun.stderr
        assert keys(client) == 20
        assert imported(target, file, "--existing", "keep") == (0, 20, 0)


def test_an_import_goes_on_after_the_database_was_away(
    own_postgres: postgres.Server, own_postgres_database: Environment, tmp_path: Path
) -> None:
    file = tmp_path / "export"
    with serving(tmp_path, "source") as source, source.client() as client:
        for number in range(1100):
            put(client, 0, f"k{number}", "v")
        export(source, file)
    lines = file.read_bytes().splitlines(keepends=True)
    with serving(tmp_path, "target", own_postgres_database) as target, target.client() as client:
        process = start("import", "-", DUMBKV_URL=target.url)
        assert process.stdin is not None
        process.stdin.write(b"".join(lines[:1050]))
        process.stdin.flush()
        eventually(lambda: keys(client) == 1000, "the first rows are imported")
        own_postgres.stop()
        try:
            process.stdin.write(b"".join(lines[1050:]))
            process.stdin.close()
            eventually(lambda: client.get("/readyz").status_code == 503, "the server sees it")
        finally:
            own_postgres.start()
        process.stdin = None
        _, errors = process.communicate(timeout=100)
        assert (process.returncode, keys(client)) == (0, 1100), errors
        assert errors.startswith(b"imported 1100 rows")


def test_rows_under_other_peppers_are_refused(database: Environment, tmp_path: Path) -> None:
    file = tmp_path / "export"
    rotated = f"2 {'cd' * 32}\n{PEPPER}"
    with serving(tmp_path, "source") as source, source.client() as client:
        put(client, 0, "old", "v")
        export(source, file)
    others = {"same number": f"1 {'cd' * 32}", "another number": f"2 {'ab' * 32}", "none": f"0 {'00' * 32}"}
    for name, pepper in others.items():
        with serving(tmp_path, name, DUMBKV_PEPPER=pepper) as other:
            done = dumbkv("import", str(file), DUMBKV_URL=other.url)
            assert done.returncode == 1
            assert "pepper 1" in done.stderr
            assert "(nothing was imported)" in done.stderr
    with serving(tmp_path, "rotated", database, DUMBKV_PEPPER=rotated) as target, target.client() as client:
        assert imported(target, file) == (1, 0, 0)
        entry = got(client, 0, "old")
        assert entry is not None
        assert entry["value"] == "v"
        # Whether a key is there already cannot be told under two peppers.
        done = dumbkv("import", str(file), "--existing", "keep", DUMBKV_URL=target.url)
        assert done.returncode == 1
        assert "several peppers" in done.stderr


def test_the_pepper_of_an_imported_row_cannot_be_left_out_after_it(
    database: Environment, tmp_path: Path
) -> None:
    file = tmp_path / "export"
    newer = f"2 {'cd' * 32}"
    with serving(tmp_path, "source") as source, source.client() as client:
        put(client, 0, "old", "v")
        export(source, file)
    with serving(tmp_path, "both", database, DUMBKV_PEPPER=f"{newer}\n{PEPPER}") as target:
        assert imported(target, file) == (1, 0, 0)
        target.stop()
    settings = {**database, "DUMBKV_PEPPER": newer}
    with (
        pytest.raises(server.StartError, match="under pepper 1"),
        server.running(tmp_path / "newer.log", settings),
    ):
        pytest.fail("it serves")


def test_keys_that_are_there_are_refused_kept_or_replaced(database: Environment, tmp_path: Path) -> None:
    file = tmp_path / "export"
    with serving(tmp_path, "source") as source, source.client() as client:
        for key in ("b", "a", "c"):
            put(client, 0, key, f"exported {key}")
        export(source, file)
    with serving(tmp_path, "target", database) as target, target.client() as client:
        for number in range(7):
            put(client, 0, "a", f"mine {number}")
        put(client, 0, "only mine", "v")
        done = dumbkv("import", str(file), DUMBKV_URL=target.url)
        assert done.returncode == 1
        assert "--existing keep" in done.stderr
        assert imported(target, file, "--existing", "keep") == (2, 1, 0)
        assert got(client, 0, "a") == {"value": "mine 6", "revision": 7, "expires_at": None}
        first, second = got(client, 0, "b"), got(client, 0, "c")
        assert first is not None
        assert second is not None
        assert (first["value"], second["value"]) == ("exported b", "exported c")
        # None of the store's own revisions is given again, and the order is that of the export.
        assert 8 < first["revision"] < second["revision"]
        assert put(client, 0, "next", "v") > second["revision"]
        assert imported(target, file, "--existing", "replace") == (3, 0, 0)
        replaced = got(client, 0, "a")
        assert replaced is not None
        assert replaced["value"] == "exported a"
        assert got(client, 0, "only mine") is not None
        client.delete("/databases/0")
        assert imported(target, file) == (3, 0, 0)


def test_what_expired_is_neither_exported_nor_imported(tmp_path: Path, database: Environment) -> None:
    file = tmp_path / "export"
    with serving(tmp_path, "source", DUMBKV_SWEEP_INTERVAL="3600") as source, source.client() as client:
        put(client, 0, "gone", "v", ttl=0.001)
        put(client, 0, "soon", "v", ttl=5)
        put(client, 0, "stays", "v")
        eventually(lambda: got(client, 0, "gone") is None, "the key expires")
        assert export(source, file)["rows"] == 2
        eventually(lambda: got(client, 0, "soon") is None, "the key expires")
    with serving(tmp_path, "target", database) as target:
        assert imported(target, file) == (1, 0, 1)


def test_only_an_administrator_may_and_nothing_tells_of_a_token(tmp_path: Path) -> None:
    tokens = {scope: f"a token with the scope {scope}, long enough" for scope in ("read", "write", "admin")}
    lines = [
        f"{scope} {scope} sha256:{sha256(token.encode()).hexdigest()}" for scope, token in tokens.items()
    ]
    calls = (("GET", "/export"), ("POST", "/import/start"), ("POST", "/import"))
    with serving(tmp_path, "server", DUMBKV_AUTH_TOKENS="\n".join(lines)) as process:
        for scope, token in tokens.items():
            with process.client(token) as client:
                for method, path in calls:
                    assert (client.request(method, path).status_code == 403) == (scope != "admin")
        with process.client() as client:
            assert {client.request(*call).status_code for call in calls} == {401}
        file = tmp_path / "export"
        done = dumbkv("export", str(file), DUMBKV_URL=process.url, DUMBKV_TOKEN=tokens["admin"])
        assert done.returncode == 0, done.stderr
        assert "token" not in process.log()


def test_an_import_of_nonsense_is_a_problem(client: httpx.Client) -> None:
    row = {"row_id": "00" * 32, "database": 0, "revision": 1, "expires_at": None, "blob": "AQ" + "A" * 38}
    top = client.put("/kv", json={"key": "k", "value": "v"}).json()["revision"]
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"rows": [row]}, 422, "wrong-shape"),
        ({"offset": -1, "rows": [row]}, 422, "wrong-shape"),
        ({"offset": 0, "rows": [row] * 1001}, 422, "wrong-shape"),
        ({"offset": 0, "rows": [row | {"row_id": "00"}]}, 422, "wrong-shape"),
        ({"offset": 0, "rows": [row | {"blob": "AQ"}]}, 422, "wrong-shape"),
        ({"offset": 0, "rows": [row | {"blob": "Ag" + "A" * 38}]}, 422, "wrong-shape"),
        ({"offset": 0, "rows": [row | {"blob": "AQ" + "A" * 39}]}, 422, "wrong-shape"),
        ({"offset": 0, "rows": [row | {"blob": "AQ" + "A" * 1_500_002}]}, 413, "value-too-large"),
        ({"offset": 0, "rows": [row | {"key": "k"}]}, 422, "wrong-shape"),
        ({"offset": 0, "rows": [row | {"database": 2**31}]}, 422, "wrong-shape"),
        ({"offset": 0, "rows": [row | {"revision": 2**60}]}, 422, "wrong-shape"),
        ({"offset": top + 2**40, "rows": [row]}, 409, "not-reserved"),
        ({"offset": 0, "rows": [row | {"blob": "Afcc" + "A" * 36}]}, 409, "other-peppers"),
    ]
    for body, status, code in cases:
        response = client.post("/import", json=body)
        assert (response.status_code, response.json()["code"]) == (status, code), body
    assert client.post("/import", content=b"x" * (9 * MEBIBYTE)).status_code == 413
    started = client.post("/import/start", json={"peppers": [], "last_revision": 2**53})
    assert started.status_code == 422
    assert client.get("/export", params={"legacy": "include"}).status_code == 422
    assert client.request("GET", "/export", content=b"x").status_code == 413
