"""A server that waits for the owner of its SQLite file: alive, not ready, and there as soon as that ended."""

import fcntl
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support import server
from tests.support.eventually import eventually
from tests.support.server import Environment

pytestmark = pytest.mark.slow

OWNER = b"process 7 on host\n0123456789abcdef\n"
SAID = "this process takes over as soon as that one has ended"


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return {"DATABASE_LOCATION": str(tmp_path / "dumbkv.db"), "DUMBKV_WAIT_FOR_OWNER": "true"}


class Writer(threading.Thread):
    """Writes a key after the other until the server is gone. `acknowledged` has the revision of each key."""

    def __init__(self, process: server.Process) -> None:
        super().__init__()
        self._process = process
        self.acknowledged: dict[str, int] = {}

    def run(self) -> None:
        with self._process.client() as client:
            for number in range(1_000_000):
                try:
                    answer = client.put("/kv", json={"key": f"key {number}", "value": f"value {number}"})
                except httpx.TransportError:
                    return
                self.acknowledged[f"key {number}"] = answer.json()["revision"]


@contextmanager
def owned(environment: Environment, content: bytes) -> Iterator[None]:
    """The file's lock is held by this process, and what is in it was written by who knows whom."""
    with Path(environment["DATABASE_LOCATION"] + ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(content)
        lock.flush()
        yield


def ready(client: httpx.Client) -> bool:
    return client.get("/readyz").status_code == 200


def test_it_is_alive_and_says_who_has_the_database(environment: Environment, tmp_path: Path) -> None:
    with (
        server.running(tmp_path / "first", environment) as first,
        server.running(tmp_path / "second", environment) as second,
        second.client() as client,
    ):
        owner = f"process {first.popen.pid} on {socket.gethostname()}"
        assert client.get("/livez").json() == {"status": "healthy"}
        for path in ("/readyz", "/health"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert answer.json()["reason"] == f"the database is in use: {owner} has it; {SAID}"
        assert "dumbkv_database_up 0.0" in client.get("/metrics").text
        put = {"op": "put", "key": "k", "value": "v"}
        for method, path, body in (
            ("PUT", "/kv", {"key": "k", "value": "v"}),
            ("POST", "/kv", {"key": "k"}),
            ("DELETE", "/kv", {"key": "k"}),
            ("POST", "/kv/batch", {"operations": [put]}),
            ("GET", "/databases", None),
            ("DELETE", "/databases/0", None),
        ):
            answer = client.request(method, path, json=body)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), path
            assert answer.json()["code"] == "database-unavailable"
        with first.client() as owning:
            assert owning.post("/kv", json={"key": "k"}).status_code == 404
        assert second.log().count(SAID) == 1, "it is said once"
        assert f"{owner} has it" in second.log()
        assert "Traceback" not in second.log()


def test_it_takes_over_from_a_killed_owner_with_all_that_was_acknowledged(
    environment: Environment, tmp_path: Path
) -> None:
    with (
        server.running(tmp_path / "first", environment) as first,
        server.running(tmp_path / "second", environment) as second,
        second.client() as client,
    ):
        writer = Writer(first)
        writer.start()
        eventually(lambda: len(writer.acknowledged) > 100, "writes")
        assert not ready(client)
        first.stop(signal.SIGKILL)
        writer.join()
        eventually(lambda: ready(client), "the second to be ready")
        assert "the database serves again" in second.log()
        for key, revision in writer.acknowledged.items():
            found = client.post("/kv", json={"key": key}).json()
            assert (found["value"], found["revision"]) == (key.replace("key", "value"), revision)
        new = client.put("/kv", json={"key": "new", "value": "v"}).json()["revision"]
        assert new > max(writer.acknowledged.values())


def test_it_takes_over_from_an_owner_that_was_stopped_and_the_next_waits_for_it(
    environment: Environment, tmp_path: Path
) -> None:
    with (
        server.running(tmp_path / "first", environment) as first,
        server.running(tmp_path / "second", environment) as second,
        second.client() as client,
        server.running(tmp_path / "third", environment) as third,
        third.client() as another,
    ):
        assert first.stop() == 0
        serving, waiting = eventually(
            lambda: (second, another) if ready(client) else (third, client) if ready(another) else None,
            "one of the two to be ready",
        )
        eventually(
            lambda: f"process {serving.popen.pid} on " in waiting.get("/readyz").json()["reason"],
            "the other to name it",
        )


def test_sigterm_ends_one_that_waits_at_once_and_takes_nothing(
    environment: Environment, tmp_path: Path
) -> None:
    with server.running(tmp_path / "first", environment) as first, first.client() as client:
        with server.running(tmp_path / "second", environment) as second:
            assert second.stop() == 0
        assert client.put("/kv", json={"key": "k", "value": "v"}).status_code == 200
        impatient = environment | {"DUMBKV_WAIT_FOR_OWNER": "false"}
        with (
            pytest.raises(server.StartError, match=f"process {first.popen.pid} on "),
            server.running(tmp_path / "third", impatient),
        ):
            pass


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"process 7 on ",
        b"process 7 on host\nINFO: a line of the log\n",
        b"\xff\xfe",
        b"process 7 on " + b"h" * 100_000,
    ],
    ids=["empty", "half", "two lines", "binary", "long"],
)
def test_nothing_of_a_strange_lock_file_is_repeated(
    environment: Environment, tmp_path: Path, content: bytes
) -> None:
    with (
        owned(environment, content),
        server.running(tmp_path / "log", environment) as process,
        process.client() as client,
    ):
        said = f"the database is in use: another process has it; {SAID}"
        assert client.get("/readyz").json()["reason"] == said
        assert "a line of the log" not in process.log()


def test_one_that_takes_over_a_file_that_is_no_database_ends(
    environment: Environment, tmp_path: Path
) -> None:
    with server.running(tmp_path / "log", environment) as process, process.client() as client:
        process.stop()
    with ExitStack() as stack:
        owner = stack.enter_context(ExitStack())
        owner.enter_context(owned(environment, OWNER))
        Path(environment["DATABASE_LOCATION"]).write_bytes(os.urandom(8192))
        process = stack.enter_context(server.running(tmp_path / "waiting", environment))
        client = stack.enter_context(process.client())
        assert "process 7 on host has it" in client.get("/readyz").json()["reason"]
        owner.close()
        assert process.popen.wait(60) == 1
        assert "cannot open the database" in process.log()


def take(lock: Path) -> None:
    """Writes what another machine would, to which a network file system gave the lock."""
    lock.write_bytes(OWNER)


def write(client: httpx.Client) -> None:
    with pytest.raises(httpx.TransportError):
        client.put("/kv", json={"key": "k", "value": "of one that lost the file"})


def ask(client: httpx.Client) -> None:
    with pytest.raises(httpx.TransportError):
        client.get("/readyz")


@pytest.mark.parametrize("act", [write, ask, None])
def test_one_that_lost_its_file_ends_before_it_writes_again(
    environment: Environment,
    tmp_path: Path,
    act: Callable[[httpx.Client], None] | None,
) -> None:
    """A lock that was only removed is in test_disk_faults.py."""
    database = Path(environment["DATABASE_LOCATION"])
    files = [database, database.with_name(database.name + "-wal")]
    with server.running(tmp_path / "log", environment) as process, process.client() as client:
        client.put("/kv", json={"key": "k", "value": "v"})
        take(database.with_name(database.name + ".lock"))
        before = [path.read_bytes() for path in files]
        if act is None:
            process.popen.send_signal(signal.SIGTERM)
        else:
            act(client)
        assert process.popen.wait(60) == 1
        assert [path.read_bytes() for path in files] == before
        assert "another process took " in process.log()
    with server.running(tmp_path / "next", environment) as process, process.client() as client:
        assert client.post("/kv", json={"key": "k"}).json()["value"] == "v"
