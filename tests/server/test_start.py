"""How the process starts, refuses to start, and stops."""

import os
import signal
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import server
from tests.support.server import Environment


def test_sigterm_ends_with_success_and_the_data_is_there(database: Environment, tmp_path: Path) -> None:
    with server.running(tmp_path / "first", database) as process:
        with process.client() as client:
            client.put("/kv", json={"key": "k", "value": "v"})
        assert process.stop() == 0
        assert "the database is closed" in process.log()
    with server.running(tmp_path / "second", database) as process, process.client() as client:
        assert client.post("/kv", json={"key": "k"}).json()["value"] == "v"


def test_sigterm_lets_requests_in_work_finish(database: Environment, tmp_path: Path) -> None:
    """A body that arrives only after SIGTERM is still stored and answered."""
    with server.running(tmp_path / "log", database) as process:
        body = b'{"key": "late", "value": "v"}'
        port = int(process.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            head = f"PUT /kv HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body[:5])
            with process.client() as client:
                # The server has read the head by the time that it has answered somebody who came later.
                client.get("/livez")
            process.popen.send_signal(signal.SIGTERM)
            _wait_for(process, "Shutting down")
            connection.sendall(body[5:])
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert process.popen.wait(60) == 0
    with server.running(tmp_path / "again", database) as process, process.client() as client:
        assert client.post("/kv", json={"key": "late"}).json()["value"] == "v"


def test_readiness_goes_before_the_listening_socket(database: Environment, tmp_path: Path) -> None:
    """With a drain delay the process says that it drains while it still serves."""
    environment = {**database, "DUMBKV_DRAIN_DELAY": "600"}
    with server.running(tmp_path / "log", environment) as process:
        with process.client() as client:
            assert client.get("/readyz").status_code == 200
            process.popen.send_signal(signal.SIGTERM)
            while client.get("/readyz").status_code == 200:
                pass
            assert client.put("/kv", json={"key": "k", "value": "v"}).status_code == 200
            assert client.get("/livez").status_code == 200
        # A second SIGTERM means: now.
        assert process.stop() == 0


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DATABASE_TYPE": "oracle"}, "DATABASE_TYPE"),
        ({"DUMBKV_PEPPER": "1 abc"}, "pepper file, line 1"),
        ({"DATABASE_LOCATION": "/proc/nothing/dumbkv.db"}, "/proc/nothing/dumbkv.db"),
        ({"DATABASE_TYPE": "postgres", "DATABASE_LOCATION": "postgres://u:secret@[h/d"}, "not a valid"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_clear_line(
    environment: Environment, said: str, tmp_path: Path
) -> None:
    with (
        pytest.raises(server.StartError) as caught,
        server.running(tmp_path / "log", {"DATABASE_LOCATION": ":memory:", **environment}),
    ):
        pass
    assert caught.value.code in {1, 2, 3}
    assert said in caught.value.log
    assert "Traceback" not in caught.value.log
    assert "secret" not in caught.value.log


def test_a_second_process_on_one_file_fails_at_once_and_names_the_first(tmp_path: Path) -> None:
    environment = {"DATABASE_LOCATION": str(tmp_path / "dumbkv.db")}
    with server.running(tmp_path / "first", environment) as process:
        with (
            pytest.raises(server.StartError) as caught,
            server.running(tmp_path / "second", environment),
        ):
            pass
        assert f"process {process.popen.pid} on " in caught.value.log
        assert "Traceback" not in caught.value.log
        with process.client() as client:
            assert client.put("/kv", json={"key": "k", "value": "v"}).status_code == 200
        process.stop(signal.SIGKILL)
    # The lock went with its owner, however that ended.
    with server.running(tmp_path / "third", environment) as process, process.client() as client:
        assert client.post("/kv", json={"key": "k"}).json()["value"] == "v"


def test_a_database_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "dumbkv.db"
    with server.running(tmp_path / "log", {"DATABASE_LOCATION": str(path)}):
        assert path.stat().st_mode & 0o077 == 0


def test_a_file_that_is_no_database_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "dumbkv.db"
    path.write_bytes(os.urandom(8192))
    with (
        pytest.raises(server.StartError, match="cannot open the database"),
        server.running(tmp_path / "log", {"DATABASE_LOCATION": str(path)}),
    ):
        pass


def test_an_error_that_nobody_thought_of_stops_the_start_too(tmp_path: Path) -> None:
    """A server whose start failed must not listen: it could answer nothing, and nobody would restart it."""
    path = tmp_path / "dumbkv.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE dumbkv_meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
        connection.execute("INSERT INTO dumbkv_meta VALUES ('version', 'no number')")
    with (
        pytest.raises(server.StartError, match="Traceback") as caught,
        server.running(tmp_path / "log", {"DATABASE_LOCATION": str(path)}),
    ):
        pytest.fail("it serves")
    assert caught.value.code == 3


def _wait_for(process: server.Process, text: str) -> None:
    pause = threading.Event()
    while text not in process.log():
        pause.wait(0.01)
