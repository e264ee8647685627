"""Asks the API server what a cluster's start waits for, without the tenth of a second that kubectl takes."""

import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from devcluster.local.spec import PORT, Spec

SECONDS = 5


def get(spec: Spec, path: str) -> Any:
    """The object at this path, as the administrator; None where the server does not give it."""
    return _request(spec, "GET", path)


def ready(spec: Spec) -> bool:
    """Whether the API server says that it is."""
    with _client(spec) as client:
        try:
            return client.get("/readyz").is_success
        except httpx.HTTPError:
            return False


def apply(spec: Spec, path: str, manifest: Mapping[str, Any]) -> bool:
    """Apply this object at its path; returns whether the server took it."""
    parameters = {"fieldManager": "devcluster", "force": "true"}
    headers = {"Content-Type": "application/apply-patch+yaml"}
    return _request(spec, "PATCH", path, params=parameters, headers=headers, json=manifest) is not None


def _request(spec: Spec, method: str, path: str, **options: Any) -> Any:
    with _client(spec) as client:
        try:
            response = client.request(method, path, **options)
        except httpx.HTTPError:
            return None
    return response.json() if response.is_success else None


def _client(spec: Spec) -> httpx.Client:
    certificates = spec.files.certificates
    context = ssl.create_default_context(cafile=certificates / "ca.crt")
    context.load_cert_chain(certificates / "admin.crt", certificates / "admin.key")
    # The cluster is on this machine: a proxy of the environment must not be asked.
    return httpx.Client(
        base_url=f"https://{spec.addresses.api}:{PORT}", verify=context, timeout=SECONDS, trust_env=False
    )


def ready_nodes(spec: Spec) -> dict[str, bool]:
    """Each node's name and whether it is Ready; empty where the API server does not answer."""
    nodes = get(spec, "/api/v1/nodes") or {"items": []}
    return {
        node["metadata"]["name"]: any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in node.get("status", {}).get("conditions", [])
        )
        for node in nodes["items"]
    }
