"""One cluster for all end-to-end tests, with the operator in it, and a namespace for each module."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devcluster import images, provider, upstream
from devcluster.kind import KindCluster
from devcluster.kubectl import Kubectl
from tests.support.eventually import eventually

REPOSITORY = Path(__file__).parents[2]
SERVER_IMAGE = "ghcr.io/dumbkv/dumbkv-server:0.1.0"
POSTGRES_IMAGE = "dumbkv.example.com/devcluster/postgres:15"

# Sends the requests that come on standard input as [method, path, body] and prints each status and body.
# It reads host, port and token as a workload does to which the Secret X-binding was projected, and connects
# again as one does: a Service's rules reach a node some time after its pods are ready, and a connection that
# was begun before stays lost.
CLIENT_SCRIPT = """
import http.client, json, pathlib, sys, time
files = pathlib.Path("/bindings/dumbkv")
binding = {name: (files / name).read_text() for name in ("host", "port", "token")}
connection = http.client.HTTPConnection(binding["host"], int(binding["port"]), timeout=3)
deadline = time.monotonic() + 60
while connection.sock is None:
    try:
        connection.connect()
    except OSError as error:
        print("connecting again:", error, file=sys.stderr)
        if time.monotonic() > deadline:
            raise
        time.sleep(0.5)
connection.sock.settimeout(20)
answers = []
for method, path, body in json.load(sys.stdin):
    headers = {"Authorization": "Bearer " + binding["token"], "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body), headers)
    answer = connection.getresponse()
    answers.append([answer.status, json.loads(answer.read() or b"null")])
print(json.dumps(answers))
"""


@pytest.fixture(scope="session")
def chosen(request: pytest.FixtureRequest) -> Iterator[provider.Provider]:
    """The cluster that was asked for, running; in Docker it is pytest-kind's, which brings kind along."""
    asked = request.config.getoption("--cluster-provider")
    if asked == "kind":
        made = request.getfixturevalue("kind_cluster")
        made.ensure_kubectl()
        cluster: provider.Provider = KindCluster(made.name, kind=made.kind_path, kubectl=made.kubectl_path)
    else:
        cluster = provider.choose(asked, cluster="e2e")
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="session")
def cluster(chosen: provider.Provider) -> Kubectl:
    """kubectl, unbound to a namespace, for a cluster with the operator from `manifests/operator` in it."""
    return install(chosen, "server", "operator", "postgres")


def install(chosen: provider.Provider, *names: str) -> Kubectl:
    """Puts these images, the operator and the kinds that it may use into a cluster; returns its kubectl."""
    for archive in images.build(*names).values():
        chosen.load(archive)
    kubectl = chosen.kubectl()
    for name in ("prometheus-operator", "gateway-api"):
        for path in upstream.fetch(name):
            kubectl("apply", "--server-side", "-f", str(path))
    kubectl("apply", "-k", str(REPOSITORY / "manifests" / "operator"))
    kubectl("-n", "dumbkv-system", "rollout", "status", "deployment/dumbkv-operator", "--timeout=120s")
    return kubectl


@pytest.fixture(scope="module")
def kubectl(cluster: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl bound to a namespace of the module's own, which goes with it."""
    namespace = re.sub(r"[^a-z0-9]+", "-", Path(request.module.__file__).stem.removeprefix("test_"))
    cluster("create", "namespace", namespace)
    yield cluster.within(namespace)
    cluster("delete", "namespace", namespace, "--wait=true", "--timeout=100s")


@dataclass(frozen=True)
class Instance:
    """A `DumbKV` of a test, and what a user does with it."""

    kubectl: Kubectl
    name: str
    spec: dict[str, Any]

    def apply(self, **changes: Any) -> None:
        """Applies the resource, with `changes` to its specification."""
        self.kubectl.apply(
            {
                "apiVersion": "dumbkv.example.com/v1alpha1",
                "kind": "DumbKV",
                "metadata": {"name": self.name},
                "spec": self.spec | changes,
            }
        )

    def wait_ready(self) -> None:
        """Waits as a user does; tells the conditions where it is in vain."""
        try:
            self.kubectl(
                "wait", f"dumbkv/{self.name}", "--for=condition=Ready", "--timeout=120s", timeout=130
            )
        except Exception as error:
            raise AssertionError(json.dumps(self.conditions(), indent=1)) from error

    def resource(self) -> dict[str, Any]:
        """Returns the resource as the API server has it."""
        return self.kubectl.get("dumbkv", self.name)

    def conditions(self) -> dict[str, dict[str, Any]]:
        """Returns the conditions by type."""
        return {each["type"]: each for each in self.resource().get("status", {}).get("conditions", [])}

    def wait_condition(self, kind: str, status: str, reason: str, timeout: float = 60) -> dict[str, Any]:
        """Returns the condition `kind` once it has that status and reason for the resource's generation."""

        def probe() -> dict[str, Any] | None:
            resource = self.resource()
            for each in resource.get("status", {}).get("conditions", []):
                current = each.get("observedGeneration") == resource["metadata"]["generation"]
                if current and (each["type"], each["status"], each["reason"]) == (kind, status, reason):
                    return dict(each)
            return None

        return eventually(probe, f"{kind}={status} ({reason}) on {self.name}: {self.conditions()}", timeout)

    def pod_uids(self) -> set[str]:
        """Returns the identities of the pods that serve this instance."""
        pods = self.kubectl.get("pods", "-l", f"app.kubernetes.io/instance={self.name}")["items"]
        return {pod["metadata"]["uid"] for pod in pods if not pod["metadata"].get("deletionTimestamp")}

    def secret(self, name: str) -> dict[str, str]:
        """Returns the Secret's values as text."""
        return {
            key: base64.b64decode(value).decode()
            for key, value in self.kubectl.get("secret", name).get("data", {}).items()
        }

    def start_client(self) -> None:
        """Starts a pod to which the instance's binding is projected, from which requests are sent."""
        self.kubectl.apply(client_pod(self.name))
        self.kubectl("wait", f"pod/client-{self.name}", "--for=condition=Ready", "--timeout=60s")

    def send(self, *requests: tuple[str, str, Any]) -> list[tuple[int, Any]]:
        """Returns status and body of each request, sent through the Service's name from the client's pod."""
        printed = self.kubectl(
            "exec",
            "-i",
            f"client-{self.name}",
            "--",
            "python3",
            "-c",
            CLIENT_SCRIPT,
            stdin=json.dumps(requests),
        )
        return [(status, body) for status, body in json.loads(printed)]


def client_pod(instance: str) -> dict[str, Any]:
    """Returns a pod that sleeps beside the instance's binding; it runs the server's image for its Python."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"client-{instance}"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 10001, "runAsNonRoot": True},
            "containers": [
                {
                    "name": "client",
                    "image": SERVER_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", "import time; time.sleep(3600)"],
                    "volumeMounts": [{"name": "binding", "mountPath": "/bindings/dumbkv"}],
                }
            ],
            "volumes": [{"name": "binding", "secret": {"secretName": f"{instance}-binding"}}],
        },
    }


def postgres_manifests(name: str) -> list[dict[str, Any]]:
    """Returns a PostgreSQL, its Service and the Secret that `spec.postgres.secretRef` names."""
    labels = {"app": name}
    environment = {
        "POSTGRES_USER": "dumbkv",
        "POSTGRES_PASSWORD": "for-this-test-only",
        "POSTGRES_DB": "dumbkv",
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "stringData": {"uri": f"postgres://dumbkv:for-this-test-only@{name}:5432/dumbkv"},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 5432}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "terminationGracePeriodSeconds": 5,
                        "containers": [
                            {
                                "name": "postgres",
                                "image": POSTGRES_IMAGE,
                                "imagePullPolicy": "IfNotPresent",
                                "env": [{"name": key, "value": value} for key, value in environment.items()],
                                "ports": [{"containerPort": 5432}],
                                "readinessProbe": {
                                    "exec": {"command": ["pg_isready", "-h", "127.0.0.1", "-U", "dumbkv"]},
                                    "periodSeconds": 1,
                                },
                            }
                        ],
                    },
                },
            },
        },
    ]
