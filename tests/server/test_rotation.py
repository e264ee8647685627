"""Peppers change while the server runs, and no key is lost on the way."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.server.test_stored import execute, get, peppers, put
from tests.support import server
from tests.support.eventually import eventually
from tests.support.server import Environment

pytestmark = pytest.mark.slow

ONE, TWO = f"1 {'11' * 32}", f"2 {'22' * 32}"


@contextmanager
def following(
    database: Environment, folder: Path, text: str, name: str = "one"
) -> Iterator[tuple[server.Process, Path]]:
    """A server whose pepper file holds `text`, and that file."""
    path = folder / f"peppers-{name}"
    path.write_text(text)
    environment = {**database, "DUMBKV_PEPPER_FILE": str(path)}
    with server.running(folder / f"log-{name}", environment) as process:
        yield process, path


def wait_for(process: server.Process, text: str, times: int = 1) -> None:
    eventually(lambda: process.log().count(text) >= times, f"{text!r} in the log")


def pepper_of_rows(database: Environment) -> list[int]:
    return sorted(bytes(blob)[1] for (blob,) in execute(database, "SELECT blob FROM dumbkv_rows"))


def test_a_new_pepper_is_used_without_a_restart_and_old_rows_move(
    database: Environment, tmp_path: Path
) -> None:
    with following(database, tmp_path, ONE) as (process, path):
        with process.client() as client:
            revisions = {key: put(client, key, "old") for key in ("read", "written", "left")}
            path.write_text(f"{TWO}\n{ONE}\n")
            wait_for(process, "values are written under pepper 2")
            assert get(client, "read") == get(client, "read") == ("old", revisions["read"])
            assert put(client, "written", "new") > max(revisions.values())
            put(client, "fresh", "new")
            assert peppers(client) == {1: 1, 2: 3}
            # The one that still has a row is asked for, and answers on.
            path.write_text(TWO)
            wait_for(process, "the former peppers stay: rows are still stored under pepper 1")
            assert get(client, "left") == ("old", revisions["left"])
            assert peppers(client) == {1: 0, 2: 4}
            path.write_text(f"{TWO}\n# all moved\n")
            wait_for(process, "no row is left under pepper 1")
            assert get(client, "left") == ("old", revisions["left"])
            assert peppers(client) == {2: 4}
            log = process.log()
        process.stop()
    assert "11" * 32 not in log
    assert "22" * 32 not in log
    assert pepper_of_rows(database) == [2, 2, 2, 2]


def test_expired_rows_do_not_hold_a_pepper(database: Environment, tmp_path: Path) -> None:
    with following({**database, "DUMBKV_SWEEP_INTERVAL": "1000"}, tmp_path, ONE) as (process, path):
        with process.client() as client:
            client.put("/kv", json={"key": "short", "value": "v", "ttl": 0.001})
            path.write_text(TWO)
            wait_for(process, "no row is left under pepper 1")
            put(client, "k", "v")
        process.stop()
    assert pepper_of_rows(database) == [1, 2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "there is none in it"),
        (b"# nothing\n", "there is none in it"),
        (b"2 canary-of-a-pepper\n", "line 1"),
        (b"2 " + b"22" * 32 + b"\n1 canary-of-a-pepper", "line 2"),
        (b"2 " + b"22" * 32 + b"\n2 " + b"33" * 32, "given twice"),
        (b"canary-of-a-pepper \xff\xfe", "it is not UTF-8 text"),
        (b"#" * 1024 * 1024 + b"2 " + b"22" * 32, "it is larger than 1048576 bytes"),
        (b"1 " + b"33" * 32, "pepper 1 is not the one that this database was written with"),
        (None, "No such file"),
    ],
    ids=["empty", "comment", "no hex", "second line", "twice", "binary", "huge", "other secret", "gone"],
)
def test_a_wrong_pepper_file_is_told_and_the_former_peppers_stay(
    database: Environment, tmp_path: Path, content: bytes | None, said: str
) -> None:
    with following(database, tmp_path, ONE) as (process, path), process.client() as client:
        revision = put(client, "k", "v")
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        wait_for(process, said)
        assert "stay" in process.log()
        assert get(client, "k") == ("v", revision)
        assert put(client, "k", "w") > revision
        assert peppers(client) == {1: 1}
        # What was wrong is not asked for again and again, and what is right then is taken.
        path.write_text(f"{TWO}\n{ONE}\n")
        wait_for(process, "values are written under pepper 2")
        assert process.log().count(said) == 1
        for secret in ("canary", "22" * 32, "33" * 32):
            assert secret not in process.log()


def test_no_answer_is_wrong_while_peppers_change_under_load(database: Environment, tmp_path: Path) -> None:
    """Each key has one writer, which reads after each write; the peppers change many times meanwhile."""
    stop = threading.Event()

    def work(process: server.Process, key: str) -> int:
        with process.client() as client:
            for number in range(1_000_000):
                if stop.is_set():
                    return number
                if number % 3 == 2:
                    deleted = client.request("DELETE", "/kv", json={"key": key})
                    assert (deleted.status_code, deleted.json()["deleted"]) == (200, True)
                    assert client.post("/kv", json={"key": key}).status_code == 404
                body = {"key": key, "value": f"{number}", **({"if_absent": True} if number % 3 == 2 else {})}
                assert client.put("/kv", json=body).status_code == 200
                assert get(client, key)[0] == f"{number}"
        return 0

    with following(database, tmp_path, ONE) as (process, path), ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(work, process, key) for key in "abcdefgh"]
        try:
            for turn in range(1, 5):
                newest = 1 + turn % 2
                path.write_text(f"{TWO}\n{ONE}\n" if newest == 2 else f"{ONE}\n{TWO}\n")
                wait_for(process, f"values are written under pepper {newest}", (turn + 1) // 2)
        finally:
            stop.set()
        assert all(future.result() > 0 for future in futures)


def test_a_replica_without_the_new_pepper_is_not_ready_and_never_says_not_found(
    own_postgres_database: Environment, tmp_path: Path
) -> None:
    with (
        following(own_postgres_database, tmp_path, ONE) as (first, first_path),
        following(own_postgres_database, tmp_path, ONE, "two") as (second, second_path),
        first.client() as one,
        second.client() as two,
    ):
        revision = put(one, "old", "v")
        assert get(two, "old") == ("v", revision)
        first_path.write_text(f"{TWO}\n{ONE}\n")
        wait_for(first, "values are written under pepper 2")
        put(one, "old", "w")
        put(one, "new", "w")
        for key in ("old", "new", "nothing"):
            for response in (
                two.post("/kv", json={"key": key}),
                two.put("/kv", json={"key": key, "value": "stale"}),
                two.post("/kv/batch", json={"operations": [{"op": "delete", "key": key}]}),
            ):
                assert (response.status_code, response.json()["code"]) == (503, "database-unavailable")
                assert response.headers["retry-after"]
        assert two.get("/readyz").status_code == 503
        assert two.get("/livez").status_code == 200
        assert "which was not given" in second.log()
        second_path.write_text(f"{TWO}\n{ONE}\n")
        wait_for(second, "values are written under pepper 2")
        assert get(two, "old")[0] == get(two, "new")[0] == "w"
        assert two.post("/kv", json={"key": "nothing"}).status_code == 404
        assert two.get("/readyz").status_code == 200


def test_replicas_that_all_know_the_new_pepper_before_answer_all_the_time(
    own_postgres_database: Environment, tmp_path: Path
) -> None:
    """The new pepper is the second line first: it is read under, and not yet written under."""
    with (
        following(own_postgres_database, tmp_path, f"{ONE}\n{TWO}\n") as (first, first_path),
        following(own_postgres_database, tmp_path, f"{ONE}\n{TWO}\n", "two") as (second, second_path),
        first.client() as one,
        second.client() as two,
    ):
        put(two, "k", "v")
        assert peppers(one) == {1: 1}
        first_path.write_text(f"{TWO}\n{ONE}\n")
        wait_for(first, "values are written under pepper 2")
        for number in range(5):
            put(one, "k", f"{number}")
            assert get(two, "k")[0] == f"{number}"
            put(two, "k", f"{number}!")
            assert get(one, "k")[0] == f"{number}!"
            assert two.post("/kv", json={"key": "nothing"}).status_code == 404
        second_path.write_text(f"{TWO}\n{ONE}\n")
        wait_for(second, "values are written under pepper 2")
        get(two, "k")
        # The last that has the old pepper takes it out for all.
        first_path.write_text(TWO)
        wait_for(first, "no row is left under pepper 1")
        put(two, "k", "last")
        assert get(one, "k")[0] == "last"
        for process in (first, second):
            assert "the database failed" not in process.log()


def test_two_processes_that_disagree_about_a_pepper_do_not_both_write(
    own_postgres_database: Environment, tmp_path: Path
) -> None:
    with (
        following(own_postgres_database, tmp_path, f"{TWO}\n{ONE}") as (_, _path),
        pytest.raises(server.StartError, match="pepper 2 is not the one"),
        following(own_postgres_database, tmp_path, f"2 {'44' * 32}\n{ONE}", "two"),
    ):
        pass


def test_the_database_is_away_while_the_peppers_change(
    own_postgres_database: Environment, tmp_path: Path
) -> None:
    """What cannot be recorded is not used; it is used as soon as it is recorded."""
    location = own_postgres_database["DATABASE_LOCATION"]
    with following(own_postgres_database, tmp_path, ONE) as (process, path), process.client() as client:
        put(client, "k", "v")
        execute(own_postgres_database, "ALTER TABLE dumbkv_meta RENAME TO away")
        path.write_text(f"{TWO}\n{ONE}\n")
        # A row of meta's own that cannot be written stands for the disk that takes nothing.
        execute(own_postgres_database, "ALTER TABLE away ADD CHECK (name <> 'pepper/2')")
        execute(own_postgres_database, "ALTER TABLE away RENAME TO dumbkv_meta")
        eventually(lambda: client.put("/kv", json={"key": "k", "value": "v"}).status_code == 200, "a write")
        assert "values are written under pepper 2" not in process.log()
        assert set(peppers(client)) == {1}
        execute(own_postgres_database, "ALTER TABLE dumbkv_meta DROP CONSTRAINT away_name_check")
        wait_for(process, "values are written under pepper 2")
        put(client, "k", "w")
        assert peppers(client) == {1: 0, 2: 1}
        assert location not in process.log()
