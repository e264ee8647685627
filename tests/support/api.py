"""A real API server as tests use it: plain requests over one connection, many times faster than kubectl."""

import base64
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx
import yaml

from devcluster.kubectl import Kubectl

Object = dict[str, Any]

PATHS = {
    "namespaces": "/api/v1",
    "secrets": "/api/v1",
    "services": "/api/v1",
    "pods": "/api/v1",
    "persistentvolumes": "/api/v1",
    "persistentvolumeclaims": "/api/v1",
    "configmaps": "/api/v1",
    "deployments": "/apis/apps/v1",
    "ingresses": "/apis/networking.k8s.io/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "storageclasses": "/apis/storage.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "events": "/apis/events.k8s.io/v1",
    "customresourcedefinitions": "/apis/apiextensions.k8s.io/v1",
    "servicemonitors": "/apis/monitoring.coreos.com/v1",
    "httproutes": "/apis/gateway.networking.k8s.io/v1",
    "dumbkvs": "/apis/dumbkv.example.com/v1alpha1",
}


class Api:
    """The API server of a kubeconfig, as its administrator."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        config = yaml.safe_load(kubectl.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._http = httpx.Client(
            base_url=cluster["server"], verify=_tls(kubectl.kubeconfig.parent, cluster, user), timeout=30
        )

    def close(self) -> None:
        self._http.close()

    def kubectl(self, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Runs kubectl and returns how it ended, whichever way."""
        command = self._kubectl.command(*arguments)
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120)

    def find(self, plural: str, name: str, namespace: str | None = None) -> Object | None:
        """Returns an object, None where there is none."""
        response = self._http.get(_path(plural, namespace, name))
        return None if response.status_code == 404 else _checked(response)

    def get(self, plural: str, name: str, namespace: str | None = None) -> Object:
        """Returns an object that is there."""
        return _checked(self._http.get(_path(plural, namespace, name)))

    def list(self, plural: str, namespace: str | None = None, labels: str = "") -> list[Object]:
        """Returns all objects with these labels."""
        params = {"labelSelector": labels} if labels else None
        return list(_checked(self._http.get(_path(plural, namespace), params=params))["items"])

    def create(self, plural: str, manifest: Object) -> Object:
        return _checked(self._http.post(_path(plural, manifest["metadata"].get("namespace")), json=manifest))

    def patch(
        self, plural: str, name: str, namespace: str | None, body: Any, subresource: str = ""
    ) -> Object:
        """Merges `body` into an object as somebody at a terminal does."""
        path = _path(plural, namespace, name) + (f"/{subresource}" if subresource else "")
        headers = {"Content-Type": "application/merge-patch+json"}
        return _checked(self._http.patch(path, json=body, headers=headers))

    def delete(self, plural: str, name: str, namespace: str | None = None) -> None:
        _checked(self._http.delete(_path(plural, namespace, name)))


def _path(plural: str, namespace: str | None, name: str = "") -> str:
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{PATHS[plural]}{scope}/{plural}" + (f"/{name}" if name else "")


def _checked(response: httpx.Response) -> Object:
    assert response.is_success, f"{response.request.method} {response.request.url}: {response.text}"
    body: Object = response.json()
    return body


def _tls(folder: Path, cluster: Object, user: Object) -> ssl.SSLContext:
    def material(values: Object, name: str) -> bytes:
        if data := values.get(f"{name}-data"):
            return base64.b64decode(data)
        return (folder / str(values[name])).read_bytes()

    context = ssl.create_default_context(cadata=material(cluster, "certificate-authority").decode())
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(material(user, "client-certificate") + material(user, "client-key"))
        pair.flush()
        context.load_cert_chain(pair.name)
    return context
