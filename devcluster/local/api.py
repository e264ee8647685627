"""Asks the API server what a cluster's start waits for, without the tenth of a second that kubectl takes."""

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from devcluster.local.credentials import PORT
from devcluster.local.spec import Spec


def get(spec: Spec, path: str, timeout: float = 2) -> Any:
    """The JSON (or text) at this path, as the administrator; None where the server does not give it."""
    certificates = spec.files.certificates
    try:
        context = ssl.create_default_context(cafile=certificates / "ca.crt")
        context.load_cert_chain(certificates / "admin.crt", certificates / "admin.key")
        # The cluster is on this machine: a proxy of the environment must not be asked.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(f"https://{spec.addresses.api}:{PORT}{path}", timeout=timeout) as response:
            text = response.read().decode()
    except (OSError, urllib.error.URLError):
        return None
    return json.loads(text) if text.startswith(("{", "[")) else text


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
