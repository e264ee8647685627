"""Two real nodes: what pods, Services, DNS, storage and a user's kubectl need, and what happens to nodes."""

import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster.kubectl import Kubectl
from devcluster.local import LocalCluster, outages, tools_image
from devcluster.local.configuration import TOOLS_IMAGE
from tests.support.eventually import eventually

NAME = "tests-nodes"
OWN_IMAGE = "dumbkv.example.com/tests/loaded:1"
# busybox's own wget, as Debian builds it, crashes: nc does.
GET = "get() { printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 $1 $2 | tail -1; }; "
SERVE = "mkdir /tmp/www; hostname > /tmp/www/index.html; echo serving; exec httpd -f -p 8000 -h /tmp/www"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(NAME, nodes=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def kubectl(cluster: LocalCluster) -> Kubectl:
    return cluster.kubectl()


@pytest.fixture(scope="module")
def pods(kubectl: Kubectl) -> list[dict[str, Any]]:
    """One web server on each node, run by an ordinary user, with one claim and one Service."""
    kubectl.apply(claim("data"), service(), *(web(f"web{index}", f"node{index}") for index in (1, 2)))
    kubectl("wait", "pods", "-l", "app=web", "--for=condition=Ready", "--timeout=90s")
    return sorted(kubectl.get("pods", "-l", "app=web")["items"], key=lambda pod: pod["metadata"]["name"])


def test_pods_on_different_nodes_reach_each_other(kubectl: Kubectl, pods: list[dict[str, Any]]) -> None:
    assert [pod["spec"]["nodeName"] for pod in pods] == ["node1", "node2"]
    for here, there in (pods, pods[::-1]):
        address, name = there["status"]["podIP"], there["metadata"]["name"]
        assert shell(kubectl, here, f"{GET} get {address} 8000") == name


def test_a_service_answers_pods_by_name_and_the_host_by_address(
    kubectl: Kubectl, pods: list[dict[str, Any]]
) -> None:
    names = {pod["metadata"]["name"] for pod in pods}
    for host in ("web", "web.default", "web.default.svc.cluster.local"):
        assert shell(kubectl, pods[0], f"{GET} get {host} 80") in names
    address = kubectl.get("service", "web")["spec"]["clusterIP"]
    answers = [fetch(f"http://{address}") for _ in range(24)]
    assert set(answers) == names


def test_the_host_reaches_pods(pods: list[dict[str, Any]]) -> None:
    for pod in pods:
        assert fetch(f"http://{pod['status']['podIP']}:8000") == pod["metadata"]["name"]


def test_a_pod_reaches_itself_through_its_service(kubectl: Kubectl, pods: list[dict[str, Any]]) -> None:
    answers = shell(kubectl, pods[0], f"{GET} for i in $(seq 12); do get web 80; done").split()
    assert set(answers) == {pod["metadata"]["name"] for pod in pods}


def test_a_pod_reaches_the_api_server(kubectl: Kubectl, pods: list[dict[str, Any]]) -> None:
    assert "400" in shell(
        kubectl, pods[0], "echo 'GET / HTTP/1.0\n\n' | nc -w 5 kubernetes.default 443 | head -1"
    )


def test_logs_exec_and_port_forward_work(kubectl: Kubectl, pods: list[dict[str, Any]]) -> None:
    for pod in pods:
        name = pod["metadata"]["name"]
        assert kubectl("logs", name).strip() == "serving"
        assert kubectl("exec", "-i", name, "--", "cat", stdin="through") == "through"
        with kubectl.port_forward(f"pod/{name}", 8000) as url:
            assert fetch(url) == name


def test_a_claim_is_one_folder_for_all_nodes_and_writable_for_all(
    kubectl: Kubectl, pods: list[dict[str, Any]]
) -> None:
    shell(kubectl, pods[0], "echo shared > /data/file")
    assert shell(kubectl, pods[1], "id -u; cat /data/file").split() == ["10001", "shared"]


def test_a_loaded_image_runs_on_every_node(cluster: LocalCluster, kubectl: Kubectl, tmp_path: Path) -> None:
    load_own_image(cluster, tmp_path)
    for index in (1, 2):
        kubectl.apply(pod(f"loaded{index}", f"node{index}", OWN_IMAGE, "sleep 600"))
    kubectl("wait", "pod/loaded1", "pod/loaded2", "--for=condition=Ready", "--timeout=60s")
    kubectl("delete", "pod", "loaded1", "loaded2", "--now")


def test_an_isolated_node_is_not_ready_until_it_rejoins(cluster: LocalCluster, kubectl: Kubectl) -> None:
    outages.isolate(cluster.files, "node2")
    eventually(lambda: not cluster.status().nodes["node2"], "node2 NotReady", timeout=60)
    outages.rejoin(cluster.files, "node2")
    eventually(lambda: cluster.status().nodes["node2"], "node2 Ready again", timeout=60)


def test_a_killed_node_takes_its_pods_along_and_comes_back_with_its_images(
    cluster: LocalCluster, kubectl: Kubectl, tmp_path: Path
) -> None:
    load_own_image(cluster, tmp_path)
    kubectl.apply(pod("victim", "node2", TOOLS_IMAGE, SERVE))
    kubectl("wait", "pod/victim", "--for=condition=Ready", "--timeout=60s")
    address = kubectl.get("pod", "victim")["status"]["podIP"]
    outages.kill(cluster.files, "node2")
    with pytest.raises(OSError, match=r"(?i)timed out|no route|unreachable|refused"):
        socket.create_connection((address, 8000), timeout=2).close()
    eventually(lambda: not cluster.status().nodes["node2"], "node2 NotReady", timeout=60)
    assert cluster.status().nodes["node1"]
    kubectl("delete", "pod", "victim", "--force", "--grace-period=0")
    outages.rejoin(cluster.files, "node2")
    eventually(lambda: cluster.status().nodes["node2"], "node2 Ready again", timeout=60)
    kubectl.apply(pod("reborn", "node2", OWN_IMAGE, "sleep 600"))
    kubectl("wait", "pod/reborn", "--for=condition=Ready", "--timeout=60s")


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        body: str = response.read().decode().strip()
    return body


def shell(kubectl: Kubectl, pod: dict[str, Any], script: str) -> str:
    return kubectl("exec", pod["metadata"]["name"], "--", "sh", "-c", script).strip()


def load_own_image(cluster: LocalCluster, folder: Path) -> None:
    archive = folder / "loaded.tar"
    tools_image.write_as(archive, OWN_IMAGE)
    cluster.load(archive)


def claim(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": "efs",
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def service() -> dict[str, Any]:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}


def pod(name: str, node: str, image: str, script: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": image, "command": ["sh", "-c", script]}],
        },
    }


def web(name: str, node: str) -> dict[str, Any]:
    manifest = pod(name, node, TOOLS_IMAGE, SERVE)
    manifest["metadata"]["labels"] = {"app": "web"}
    spec = manifest["spec"]
    spec["securityContext"] = {"runAsUser": 10001, "runAsGroup": 10001}
    spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    main = spec["containers"][0]
    main["volumeMounts"] = [{"name": "data", "mountPath": "/data", "subPath": "folder"}]
    main["readinessProbe"] = {"tcpSocket": {"port": 8000}, "periodSeconds": 1}
    return manifest
