"""Whatever some clients do, the others are served."""

import json
import random
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.support import server
from tests.support.healthy import beside
from tests.support.server import Environment, Process

MEBIBYTE = 1024 * 1024
HEADER = b"PUT /kv HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
PUT = b'{"key": "fuzzed", "value": "some text", "ttl": 60}'
ATTACKERS = 100
CONNECTIONS = 512


@pytest.fixture(scope="module")
def hurried(
    shared_settings: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[server.Process]:
    """A server that waits one second for what its clients owe it."""
    settings = {f"DUMBKV_{name}_TIMEOUT": "1" for name in ("HEADER", "BODY", "ANSWER")}
    with server.running(tmp_path_factory.mktemp("hurried") / "log", shared_settings | settings) as process:
        yield process


def connect(process: Process, receive_bytes: int | None = None) -> socket.socket:
    """A connection; with a small buffer its kernel takes little of an answer that it does not."""
    url = httpx.URL(process.url)
    connection = socket.socket()
    connection.settimeout(30)
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.connect((url.host, url.port or 80))
    return connection


def answer(connection: socket.socket) -> bytes:
    """All that the server says until it closes the connection."""
    parts = []
    try:
        while part := connection.recv(MEBIBYTE):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def code(connection: socket.socket) -> tuple[int, str]:
    """Status and problem code of the one answer on a connection that the server closes."""
    head, _, body = answer(connection).partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    return int(head.split()[1]), json.loads(body)["code"]


@pytest.mark.parametrize(
    ("start", "refused"),
    [
        (b"PUT /kv HTTP/1.1\r\nHost: x\r\nX-Slow: ", (408, "header-timeout")),
        (b"P", (408, "header-timeout")),
        (b"\r\n", (408, "header-timeout")),
        (HEADER % len(PUT) + PUT[:-1], (408, "body-timeout")),
    ],
    ids=["header", "method", "blank", "body"],
)
def test_slow_clients_are_let_go(hurried: Process, start: bytes, refused: tuple[int, str]) -> None:
    with beside(hurried), ExitStack() as stack:
        slow = [stack.enter_context(connect(hurried)) for _ in range(ATTACKERS)]
        for connection in slow:
            connection.sendall(start)
        assert {code(connection) for connection in slow} == {refused}


def test_a_header_that_comes_byte_by_byte_is_let_go(hurried: Process) -> None:
    with beside(hurried), connect(hurried) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012 - one of many bytes fails
            while True:
                slow.sendall(b"s")
                time.sleep(0.05)


def test_a_header_without_end_is_cut_off(hurried: Process) -> None:
    with beside(hurried), connect(hurried) as endless:
        endless.sendall(b"GET / HTTP/1.1\r\nX-Long: ")
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012 - one of many writes fails
            for _ in range(1000):
                endless.sendall(b"l" * 65536)


def test_a_client_that_takes_no_answer_is_let_go(hurried: Process) -> None:
    with hurried.client() as client:
        assert client.put("/kv", json={"key": "large", "value": "v" * MEBIBYTE}).status_code == 200
    body = json.dumps({"operations": [{"op": "get", "key": "large"}] * 7}).encode()
    request = b"POST /kv/batch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with beside(hurried), connect(hurried, receive_bytes=4096) as greedy:
        greedy.sendall(request)
        time.sleep(2.5)
        received = answer(greedy)
    assert received.startswith(b"HTTP/1.1 200 ")
    assert len(received) < 7 * MEBIBYTE


def test_thousands_of_silent_connections_shut_nobody_out(
    shared_settings: Environment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * CONNECTIONS
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, wanted + 512)), hard))
    try:
        log_path = tmp_path_factory.mktemp("silent") / "log"
        with server.running(log_path, shared_settings) as process, ExitStack() as stack:
            silent = []
            with beside(process):
                for _ in range(wanted):
                    silent.append(stack.enter_context(connect(process)))
                    if len(silent) % 64 == 0:
                        time.sleep(0.05)
                with process.client() as newcomer:
                    assert newcomer.get("/readyz").status_code == 200
            open_sockets = sum(1 for connection in silent if is_open(connection))
            assert open_sockets <= CONNECTIONS
            assert open_sockets > CONNECTIONS // 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_open(connection: socket.socket) -> bool:
    """Whether the server has not closed a connection on which it has nothing to say."""
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELO example.com\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PUT /kv HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"PUT /kv HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"PUT /kv HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PUT /kv HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["tls", "smtp", "path", "version", "negative", "two-lengths", "smuggled", "chunk"],
)
def test_what_is_no_http_is_a_problem(hurried: Process, nonsense: bytes) -> None:
    with beside(hurried), connect(hurried) as connection:
        connection.sendall(nonsense)
        assert code(connection)[0] == 400


def test_an_upgrade_is_not_offered(hurried: Process) -> None:
    with connect(hurried) as connection:
        connection.sendall(
            b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'{"key":' * 100_000,
        b'{"key": "k", "value": "v", "ttl": ' + b"9" * 100_000 + b"}",
        b'{"key": "k", "value": "v", "ttl": 1e999}',
        b'{"key": "\xff\xfe", "value": "v"}',
        b'{"key": "\\ud800", "value": "v"}',
        b'{"key": "k", "value": "\xed\xa0\x80"}',
        b"\x00" * 1000,
    ],
    ids=[
        "deep-list",
        "deep-object",
        "long-number",
        "infinite",
        "not-utf8",
        "surrogate",
        "raw-surrogate",
        "nul",
    ],
)
def test_hostile_json_is_a_problem(hurried: Process, body: bytes) -> None:
    with beside(hurried), hurried.client() as client:
        for method, path in (("PUT", "/kv"), ("POST", "/kv/batch")):
            response = client.request(method, path, content=body)
            assert response.status_code in (400, 422), response.text
            assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.slow
def test_a_thousand_damaged_requests_harm_nobody(hurried: Process) -> None:
    """Bytes of a good request are changed, doubled, dropped: each is answered or cut, none with a 5xx."""
    chance = random.Random(20261124)
    whole = HEADER % len(PUT) + PUT
    statuses = set()
    with beside(hurried):
        for _ in range(10):
            with ExitStack() as stack:
                connections = [stack.enter_context(connect(hurried)) for _ in range(ATTACKERS)]
                for connection in connections:
                    connection.sendall(damage(whole, chance))
                for connection in connections:
                    # What lacks its end is answered too, or the connection closed, when its time is over.
                    answered = first_packet(connection)
                    statuses.add(int(answered.split()[1]) if answered else 0)
    assert {200, 400, 408, 422} <= statuses
    assert not {status for status in statuses if status >= 500}


def damage(request: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(request)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(damaged))
        match chance.randrange(3):
            case 0:
                damaged[at] = chance.randrange(256)
            case 1:
                del damaged[at : at + chance.randrange(1, 8)]
            case 2:
                damaged[at:at] = damaged[at : at + chance.randrange(1, 40)]
    return bytes(damaged)


def first_packet(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""
