"""PostgreSQL goes away and comes back; the server says so and recovers by itself."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.support import postgres, server

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 120


def until(condition: Callable[[], bool]) -> None:
    """Ask again until it holds. The limit only ends a test that would never end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)


def write(client: httpx.Client, value: str) -> httpx.Response:
    return client.put("/kv", json={"key": "k", "value": value})


def test_a_database_that_stops_is_503_and_works_again_without_a_restart(tmp_path: Path) -> None:
    with postgres.running() as database:
        environment = {"DATABASE_TYPE": "postgres", "DATABASE_LOCATION": database.uri}
        with server.running(tmp_path / "log", environment) as process, process.client() as client:
            before = write(client, "before").json()["revision"]
            database.stop()
            for response in (write(client, "lost"), client.post("/kv", json={"key": "k"})):
                assert response.status_code == 503
                assert response.headers["retry-after"]
                assert response.json()["code"] in {"database-unavailable", "outcome-unknown"}
            assert client.get("/readyz").status_code == 503
            assert client.get("/health").json()["status"] == "unhealthy"
            assert client.get("/livez").status_code == 200
            assert "dumbkv_database_up 0.0" in client.get("/metrics").text
            database.start()
            until(lambda: client.get("/readyz").status_code == 200)
            assert client.post("/kv", json={"key": "k"}).json() == {
                "value": "before",
                "revision": before,
                "expires_at": None,
            }
            assert write(client, "after").json()["revision"] > before
            assert "dumbkv_database_up 1.0" in client.get("/metrics").text
            log = process.log()
            assert "the database failed" in log
            assert "the database serves again" in log


def test_a_database_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    with postgres.running() as database:
        database.stop()
        environment = {"DATABASE_TYPE": "postgres", "DATABASE_LOCATION": database.uri}
        with server.running(tmp_path / "log", environment) as process, process.client() as client:
            assert client.get("/livez").status_code == 200
            assert client.get("/readyz").status_code == 503
            assert write(client, "v").status_code == 503
            database.start()
            until(lambda: client.get("/readyz").status_code == 200)
            assert write(client, "v").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_no_acknowledged_write_is_lost_when_the_database_crashes(
    tmp_path: Path, number: signal.Signals
) -> None:
    with postgres.running(durable=True) as database:
        environment = {"DATABASE_TYPE": "postgres", "DATABASE_LOCATION": database.uri}
        with server.running(tmp_path / "log", environment) as process, process.client() as client:
            acknowledged = [write(client, f"{n}").json()["revision"] for n in range(50)][-1]
            database.stop(number)
            database.start()
            until(lambda: client.get("/readyz").status_code == 200)
            assert client.post("/kv", json={"key": "k"}).json()["revision"] == acknowledged


def test_a_password_that_is_changed_in_its_file_needs_no_restart(tmp_path: Path) -> None:
    location = tmp_path / "uri"
    with postgres.running() as database:
        hba = database.data / "pg_hba.conf"
        with psycopg.connect(database.uri, autocommit=True) as administrator:
            administrator.execute("CREATE ROLE app LOGIN PASSWORD 'first'")
            administrator.execute("GRANT ALL ON SCHEMA public TO app")
            hba.write_text(f"host all app all scram-sha-256\n{hba.read_text()}")
            administrator.execute("SELECT pg_reload_conf()")
        uri = database.uri.replace("postgres@", "app:{}@")
        location.write_text(uri.format("first"))
        environment = {"DATABASE_TYPE": "postgres", "DATABASE_LOCATION_FILE": str(location)}
        with server.running(tmp_path / "log", environment) as process, process.client() as client:
            assert write(client, "before").status_code == 200
            with psycopg.connect(database.uri, autocommit=True) as administrator:
                administrator.execute("ALTER ROLE app PASSWORD 'second'")
            database.stop()
            database.start()
            # The old password is wrong by now, and each new connection is refused.
            until(lambda: write(client, "not yet").status_code == 503)
            until(lambda: "password authentication failed" in process.log())
            # What is no URI does not take the place of one that may become right again.
            location.write_text("nonsense")
            until(lambda: "the changed DATABASE_LOCATION is not used" in process.log())
            location.write_text(uri.format("second"))
            until(lambda: client.get("/readyz").status_code == 200)
            assert write(client, "after").status_code == 200
            assert "first" not in process.log()
            assert "second" not in process.log()
            assert "nonsense" not in process.log()
