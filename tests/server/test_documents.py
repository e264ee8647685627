"""/openapi.json is right, /docs and / need nothing from anywhere else."""

import base64
import hashlib
import re
from typing import Any

import httpx
import pytest

METHODS = {"get", "put", "post", "delete"}


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    response = client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    schema: dict[str, Any] = response.json()
    return schema


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        schema = document["components"]["schemas"][name]
    return schema


def test_every_documented_call_exists_and_no_other_answers_there(
    client: httpx.Client, document: dict[str, Any]
) -> None:
    for path, operations in document["paths"].items():
        for method in METHODS:
            status = client.request(method.upper(), path).status_code
            assert (status == 405) == (method not in operations), (method, path)


def test_the_examples_of_the_document_are_answered_as_documented(
    client: httpx.Client, document: dict[str, Any]
) -> None:
    for method in ("put", "post", "delete"):
        operation = document["paths"]["/kv"][method]
        content = operation["requestBody"]["content"]["application/json"]
        response = client.request(method.upper(), "/kv", json=content["example"])
        documented = operation["responses"][str(response.status_code)]["content"]["application/json"]
        properties = resolve(document, documented["schema"])["properties"]
        assert set(response.json()) == set(properties)
        request = resolve(document, content["schema"])
        assert set(request["required"]) <= set(content["example"]) <= set(request["properties"])
        assert request["additionalProperties"] is False


@pytest.mark.parametrize("method", ["put", "post", "delete"])
def test_problems_are_documented_with_their_shape(
    client: httpx.Client, document: dict[str, Any], method: str
) -> None:
    responses = document["paths"]["/kv"][method]["responses"]
    for content, status in ((b"{", 400), (b"{}", 422), (b" " * 10_000_000, 413)):
        response = client.request(method.upper(), "/kv", content=content)
        assert response.status_code == status
        schema = responses[str(status)]["content"]["application/problem+json"]["schema"]
        assert set(response.json()) == set(resolve(document, schema)["required"])
    assert "Retry-After" in responses["503"]["headers"]


def test_every_reference_in_the_document_resolves(document: dict[str, Any]) -> None:
    references = re.findall(r"'#/components/schemas/(\w+)'", str(document))
    assert set(references) <= set(document["components"]["schemas"])


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_runs_only_its_own_scripts_and_loads_nothing_from_elsewhere(
    client: httpx.Client, path: str
) -> None:
    response = client.get(path)
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    (script_policy,) = re.findall(r"script-src ([^;]*)", policy)
    assert "unsafe-inline" not in script_policy
    for script in re.findall(r"<script>(.*?)</script>", response.text, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in script_policy
    for address in re.findall(r'(?:src|href)="([^"]*)"', response.text):
        assert address.startswith(("/", "data:")), address
        if address.startswith("/"):
            assert client.get(address).status_code == 200


def test_the_page_keeps_no_token_and_has_no_inline_handler(client: httpx.Client) -> None:
    text = client.get("/").text
    for storage in ("localStorage", "sessionStorage", "document.cookie", "indexedDB"):
        assert storage not in text
    assert not re.search(r"\son\w+=|\sstyle=", text)
