"""The HTTP contract, route by route."""

import json
from collections.abc import Iterator

import httpx
import pytest

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code"}


def call(client: httpx.Client, method: str, **body: object) -> httpx.Response:
    return client.request(method, "/kv", json=body)


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, object] = response.json()
    assert set(problem) == PROBLEM_MEMBERS
    assert (problem["status"], problem["code"]) == (status, code)
    return problem


def test_a_value_comes_back_with_its_revision(client: httpx.Client, key: str) -> None:
    put = call(client, "PUT", database=3, key=key, value="v")
    assert put.status_code == 200
    assert put.json() == {"status": "success", "revision": put.json()["revision"]}
    got = call(client, "POST", database=3, key=key)
    assert got.json() == {"value": "v", "revision": put.json()["revision"], "expires_at": None}
    assert got.headers["cache-control"] == "no-store"


def test_a_put_overwrites_and_the_revision_grows(client: httpx.Client, key: str) -> None:
    first = call(client, "PUT", key=key, value="old").json()["revision"]
    second = call(client, "PUT", key=key, value="new").json()["revision"]
    assert second > first
    assert call(client, "POST", key=key).json() == {"value": "new", "revision": second, "expires_at": None}


def test_a_delete_says_whether_there_was_a_key(client: httpx.Client, key: str) -> None:
    call(client, "PUT", key=key, value="v")
    assert call(client, "DELETE", key=key).json() == {"status": "success", "deleted": True}
    assert call(client, "DELETE", key=key).json() == {"status": "success", "deleted": False}
    assert_problem(call(client, "POST", key=key), 404, "key-not-found")


def test_a_revision_is_not_reused_after_a_delete(client: httpx.Client, key: str) -> None:
    first = call(client, "PUT", key=key, value="v").json()["revision"]
    call(client, "DELETE", key=key)
    assert call(client, "PUT", key=key, value="v").json()["revision"] > first


def test_databases_are_apart_and_zero_is_the_default(client: httpx.Client, key: str) -> None:
    call(client, "PUT", key=key, value="zero")
    call(client, "PUT", database=2147483647, key=key, value="last")
    assert call(client, "POST", database=0, key=key).json()["value"] == "zero"
    assert call(client, "POST", database=2147483647, key=key).json()["value"] == "last"
    assert_problem(call(client, "POST", database=1, key=key), 404, "key-not-found")


@pytest.mark.parametrize("text", ["", "päß \u20ac \U0001f511", '"\\\u0000\u001f\n', "x" * 1024])
def test_any_text_is_a_key_and_a_value(client: httpx.Client, key: str, text: str) -> None:
    call(client, "PUT", database=7, key=text, value=text)
    assert call(client, "POST", database=7, key=text).json()["value"] == text


def test_a_body_needs_no_content_type(client: httpx.Client, key: str) -> None:
    response = client.put("/kv", content=json.dumps({"key": key, "value": "v"}))
    assert "content-type" not in response.request.headers
    assert response.status_code == 200


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b'{"key": "\xff", "value": "v"}', b'{"key": "\\ud800"}', b"[" * 100_000, b"nul"],
)
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_what_is_not_json_is_400(client: httpx.Client, method: str, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = client.request(method, "/kv", content=content[:4000], headers=headers)
    assert response.status_code in ((400, 422) if content.startswith(b"[") else (400,))
    assert_problem(response, response.status_code, response.json()["code"])


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"key": 5}, "$.key"),
        ({}, "key"),
        ({"key": None}, "$.key"),
        ({"key": "k", "database": -1}, "$.database"),
        ({"key": "k", "database": 2147483648}, "$.database"),
        ({"key": "k", "database": 10**400}, "$.database"),
        ({"key": "k", "database": "secret-0"}, "$.database"),
        ({"key": "k", "database": True}, "$.database"),
        ([], "object"),
        ("secret-1", "object"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_wrong_shape_is_422_and_names_the_field(
    client: httpx.Client, method: str, body: object, named: str
) -> None:
    if method == "PUT" and isinstance(body, dict):
        body = {**body, "value": "v"}
    problem = assert_problem(client.request(method, "/kv", json=body), 422, "wrong-shape")
    assert named in str(problem["detail"])
    assert "secret" not in str(problem)


@pytest.mark.parametrize("field", ["expires", "if_match", "a-key-in-the-wrong-place"])
def test_a_field_that_would_be_ignored_is_422(client: httpx.Client, key: str, field: str) -> None:
    response = call(client, "PUT", key=key, value="v", **{field: 1})
    assert field not in str(assert_problem(response, 422, "wrong-shape"))
    assert_problem(call(client, "POST", key=key), 404, "key-not-found")


def test_a_key_or_a_value_over_its_limit_is_413(client: httpx.Client, key: str) -> None:
    mebibyte = 1024 * 1024
    assert call(client, "PUT", key=key, value="v" * mebibyte).status_code == 200
    assert call(client, "POST", key=key).json()["value"] == "v" * mebibyte
    assert call(client, "PUT", key=key, value="\u001f" * mebibyte).status_code == 200
    assert_problem(call(client, "PUT", key=key, value="v" * (mebibyte + 1)), 413, "value-too-large")
    assert_problem(call(client, "PUT", key=key, value="é" * (mebibyte // 2 + 1)), 413, "value-too-large")
    for method in ("PUT", "POST", "DELETE"):
        body = {"key": "é" * 513, **({"value": "v"} if method == "PUT" else {})}
        assert_problem(call(client, method, **body), 413, "key-too-large")


@pytest.mark.parametrize(("method", "size"), [("PUT", 10_000_000), ("POST", 20_000), ("DELETE", 20_000)])
def test_a_body_over_its_limit_is_413_by_its_announced_length(
    client: httpx.Client, method: str, size: int
) -> None:
    response = client.request(
        method, "/kv", content=b" " * size, headers={"Content-Type": "application/json"}
    )
    assert_problem(response, 413, "body-too-large")
    assert response.headers["connection"] == "close"


def test_a_body_without_a_length_is_refused_while_it_streams(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield b" " * 65536

    try:
        response = client.put("/kv", content=endless(), headers={"Content-Type": "application/json"})
    except httpx.WriteError:
        # The server has answered and closed while this client was still sending.
        return
    assert_problem(response, 413, "body-too-large")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Content-Type", "text/plain"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Encoding", "gzip"),
    ],
)
def test_another_media_type_is_415(client: httpx.Client, key: str, header: str, value: str) -> None:
    response = client.put("/kv", content=json.dumps({"key": key, "value": "v"}), headers={header: value})
    assert response.status_code == 415
    assert response.headers["content-type"] == "application/problem+json"


def test_a_content_type_with_parameters_is_json(client: httpx.Client, key: str) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (
        client.put("/kv", content=json.dumps({"key": key, "value": "v"}), headers=headers).status_code == 200
    )


@pytest.mark.parametrize("path", ["/nothing", "/kv/", "/kv/secret", "/databases/", "/kv/batch/"])
def test_an_unknown_path_is_404(client: httpx.Client, path: str) -> None:
    assert_problem(client.post(path), 404, "no-such-route")


@pytest.mark.parametrize(("method", "path"), [("GET", "/kv"), ("PATCH", "/kv"), ("POST", "/health")])
def test_a_method_that_a_path_does_not_have_is_405(client: httpx.Client, method: str, path: str) -> None:
    response = client.request(method, path)
    assert_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"]


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz"])
def test_the_probes_say_healthy(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()) == (200, {"status": "healthy"})


def test_metrics_count_requests_by_route_and_never_by_path(client: httpx.Client, key: str) -> None:
    call(client, "PUT", key=key, value="v")
    client.get(f"/{key}")
    text = client.get("/metrics").text
    assert 'dumbkv_requests_total{method="PUT",route="/kv",status="200"}' in text
    assert 'dumbkv_requests_total{method="GET",route="unmatched",status="404"}' in text
    assert 'dumbkv_request_duration_seconds_bucket{le="0.005",method="PUT",route="/kv"}' in text
    for name in ("commit_duration_seconds_count", "commit_batch_size_count", "write_queue_length 0.0"):
        assert f"dumbkv_{name}" in text
    assert "dumbkv_database_up 1.0" in text
    assert 'dumbkv_build_info{version="' in text
    assert key not in text


def test_a_made_up_method_is_not_a_label(client: httpx.Client) -> None:
    client.request("PROPFIND", "/kv")
    text = client.get("/metrics").text
    assert 'method="other"' in text
    assert "PROPFIND" not in text
