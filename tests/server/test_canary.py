"""No key, value, token or pepper in anything that the process emits, at debug level and in errors too.

All that a client, an operator or a database can bring about is done with canaries in it; then whatever came
out of the process is searched: its log, each answer's headers and, but for gets, body, metrics, documents.
"""

import json
import secrets
import signal
import socket
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import httpx
import psycopg
import pytest
from cryptography.fernet import Fernet

from dumbkv_server.crypto import legacy_row_key
from tests.server.test_stored import LEGACY_TABLE, execute
from tests.support import postgres, server
from tests.support.eventually import eventually
from tests.support.faults import BROKEN, Disk
from tests.support.server import Environment

pytestmark = pytest.mark.slow

OPEN_PATHS = ("/metrics", "/health", "/livez", "/readyz", "/openapi.json", "/", "/docs", "/nowhere")


@dataclass
class Canaries:
    """Secrets by their name, and all that the process said."""

    secrets: dict[str, str] = field(default_factory=dict)
    emitted: list[str] = field(default_factory=list)

    def new(self, name: str) -> str:
        self.secrets[name] = f"canary{name}{secrets.token_hex(12)}"
        return self.secrets[name]

    def hear(self, response: httpx.Response, *, asked_for: bool = False) -> httpx.Response:
        """Note an answer: all of it but the values that were asked for and may be told."""
        self.emitted.append(f"{response.status_code} {response.reason_phrase} {response.headers}")
        if not asked_for:
            self.emitted.append(response.text)
        return response

    def check(self) -> None:
        text = "\n".join(self.emitted)
        for name, secret in self.secrets.items():
            forms = {
                secret,
                secret.encode().hex(),
                b64encode(secret.encode()).decode().rstrip("="),
                sha256(secret.encode()).hexdigest(),
                legacy_row_key(secret),
            }
            for form in forms:
                assert form not in text, f"the {name} was emitted"


@pytest.fixture
def canaries() -> Iterator[Canaries]:
    found = Canaries()
    yield found
    found.check()
    assert found.emitted


@dataclass
class Subject:
    """A server whose every secret is a canary, at its most talkative."""

    canaries: Canaries
    folder: Path
    environment: Environment

    def __post_init__(self) -> None:
        new = self.canaries.new
        self.key, self.value, self.token = new("key"), new("value"), new("token")
        self.pepper = sha256(new("pepper").encode()).hexdigest()
        self.canaries.secrets["pepper as it is"] = self.pepper
        self.tokens_file, self.pepper_file = self.folder / "tokens", self.folder / "peppers"
        self.tokens_file.write_text(f"app admin sha256:{sha256(self.token.encode()).hexdigest()}\n")
        self.pepper_file.write_text(f"1 {self.pepper}\n")
        self.environment |= {
            "DUMBKV_LOG_LEVEL": "debug",
            "UVICORN_LOG_LEVEL": "trace",
            "DUMBKV_PEPPER_FILE": str(self.pepper_file),
            "DUMBKV_AUTH_TOKENS_FILE": str(self.tokens_file),
            "DUMBKV_AUTH_FAILURE_INTERVAL": "0.001",
            "DUMBKV_MAX_VALUE_BYTES": "200",
            "DUMBKV_STATEMENT_TIMEOUT": "1",
        }

    def bodies(self) -> list[bytes]:
        key, value = self.key, self.value
        pair = {"key": key, "value": value}
        bodies: list[object] = [
            pair,
            {"key": key},
            {**pair, "value": value * 10},
            {**pair, "key": key * 100},
            {key: value},
            {**pair, "ttl": key},
            {**pair, "if_revision": value},
            {**pair, "if_absent": True},
            {**pair, "if_revision": 1, "if_absent": True},
            {"key": [key], "value": {value: key}},
            {**pair, "database": key},
            {**pair, "database": -1},
            [key, value],
            f"{key}{value}",
            {"operations": [{"op": "put", **pair}, {"op": "get", "key": key}, {"op": "delete", "key": key}]},
            {"operations": [{"op": key, **pair}]},
            {"operations": [{"op": "put", **pair, value: key}]},
            {"operations": [{"op": "put", **pair}, {"op": "put", **pair, "if_revision": 0}]},
            {"operations": {key: value}},
        ]
        raw = [
            f'{{"key": "{key}'.encode(),
            f'{{"key": "{key}"'.encode() + b"\xff",
            b"[" * 2_000 + key.encode(),
            f'{{"key": "{key}", "value": "\\ud800{value}"}}'.encode(),
            key.encode() * 1_000,
        ]
        return [json.dumps(body).encode() for body in bodies] + raw

    def every_call(self, client: httpx.Client) -> None:
        """Each call with each body, and the documents and metrics."""
        hear = self.canaries.hear
        for method in ("PUT", "POST", "DELETE", "PATCH"):
            for path in ("/kv", "/kv/batch"):
                for content in self.bodies():
                    response = client.request(method, path, content=content)
                    hear(response, asked_for=method == "POST" and response.status_code == 200)
            hear(client.request(method, f"/kv/{self.key}?value={self.value}", content=self.value))
        hear(client.get("/databases"))
        hear(client.get(f"/databases/{self.key}"))
        hear(client.delete(f"/databases/{self.value}"))
        for path in OPEN_PATHS:
            hear(client.get(path))

    def hostile(self, url: str) -> None:
        """What is no HTTP, or hardly: secrets in every place of a request."""
        key, value, token = self.key, self.value, self.token
        host, port = url.removeprefix("http://").split(":")
        for text in (
            f"{key} {value}\r\n\r\n",
            f"GET /{key} HTTP/9.9\r\n\r\n",
            f"PUT /kv HTTP/1.1\r\nHost: x\r\n{key} {value}\r\n\r\n",
            f"PUT /kv HTTP/1.1\r\nHost: x\r\nContent-Length: {key}\r\n\r\n{value}",
            f"PUT /kv HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            f"Transfer-Encoding: chunked\r\n\r\n{value}\r\n",
            f"PUT /kv HTTP/1.1\r\nHost: x\r\nUpgrade: {key}\r\nConnection: upgrade\r\n\r\n",
            f"PUT /kv HTTP/1.1\r\nHost: x\r\nExpect: {value}\r\nContent-Encoding: {key}\r\n\r\n",
            f"{key.upper()} /kv HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        ):
            with socket.create_connection((host, int(port)), timeout=60) as connection:
                connection.sendall(text.encode())
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    self.canaries.emitted.append(part.decode())


def hear_log(canaries: Canaries, process: server.Process) -> str:
    log = process.log()
    canaries.emitted.append(log)
    return log


def test_no_secret_leaves_the_process_whatever_a_client_sends(
    canaries: Canaries, database: Environment, tmp_path: Path
) -> None:
    subject = Subject(canaries, tmp_path, dict(database))
    with server.running(tmp_path / "log", subject.environment) as process:
        for sent in (subject.token, f"{subject.token}wrong", None):
            with process.client(sent) as client:
                subject.every_call(client)
        with process.client() as client:
            for scheme in ("Basic", "Token", ""):
                client.headers["Authorization"] = f"{scheme} {subject.token}".strip()
                canaries.hear(client.put("/kv", json={"key": "k", "value": "v"}))
            del client.headers["Authorization"]
            client.headers["Cookie"] = client.headers["X-Token"] = subject.token
            canaries.hear(client.put(f"/{subject.key}", content=subject.value))
        subject.hostile(process.url)
        process.stop()
        hear_log(canaries, process)


def test_no_secret_leaves_with_a_file_that_became_wrong(
    canaries: Canaries, database: Environment, tmp_path: Path
) -> None:
    subject = Subject(canaries, tmp_path, dict(database))
    with server.running(tmp_path / "log", subject.environment) as process:
        with process.client(subject.token) as client:
            first, second = canaries.new("pepper-file"), canaries.new("token-file")
            for ending in (b"", b"\xff"):
                subject.pepper_file.write_bytes(first.encode() + ending)
                subject.tokens_file.write_bytes(second.encode() + ending)
                for file in ("pepper", "token"):
                    count = 1 + len(ending)
                    eventually(
                        lambda file=file, count=count: (  # type: ignore[misc]
                            canaries.hear(client.get("/databases"))
                            and process.log().count(f"the changed {file} file is not used") == count
                        ),
                        "the log says so",
                    )
        process.stop()
        hear_log(canaries, process)
    # And at the start, where the same files stop it.
    for name in ("DUMBKV_PEPPER_FILE", "DUMBKV_AUTH_TOKENS_FILE"):
        with (
            pytest.raises(server.StartError) as caught,
            server.running(tmp_path / "again", {**database, name: subject.environment[name]}),
        ):
            pass
        canaries.emitted.append(caught.value.log)


def test_no_secret_leaves_with_rows_that_are_damaged_or_of_the_original(
    canaries: Canaries, database: Environment, tmp_path: Path
) -> None:
    subject = Subject(canaries, tmp_path, dict(database))
    execute(database, LEGACY_TABLE)
    row_key = legacy_row_key(subject.key)
    good = Fernet(row_key).encrypt(subject.value.encode()).decode()
    with server.running(tmp_path / "log", subject.environment) as process:
        with process.client(subject.token) as client:
            for token in (good[:-8] + "A" * 8, good, subject.value):
                execute(database, "DELETE FROM kv")
                execute(database, "INSERT INTO kv VALUES (?, ?, ?)", (0, row_key, token))
                subject.every_call(client)
            client.put("/kv", json={"key": subject.key, "value": subject.value})
            edits = ["blob = row_id"]
            if database["DATABASE_TYPE"] == "sqlite":
                # What the server does not expect at all.
                edits.append("expires_at = 'x'")
            for edit in edits:
                execute(database, f"UPDATE dumbkv_rows SET {edit}")
                for path, body in (
                    ("/kv", {"key": subject.key}),
                    ("/kv/batch", {"operations": [{"op": "get", "key": subject.key}]}),
                ):
                    assert canaries.hear(client.post(path, json=body)).status_code == 500
        process.stop()
        hear_log(canaries, process)


def test_no_secret_leaves_when_the_disk_fails(canaries: Canaries, tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    location = {"DATABASE_LOCATION": str(tmp_path / "data" / "dumbkv.db"), **disk.environment}
    subject = Subject(canaries, tmp_path, location)
    with server.running(tmp_path / "log", subject.environment) as process:
        with process.client(subject.token) as client:
            client.put("/kv", json={"key": subject.key, "value": subject.value})
            disk.fail("sync", BROKEN)
            answer = canaries.hear(client.put("/kv", json={"key": subject.key, "value": subject.value}))
            assert answer.json()["code"] == "outcome-unknown"
        assert process.popen.wait(60) == 1
        assert "disk I/O error" in hear_log(canaries, process)


def test_no_secret_leaves_when_postgres_fails(canaries: Canaries, tmp_path: Path) -> None:
    """A database that quotes all that it was sent, then one that is gone; its password is a secret too."""
    with postgres.running() as database:
        password = canaries.new("password")
        uri = database.uri.replace("postgres@", f"postgres:{password}@")
        environment = {"DATABASE_TYPE": "postgres", "DATABASE_LOCATION": uri}
        subject = Subject(canaries, tmp_path, environment)
        with server.running(tmp_path / "log", subject.environment) as process:
            with process.client(subject.token) as client:
                with psycopg.connect(database.uri, autocommit=True) as administrator:
                    client.put("/kv", json={"key": subject.key, "value": subject.value})
                    blob, row_id = administrator.execute(
                        "SELECT encode(blob, 'hex'), encode(row_id, 'hex') FROM dumbkv_rows"
                    ).fetchone() or ("", "")
                    canaries.secrets["blob"], canaries.secrets["row id"] = blob, row_id
                    # The reason of a constraint that fails quotes the whole row, in its detail.
                    administrator.execute("ALTER TABLE dumbkv_rows ADD CHECK (revision < 0) NOT VALID")
                    subject.every_call(client)
                    administrator.execute("ALTER TABLE dumbkv_rows RENAME blob TO other")
                    subject.every_call(client)
                database.stop()
                subject.every_call(client)
            process.stop()
            log = hear_log(canaries, process)
            assert "CheckViolation" in log
            assert "UndefinedColumn" in log


def test_no_secret_leaves_with_a_crash(canaries: Canaries, database: Environment, tmp_path: Path) -> None:
    """The kernel writes no image (test_core.py), and Python no state of its own."""
    subject = Subject(canaries, tmp_path, dict(database))
    before = {path.name for path in server.DIRECTORY.iterdir()}
    with server.running(tmp_path / "log", subject.environment) as process:
        with process.client(subject.token) as client:
            subject.every_call(client)
        assert process.stop(signal.SIGABRT) == -signal.SIGABRT
        hear_log(canaries, process)
    assert {path.name for path in server.DIRECTORY.iterdir()} == before
