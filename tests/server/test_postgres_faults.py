"""PostgreSQL that fails in ways other than being away: what is said, and that it heals without a restart."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import httpx
import psycopg
import pytest

from tests.server.test_stored import execute
from tests.support import postgres, server
from tests.support.eventually import eventually
from tests.support.server import Environment

pytestmark = pytest.mark.slow

# Any number that nobody else uses: whoever holds this lock decides when a commit goes on.
GATE = 4711
COMMITS_WAIT = f"""
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT OR UPDATE ON dumbkv_rows DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait()"""
# The server's own connections that are in the middle of a commit.
COMMITTING = """FROM pg_stat_activity
    WHERE application_name = 'dumbkv' AND query = 'COMMIT' AND state = 'active'"""
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dumbkv'"


def put(client: httpx.Client, key: str, value: str) -> httpx.Response:
    return client.put("/kv", json={"key": key, "value": value})


def is_away(response: httpx.Response) -> None:
    assert (response.status_code, response.json()["code"]) == (503, "database-unavailable")
    assert response.headers["retry-after"]


@contextmanager
def administrator(environment: Environment) -> Iterator[psycopg.Connection]:
    with psycopg.connect(environment["DATABASE_LOCATION"], autocommit=True) as connection:
        yield connection


def heals(client: httpx.Client) -> None:
    eventually(lambda: client.get("/readyz").status_code == 200, "it serves again")
    assert put(client, "after", "v").status_code == 200
    assert "dumbkv_database_up 1.0" in client.get("/metrics").text


@pytest.fixture
def impatient(own_postgres_database: Environment, tmp_path: Path) -> Iterator[server.Process]:
    """A server that gives PostgreSQL half a second, with `k` in it. It must serve again in the end."""
    environment = {**own_postgres_database, "DUMBKV_STATEMENT_TIMEOUT": "0.5"}
    with server.running(tmp_path / "log", environment) as process, process.client() as client:
        put(client, "k", "v")
        yield process
        heals(client)


@contextmanager
def commit_that_waits(
    environment: Environment, process: server.Process, answer: list[httpx.Response]
) -> Iterator[psycopg.Connection]:
    """A put whose commit waits inside PostgreSQL as long as the block lasts; `answer` gets its answer."""

    def work() -> None:
        with process.client() as client:
            answer.append(put(client, "k", "perhaps"))

    with administrator(environment) as holder, administrator(environment) as eyes:
        holder.execute(COMMITS_WAIT)
        holder.execute("SELECT pg_advisory_lock(%s)", (GATE,))
        thread = threading.Thread(target=work)
        thread.start()
        eventually(lambda: eyes.execute(f"SELECT pid {COMMITTING}".encode()).fetchall(), "a commit waits")
        yield eyes
        thread.join(60)
        holder.execute("DROP FUNCTION wait CASCADE")


def test_a_connection_that_is_lost_while_committing_is_unknown(
    own_postgres_database: Environment, tmp_path: Path
) -> None:
    answer: list[httpx.Response] = []
    with server.running(tmp_path / "log", own_postgres_database) as process, process.client() as client:
        revision = put(client, "k", "v").json()["revision"]
        with commit_that_waits(own_postgres_database, process, answer) as eyes:
            eyes.execute(f"SELECT pg_terminate_backend(pid) {COMMITTING}".encode())
        assert (answer[0].status_code, answer[0].json()["code"]) == (503, "outcome-unknown")
        assert answer[0].headers["retry-after"]
        # Here it was not stored, and it is not stored by trying again behind the client's back.
        got = client.post("/kv", json={"key": "k"}).json()
        assert (got["value"], got["revision"]) == ("v", revision)
        heals(client)


def test_a_commit_whose_answer_is_lost_is_unknown_too(tmp_path: Path) -> None:
    """It waits for a standby that never comes: by then it is stored, and the connection is cut."""
    with postgres.running(durable=True) as database:
        environment = {"DATABASE_TYPE": "postgres", "DATABASE_LOCATION": database.uri}
        # Its statements may wait longer than this test needs.
        environment["DUMBKV_STATEMENT_TIMEOUT"] = "100"
        with (
            server.running(tmp_path / "log", environment) as process,
            process.client() as client,
            administrator(environment) as eyes,
            ThreadPoolExecutor(1) as pool,
        ):
            put(client, "k", "v")
            eyes.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            eyes.execute("SELECT pg_reload_conf()")
            eventually(
                lambda: eyes.execute("SHOW synchronous_standby_names").fetchone() == ("nobody",),
                "the setting",
            )
            future: Future[httpx.Response] = pool.submit(put, client, "k", "w")
            waits = f"SELECT pid {COMMITTING} AND wait_event = 'SyncRep'"
            eventually(lambda: eyes.execute(waits.encode()).fetchall(), "a commit waits")
            eyes.execute(f"SELECT pg_terminate_backend(pid) {COMMITTING}".encode())
            assert future.result().json()["code"] == "outcome-unknown"
            assert client.post("/kv", json={"key": "k"}).json()["value"] == "w"


def test_a_commit_that_takes_too_long_is_given_up_in_time(
    own_postgres_database: Environment, impatient: server.Process
) -> None:
    answer: list[httpx.Response] = []
    with commit_that_waits(own_postgres_database, impatient, answer), impatient.client() as client:
        eventually(lambda: answer, "an answer while the commit still waits")
        assert answer[0].json()["code"] == "outcome-unknown"
        assert client.post("/kv", json={"key": "k"}).json()["value"] == "v"


def test_a_postgres_that_hangs_is_given_up_in_time(
    own_postgres_database: Environment, impatient: server.Process
) -> None:
    """Its processes take no step: neither an answer comes nor the end of the connection."""
    pids = execute(own_postgres_database, CUT.replace("pg_terminate_backend(pid)", "pid"))
    for (pid,) in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with impatient.client() as client:
            assert put(client, "k", "w").status_code == 503
            assert client.get("/livez").status_code == 200
    finally:
        for (pid,) in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_writer_that_holds_the_turn_does_not_hold_the_others_for_ever(
    own_postgres_database: Environment, impatient: server.Process
) -> None:
    with (
        impatient.client() as client,
        administrator(own_postgres_database) as holder,
        holder.transaction(),
    ):
        holder.execute("UPDATE dumbkv_revision SET last = last")
        is_away(put(client, "k", "w"))
        # Reads do not wait for any turn.
        assert client.post("/kv", json={"key": "k"}).json()["value"] == "v"


def test_every_connection_cut_at_once_is_no_lost_write(
    own_postgres_database: Environment, tmp_path: Path
) -> None:
    with server.running(tmp_path / "log", own_postgres_database) as process, process.client() as client:
        for number in range(10):
            execute(own_postgres_database, CUT)
            response = eventually(
                lambda number=number: (  # type: ignore[misc]
                    answer if (answer := put(client, "k", f"{number}")).status_code == 200 else None
                ),
                "a write",
            )
            got = client.post("/kv", json={"key": "k"}).json()
            assert (got["value"], got["revision"]) == (f"{number}", response.json()["revision"])


def test_no_connection_left_is_503_until_there_is_one(tmp_path: Path) -> None:
    with postgres.running() as database:
        environment = {"DATABASE_TYPE": "postgres", "DATABASE_LOCATION": database.uri}
        app = {**environment, "DATABASE_LOCATION": database.uri.replace("postgres@", "app@")}
        with administrator(environment) as connection:
            connection.execute("CREATE ROLE app LOGIN CONNECTION LIMIT 4")
            connection.execute("GRANT ALL ON SCHEMA public TO app")
            with server.running(tmp_path / "log", app) as process, process.client() as client:
                put(client, "k", "v")
                connection.execute("ALTER ROLE app CONNECTION LIMIT 0")
                connection.execute(CUT)
                is_away(put(client, "k", "w"))
                is_away(client.post("/kv", json={"key": "k"}))
                assert client.get("/readyz").status_code == 503
                connection.execute("ALTER ROLE app CONNECTION LIMIT 4")
                heals(client)
                assert client.post("/kv", json={"key": "k"}).json()["value"] == "v"


def test_a_standby_that_only_reads_is_503_until_it_is_the_primary(
    own_postgres_database: Environment, tmp_path: Path
) -> None:
    name = own_postgres_database["DATABASE_LOCATION"].rpartition("/")[2]
    with server.running(tmp_path / "log", own_postgres_database) as process, process.client() as client:
        put(client, "k", "v")
        execute(own_postgres_database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        execute(own_postgres_database, CUT)
        eventually(lambda: "read-only transaction" in put(client, "k", "w").text + process.log(), "a refusal")
        is_away(put(client, "k", "w"))
        assert client.get("/readyz").status_code == 503
        assert "/" not in put(client, "k", "w").json()["detail"]
        with administrator(own_postgres_database) as connection:
            connection.execute("SET default_transaction_read_only = off")
            reset: LiteralString = "ALTER DATABASE {} RESET default_transaction_read_only"
            connection.execute(psycopg.sql.SQL(reset).format(psycopg.sql.Identifier(name)))
            connection.execute(CUT)
        heals(client)
        assert client.post("/kv", json={"key": "k"}).json()["value"] == "v"


def test_a_full_disk_refuses_writes_and_heals(own_postgres_database: Environment, tmp_path: Path) -> None:
    """A trigger says what PostgreSQL says when it cannot extend a file (disk_full, 53100)."""
    with server.running(tmp_path / "log", own_postgres_database) as process, process.client() as client:
        put(client, "k", "v")
        with administrator(own_postgres_database) as connection:
            connection.execute(
                """CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION
                'could not extend file: %', encode(NEW.blob, 'hex') USING ERRCODE = 'disk_full'; END $$;
                CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON dumbkv_rows
                FOR EACH ROW EXECUTE FUNCTION full_disk()"""
            )
            is_away(put(client, "k", "w"))
            assert "dumbkv_database_up 0.0" in client.get("/metrics").text
            assert "DiskFull" in process.log()
            assert client.post("/kv", json={"key": "k"}).json()["value"] == "v"
            connection.execute("DROP FUNCTION full_disk CASCADE")
        heals(client)


def test_a_role_that_may_only_use_the_tables_is_enough(tmp_path: Path) -> None:
    with postgres.running() as database:
        owner = {"DATABASE_TYPE": "postgres", "DATABASE_LOCATION": database.uri}
        user = {**owner, "DATABASE_LOCATION": database.uri.replace("postgres@", "app@")}
        with administrator(owner) as connection:
            connection.execute("CREATE ROLE app LOGIN")
            connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            # Without the tables it says what it may not do, and uses them as soon as they are there.
            with server.running(tmp_path / "user", user) as process, process.client() as client:
                is_away(put(client, "k", "v"))
                assert "permission denied for schema public" in process.log()
                assert client.get("/readyz").status_code == 503
                with server.running(tmp_path / "owner", owner) as made:
                    made.stop()
                tables = "dumbkv_rows, dumbkv_meta, dumbkv_revision"
                connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO app".encode())
                heals(client)
                assert put(client, "k", "v").status_code == 200
                assert client.get("/databases").json()["databases"] == [{"database": 0, "keys": 2}]
                assert client.request("DELETE", "/kv", json={"key": "k"}).json()["deleted"]
                assert client.delete("/databases/0").json()["deleted"] == 1


@pytest.mark.parametrize("what", ["password", "database"])
def test_what_postgres_refuses_is_told_in_the_log_only_and_without_the_password(
    what: str, tmp_path: Path
) -> None:
    with postgres.running() as database:
        environment = {"DATABASE_TYPE": "postgres", "DATABASE_LOCATION": database.uri}
        with administrator(environment) as connection:
            connection.execute("CREATE ROLE app LOGIN PASSWORD 'right-canary'")
            hba = database.data / "pg_hba.conf"
            hba.write_text(f"host all app all scram-sha-256\n{hba.read_text()}")
            connection.execute("SELECT pg_reload_conf()")
        password = "wrong-canary" if what == "password" else "right-canary"
        uri = database.uri.replace("postgres@", f"app:{password}@")
        if what == "database":
            uri = f"{uri.rpartition('/')[0]}/nowhere"
        with (
            server.running(tmp_path / "log", {**environment, "DATABASE_LOCATION": uri}) as process,
            process.client() as client,
        ):
            response = put(client, "k", "v")
            is_away(response)
            said = "password authentication failed" if what == "password" else "does not exist"
            eventually(lambda: said in process.log(), "the log says why")
            assert client.get("/livez").status_code == 200
            for text in (
                process.log(),
                response.text,
                client.get("/health").text,
                client.get("/metrics").text,
            ):
                assert "canary" not in text
