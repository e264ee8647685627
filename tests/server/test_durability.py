"""An acknowledged write is there after the process was killed; revisions follow real time."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support import server
from tests.support.server import Environment

pytestmark = pytest.mark.slow

WRITERS = 8


def test_kill_9_under_writes_loses_no_acknowledged_write(database: Environment, tmp_path: Path) -> None:
    acknowledged: dict[str, tuple[int, str]] = {}
    enough = threading.Event()

    def write(writer: int) -> None:
        """Overwrite a few keys until the server is gone, and remember the last answer for each."""
        with process.client() as client:
            for number in range(1_000_000):
                key, value = f"{writer}/{number % 5}", f"value {number}"
                try:
                    response = client.put("/kv", json={"key": key, "value": value})
                except httpx.TransportError:
                    return
                assert response.status_code == 200
                acknowledged[key] = (response.json()["revision"], value)
                if number == 30:
                    enough.set()

    highest = 0
    for round_number in range(3):
        with server.running(tmp_path / f"log-{round_number}", database) as process:
            with process.client() as client:
                for key, (revision, value) in acknowledged.items():
                    got = client.post("/kv", json={"key": key}).json()
                    # A write that was never acknowledged may have come after it.
                    assert got["revision"] > revision or (got["revision"], got["value"]) == (revision, value)
                new = client.put("/kv", json={"key": "new", "value": "v"}).json()["revision"]
                assert new > max((revision for revision, _ in acknowledged.values()), default=0)
                assert new > highest
                highest = new
            enough.clear()
            with ThreadPoolExecutor(WRITERS) as pool:
                futures = [pool.submit(write, writer) for writer in range(WRITERS)]
                assert enough.wait(120)
                process.stop(signal.SIGKILL)
                for future in futures:
                    future.result()


def test_revisions_are_unique_and_follow_real_time(database: Environment, tmp_path: Path) -> None:
    with server.running(tmp_path / "log", database) as process:
        check_revisions([process.url])


def check_revisions(urls: list[str]) -> None:
    """Concurrent writers on all servers: an answer that came before a request began has a lower revision."""
    finished = [0]
    lock = threading.Lock()

    def write(writer: int) -> list[int]:
        revisions = []
        with httpx.Client(base_url=urls[writer % len(urls)], timeout=60) as client:
            for number in range(60):
                with lock:
                    before = finished[0]
                body = {"key": f"{writer % 3}", "value": f"{number}"}
                revision = client.put("/kv", json=body).json()["revision"]
                assert revision > before
                with lock:
                    finished[0] = max(finished[0], revision)
                revisions.append(revision)
        return revisions

    with ThreadPoolExecutor(WRITERS) as pool:
        revisions = [revision for each in pool.map(write, range(WRITERS)) for revision in each]
    assert len(set(revisions)) == len(revisions) == WRITERS * 60


def test_writes_that_wait_share_a_commit(database: Environment, tmp_path: Path) -> None:
    with server.running(tmp_path / "log", database) as process:
        check_revisions([process.url])
        with process.client() as client:
            metrics = client.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert float(values["dumbkv_commit_batch_size_sum"]) == WRITERS * 60
    assert float(values["dumbkv_commit_batch_size_count"]) < WRITERS * 60


def test_too_many_waiting_writes_are_told_to_come_back(database: Environment, tmp_path: Path) -> None:
    """With room for one waiting write, of many at once some are refused, and none of those is stored."""
    with server.running(tmp_path / "log", {**database, "DUMBKV_MAX_WAITING_WRITES": "1"}) as process:
        barrier = threading.Barrier(WRITERS)

        def write(writer: int) -> list[tuple[str, httpx.Response]]:
            answers = []
            with process.client() as client:
                for number in range(30):
                    barrier.wait(60)
                    key = f"{writer}-{number}"
                    answers.append((key, client.put("/kv", json={"key": key, "value": "v"})))
            return answers

        with ThreadPoolExecutor(WRITERS) as pool:
            answers = [answer for each in pool.map(write, range(WRITERS)) for answer in each]
        refused = [(key, answer) for key, answer in answers if answer.status_code != 200]
        assert refused
        with process.client() as client:
            for key, answer in refused:
                assert (answer.status_code, answer.json()["code"]) == (503, "write-queue-full")
                assert int(answer.headers["retry-after"]) > 0
                assert client.post("/kv", json={"key": key}).status_code == 404


def test_two_servers_share_one_postgres(own_postgres_database: Environment, tmp_path: Path, key: str) -> None:
    with (
        server.running(tmp_path / "one", own_postgres_database) as one,
        server.running(tmp_path / "two", own_postgres_database) as two,
        one.client() as first,
        two.client() as second,
    ):
        first.put("/kv", json={"key": key, "value": "v"})
        assert second.post("/kv", json={"key": key}).json()["value"] == "v"
        check_revisions([one.url, two.url])
        assert second.delete("/kv").status_code == 400
        assert second.request("DELETE", "/kv", json={"key": key}).json()["deleted"]
        assert first.post("/kv", json={"key": key}).status_code == 404
