"""A disk that is full, read-only, broken, or taken away under the running server (SQLite).

No write is acknowledged that is not stored, what was acknowledged is there afterwards, readiness and a metric
say so, and where only a restart helps the process ends by itself.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support import server
from tests.support.eventually import eventually
from tests.support.faults import BROKEN, FULL, READ_ONLY, Disk

pytestmark = pytest.mark.slow

LAST_LINE = "dumbkv: the database failed and only a restart can help, the log above says how: exiting"
# More than SQLite keeps of a file in memory (2 MB), and enough for the log to be folded into the file.
MANY = [f"key {number}" for number in range(800)]


def put(client: httpx.Client, key: str, value: str) -> httpx.Response:
    return client.put("/kv", json={"key": key, "value": value})


def value_of(key: str) -> str:
    return f"value of {key} ".ljust(8_000, "v")


def fill(client: httpx.Client) -> None:
    for start in range(0, len(MANY), 100):
        puts = [{"op": "put", "key": key, "value": value_of(key)} for key in MANY[start : start + 100]]
        assert client.post("/kv/batch", json={"operations": puts}).status_code == 200


def check_all(location: Path, log: Path) -> None:
    """Every write that was acknowledged is there, and the server takes more."""
    with server.running(log, {"DATABASE_LOCATION": str(location)}) as process, process.client() as client:
        for key in MANY:
            assert client.post("/kv", json={"key": key}).json()["value"] == value_of(key)
        assert put(client, "after", "v").status_code == 200


def ends_by_itself(process: server.Process, said: str) -> None:
    """The process stops without a signal of ours, with an exit code and a last line that say so."""
    assert process.popen.wait(60) == 1
    log = process.log()
    assert said in log
    assert "this process must be restarted" in log
    assert log.splitlines()[-1] == LAST_LINE
    assert "Traceback" not in log


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    return Disk(tmp_path_factory.mktemp("disk"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for three megabytes."""
    point = tmp_path / "small"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "dumbkv-test", str(point)], check=True)
    yield point
    subprocess.run(["umount", str(point)], check=True)


def test_a_full_disk_refuses_writes_serves_reads_and_heals_by_itself(
    small_disk: Path, tmp_path: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_500_000))
    environment = {"DATABASE_LOCATION": str(small_disk / "dumbkv.db")}
    stored: dict[str, str] = {}
    with server.running(tmp_path / "log", environment) as process, process.client() as client:
        # First what is large does not fit any more, at last nothing does.
        sizes = [50_000] * 100 + [10] * 1_000
        for number, size in enumerate(sizes):
            response = put(client, f"{number}", "v" * size)
            if response.status_code == 200:
                stored[f"{number}"] = "v" * size
                continue
            assert (response.status_code, response.json()["code"]) == (503, "database-unavailable")
            assert response.headers["retry-after"]
            assert "/" not in response.json()["detail"]
            if client.get("/readyz").status_code == 503:
                break
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
        assert "dumbkv_database_up 0.0" in client.get("/metrics").text
        for number in range(len(sizes)):
            response = client.post("/kv", json={"key": f"{number}"})
            assert response.json().get("value") == stored.get(f"{number}")
            assert response.status_code == (200 if f"{number}" in stored else 404)
        ballast.unlink()
        eventually(lambda: client.get("/readyz").status_code == 200, "it serves again")
        assert put(client, "after", "v").status_code == 200
        assert "dumbkv_database_up 1.0" in client.get("/metrics").text
        assert "the database failed: cannot write: database or disk is full" in process.log()
        assert "the database serves again" in process.log()
        assert process.stop() == 0


def test_a_read_only_file_system_stops_the_start_with_one_clear_line(
    small_disk: Path, tmp_path: Path
) -> None:
    location = small_disk / "dumbkv.db"
    with server.running(tmp_path / "log", {"DATABASE_LOCATION": str(location)}) as process:
        process.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with (
        pytest.raises(server.StartError, match="Read-only file system") as caught,
        server.running(tmp_path / "again", {"DATABASE_LOCATION": str(location)}),
    ):
        pass
    assert caught.value.code == 3
    assert "Traceback" not in caught.value.log


@contextmanager
def filled(folder: Path, disk: Disk) -> Iterator[tuple[server.Process, httpx.Client, Path]]:
    location = folder / "data" / "dumbkv.db"
    environment = {"DATABASE_LOCATION": str(location), **disk.environment}
    with server.running(folder / "log", environment) as process, process.client() as client:
        fill(client)
        yield process, client, location


def test_a_disk_that_is_full_for_a_while_loses_nothing(tmp_path: Path, disk: Disk) -> None:
    with filled(tmp_path, disk) as (process, client, location):
        disk.fail("write", FULL)
        for _ in range(3):
            assert put(client, MANY[0], "not stored").json()["code"] == "database-unavailable"
        assert client.get("/readyz").status_code == 503
        assert client.post("/kv", json={"key": MANY[0]}).json()["value"] == value_of(MANY[0])
        disk.repair()
        eventually(lambda: client.get("/readyz").status_code == 200, "it serves again")
        assert put(client, MANY[0], value_of(MANY[0])).status_code == 200
        process.stop()
    check_all(location, tmp_path / "again")


@pytest.mark.parametrize(
    ("call", "number"),
    [("write", BROKEN), ("write", READ_ONLY), ("sync", BROKEN)],
    ids=["write", "read-only", "sync"],
)
def test_a_write_that_fails_is_never_acknowledged_and_the_process_ends(
    tmp_path: Path, disk: Disk, call: str, number: int
) -> None:
    with filled(tmp_path, disk) as (process, client, location):
        disk.fail(call, number)
        response = put(client, "lost", "v")
        disk.repair()
        # It may be on the disk or not: nobody knows.
        assert (response.status_code, response.json()["code"]) == (503, "outcome-unknown")
        assert response.headers["retry-after"]
        ends_by_itself(process, "the database failed: cannot write: disk I/O error")
    check_all(location, tmp_path / "again")


def test_a_read_that_fails_is_no_answer_and_the_process_ends(tmp_path: Path, disk: Disk) -> None:
    with filled(tmp_path, disk) as (process, client, location):
        disk.fail("read", BROKEN)
        response = client.post("/kv", json={"key": MANY[0]})
        disk.repair()
        assert (response.status_code, response.json()["code"]) == (503, "database-unavailable")
        # SQLite takes a disk that cannot be read for a damaged file.
        ends_by_itself(process, "the database failed: cannot read: ")
    check_all(location, tmp_path / "again")


def test_after_a_failure_nothing_is_answered_until_the_process_has_ended(tmp_path: Path, disk: Disk) -> None:
    """A client whose request is under way holds the process: others learn that it can do nothing."""
    with filled(tmp_path, disk) as (process, client, _):
        disk.fail("sync", BROKEN)
        body = iter([b'{"key": "slow", ', b'"value": "v"}'])

        def slowly() -> Iterator[bytes]:
            yield next(body)
            assert put(client, "lost", "v").json()["code"] == "outcome-unknown"
            disk.repair()
            yield next(body)

        with process.client() as slow:
            assert slow.put("/kv", content=slowly()).json()["code"] == "database-unavailable"
        ends_by_itself(process, "the database failed: cannot write: disk I/O error")


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.rename(path)


def move_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def remove_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


TAKEN: dict[str, tuple[str, Callable[[Path], None]]] = {
    "database removed": ("dumbkv.db", remove),
    "database replaced": ("dumbkv.db", replace),
    "log removed": ("dumbkv.db-wal", remove),
    "lock removed": ("dumbkv.db.lock", remove),
    "directory moved": ("dumbkv.db", move_directory),
    "directory removed": ("dumbkv.db", remove_directory),
}


@pytest.mark.parametrize("taken", TAKEN)
@pytest.mark.parametrize("who", ["write", "readiness"])
def test_a_file_that_is_taken_away_ends_the_process_and_no_write_is_acknowledged(
    tmp_path: Path, taken: str, who: str
) -> None:
    """SQLite itself goes on writing into the file that nobody can find any more."""
    name, take = TAKEN[taken]
    location = tmp_path / "data" / "dumbkv.db"
    environment = {"DATABASE_LOCATION": str(location), "DUMBKV_SWEEP_INTERVAL": "1000"}
    with server.running(tmp_path / "log", environment) as process, process.client() as client:
        assert put(client, "k", "v").status_code == 200
        take(location.with_name(name))
        if who == "write":
            response = put(client, "k", "lost")
            assert (response.status_code, response.json()["code"]) == (503, "outcome-unknown")
        else:
            assert client.get("/readyz").status_code == 503
        ends_by_itself(process, "was deleted or replaced while it was in use")


def test_a_database_that_is_damaged_while_it_runs_answers_no_wrong_value(tmp_path: Path) -> None:
    location = tmp_path / "data" / "dumbkv.db"
    with server.running(tmp_path / "log", {"DATABASE_LOCATION": str(location)}) as process:
        with process.client() as client:
            fill(client)
            # All but the first page, which holds the header.
            with location.open("r+b") as file:
                size = file.seek(0, 2)
                assert size > 2_000_000
                file.seek(4096)
                file.write(b"\xa5" * (size - 4096))
            answers = []
            for key in MANY:
                response = client.post("/kv", json={"key": key})
                answers.append(response.status_code)
                if response.status_code != 200:
                    break
                assert response.json()["value"] == value_of(key)
            assert (answers[-1], response.json()["code"]) == (503, "database-unavailable")
        ends_by_itself(process, "the database failed: cannot read: database disk image is malformed")


@pytest.mark.parametrize("part", ["half of it", "everything but the header"])
def test_a_database_that_was_damaged_before_stops_the_start(tmp_path: Path, part: str) -> None:
    location = tmp_path / "dumbkv.db"
    with server.running(tmp_path / "log", {"DATABASE_LOCATION": str(location)}) as process:
        with process.client() as client:
            fill(client)
        process.stop()
    content = location.read_bytes()
    damaged = (
        content[: len(content) // 2] if part == "half of it" else content[:100].ljust(len(content), b"\xa5")
    )
    location.write_bytes(damaged)
    with (
        pytest.raises(server.StartError, match="cannot open the database") as caught,
        server.running(tmp_path / "again", {"DATABASE_LOCATION": str(location)}),
    ):
        pass
    assert caught.value.code == 3
    assert "malformed" in caught.value.log
    assert "Traceback" not in caught.value.log
    # Whoever looks at it finds it as it was.
    assert location.read_bytes() == damaged
