"""A real API server without a node, the operator as a process, and stand-ins for kubelet and disk."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcluster.local import LocalCluster
from tests.support.api import Api, Object
from tests.support.eventually import eventually

REPOSITORY = Path(__file__).parents[2]
CONTROLLER_MANAGER = "kube-controller-manager"
LEASE = {
    "DUMBKV_OPERATOR_LEASE_DURATION_SECONDS": "4",
    "DUMBKV_OPERATOR_LEASE_RENEW_DEADLINE_SECONDS": "3",
    "DUMBKV_OPERATOR_LEASE_RETRY_SECONDS": "0.5",
}


class Operator:
    """The operator, run as its image runs it."""

    def __init__(self, kubeconfig: Path, log: Path, identity: str, **settings: str) -> None:
        self.identity = identity
        self._port = free_port()
        self._log = log
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "POD_NAME": identity,
            "POD_NAMESPACE": "dumbkv-system",
            "DUMBKV_OPERATOR_METRICS_PORT": str(self._port),
            "DUMBKV_OPERATOR_PROBE_PORT": "0",
            "DUMBKV_OPERATOR_RECHECK_SECONDS": "1",
            **LEASE,
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "dumbkv_operator", "run"]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        eventually(self._answers, f"{self.identity} to start: {self.log[-2000:]}", 20)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends the operator and returns its exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        code = self._process.wait(20)
        self._process = None
        return code

    def freeze(self) -> None:
        """Keeps the operator from doing anything, as a node without memory or a hypervisor does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def leading(self) -> bool:
        return self.metric("dumbkv_operator_leader") == 1

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def metric(self, name: str, /, **labels: str) -> float:
        """Returns the sum of a metric's series that have all these labels."""
        return sum(
            value
            for series, value in self._series(name)
            if all(f'{label}="{text}"' in series for label, text in labels.items())
        )

    def writes(self) -> float:
        """Returns how often it has written anything but its Lease."""
        series = self._series("dumbkv_operator_writes_total")
        return sum(value for labels, value in series if 'kind="Lease"' not in labels)

    def requests(self) -> float:
        """Returns how many requests it has made but for its Lease and for watches that went on."""
        series = self._series("dumbkv_operator_api_requests_total")
        return sum(
            value
            for labels, value in series
            if 'kind="Lease"' not in labels and 'operation="watch"' not in labels
        )

    def _series(self, name: str) -> list[tuple[str, float]]:
        text = httpx.get(f"http://127.0.0.1:{self._port}/metrics").text
        matches = (re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line) for line in text.splitlines())
        return [(match[1] or "", float(match[2])) for match in matches if match]

    def _answers(self) -> bool:
        assert self.running, f"{self.identity} ended: {self.log[-2000:]}"
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/metrics").is_success
        except httpx.TransportError:
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class World:
    """One namespace of the API server, with what tests do in it."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace

    def apply(self, name: str, spec: Object | None = None, **changes: Any) -> Object:
        """Makes a resource with a host of its own, or merges `changes` into its specification."""
        if self.find("dumbkvs", name) is None:
            host = {"ingress": {"host": f"{name}.{self.namespace}.example.com"}}
            manifest = {
                "apiVersion": "dumbkv.example.com/v1alpha1",
                "kind": "DumbKV",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {**host, **(spec or {}), **changes},
            }
            return self.api.create("dumbkvs", manifest)
        return self.patch("dumbkvs", name, {"spec": {**(spec or {}), **changes}})

    def get(self, plural: str, name: str) -> Object:
        return self.api.get(plural, name, self.namespace)

    def find(self, plural: str, name: str) -> Object | None:
        return self.api.find(plural, name, self.namespace)

    def patch(self, plural: str, name: str, body: Object, subresource: str = "") -> Object:
        return self.api.patch(plural, name, self.namespace, body, subresource)

    def delete(self, plural: str, name: str) -> None:
        self.api.delete(plural, name, self.namespace)

    def secret(self, name: str, **values: str) -> Object:
        return self.api.create(
            "secrets",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": self.namespace},
                "stringData": values,
            },
        )

    def conditions(self, name: str) -> dict[str, Object]:
        status = self.get("dumbkvs", name).get("status") or {}
        return {condition["type"]: condition for condition in status.get("conditions", [])}

    def wait_condition(self, name: str, kind: str, status: str, reason: str = "") -> Object:
        """Returns a condition once it has this status, and this reason where one is given, for now's spec."""

        def probe() -> Object | None:
            resource = self.get("dumbkvs", name)
            for condition in (resource.get("status") or {}).get("conditions", []):
                fits = condition["type"] == kind and condition["status"] == status
                current = condition["observedGeneration"] == resource["metadata"]["generation"]
                if fits and current and reason in ("", condition["reason"]):
                    return dict(condition)
            return None

        try:
            return eventually(probe, f"{kind} of {name} to be {status} {reason}", 20)
        except AssertionError as error:
            raise AssertionError(f"{error}; conditions: {self.conditions(name)}") from None

    def make_ready(self, name: str) -> None:
        """Does what a provisioner and a kubelet do, until the resource is Ready."""
        if (self.get("dumbkvs", name)["spec"]["backend"]) == "sqlite":
            eventually(
                lambda: self.find("persistentvolumeclaims", f"{name}-data"), f"the claim of {name}", 20
            )
            self.provide_volume(f"{name}-data")

        def probe() -> bool:
            self.start_pods(name)
            resource = self.get("dumbkvs", name)
            return any(
                (each["type"], each["status"], each["observedGeneration"])
                == ("Ready", "True", resource["metadata"]["generation"])
                for each in (resource.get("status") or {}).get("conditions", [])
            )

        try:
            eventually(probe, f"{name} to be Ready", 20)
        except AssertionError as error:
            raise AssertionError(f"{error}; conditions: {self.conditions(name)}") from None

    def provide_volume(self, claim: str) -> None:
        """Makes a volume for a claim that has none."""
        found = self.get("persistentvolumeclaims", claim)
        if found["spec"].get("volumeName"):
            return
        self.api.create(
            "persistentvolumes",
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"{self.namespace}-{claim}"},
                "spec": {
                    "capacity": {"storage": found["spec"]["resources"]["requests"]["storage"]},
                    "accessModes": found["spec"]["accessModes"],
                    "storageClassName": found["spec"]["storageClassName"],
                    "hostPath": {"path": "/nowhere"},
                    # With the uid, as provisioners give it, the binder does not wait for its next round.
                    "claimRef": {
                        "namespace": self.namespace,
                        "name": claim,
                        "uid": found["metadata"]["uid"],
                    },
                },
            },
        )

    def start_pods(self, name: str, ready: bool = True) -> None:
        """Reports every pod of a resource as running."""
        for pod in self.api.list("pods", self.namespace, f"app.kubernetes.io/instance={name}"):
            status = pod.get("status") or {}
            if any(
                each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", [])
            ):
                continue
            state = "True" if ready else "False"
            self.patch(
                "pods",
                pod["metadata"]["name"],
                {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": state}]}},
                "status",
            )

    def versions(self, name: str) -> dict[str, str]:
        """Returns what changes with each write of the operator to a resource or one of its children.

        Of a Deployment that is not its resource version: the cluster's controller writes to it too, long
        after the operator has come to rest.
        """
        plurals = (
            "deployments",
            "services",
            "persistentvolumeclaims",
            "secrets",
            "ingresses",
            "networkpolicies",
        )
        selector = f"app.kubernetes.io/instance={name}"
        found = {
            f"{plural}/{item['metadata']['name']}": (
                written(item) if plural == "deployments" else item["metadata"]["resourceVersion"]
            )
            for plural in plurals
            for item in self.api.list(plural, self.namespace, selector)
        }
        return found | {"dumbkv": self.get("dumbkvs", name)["metadata"]["resourceVersion"]}


def written(item: Object) -> str:
    """Returns an object's generation and the time of each writer's last change, but for its controller's."""
    entries = [entry for entry in item["metadata"]["managedFields"] if entry["manager"] != CONTROLLER_MANAGER]
    times = " ".join(sorted(f"{entry['manager']} {entry['time']}" for entry in entries))
    return f"{item['metadata']['generation']} {times}"


def settled(operator: Operator) -> bool:
    """Returns whether no request has been made for a second."""
    before = operator.requests()
    time.sleep(1)
    return operator.requests() == before


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    """An API server with the CRD, and storage classes that no provisioner serves."""
    with LocalCluster(name="t-operator", api_only=True) as cluster:
        api = Api(cluster.kubectl())
        try:
            applied = api.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds" / "dumbkvs.yaml"))
            assert applied.returncode == 0, applied.stderr
            api.create("namespaces", {"metadata": {"name": "dumbkv-system"}})
            for name, expandable in (("efs", True), ("fixed", False)):
                api.create(
                    "storageclasses",
                    {
                        "metadata": {"name": name},
                        "provisioner": "kubernetes.io/no-provisioner",
                        "allowVolumeExpansion": expandable,
                    },
                )
            yield api
        finally:
            api.close()


@pytest.fixture(scope="session")
def operate(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Operator]]:
    """Makes operators; those that still run at the end are stopped."""
    folder = tmp_path_factory.mktemp("operators")
    kubeconfig = LocalCluster(name="t-operator", api_only=True).kubeconfig()
    made: list[Operator] = []

    def make(identity: str, **settings: str) -> Operator:
        made.append(Operator(kubeconfig, folder / f"{identity}.log", identity, **settings))
        return made[-1]

    yield make
    for operator in made:
        if operator.running:
            operator.stop()


@pytest.fixture(scope="session")
def _first(operate: Callable[..., Operator]) -> Operator:
    return operate("first")


@pytest.fixture
def operator(_first: Operator) -> Operator:
    """The one operator that leads; a test may stop it, the next one that asks for it starts it again."""
    if not _first.running:
        _first.start()
    eventually(lambda: _first.leading, "the operator to lead", 20)
    return _first


@contextmanager
def namespace(api: Api) -> Iterator[World]:
    """Makes a namespace, and takes it away with all that is in it."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    api.create("namespaces", {"metadata": {"name": name}})
    yield World(api, name)
    for resource in api.list("dumbkvs", name):
        api.delete("dumbkvs", resource["metadata"]["name"], name)
    api.delete("namespaces", name)


@pytest.fixture
def world(api: Api) -> Iterator[World]:
    """A namespace of the test's own."""
    with namespace(api) as world:
        yield world


@pytest.fixture
def other_world(api: Api) -> Iterator[World]:
    """A second namespace of the test's own."""
    with namespace(api) as world:
        yield world


@pytest.fixture(scope="session")
def crd() -> Callable[[str, str, str, str], Object]:
    """Makes a CustomResourceDefinition that takes any object: a kind that arrives."""

    def make(group: str, version: str, kind: str, plural: str) -> Object:
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": f"{plural}.{group}",
                "annotations": {"api-approved.kubernetes.io": "https://example.com/for-a-test"},
            },
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural},
                "versions": [
                    {
                        "name": version,
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": schema},
                        "subresources": {"status": {}},
                    }
                ],
            },
        }

    return make
