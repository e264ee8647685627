"""Tokens and scopes over HTTP."""

from collections.abc import Iterator
from hashlib import sha256

import pytest

from tests.support import server

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
