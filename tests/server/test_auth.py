"""Tokens and scopes over HTTP."""

import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from tests.support import server
from tests.support.eventually import eventually

TOKENS = {"read": "token-r", "write": "token-w", "read,write": "token-rw", "admin": "token-a"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Process]:
    folder = tmp_path_factory.mktemp("auth")
    lines = (f"n {scopes} sha256:{sha256(token.encode()).hexdigest()}" for scopes, token in TOKENS.items())
    (folder / "tokens").write_text("\n".join(lines))
    environment = {"DATABASE_LOCATION": ":memory:", "DUMBKV_AUTH_TOKENS_FILE": str(folder / "tokens")}
    with server.running(folder / "log", environment) as process:
        yield process


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
@pytest.mark.parametrize("token", [None, "wrong"])
def test_without_a_known_token_nothing_is_answered(
    guarded: server.Process, method: str, token: str | None
) -> None:
    with guarded.client(token) as client:
        response = client.request(method, "/kv", json={"key": "k"})
    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scopes", TOKENS)
@pytest.mark.parametrize(("method", "needed"), [("PUT", "write"), ("DELETE", "write"), ("POST", "read")])
def test_a_token_does_what_its_scopes_allow(
    guarded: server.Process, scopes: str, method: str, needed: str
) -> None:
    body = {"key": "k", **({"value": "v"} if method == "PUT" else {})}
    with guarded.client(TOKENS[scopes]) as client:
        response = client.request(method, "/kv", json=body)
    if needed in scopes or scopes == "admin":
        assert response.status_code in ({200, 404} if method == "POST" else {200})
    else:
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")


def test_the_token_is_asked_for_before_the_body_is_read(guarded: server.Process) -> None:
    with guarded.client() as client:
        assert client.put("/kv", content=b"not json").status_code == 401


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/health", "/livez", "/readyz", "/metrics"])
def test_what_holds_no_secret_is_open(guarded: server.Process, path: str) -> None:
    with guarded.client() as client:
        assert client.get(path).status_code == 200


def failures(client: httpx.Client, reason: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    name = f'dumbkv_authentication_failures_total{{reason="{reason}"}}'
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)


def test_guesses_wait_for_their_turn_and_good_tokens_never_do(tmp_path: Path) -> None:
    """With an hour between two answers: whoever answers here did not wait."""
    environment = {
        "DATABASE_LOCATION": ":memory:",
        "DUMBKV_AUTH_TOKENS": f"n admin sha256:{sha256(b'good').hexdigest()}",
        "DUMBKV_AUTH_FAILURE_INTERVAL": "3600",
        "DUMBKV_MAX_WAITING_AUTH_FAILURES": "3",
    }
    answered: list[int] = []

    def guess(number: int) -> None:
        try:
            with process.client(f"guess {number}") as attacker:
                answered.append(attacker.post("/kv", json={"key": "k"}, timeout=None).status_code)
        except httpx.TransportError:
            pass  # The server is stopped before it is this one's turn.

    guesses = [threading.Thread(target=guess, args=(number,)) for number in range(4)]
    with server.running(tmp_path / "log", environment) as process, process.client("good") as client:
        for thread in guesses:
            thread.start()
        eventually(lambda: failures(client, "unknown") == 4, "four guesses have come")
        eventually(lambda: answered == [401], "one of them is answered")
        with process.client("guess") as attacker:
            for _ in range(3):
                response = attacker.put("/kv", json={"key": "k", "value": "v"})
                assert (response.status_code, response.json()["code"]) == (429, "too-many-failures")
                assert 0 < int(response.headers["retry-after"]) <= 3600
                # The same address and the same moment, with a good token and with none.
                assert client.put("/kv", json={"key": "k", "value": "v"}).status_code == 200
                with process.client() as nobody:
                    assert nobody.post("/kv", json={"key": "k"}).status_code == 401
        assert failures(client, "unknown") == 7
        assert failures(client, "missing") == 3
        assert answered == [401]
    for thread in guesses:
        thread.join()


@pytest.mark.parametrize(("header", "reason"), [("Basic dXNlcg==", "malformed"), ("", "missing")])
def test_a_refusal_is_counted_by_its_reason(guarded: server.Process, header: str, reason: str) -> None:
    with guarded.client() as client:
        before = failures(client, reason)
        client.headers["Authorization"] = header
        assert client.post("/kv", json={"key": "k"}).status_code == 401
        assert failures(client, reason) == before + 1
