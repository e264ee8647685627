"""Every test here meets the real server in a process of its own, on the database that was asked for."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql

from tests.support import postgres, server
from tests.support.server import Environment


@contextmanager
def new_database(uri: str) -> Iterator[Environment]:
    """Settings for an empty database of a PostgreSQL server; it is dropped at the end."""
    name = f"dumbkv_test_{secrets.token_hex(6)}"
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    location = psycopg.conninfo.make_conninfo(uri, dbname=name)
    parts = psycopg.conninfo.conninfo_to_dict(location)
    credentials = f"{parts['user']}:{parts['password']}" if parts.get("password") else parts["user"]
    address = f"{parts['host']}:{parts.get('port', 5432)}"
    try:
        yield {"DATABASE_TYPE": "postgres", "DATABASE_LOCATION": f"postgres://{credentials}@{address}/{name}"}
    finally:
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def location(request: pytest.FixtureRequest) -> str | None:
    """The PostgreSQL that --database-location names, or None for SQLite."""
    value = request.config.getoption("--database-location")
    return value if isinstance(value, str) else None


@pytest.fixture(scope="session")
def shared_settings(location: str | None) -> Iterator[Environment]:
    if location is None:
        yield {"DATABASE_TYPE": "sqlite", "DATABASE_LOCATION": ":memory:"}
        return
    with new_database(location) as environment:
        yield environment


@pytest.fixture(scope="session")
def shared(
    shared_settings: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[server.Process]:
    """One server for all tests that only talk HTTP to it. Each uses keys of its own."""
    log_path = tmp_path_factory.mktemp("shared") / "log"
    with server.running(log_path, shared_settings) as process:
        yield process


@pytest.fixture
def client(shared: server.Process) -> Iterator[httpx.Client]:
    with shared.client() as http:
        yield http


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f"key-{secrets.token_hex(8)}"


@pytest.fixture
def database(location: str | None, tmp_path: Path) -> Iterator[Environment]:
    """Settings for an empty database that outlives its server: a file, or one on the given PostgreSQL."""
    if location is None:
        yield {"DATABASE_TYPE": "sqlite", "DATABASE_LOCATION": str(tmp_path / "data" / "dumbkv.db")}
        return
    with new_database(location) as environment:
        yield environment


@pytest.fixture(scope="session")
def own_postgres(location: str | None) -> Iterator[postgres.Server]:
    """A PostgreSQL that a test may stop and start, whatever the other tests run on."""
    with postgres.running() as running:
        yield running


@pytest.fixture
def own_postgres_database(own_postgres: postgres.Server) -> Iterator[Environment]:
    """Settings for an empty database of that PostgreSQL."""
    with new_database(own_postgres.uri) as environment:
        yield environment
